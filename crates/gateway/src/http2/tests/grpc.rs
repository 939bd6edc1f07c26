use super::*;
use std::cell::Cell;

/// A target that speaks HTTP/2 and sends each body back, with trailers; counts its connections.
async fn echo() -> (SocketAddr, Rc<Cell<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let connections = Rc::new(Cell::new(0));
    let count = connections.clone();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.set(count.get() + 1);
            spawn_local(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    spawn_local(async move {
                        let te = request.headers().get("te").cloned();
                        let mut from = request.into_body();
                        let head = http::Response::builder().header("content-type", "application/grpc");
                        let mut to = respond.send_response(head.body(()).unwrap(), false).unwrap();
                        while let Some(Ok(data)) = from.data().await {
                            from.flow_control().release_capacity(data.len()).unwrap();
                            to.send_data(data, false).unwrap();
                        }
                        let mut trailers = http::HeaderMap::new();
                        trailers.insert("grpc-status", "0".parse().unwrap());
                        trailers.insert("x-te", te.unwrap_or("none".parse().unwrap()));
                        let _ = to.send_trailers(trailers);
                    });
                }
            });
        }
    });
    (at, connections)
}

fn call() -> http::Request<()> {
    http::Request::post("http://shop.example/shop.Orders/Watch")
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

#[tokio::test]
async fn messages_stream_both_ways_and_the_status_comes_as_trailer() {
    local(async {
        let (at, _) = echo().await;
        let served = Served::start(&Setup::of(ProtocolVersion::Grpc, &[at])).await;
        let mut client = served.client().await.ready().await.unwrap();
        let (response, mut up) = client.send_request(call(), false).unwrap();
        let (parts, mut down) = response.await.unwrap().into_parts();
        assert_eq!(parts.headers["content-type"], "application/grpc");
        for message in ["one", "two", "three"] {
            up.send_data(message.into(), false).unwrap();
            assert_eq!(down.data().await.unwrap().unwrap(), message);
        }
        up.send_data(Bytes::new(), true).unwrap();
        while let Some(data) = down.data().await {
            assert!(data.unwrap().is_empty());
        }
        let trailers = down.trailers().await.unwrap().unwrap();
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers["x-te"], "trailers");
    })
    .await;
}

#[tokio::test]
async fn many_streams_share_a_connection_to_the_target() {
    local(async {
        let (at, connections) = echo().await;
        let served = Served::start(&Setup::of(ProtocolVersion::Http2, &[at])).await;
        let client = served.client().await;
        let mut running = Vec::new();
        for n in 0..60u32 {
            let mut sender = client.clone().ready().await.unwrap();
            let post = http::Request::post("http://shop.example/").body(()).unwrap();
            let (response, mut up) = sender.send_request(post, false).unwrap();
            up.send_data(n.to_string().into(), true).unwrap();
            running.push((n, response));
        }
        for (n, response) in running {
            let answer = read(response).await.unwrap();
            assert_eq!(answer.body, n.to_string().into_bytes());
            assert!(answer.trailers.is_some());
        }
        assert_eq!(connections.get(), 1);
    })
    .await;
}

#[tokio::test]
async fn errors_of_the_balancer_have_a_grpc_status() {
    local(async {
        let nobody = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        for (targets, status) in [(&[][..], 503), (&[nobody][..], 502)] {
            let served = Served::start(&Setup::of(ProtocolVersion::Grpc, targets)).await;
            let answer = ask(&served.client().await, call()).await;
            assert_eq!((answer.status, &answer.body[..]), (status, &b""[..]));
            assert_eq!(answer.headers["grpc-status"], "14");
            assert_eq!(answer.headers["content-type"], "application/grpc");
        }
        // What is no call is not for a gRPC target.
        let (at, _) = echo().await;
        let served = Served::start(&Setup::of(ProtocolVersion::Grpc, &[at])).await;
        assert_eq!(ask(&served.client().await, get("/")).await.status, 464);
        let served = Served::start(&Setup::of(ProtocolVersion::Http1, &[at])).await;
        assert_eq!(ask(&served.client().await, call()).await.status, 464);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_cancels_cancels_at_the_target() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let served = Served::start(&Setup::of(ProtocolVersion::Grpc, &[listener.local_addr().unwrap()])).await;
        let mut client = served.client().await.ready().await.unwrap();
        let (response, mut up) = client.send_request(call(), false).unwrap();
        let mut target = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        let (_request, mut respond) = target.accept().await.unwrap().unwrap();
        spawn_local(async move { while target.accept().await.is_some() {} });
        up.send_reset(h2::Reason::CANCEL);
        drop(response);
        let reason = std::future::poll_fn(|cx| respond.poll_reset(cx)).await.unwrap();
        assert_eq!(reason, h2::Reason::CANCEL);
        let group = served.worker.now_serving().routes.group("group").unwrap().clone();
        while group.targets()[0].outstanding() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_may_end_its_upload_to_a_target_that_wants_no_more() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let served = Served::start(&Setup::of(ProtocolVersion::Http2, &[at])).await;
        let mut client = served.client().await.ready().await.unwrap();
        let post = http::Request::post("http://shop.example/").body(()).unwrap();
        let (response, mut body) = client.send_request(post, false).unwrap();
        let mut target = h2::server::handshake(listener.accept().await.unwrap().0).await.unwrap();
        let (request, mut respond) = target.accept().await.unwrap().unwrap();
        // With its request dropped, the stream is reset behind its answer.
        respond.send_response(http::Response::new(()), true).unwrap();
        drop((request, respond));
        spawn_local(async move { while target.accept().await.is_some() {} });
        assert_eq!(read(response).await.unwrap().status, 200);
        upload(&mut body).await;
        let group = served.worker.now_serving().routes.group("group").unwrap().clone();
        assert_eq!(group.targets()[0].outstanding(), 0);
    })
    .await;
}
