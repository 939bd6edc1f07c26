//! What passes through unharmed, and what is changed on the way.

use crate::rig::*;
use neargate_link::gateway::{Action, Condition, Pattern, Transform};
use std::sync::Arc;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn a_request_reaches_its_target_with_what_the_target_must_know() {
    let (at, seen) = answering(HELLO).await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let request = "GET /a?b=%20c HTTP/1.1\r\nHost: web.elb.localhost\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
                   X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nTE: trailers\r\nX-Kept: yes\r\n\r\n";
    let response = exchange(port, request).await;
    assert!(
        response.starts_with("HTTP/1.1 200 OK\r\n") && response.ends_with("hello"),
        "{response}"
    );
    let seen = seen.lock().unwrap()[0].clone();
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines[0], "GET /a?b=%20c HTTP/1.1");
    assert!(lines.contains(&"X-Forwarded-For: 1.2.3.4, 127.0.0.1"), "{seen}");
    assert!(lines.contains(&"X-Forwarded-Proto: http"), "{seen}");
    assert!(lines.contains(&&*format!("X-Forwarded-Port: {port}")), "{seen}");
    assert!(lines.contains(&&*format!("Host: web.elb.localhost:{port}")), "{seen}");
    assert!(lines.contains(&"X-Kept: yes"), "{seen}");
    assert!(seen.contains("X-Amzn-Trace-Id: Root=1-"), "{seen}");
    for gone in ["X-Hop", "TE:", "Proto: https", "Connection"] {
        assert!(!seen.contains(gone), "{gone}: {seen}");
    }
    rig.end().await;
}

#[tokio::test]
async fn bodies_of_every_framing_pass_both_ways() {
    let at = target(|mut stream| async move {
        let mut buffer = Vec::new();
        while let Some(request) = message(&mut stream, &mut buffer).await {
            let (head, body) = request.split_once("\r\n\r\n").unwrap();
            let framing = if head.to_ascii_lowercase().contains("chunked") {
                "Transfer-Encoding: chunked".to_owned()
            } else {
                format!("Content-Length: {}", body.len())
            };
            let response = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{body}");
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    })
    .await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let mut stream = connect(port).await;
    let mut buffer = Vec::new();
    let large = "x".repeat(300_000);
    let chunked = "5;ext=1\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n";
    for (framing, body) in [
        ("Content-Length: 5".to_owned(), "hello"),
        ("Transfer-Encoding: chunked".to_owned(), chunked),
        (format!("Content-Length: {}", large.len()), &*large),
        ("Content-Length: 0".to_owned(), ""),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n{body}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let response = message(&mut stream, &mut buffer).await.unwrap();
        assert_eq!(response.split_once("\r\n\r\n").unwrap().1, body);
    }
    rig.end().await;
}

#[tokio::test]
async fn a_response_has_a_date_its_targets_or_the_balancers() {
    let dated = "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n";
    for (answer, own) in [(HELLO, true), (dated, false)] {
        let (at, _) = answering(answer).await;
        let port = free_port();
        let rig = Rig::serving(&simple(port, &[at])).await;
        let response = get(port, "x", "/").await;
        assert_eq!(response.matches("\r\nDate: ").count(), 1, "{response}");
        assert_eq!(response.contains(" 1994 "), !own, "{response}");
        rig.end().await;
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let at = target(|mut stream| async move {
        let mut buffer = Vec::new();
        while let Some(request) = message(&mut stream, &mut buffer).await {
            let path = request.split(' ').nth(1).unwrap().to_owned();
            let response = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len());
            stream.write_all(response.as_bytes()).await.unwrap();
        }
    })
    .await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let mut stream = connect(port).await;
    let all: String = (0..20)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nHost: x\r\n\r\n"))
        .collect();
    stream.write_all(all.as_bytes()).await.unwrap();
    let mut buffer = Vec::new();
    for n in 0..20 {
        let response = message(&mut stream, &mut buffer).await.unwrap();
        assert!(response.ends_with(&format!("\r\n\r\n/{n}")), "{response}");
    }
    rig.end().await;
}

#[tokio::test]
async fn heads_and_empty_responses_have_no_body() {
    let (at, _) = answering("HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n").await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let mut stream = connect(port).await;
    let mut buffer = Vec::new();
    for method in ["GET", "HEAD", "GET"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let response = message(&mut stream, &mut buffer).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 304 Not Modified\r\n"), "{response}");
    }
    rig.end().await;
}

#[tokio::test]
async fn what_a_target_says_meanwhile_is_passed_on() {
    let at = target(|mut stream| async move {
        let mut head = vec![0; 4096];
        let mut read = 0;
        while !head[..read].ends_with(b"\r\n\r\n") {
            read += stream.read(&mut head[read..]).await.unwrap();
        }
        stream
            .write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            .await
            .unwrap();
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(HELLO.as_bytes()).await.unwrap();
        let _ = stream.read(&mut head).await;
    })
    .await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let mut stream = connect(port).await;
    let head = "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = Vec::new();
    let interim = message(&mut stream, &mut buffer).await.unwrap();
    assert_eq!(interim, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    assert!(message(&mut stream, &mut buffer).await.unwrap().ends_with("hello"));
    rig.end().await;
}

#[tokio::test]
async fn an_upgraded_connection_carries_anything() {
    let at = target(|mut stream| async move {
        let mut buffer = Vec::new();
        let request = message(&mut stream, &mut buffer).await.unwrap();
        assert!(request.contains("Connection: upgrade\r\n") && request.contains("Upgrade: websocket\r\n"));
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst";
        stream.write_all(switch).await.unwrap();
        let mut bytes = buffer;
        bytes.resize(bytes.len().max(64), 0);
        loop {
            match stream.read(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(read) => stream.write_all(&bytes[..read]).await.unwrap(),
            }
        }
    })
    .await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let mut stream = connect(port).await;
    let request = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = Vec::new();
    let head = message(&mut stream, &mut buffer).await.unwrap();
    assert!(
        head.starts_with("HTTP/1.1 101 ") && head.contains("Upgrade: websocket\r\n"),
        "{head}"
    );
    while buffer.len() < 5 {
        assert!(stream.read_buf(&mut buffer).await.unwrap() > 0);
    }
    assert_eq!(buffer, b"first");
    stream.write_all(b"\x00\r\n\r\nping").await.unwrap();
    let mut echo = [0; 9];
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"\x00\r\n\r\nping");
    drop(stream);
    rig.end().await;
}

#[tokio::test]
async fn only_websocket_is_a_protocol_to_change_to() {
    let (at, seen) = answering(HELLO).await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    for asked in [
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        "Upgrade: websocket, h2c\r\n",
        "Upgrade: websocket\r\nUpgrade: h2c\r\n",
    ] {
        let request = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n{asked}\r\n");
        assert!(exchange(port, &request).await.starts_with("HTTP/1.1 200 "));
        let seen = seen.lock().unwrap().pop().unwrap().to_ascii_lowercase();
        assert!(!seen.contains("upgrade") && !seen.contains("http2-settings"), "{seen}");
    }
    rig.end().await;
}

#[tokio::test]
async fn an_early_response_reaches_a_client_that_still_sends() {
    let at = target(|mut stream| async move {
        let mut some = [0; 1024];
        let _ = stream.read(&mut some).await;
        let early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!";
        stream.write_all(early).await.unwrap();
        // Reads on, so that closing is no reset.
        while let Ok(1..) = stream.read(&mut some).await {}
    })
    .await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let mut stream = connect(port).await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b'x'; 1000]).await.unwrap();
    let response = message(&mut stream, &mut Vec::new()).await.unwrap();
    assert!(
        response.starts_with("HTTP/1.1 413 ") && response.contains("Connection: close\r\n"),
        "{response}"
    );
    rig.end().await;
}

