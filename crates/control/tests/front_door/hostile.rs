//! Clients that break HTTP, send too much, too slowly, or too many at once.

use crate::client::{Call, read_reply, read_to_close, start, start_with};
use neargate_control::front_door::Limits;
use neargate_core::Clock as _;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;

fn small() -> Limits {
    Limits {
        body: 64 << 10,
        head: 16 << 10,
        head_time: Duration::from_millis(300),
        body_time: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[tokio::test]
async fn bodies_beyond_the_limit_are_refused_announced_or_not() {
    let door = start_with(Limits {
        body: 64 << 10,
        ..Limits::default()
    })
    .await;
    let big = format!(r#"{{"text":"{}"}}"#, "x".repeat(100 << 10));
    let call = Call::json("Echo", &big);
    let reply = door.call(Call::json("Echo", &big)).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (413, "RequestEntityTooLargeException")
    );
    assert_eq!(reply.header("connection"), Some("close"));

    let signed = String::from_utf8(call.signed(door.clock.now())).unwrap();
    let (head, _) = signed.split_once("content-length").unwrap();
    let chunked = format!(
        "{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n{big}\r\n0\r\n\r\n",
        big.len()
    );
    assert_eq!(door.send(chunked.as_bytes()).await.status, 413);

    let fits = format!(r#"{{"text":"{}"}}"#, "x".repeat(60 << 10));
    assert_eq!(door.call(Call::json("Echo", &fits)).await.status, 200);
}

#[tokio::test]
async fn a_body_without_end_does_not_keep_us() {
    let door = start_with(small()).await;
    let mut stream = door.connect().await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let mut sent = 0_usize;
    while stream.write_all(chunk.as_bytes()).await.is_ok() {
        sent += 0x1000;
        assert!(sent < 64 << 20, "the server reads without end");
    }
    assert_eq!(door.call(Call::json("Echo", "{}")).await.status, 200);
}

#[tokio::test]
async fn heads_beyond_the_limit_are_refused() {
    let door = start_with(small()).await;
    let long = format!("GET / HTTP/1.1\r\nhost: x\r\nx-a: {}\r\n\r\n", "y".repeat(32 << 10));
    assert_eq!(door.send(long.as_bytes()).await.status, 431);
    let many: String = (0..500).map(|i| format!("x-{i}: y\r\n")).collect();
    assert_eq!(
        door.send(format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes())
            .await
            .status,
        431
    );
    let uri = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "u".repeat(70 << 10));
    let status = door.send(uri.as_bytes()).await.status;
    assert!(matches!(status, 414 | 431), "{status}");
}

#[tokio::test]
async fn slow_heads_and_slow_bodies_are_cut() {
    let door = start_with(small()).await;
    let mut head = door.connect().await;
    head.write_all(b"POST / HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    let mut body = door.connect().await;
    let signed = Call::json("Echo", r#"{"name":"abc"}"#).signed(door.clock.now());
    body.write_all(&signed[..signed.len() - 3]).await.unwrap();
    let reply = read_reply(&mut body).await;
    assert_eq!((reply.status, reply.code().as_str()), (408, "RequestTimeout"));
    read_to_close(&mut head).await;
    read_to_close(&mut body).await;
}

#[tokio::test]
async fn truncated_and_malformed_requests_harm_nobody() {
    let door = start().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhel",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhel",
        b"POST / HTTP/1.1\r\nhost: x\r\nx-amz-target: \xff\xfe\r\ncontent-length: 0\r\n\r\n",
        b"GET /%00%zz?%%%=&&=&X-Amz-Signature=%ff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut stream = door.connect().await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let answer = read_to_close(&mut stream).await;
        assert!(
            !answer.starts_with("HTTP/1.1 2") && !answer.starts_with("HTTP/1.1 5"),
            "{bytes:?}: {answer}"
        );
    }
    assert_eq!(door.call(Call::json("Echo", "{}")).await.status, 200);
}

#[tokio::test]
async fn deep_and_wide_bodies_are_refused_cheaply() {
    let door = start().await;
    let deep = format!(r#"{{"text":{}"#, "[".repeat(1_000_000));
    assert_eq!(
        door.call(Call::json("Echo", &deep)).await.code(),
        "SerializationException"
    );
    let dots = format!("Action=GetCallerIdentity&Version=2011-06-15&{}=1", "a.".repeat(100_000));
    let reply = door.call(Call::form("sts", &dots)).await;
    assert!(reply.text().contains("nested too deeply"), "{}", reply.text());
    let wide = format!("Action=GetCallerIdentity&Version=2011-06-15{}", "&a=1".repeat(200_000));
    let reply = door.call(Call::form("sts", &wide)).await;
    assert!(reply.text().contains("too many parameters"), "{}", reply.text());
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_place() {
    let door = start_with(Limits {
        connections: 2,
        ..Limits::default()
    })
    .await;
    let mut first = door.connect().await;
    first
        .write_all(&Call::json("Wait", "{}").signed(door.clock.now()))
        .await
        .unwrap();
    door.trial.entered.notified().await;
    let second = door.connect().await;
    let mut third = door.connect().await;
    third
        .write_all(&Call::json("Echo", "{}").signed(door.clock.now()))
        .await
        .unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), third.readable()).await;
    assert!(early.is_err(), "the third connection was answered beside two others");
    drop(second);
    assert_eq!(read_reply(&mut third).await.status, 200);
    door.trial.release.notify_one();
    assert_eq!(read_reply(&mut first).await.status, 200);
}
