//! What becomes of a stream whose target speaks HTTP/1.1.

use super::*;
use std::cell::RefCell;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A target that answers the first request of each connection with `answer`, and closes when a second one comes, which it
/// does not answer. With what it read, connection by connection.
async fn once(answer: &'static str) -> (SocketAddr, Rc<RefCell<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let read: Rc<RefCell<Vec<String>>> = Rc::default();
    let told = read.clone();
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let connection = told.borrow().len();
            told.borrow_mut().push(String::new());
            let told = told.clone();
            spawn_local(async move {
                let mut bytes = [0; 4096];
                let mut answered = false;
                while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                    let whole = {
                        let mut told = told.borrow_mut();
                        told[connection].push_str(std::str::from_utf8(&bytes[..length]).unwrap());
                        told[connection].contains("\r\n\r\n")
                    };
                    if answered {
                        return;
                    }
                    if whole {
                        stream.write_all(answer.as_bytes()).await.unwrap();
                        answered = true;
                    }
                }
            });
        }
    });
    (at, read)
}

async fn served(answer: &'static str) -> (Served, Rc<RefCell<Vec<String>>>) {
    let (at, read) = once(answer).await;
    (Served::start(&Setup::of(ProtocolVersion::Http1, &[at])).await, read)
}

fn with_method(method: http::Method) -> http::Request<()> {
    let mut request = get("/");
    *request.method_mut() = method;
    request
}

#[tokio::test]
async fn trailers_interim_and_endless_responses_arrive_whole() {
    local(async {
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nx-sum:  11 \r\n\r\n";
        let (balancer, _) = served(chunked).await;
        let answer = ask(&balancer.client().await, get("/")).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"hello world"[..]));
        assert_eq!(answer.trailers.unwrap()["x-sum"], "11");
        assert!(!answer.headers.contains_key("transfer-encoding"));

        let early = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 404 No\r\ncontent-length: 2\r\n\r\nno";
        let (balancer, _) = served(early).await;
        let answer = ask(&balancer.client().await, get("/")).await;
        assert_eq!((answer.status, &answer.body[..]), (404, &b"no"[..]));
        assert!(!answer.headers.contains_key("link"));

        let (balancer, _) = served("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await;
        let answer = ask(&balancer.client().await, with_method(http::Method::HEAD)).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert_eq!(answer.headers["content-length"], "5");

        let without_end = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = without_end.local_addr().unwrap();
        spawn_local(async move {
            let (mut stream, _) = without_end.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil it closes").await.unwrap();
        });
        let balancer = Served::start(&Setup::of(ProtocolVersion::Http1, &[at])).await;
        let answer = ask(&balancer.client().await, get("/")).await;
        assert_eq!((answer.status, &answer.body[..]), (200, &b"until it closes"[..]));
    })
    .await;
}

#[tokio::test]
async fn a_request_is_sent_again_only_when_repeating_it_changes_nothing() {
    local(async {
        let (balancer, read) = served("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        let client = balancer.client().await;
        assert_eq!(ask(&client, get("/first")).await.status, 200);
        assert_eq!(ask(&client, get("/second")).await.status, 200);
        let seen = |path: &str| {
            let read = read.borrow();
            read.iter().map(|all| all.matches(path).count()).collect::<Vec<_>>()
        };
        assert_eq!(
            seen("GET /second "),
            [1, 1],
            "over the kept connection, then over a new one"
        );
        assert_eq!(ask(&client, with_method(http::Method::POST)).await.status, 502);
        assert_eq!(seen("POST / "), [0, 1]);
    })
    .await;
}

#[tokio::test]
async fn a_request_says_how_its_body_ends() {
    local(async {
        let (balancer, read) = served("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        let client = balancer.client().await;
        ask(&client, with_method(http::Method::POST)).await;
        let mut with_length = with_method(http::Method::PUT);
        with_length.headers_mut().insert("content-length", "3".parse().unwrap());
        for request in [with_length, with_method(http::Method::POST)] {
            let mut sender = client.clone().ready().await.unwrap();
            let (response, mut up) = sender.send_request(request, false).unwrap();
            up.send_data(Bytes::from_static(b"abc"), true).unwrap();
            assert_eq!(super::read(response).await.unwrap().status, 200);
        }
        let read = read.borrow();
        assert!(read[0].contains("\r\ncontent-length: 0\r\n"), "{}", read[0]);
        assert!(read[1].contains("\r\ncontent-length: 3\r\n"), "{}", read[1]);
        assert!(!read[1].contains("transfer-encoding"), "{}", read[1]);
        assert!(read[2].contains("\r\ntransfer-encoding: chunked\r\n"), "{}", read[2]);
        assert!(!read[2].contains("content-length"), "{}", read[2]);
        assert_eq!(read.len(), 3, "what a target closes is not used again");
    })
    .await;
}

#[tokio::test]
async fn trailers_of_a_request_reach_the_target_and_an_answer_before_its_end_the_client() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
        spawn_local(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
                .await
                .unwrap();
            let mut read = Vec::new();
            while !read.ends_with(b"x-sum: 3\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut read).await.unwrap(), 0);
            }
            told.send(String::from_utf8(read).unwrap()).unwrap();
            stream.write_all(b"0\r\n\r\n").await.unwrap();
        });
        let balancer = Served::start(&Setup::of(ProtocolVersion::Http1, &[at])).await;
        let mut client = balancer.client().await.ready().await.unwrap();
        let (response, mut up) = client.send_request(with_method(http::Method::POST), false).unwrap();
        let mut down = response.await.unwrap().into_body();
        assert_eq!(down.data().await.unwrap().unwrap(), "hi");
        up.send_data(Bytes::from_static(b"abc"), false).unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "3".parse().unwrap());
        up.send_trailers(trailers).unwrap();
        let rest = down.data().await;
        assert!(rest.is_none_or(|rest| rest.unwrap().is_empty()));
        let request = heard.recv().await.unwrap();
        assert!(request.ends_with("3\r\nabc\r\n0\r\nx-sum: 3\r\n\r\n"), "{request}");
    })
    .await;
}

