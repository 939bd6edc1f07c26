use super::*;
use tokio::io::AsyncReadExt as _;

/// A target that takes everything and answers nothing.
async fn hole() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            spawn_local(async move { while stream.read(&mut [0; 4096]).await.unwrap_or(0) > 0 {} });
        }
    });
    at
}

#[tokio::test]
async fn streams_reset_as_fast_as_they_open_cost_the_client_its_connection() {
    local(async {
        let served = Served::start(&Setup::of(ProtocolVersion::Http1, &[hole().await])).await;
        let (client, connection) = served.connect().await;
        let mut sent = 0;
        while sent < 20_000 {
            let Ok(mut sender) = client.clone().ready().await else {
                break;
            };
            let Ok((response, mut stream)) = sender.send_request(get("/"), false) else {
                break;
            };
            // Until the balancer has begun with it, a reset costs nothing.
            tokio::task::yield_now().await;
            stream.send_reset(h2::Reason::CANCEL);
            drop(response);
            sent += 1;
        }
        assert!(sent < 20_000, "the connection lives on");
        drop(client);
        let _ = connection.await;
        let group = served.worker.now_serving().routes.group("group").unwrap().clone();
        while group.targets()[0].outstanding() > 0 {
            tokio::task::yield_now().await;
        }
        let mut setup = Setup::of(ProtocolVersion::Http1, &[]);
        setup.fixed = Some((200, "alive"));
        let other = Served::start(&setup).await;
        assert_eq!(ask(&other.client().await, get("/")).await.body, b"alive");
    })
    .await;
}

#[tokio::test]
async fn a_client_has_at_most_128_streams() {
    local(async {
        let served = Served::start(&Setup::of(ProtocolVersion::Http1, &[hole().await])).await;
        let (client, _connection) = served.connect().await;
        // The settings come with the first answer that is none of ours.
        let mut streams = Vec::new();
        for _ in 0..128 {
            let mut sender = client.clone().ready().await.unwrap();
            streams.push(sender.send_request(get("/"), true).unwrap());
            tokio::task::yield_now().await;
        }
        let more = tokio::time::timeout(Duration::from_millis(300), client.clone().ready()).await;
        let opened = more.is_ok_and(|ready| ready.is_ok_and(|mut sender| sender.send_request(get("/"), true).is_ok()));
        let group = served.worker.now_serving().routes.group("group").unwrap().clone();
        assert!(group.targets()[0].outstanding() <= 128, "opened another: {opened}");
    })
    .await;
}

#[tokio::test]
async fn headers_beyond_64_kilobytes_are_refused() {
    local(async {
        let mut setup = Setup::of(ProtocolVersion::Http1, &[]);
        setup.fixed = Some((200, "ok"));
        let served = Served::start(&setup).await;
        let client = served.client().await;
        let mut huge = get("/");
        for n in 0..20 {
            let name: http::HeaderName = format!("x-{n}").parse().unwrap();
            huge.headers_mut().insert(name, "v".repeat(4096).parse().unwrap());
        }
        let mut sender = client.clone().ready().await.unwrap();
        let (response, _) = sender.send_request(huge, true).unwrap();
        match read(response).await {
            Ok(answer) => assert_eq!(answer.status, 431),
            Err(error) => assert!(error.is_reset() || error.is_go_away(), "{error}"),
        }
        assert_eq!(ask(&served.client().await, get("/")).await.body, b"ok");
    })
    .await;
}

#[tokio::test]
async fn a_connection_without_streams_is_closed_after_the_idle_timeout() {
    local(async {
        let mut setup = Setup::of(ProtocolVersion::Http1, &[]);
        setup.attributes = vec![("idle_timeout.timeout_seconds", "1")];
        setup.fixed = Some((200, "ok"));
        let served = Served::start(&setup).await;
        let (client, connection) = served.connect().await;
        ask(&client, get("/")).await;
        connection.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_loses_its_connection() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n";
            let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, head).await;
            while tokio::io::AsyncWriteExt::write_all(&mut stream, &[0; 4096])
                .await
                .is_ok()
            {}
        });
        let mut setup = Setup::of(ProtocolVersion::Http1, &[at]);
        setup.attributes = vec![("idle_timeout.timeout_seconds", "1")];
        let served = Served::start(&setup).await;
        let (client, connection) = served.connect().await;
        let mut sender = client.ready().await.unwrap();
        let (response, _) = sender.send_request(get("/"), true).unwrap();
        // Its window fills, and nothing is released.
        let _body = response.await.unwrap().into_body();
        // However the client's side calls it, it is over.
        let _ = connection.await.unwrap();
        let group = served.worker.now_serving().routes.group("group").unwrap().clone();
        while group.targets()[0].outstanding() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_a_small_answer_lying_loses_its_connection_too() {
    local(async {
        let mut setup = Setup::of(ProtocolVersion::Http1, &[]);
        setup.attributes = vec![("idle_timeout.timeout_seconds", "1")];
        setup.fixed = Some((200, "never taken"));
        let served = Served::start(&setup).await;
        let stream = TcpStream::connect(served.at).await.unwrap();
        let client = h2::client::Builder::new()
            .initial_window_size(0)
            .handshake(stream)
            .await;
        let (client, connection) = client.unwrap();
        let connection = spawn_local(connection);
        let mut client: SendRequest<Bytes> = client.ready().await.unwrap();
        let (response, _) = client.send_request(get("/"), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        assert!(body.data().await.unwrap().is_err());
        let _ = connection.await.unwrap();
    })
    .await;
}
