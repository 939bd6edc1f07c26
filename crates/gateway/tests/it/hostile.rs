//! Smuggling, floods of bytes, and other ill will, one by one.

use crate::rig::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Sends a request that must be refused, with another behind it that must never be served.
async fn refused(port: u16, request: &str, status: &str) {
    let smuggled = format!("{request}GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
    let all = conversation(port, &smuggled).await;
    assert!(all.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {all}");
    assert!(all.contains("Connection: close\r\n"), "{request:?}: {all}");
    assert_eq!(all.matches("HTTP/1.1").count(), 1, "{request:?}: {all}");
}

#[tokio::test]
async fn requests_that_two_readers_read_differently_reach_no_target() {
    let (at, seen) = answering(HELLO).await;
    let port = free_port();
    let mut table = simple(port, &[at]);
    for mode in ["monitor", "defensive", "strictest"] {
        table.balancers[0].attributes = map(&[("routing.http.desync_mitigation_mode", mode)]);
        let rig = Rig::serving(&table).await;
        for head in [
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "Content-Length: 4\r\nContent-Length: 5\r\n",
            "Content-Length: 4\r\nContent-Length: 4\r\n",
            "Content-Length: +4\r\n",
            "Content-Length: 4,4\r\n",
            "Transfer-Encoding : chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "X: a\r\n Content-Length: 4\r\n",
            "X: a\nContent-Length: 4\r\n",
            "X: a\rContent-Length: 4\r\n",
            "X\0: a\r\n",
            "Host: y\r\n",
        ] {
            refused(port, &format!("POST / HTTP/1.1\r\nHost: x\r\n{head}\r\n"), "400").await;
        }
        for coding in ["xchunked", "gzip, chunked", "chunked, identity"] {
            let request = format!("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n\r\n");
            refused(port, &request, "501").await;
        }
        refused(port, "GET / HTTP/1.1\r\n\r\n", "400").await;
        refused(port, "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "400").await;
        refused(port, "GET nothing HTTP/1.1\r\nHost: x\r\n\r\n", "400").await;
        refused(port, "GET / HTTP/3.0\r\nHost: x\r\n\r\n", "505").await;
        rig.end().await;
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn chunks_that_are_none_end_the_connection() {
    let (at, seen) = answering(HELLO).await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    for body in [
        "zz\r\n",
        "5\r\nhelloXX\r\n",
        "-1\r\n",
        "5 \r\nhello\r\n",
        "0\r\nHost: y\r\n\r\n",
    ] {
        let head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        refused(port, &format!("{head}{body}"), "400").await;
    }
    assert!(seen.lock().unwrap().iter().all(|request| !request.contains("smuggled")));
    rig.end().await;
}

#[tokio::test]
async fn ambiguous_requests_are_the_last_of_their_connection_or_refused() {
    let (at, _) = answering(HELLO).await;
    let port = free_port();
    let get = "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx";
    for (mode, answers, status) in [("monitor", 2, "200"), ("defensive", 1, "200"), ("strictest", 1, "400")] {
        let mut table = simple(port, &[at]);
        table.balancers[0].attributes = map(&[("routing.http.desync_mitigation_mode", mode)]);
        let rig = Rig::serving(&table).await;
        let all = conversation(
            port,
            &format!("{get}GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        )
        .await;
        assert!(all.starts_with(&format!("HTTP/1.1 {status} ")), "{mode}: {all}");
        assert_eq!(all.matches("HTTP/1.1 ").count(), answers, "{mode}: {all}");
        rig.end().await;
    }
}

#[tokio::test]
async fn heads_have_limits() {
    let (at, _) = answering(HELLO).await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let line = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(17_000));
    assert!(conversation(port, &line).await.starts_with("HTTP/1.1 414 "));
    let field = format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "a".repeat(17_000));
    assert!(conversation(port, &field).await.starts_with("HTTP/1.1 400 "));
    let fields = format!("X: {}\r\n", "a".repeat(1000)).repeat(70);
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    assert!(conversation(port, &head).await.starts_with("HTTP/1.1 400 "));
    let fields = format!("X: {}\r\n", "a".repeat(1000)).repeat(50);
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
    assert!(exchange(port, &head).await.ends_with("hello"), "within the limits");
    rig.end().await;
}

#[tokio::test]
async fn what_a_target_says_unasked_reaches_nobody() {
    let at = target(|mut stream| async move {
        let mut buffer = Vec::new();
        while message(&mut stream, &mut buffer).await.is_some() {
            let twice = format!("{HELLO}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison");
            if stream.write_all(twice.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let mut stream = connect(port).await;
    let mut buffer = Vec::new();
    for _ in 0..10 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(message(&mut stream, &mut buffer).await.unwrap().ends_with("hello"));
    }
    rig.end().await;
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_up_its_target_and_nobody_else() {
    let at = target(|mut stream| async move {
        let mut buffer = Vec::new();
        while let Some(request) = message(&mut stream, &mut buffer).await {
            if request.starts_with("GET /endless") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                while stream.write_all(&[b'x'; 65536]).await.is_ok() {}
                return;
            }
            let _ = stream.write_all(HELLO.as_bytes()).await;
        }
    })
    .await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let mut greedy = connect(port).await;
    greedy
        .write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut some = [0; 100];
    assert!(greedy.read(&mut some).await.unwrap() > 0);
    for _ in 0..20 {
        assert!(get(port, "x", "/").await.ends_with("hello"));
    }
    drop(greedy);
    rig.end().await;
}

/// Resident memory of this process in bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn idle_connections_hold_little_and_stand_in_nobodys_way() {
    const IDLE: usize = 2000;
    let (at, _) = answering(HELLO).await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    assert!(get(port, "x", "/").await.ends_with("hello"));
    let before = resident();
    let mut idle = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        let mut stream = connect(port).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        assert!(message(&mut stream, &mut Vec::new()).await.unwrap().ends_with("hello"));
        idle.push(stream);
    }
    let each = resident().saturating_sub(before) / IDLE;
    println!("{each} bytes for each idle connection, both ends");
    assert!(each < 5 * 1024, "{each} bytes for each idle connection, both ends");
    assert!(get(port, "x", "/").await.ends_with("hello"));
    drop(idle);
    rig.end().await;
}