#[tokio::test]
async fn an_upload_that_its_client_breaks_off_does_not_end_at_the_target() {
    local(async {
        for reason in [h2::Reason::CANCEL, h2::Reason::NO_ERROR] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            let target = spawn_local(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut read = Vec::new();
                let _ = stream.read_to_end(&mut read).await;
                String::from_utf8(read).unwrap()
            });
            let balancer = Served::start(&Setup::of(ProtocolVersion::Http1, &[at])).await;
            let mut client = balancer.client().await.ready().await.unwrap();
            let (response, mut body) = client.send_request(with_method(http::Method::POST), false).unwrap();
            body.send_data(Bytes::from_static(b"half"), false).unwrap();
            let group = balancer.worker.now_serving().routes.group("group").unwrap().clone();
            while group.targets()[0].outstanding() == 0 {
                tokio::task::yield_now().await;
            }
            body.send_reset(reason);
            assert!(response.await.is_err());
            let read = target.await.unwrap();
            assert!(read.contains("transfer-encoding: chunked"), "{read}");
            assert!(!read.contains("0\r\n\r\n"), "{read}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_pauses_does_not_make_its_target_silent() {
    local(async {
        const WINDOW: usize = 20_000;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let goes_on = Rc::new(tokio::sync::Notify::new());
        let told = goes_on.clone();
        spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let told = told.clone();
                spawn_local(async move {
                    let mut bytes = [0; 4096];
                    while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                        let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                        if !bytes[..length].starts_with(b"GET /slow ") {
                            stream.write_all(head(0).as_bytes()).await.unwrap();
                            continue;
                        }
                        stream.write_all(head(WINDOW + 8).as_bytes()).await.unwrap();
                        for part in [&[b'x'; WINDOW][..], b"held", b"last"] {
                            stream.write_all(part).await.unwrap();
                            told.notified().await;
                        }
                    }
                });
            }
        });
        let mut setup = Setup::of(ProtocolVersion::Http1, &[at]);
        setup.attributes = vec![("idle_timeout.timeout_seconds", "1")];
        let balancer = Served::start(&setup).await;
        let stream = TcpStream::connect(balancer.at).await.unwrap();
        let window = u32::try_from(WINDOW).unwrap();
        let opened = h2::client::Builder::new()
            .initial_window_size(window)
            .handshake(stream)
            .await;
        let (client, connection) = opened.unwrap();
        spawn_local(connection);
        let mut sender: SendRequest<Bytes> = client.clone().ready().await.unwrap();
        let (response, _) = sender.send_request(get("/slow"), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut taken = 0;
        while taken < WINDOW {
            taken += body.data().await.unwrap().unwrap().len();
        }
        // The gateway holds what comes now, for longer than a target may be silent; meanwhile the connection is not idle.
        goes_on.notify_one();
        let paused = Instant::now();
        while paused.elapsed() < Duration::from_millis(2500) {
            assert_eq!(ask(&client, get("/")).await.status, 200);
        }
        body.flow_control().release_capacity(WINDOW).unwrap();
        assert_eq!(body.data().await.unwrap().unwrap(), "held");
        goes_on.notify_one();
        assert_eq!(body.data().await.unwrap().unwrap(), "last");
        goes_on.notify_one();
        assert!(body.data().await.is_none());
    })
    .await;
}