#[tokio::test]
async fn old_clients_get_old_answers() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (at, _) = answering(chunked).await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let response = conversation(port, "GET / HTTP/1.0\r\n\r\n").await;
    assert!(
        response.ends_with("\r\n\r\nhello") && !response.contains("chunked"),
        "{response}"
    );
    rig.end().await;
}

#[tokio::test]
async fn a_kept_connection_that_the_target_closed_costs_no_request() {
    // Answers one request a connection and closes only when the next one comes.
    let at = target(|mut stream| async move {
        let mut buffer = Vec::new();
        if message(&mut stream, &mut buffer).await.is_some() {
            stream.write_all(HELLO.as_bytes()).await.unwrap();
            message(&mut stream, &mut buffer).await;
        }
    })
    .await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let mut stream = connect(port).await;
    let mut buffer = Vec::new();
    for _ in 0..5 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let response = message(&mut stream, &mut buffer).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
    }
    // What changes something is not sent twice.
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        .await
        .unwrap();
    let response = message(&mut stream, &mut buffer).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 502 "), "{response}");
    rig.end().await;
}

#[tokio::test]
async fn rules_transforms_and_settings_do_what_they_say() {
    let (one, seen) = answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\nServer: own\r\n\r\none").await;
    let (two, _) = answering("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo").await;
    let port = free_port();
    let path = |path: &str| vec![Condition::Path(vec![Pattern::Wildcard(path.to_owned())])];
    let mut rewritten = rule(Some(3), path("/old/*"), forward("one"));
    rewritten.transforms = vec![Transform::Url {
        regex: "^/old/(.*)$".to_owned(),
        replace: "/new/$1".to_owned(),
    }];
    let redirect = Action::Redirect {
        protocol: "HTTPS".to_owned(),
        host: "#{host}".to_owned(),
        port: "443".to_owned(),
        path: "/#{path}".to_owned(),
        query: "#{query}".to_owned(),
        status: 301,
    };
    let fixed = Action::FixedResponse {
        status: 418,
        content_type: Some("text/plain".to_owned()),
        body: "teapot".to_owned(),
    };
    let nothing = Action::FixedResponse {
        status: 204,
        content_type: None,
        body: "unseen".to_owned(),
    };
    let rules = vec![
        rule(Some(1), path("/two"), forward("two")),
        rule(Some(2), path("/fixed"), fixed),
        rule(Some(5), path("/nothing"), nothing),
        rewritten,
        rule(Some(4), path("/away"), redirect),
        rule(None, Vec::new(), forward("one")),
    ];
    let mut table = simple(port, &[]);
    table.balancers = vec![balancer("web", port, rules)];
    table.balancers[0].attributes = map(&[("routing.http.drop_invalid_header_fields.enabled", "true")]);
    table.balancers[0].listeners[0].attributes = map(&[
        ("routing.http.response.server.enabled", "false"),
        ("routing.http.response.x_frame_options.header_value", "DENY"),
    ]);
    table.target_groups.insert("one".to_owned(), group("one", &[one]));
    table.target_groups.insert("two".to_owned(), group("two", &[two]));
    let rig = Rig::serving(&table).await;
    assert!(get(port, "x", "/two").await.ends_with("two"));
    let fixed = get(port, "x", "/fixed").await;
    assert!(
        fixed.starts_with("HTTP/1.1 418 ") && fixed.ends_with("teapot"),
        "{fixed}"
    );
    assert!(!fixed.contains("awselb"), "{fixed}");
    let nothing = get(port, "x", "/nothing").await;
    assert!(
        nothing.starts_with("HTTP/1.1 204 ") && nothing.ends_with("\r\n\r\n") && !nothing.contains("Content-Length"),
        "{nothing}"
    );
    let away = get(port, "x.example", "/away?q=1").await;
    assert!(away.starts_with("HTTP/1.1 301 Moved Permanently\r\n"), "{away}");
    assert!(
        away.contains("Location: https://x.example:443//away?q=1\r\n")
            || away.contains("Location: https://x.example:443/away?q=1\r\n"),
        "{away}"
    );
    let request = "GET /old/thing HTTP/1.1\r\nHost: x\r\nbad_name: 1\r\nGood-Name: 2\r\n\r\n";
    let response = exchange(port, request).await;
    assert!(
        response.contains("x-frame-options: DENY\r\n") && !response.contains("Server:"),
        "{response}"
    );
    let seen = seen.lock().unwrap().join("");
    assert!(seen.starts_with("GET /new/thing HTTP/1.1\r\n"), "{seen}");
    assert!(seen.contains("Good-Name: 2") && !seen.contains("bad_name"), "{seen}");
    rig.end().await;
}

