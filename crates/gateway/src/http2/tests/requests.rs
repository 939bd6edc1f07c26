use super::*;
use std::cell::{Cell, RefCell};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// An HTTP/1.1 target: what it was asked, and over how many connections.
struct Target {
    at: SocketAddr,
    heads: Rc<RefCell<Vec<String>>>,
    connections: Rc<Cell<usize>>,
}

/// Answers each request with `answer`, and closes after it when that says so.
async fn target(answer: &'static str) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target {
        at: listener.local_addr().unwrap(),
        heads: Rc::default(),
        connections: Rc::default(),
    };
    let (heads, connections) = (target.heads.clone(), target.connections.clone());
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.set(connections.get() + 1);
            let heads = heads.clone();
            spawn_local(async move {
                let mut read = Vec::new();
                loop {
                    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
                        if stream.read_buf(&mut read).await.unwrap_or(0) == 0 {
                            return;
                        }
                        continue;
                    };
                    let head = String::from_utf8(read.drain(..end + 4).collect()).unwrap();
                    heads.borrow_mut().push(head);
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    if !answer.contains("content-length") {
                        return;
                    }
                }
            });
        }
    });
    target
}

const OK: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nserver: mine\r\nkeep-alive: timeout=5\r\nx-own: 1\r\n\r\nhello";

#[tokio::test]
async fn an_http1_target_is_told_who_calls_and_its_connection_is_kept() {
    local(async {
        let target = target(OK).await;
        let served = Served::start(&Setup::of(ProtocolVersion::Http1, &[target.at])).await;
        let client = served.client().await;
        for _ in 0..3 {
            let mut request = get("/a%20b?c=d");
            for crumb in ["one=1", "two=2"] {
                request.headers_mut().append("cookie", crumb.parse().unwrap());
            }
            request
                .headers_mut()
                .insert("x-forwarded-for", "192.0.2.1".parse().unwrap());
            request
                .headers_mut()
                .insert("x-forwarded-proto", "https".parse().unwrap());
            let answer = ask(&client, request).await;
            assert_eq!((answer.status, &answer.body[..]), (200, &b"hello"[..]));
            assert_eq!(
                (&answer.headers["server"], &answer.headers["x-own"]),
                (&"mine".parse().unwrap(), &"1".parse().unwrap())
            );
            assert!(!answer.headers.contains_key("keep-alive"));
        }
        assert_eq!(target.connections.get(), 1);
        let heads = target.heads.borrow();
        let head = heads[0].to_ascii_lowercase();
        assert!(head.starts_with("get /a%20b?c=d http/1.1\r\n"), "{head}");
        for line in [
            "host: shop.example",
            "x-forwarded-for: 192.0.2.1, 127.0.0.1",
            "x-forwarded-proto: http",
            "x-forwarded-port: 80",
            "x-amzn-trace-id: root=1-",
            "cookie: one=1; two=2",
        ] {
            assert_eq!(head.matches(&format!("\r\n{line}")).count(), 1, "{line} in {head}");
        }
        assert!(!head.contains("transfer-encoding") && !head.contains("https"), "{head}");
    })
    .await;
}

#[tokio::test]
async fn bodies_go_both_ways_as_they_come() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        spawn_local(async move {
            // Echoes a chunked body, byte for byte, before its end has come.
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut read = Vec::new();
            let end = loop {
                stream.read_buf(&mut read).await.unwrap();
                if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                    break end + 4;
                }
            };
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await
                .unwrap();
            stream.write_all(&read[end..]).await.unwrap();
            let (mut from, mut to) = stream.split();
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
        let served = Served::start(&Setup::of(ProtocolVersion::Http1, &[at])).await;
        let mut client = served.client().await.ready().await.unwrap();
        let post = http::Request::post("http://shop.example/").body(()).unwrap();
        let (response, mut up) = client.send_request(post, false).unwrap();
        up.send_data(Bytes::from_static(b"first"), false).unwrap();
        let (_, mut down) = response.await.unwrap().into_parts();
        assert_eq!(&down.data().await.unwrap().unwrap()[..], b"first");
        up.send_data(Bytes::from_static(b"second"), true).unwrap();
        let mut rest = Vec::new();
        while let Some(data) = down.data().await {
            rest.extend_from_slice(&data.unwrap());
        }
        assert_eq!(rest, b"second");
    })
    .await;
}

#[tokio::test]
async fn what_targets_do_wrong_is_answered_as_alb_answers_it() {
    local(async {
        let status = async |at: &[SocketAddr], attributes: &[(&'static str, &'static str)]| {
            let mut setup = Setup::of(ProtocolVersion::Http1, at);
            setup.attributes = attributes.to_vec();
            let served = Served::start(&setup).await;
            let answer = ask(&served.client().await, get("/")).await;
            assert_eq!(answer.headers["server"], "awselb/2.0");
            assert!(answer.body.starts_with(b"<html>"));
            answer.status
        };
        assert_eq!(status(&[], &[]).await, 503);
        let nobody = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert_eq!(status(&[nobody], &[]).await, 502);
        assert_eq!(status(&[target("").await.at], &[]).await, 502);
        assert_eq!(status(&[target("nonsense\r\n\r\n").await.at], &[]).await, 502);
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = silent.local_addr().unwrap();
        assert_eq!(status(&[at], &[("idle_timeout.timeout_seconds", "1")]).await, 504);
    })
    .await;
}

