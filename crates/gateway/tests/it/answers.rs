//! The balancer's own answers: which, when, and dressed how.

use crate::rig::*;
use neargate_link::gateway::{Condition, GatewayTable, Pattern, ProtocolVersion};
use std::io::Read as _;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

async fn answer_of(table: &GatewayTable, port: u16, request: &str) -> String {
    let rig = Rig::serving(table).await;
    let response = exchange(port, request).await;
    rig.end().await;
    response
}

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

fn quick(port: u16, targets: &[SocketAddr]) -> GatewayTable {
    let mut table = simple(port, targets);
    table.balancers[0].attributes = map(&[("idle_timeout.timeout_seconds", "1")]);
    table
}

#[tokio::test]
async fn nobody_to_forward_to_is_503_in_albs_words() {
    let port = free_port();
    let response = answer_of(&simple(port, &[]), port, GET).await;
    assert!(response.starts_with("HTTP/1.1 503 Service Temporarily Unavailable\r\nServer: awselb/2.0\r\nDate: "));
    let page = "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body>\r\n<center><h1>503 \
                Service Temporarily Unavailable</h1></center>\r\n</body>\r\n</html>\r\n";
    assert!(
        response.contains("Content-Type: text/html\r\n") && response.ends_with(page),
        "{response}"
    );
}

#[tokio::test]
async fn a_target_that_does_not_take_the_connection_is_502_unless_another_does() {
    let gone: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let port = free_port();
    let response = answer_of(&simple(port, &[gone]), port, GET).await;
    assert!(response.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{response}");
    let (there, _) = answering(HELLO).await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[gone, there])).await;
    for _ in 0..6 {
        assert!(get(port, "x", "/").await.ends_with("hello"));
    }
    rig.end().await;
}

#[tokio::test]
async fn targets_that_close_or_talk_nonsense_are_502() {
    for said in [
        "",
        "HTTP/1.1 200",
        "SSH-2.0-OpenSSH_9\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 101 Surprise\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    ] {
        let at = target(move |mut stream| async move {
            message(&mut stream, &mut Vec::new()).await;
            let _ = stream.write_all(said.as_bytes()).await;
        })
        .await;
        let port = free_port();
        let response = answer_of(&simple(port, &[at]), port, GET).await;
        assert!(
            response.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
            "{said:?}: {response}"
        );
    }
}