#[tokio::test]
async fn a_sticky_client_keeps_its_target() {
    let hits = Arc::new(Mutex::new(Vec::new()));
    let mut targets = Vec::new();
    for n in 0..4 {
        let hits = hits.clone();
        let at = target(move |mut stream| {
            let hits = hits.clone();
            async move {
                let mut buffer = Vec::new();
                while message(&mut stream, &mut buffer).await.is_some() {
                    hits.lock().unwrap().push(n);
                    stream.write_all(HELLO.as_bytes()).await.unwrap();
                }
            }
        })
        .await;
        targets.push(at);
    }
    let port = free_port();
    let mut table = simple(port, &targets);
    let group = table.target_groups.get_mut("group").unwrap();
    group.attributes = map(&[
        ("stickiness.enabled", "true"),
        ("stickiness.type", "lb_cookie"),
        ("stickiness.lb_cookie.duration_seconds", "60"),
    ]);
    let rig = Rig::serving(&table).await;
    let first = get(port, "x", "/").await;
    let cookie = first
        .lines()
        .find_map(|line| line.strip_prefix("Set-Cookie: AWSALB="))
        .expect("no cookie");
    let cookie = cookie.split(';').next().unwrap();
    for _ in 0..8 {
        exchange(
            port,
            &format!("GET / HTTP/1.1\r\nHost: x\r\nCookie: AWSALB={cookie}\r\n\r\n"),
        )
        .await;
    }
    let hits = hits.lock().unwrap().clone();
    assert!(hits.iter().all(|n| *n == hits[0]), "{hits:?}");
    rig.end().await;
}

#[tokio::test]
async fn clients_that_wait_for_a_100_get_it_at_once_and_targets_are_not_asked_to() {
    let (target, seen) = answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[target])).await;
    let mut stream = connect(port).await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = Vec::new();
    let interim = message(&mut stream, &mut buffer).await.unwrap();
    assert_eq!(interim, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"abc").await.unwrap();
    let response = message(&mut stream, &mut buffer).await.unwrap();
    assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
    let asked = seen.lock().unwrap().pop().unwrap();
    assert!(!asked.to_ascii_lowercase().contains("expect"), "{asked}");
    assert!(asked.ends_with("abc"), "{asked}");
    rig.end().await;
}