#[tokio::test]
async fn a_target_that_breaks_off_resets_the_stream_and_no_other() {
    local(async {
        let broken = target("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
        let served = Served::start(&Setup::of(ProtocolVersion::Http1, &[broken.at])).await;
        let client = served.client().await;
        for _ in 0..2 {
            let mut sender = client.clone().ready().await.unwrap();
            let (response, _) = sender.send_request(get("/"), true).unwrap();
            assert!(read(response).await.is_err_and(|error| error.is_reset()));
        }
    })
    .await;
}

#[tokio::test]
async fn fixed_responses_need_no_target_and_heads_no_body() {
    local(async {
        let mut setup = Setup::of(ProtocolVersion::Http1, &[]);
        setup.fixed = Some((418, "short and stout"));
        let served = Served::start(&setup).await;
        let client = served.client().await;
        let answer = ask(&client, get("/")).await;
        assert_eq!((answer.status, &answer.body[..]), (418, &b"short and stout"[..]));
        assert_eq!(answer.headers["content-length"], "15");
        let mut head = get("/");
        *head.method_mut() = http::Method::HEAD;
        assert_eq!(ask(&client, head).await.body, b"");
        let mut connect = http::Request::new(());
        *connect.method_mut() = http::Method::CONNECT;
        *connect.uri_mut() = "shop.example:443".parse().unwrap();
        assert_eq!(ask(&client, connect).await.status, 400);
        setup.fixed = Some((204, "nothing"));
        let served = Served::start(&setup).await;
        let answer = ask(&served.client().await, get("/")).await;
        assert_eq!((answer.status, &answer.body[..]), (204, &b""[..]));
        assert!(!answer.headers.contains_key("content-length"));
    })
    .await;
}

#[tokio::test]
async fn a_client_stays_with_its_target() {
    local(async {
        let (one, two) = (target(OK).await, target(OK).await);
        let mut setup = Setup::of(ProtocolVersion::Http1, &[one.at, two.at]);
        setup.group = vec![
            ("stickiness.enabled", "true"),
            ("stickiness.type", "lb_cookie"),
            ("stickiness.lb_cookie.duration_seconds", "60"),
        ];
        let served = Served::start(&setup).await;
        let client = served.client().await;
        let first = ask(&client, get("/")).await;
        let cookie = first
            .headers
            .get_all("set-cookie")
            .iter()
            .next()
            .unwrap()
            .to_str()
            .unwrap();
        assert!(cookie.starts_with("AWSALB="), "{cookie}");
        let cookie = cookie.split(';').next().unwrap().to_owned();
        for _ in 0..10 {
            let mut again = get("/");
            again.headers_mut().insert("cookie", cookie.parse().unwrap());
            ask(&client, again).await;
        }
        let mut asked = [one.heads.borrow().len(), two.heads.borrow().len()];
        asked.sort_unstable();
        assert_eq!(asked, [0, 11]);
    })
    .await;
}

#[tokio::test]
async fn a_door_that_closes_lets_running_streams_finish() {
    local(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let served = Served::start(&Setup::of(ProtocolVersion::Http1, &[listener.local_addr().unwrap()])).await;
        let (client, connection) = served.connect().await;
        let mut sender = client.ready().await.unwrap();
        let (response, _) = sender.send_request(get("/"), true).unwrap();
        let (mut target, _) = listener.accept().await.unwrap();
        served.door.close();
        served.worker.wake_all();
        target.write_all(OK.as_bytes()).await.unwrap();
        assert_eq!(read(response).await.unwrap().body, b"hello");
        drop(sender);
        connection.await.unwrap().unwrap();
        assert!(served.worker.connections.open() == 0);
    })
    .await;
}

#[tokio::test]
async fn what_an_http1_target_could_misread_does_not_reach_it() {
    local(async {
        let target = target(OK).await;
        let served = Served::start(&Setup::of(ProtocolVersion::Http1, &[target.at])).await;
        let client = served.client().await;
        let mut trace = get("/");
        *trace.method_mut() = http::Method::TRACE;
        assert_eq!(ask(&client, trace).await.status, 405);
        let mut doubled = get("/");
        *doubled.method_mut() = http::Method::POST;
        for length in ["0", "0"] {
            doubled.headers_mut().append("content-length", length.parse().unwrap());
        }
        assert_eq!(ask(&client, doubled).await.status, 400);
        let mut long = get("/");
        let value = "v".repeat(crate::http1::head::FIELD_LIMIT);
        long.headers_mut().insert("x-long", value.parse().unwrap());
        assert_eq!(ask(&client, long).await.status, 400);
        let long = get(&format!("/{}", "p".repeat(crate::http1::head::LINE_LIMIT)));
        assert_eq!(ask(&client, long).await.status, 414);
        assert!(target.heads.borrow().is_empty());
        assert_eq!(ask(&client, get("/")).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn an_http1_targets_ambiguous_response_is_502() {
    local(async {
        let both = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
        let target = target(both).await;
        let served = Served::start(&Setup::of(ProtocolVersion::Http1, &[target.at])).await;
        let client = served.client().await;
        assert_eq!(ask(&client, get("/")).await.status, 502);
    })
    .await;
}

#[tokio::test]
async fn a_client_may_end_its_upload_after_an_early_answer() {
    local(async {
        let mut setup = Setup::of(ProtocolVersion::Http1, &[]);
        setup.fixed = Some((200, "early"));
        let served = Served::start(&setup).await;
        let mut client = served.client().await.ready().await.unwrap();
        let mut request = get("/");
        *request.method_mut() = http::Method::POST;
        let (response, mut body) = client.send_request(request, false).unwrap();
        let answer = read(response).await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"early"[..]));
        upload(&mut body).await;
        assert_eq!(ask(&client, get("/")).await.status, 200);
    })
    .await;
}