#[tokio::test]
async fn a_target_that_answers_and_closes_on_a_client_that_still_sends_has_answered() {
    let at = target(|mut stream| async move {
        let _ = stream.read(&mut [0; 64]).await;
        // With the rest unread, closing is a reset.
        let answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    for _ in 0..40 {
        let mut stream = connect(port).await;
        let mut request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n".to_vec();
        request.resize(300_000, b'x');
        // The balancer may have answered, and closed, before all is sent.
        let _ = stream.write_all(&request).await;
        let response = message(&mut stream, &mut Vec::new()).await.unwrap_or_default();
        assert!(response.starts_with("HTTP/1.1 413 "), "{response:?}");
    }
    rig.end().await;
}

#[tokio::test]
async fn a_response_that_breaks_off_breaks_off_for_the_client_too() {
    let at = target(|mut stream| async move {
        message(&mut stream, &mut Vec::new()).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            .await;
    })
    .await;
    let port = free_port();
    let rig = Rig::serving(&simple(port, &[at])).await;
    let all = conversation(port, GET).await;
    assert!(all.ends_with("\r\n\r\nhalf"), "{all}");
    rig.end().await;
}

#[tokio::test]
async fn a_target_that_never_answers_is_504_and_a_client_that_never_sends_408() {
    let at = target(|mut stream| async move {
        let mut bytes = [0; 1024];
        while let Ok(1..) = stream.read(&mut bytes).await {}
    })
    .await;
    let port = free_port();
    let rig = Rig::serving(&quick(port, &[at])).await;
    let response = exchange(port, GET).await;
    assert!(response.starts_with("HTTP/1.1 504 Gateway Time-out\r\n"), "{response}");
    let body = exchange(port, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf").await;
    assert!(body.starts_with("HTTP/1.1 408 "), "{body}");
    rig.end().await;
}

#[tokio::test]
async fn slow_heads_are_408_however_steadily_they_drip() {
    let port = free_port();
    let rig = Rig::serving(&quick(port, &[])).await;
    let mut stream = connect(port).await;
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\nX: "
            .iter()
            .chain(std::iter::repeat(&b'y'))
        {
            if writer.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let mut buffer = Vec::new();
    let response = tokio::select! {
        response = message(&mut reader, &mut buffer) => response.unwrap(),
        () = drip => panic!("closed without an answer"),
    };
    assert!(response.starts_with("HTTP/1.1 408 "), "{response}");
    rig.end().await;
}

#[tokio::test]
async fn what_a_group_does_not_speak_is_464_and_trace_is_405() {
    let port = free_port();
    let (at, _) = answering(HELLO).await;
    let mut table = simple(port, &[at]);
    table.target_groups.get_mut("group").unwrap().protocol_version = ProtocolVersion::Grpc;
    let rig = Rig::serving(&table).await;
    assert!(exchange(port, GET).await.starts_with("HTTP/1.1 464 "));
    let trace = exchange(port, "TRACE / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(trace.starts_with("HTTP/1.1 405 "), "{trace}");
    rig.end().await;
}

#[tokio::test]
async fn more_than_thirty_forwarders_are_463() {
    let port = free_port();
    let (at, _) = answering(HELLO).await;
    let many = vec!["10.0.0.1"; 31].join(", ");
    let request = format!("GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: {many}\r\n\r\n");
    let response = answer_of(&simple(port, &[at]), port, &request).await;
    assert!(response.starts_with("HTTP/1.1 463 "), "{response}");
}

#[tokio::test]
async fn requests_are_logged_and_counted() {
    let at = target(|mut stream| async move {
        let mut buffer = Vec::new();
        while let Some(request) = message(&mut stream, &mut buffer).await {
            let upgrade = request.starts_with("GET /ws ");
            let answer = if upgrade { SWITCH } else { HELLO };
            stream.write_all(answer.as_bytes()).await.unwrap();
            if upgrade {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.unwrap();
                return;
            }
        }
    })
    .await;
    let port = free_port();
    let mut table = simple(port, &[at]);
    table.balancers[0].attributes = map(&[
        ("access_logs.s3.enabled", "true"),
        ("access_logs.s3.bucket", "bucket"),
        ("access_logs.s3.prefix", "web"),
    ]);
    let rig = Rig::serving(&table).await;
    exchange(
        port,
        "GET /logged?x HTTP/1.1\r\nHost: x.example\r\nUser-Agent: test \"1\"\r\n\r\n",
    )
    .await;
    exchange(
        port,
        "POST /twice HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    )
    .await;
    exchange(port, "TRACE /own HTTP/1.1\r\nHost: x\r\n\r\n").await;
    table.target_groups.insert("empty".to_owned(), group("empty", &[]));
    table.balancers[0].listeners[0].rules.insert(
        0,
        rule(
            Some(1),
            vec![Condition::Path(vec![Pattern::Wildcard("/nobody".to_owned())])],
            forward("empty"),
        ),
    );
    rig.serve(&table).await;
    exchange(port, "GET /nobody HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let mut tunnel = connect(port).await;
    let upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    tunnel.write_all(upgrade.as_bytes()).await.unwrap();
    assert!(
        message(&mut tunnel, &mut Vec::new())
            .await
            .unwrap()
            .starts_with("HTTP/1.1 101 ")
    );
    tunnel.write_all(b"ping").await.unwrap();
    tunnel.read_exact(&mut [0; 4]).await.unwrap();
    tunnel.shutdown().await.unwrap();
    assert_eq!(tunnel.read(&mut [0]).await.unwrap(), 0);
    // A client that goes before there is an answer is counted when that is noticed.
    let metrics = rig.metrics().await;
    assert!(metrics.contains("app/web/0123456789abcdef"), "{metrics}");
    let directory = rig.end().await;
    let mut files = Vec::new();
    let mut folders = vec![directory.path().join("logs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                files.push(path)
            }
        }
    }
    let announced = directory
        .path()
        .join("logs/bucket/web/AWSLogs/000000000000/ELBAccessLogTestFile");
    files.retain(|path| *path != announced);
    assert!(announced.is_file() && files.len() == 1, "{files:?}");
    let name = files[0].strip_prefix(directory.path()).unwrap().display().to_string();
    assert!(
        name.starts_with("logs/bucket/web/AWSLogs/000000000000/elasticloadbalancing/us-east-1/"),
        "{name}"
    );
    assert!(name.ends_with(".log.gz"), "{name}");
    let mut log = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(&files[0]).unwrap())
        .read_to_string(&mut log)
        .unwrap();
    // Each thread hands over its own lines.
    let first = log.lines().find(|line| line.contains("/logged?x")).unwrap();
    assert!(
        first.starts_with("http 20") && first.contains(" app/web/0123456789abcdef 127.0.0.1:"),
        "{first}"
    );
    assert!(
        first.contains(&format!(" {at} ")) && first.contains(" 200 200 "),
        "{first}"
    );
    assert!(
        first.contains(&format!(
            "\"GET http://x.example:{port}/logged?x HTTP/1.1\" \"test \\\"1\\\"\""
        )),
        "{first}"
    );
    let own = log.lines().find(|line| line.contains("\"TRACE ")).unwrap();
    assert!(own.contains(" 405 - ") && own.contains("\"Root=1-"), "{own}");
    assert!(log.contains(" \"Ambiguous\" \"DuplicateContentLength\""), "{log}");
    let nobody = log.lines().find(|line| line.contains("/nobody HTTP/1.1")).unwrap();
    assert!(
        nobody.contains(" 503 - ") && nobody.contains(" - - empty \"Root=1-"),
        "{nobody}"
    );
    // All that passed over it both ways, behind the two heads.
    let tunnel = log.lines().find(|line| line.starts_with("ws ")).unwrap();
    let fields: Vec<&str> = tunnel.split(' ').collect();
    assert_eq!((fields[7], fields[8], fields[9]), ("0.000", "101", "101"), "{tunnel}");
    let (received, sent): (usize, usize) = (fields[10].parse().unwrap(), fields[11].parse().unwrap());
    assert!(received == upgrade.len() + 4 && sent > SWITCH.len(), "{tunnel}");
}
