//! What works: health, both protocol families, presigned URLs, keep-alive, compression, shutdown.

use crate::client::{Call, SECRET, read_reply, read_to_close, start};
use neargate_core::Clock as _;
use neargate_wire::sigv4::{Scope, SigningKey, sha256_hex};
use serde_json::json;
use std::io::Write as _;
use tokio::io::AsyncWriteExt as _;

#[tokio::test]
async fn health_needs_no_signature() {
    let door = start().await;
    for path in ["/", "/_neargate/health"] {
        let reply = door
            .send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
            .await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.json()["status"], "ok");
        assert_eq!(reply.json()["version"], env!("CARGO_PKG_VERSION"));
        assert!(reply.header("x-amzn-requestid").is_some());
    }
}

#[tokio::test]
async fn json_calls_are_decoded_validated_and_answered() {
    let door = start().await;
    let reply = door
        .call(Call::json(
            "Echo",
            r#"{"count":2.0,"name":"abc","text":null,"when":"2026-11-21T08:40:00Z"}"#,
        ))
        .await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/x-amz-json-1.1"))
    );
    assert_eq!(reply.json(), json!({"count": 2, "name": "abc", "when": 1795250400.0}));
    let reply = door.call(Call::json("Echo", "")).await;
    assert_eq!(reply.json(), json!({}));
    let reply = door.call(Call::json("WhoAmI", "{}")).await;
    assert_eq!(
        reply.json()["text"],
        "arn:aws:iam::000000000000:root mars-north-1 AKIAROOT"
    );
}

#[tokio::test]
async fn query_calls_are_answered_in_xml() {
    let door = start().await;
    let reply = door
        .call(Call::form("sts", "Action=GetCallerIdentity&Version=2011-06-15"))
        .await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/xml")));
    let id = reply.header("x-amzn-requestid").unwrap();
    assert!(
        reply.text().ends_with(&format!(
            "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Account>000000000000</Account><Arn>arn:aws:iam::000000000000:root</Arn><UserId>000000000000</UserId>\
         </GetCallerIdentityResult><ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata>\
         </GetCallerIdentityResponse>"
        )),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn query_calls_are_answered_in_json_where_that_is_accepted() {
    let door = start().await;
    let asking = |action: &str| {
        Call::form("sts", &format!("Action={action}&Version=2011-06-15")).header("accept", "application/json")
    };
    let reply = door.call(asking("GetCallerIdentity")).await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/json"))
    );
    let id = reply.header("x-amzn-requestid").unwrap();
    let result = json!({"Account": "000000000000", "Arn": "arn:aws:iam::000000000000:root", "UserId": "000000000000"});
    assert_eq!(
        reply.json(),
        json!({"GetCallerIdentityResponse": {"GetCallerIdentityResult": result, "ResponseMetadata": {"RequestId": id}}})
    );
    let reply = door.call(asking("Nothing")).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json()["Error"]["Code"], "InvalidAction");
    assert_eq!(reply.json()["Error"]["Type"], "Sender");
}

#[tokio::test]
async fn presigned_urls_are_answered_until_they_expire() {
    let door = start().await;
    let scope = Scope {
        date: "20261121".into(),
        region: "eu-west-9".into(),
        service: "sts".into(),
    };
    let query = "Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
                 AKIAROOT%2F20261121%2Feu-west-9%2Fsts%2Faws4_request&X-Amz-Date=20261121T084000Z&X-Amz-Expires=600&\
                 X-Amz-SignedHeaders=host";
    let canonical = format!("GET\n/\n{query}\nhost:h\n\nhost\n{}", sha256_hex(b""));
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n20261121T084000Z\n{}\n{}",
        scope.text(),
        sha256_hex(canonical.as_bytes())
    );
    let signature = SigningKey::derive(SECRET, &scope).signature(&to_sign);
    let request = format!("GET /?{query}&X-Amz-Signature={signature} HTTP/1.1\r\nhost: h\r\n\r\n");
    assert_eq!(door.send(request.as_bytes()).await.status, 200);
    door.clock.advance(std::time::Duration::from_secs(599));
    assert_eq!(door.send(request.as_bytes()).await.status, 200);
    door.clock.advance(std::time::Duration::from_secs(2));
    let reply = door.send(request.as_bytes()).await;
    assert_eq!(reply.status, 403);
    let text = reply.text();
    assert!(text.contains("<Code>SignatureDoesNotMatch</Code>"), "{text}");
    assert!(
        text.contains(
            "Signature expired: 20261121T084000Z is now earlier than 20261121T084001Z (20261121T085001Z - 10 min.)"
        ),
        "{text}"
    );
}

#[tokio::test]
async fn one_connection_serves_many_calls_each_with_its_own_id() {
    let door = start().await;
    let mut stream = door.connect().await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..20 {
        stream
            .write_all(&Call::json("Echo", "{}").signed(door.clock.now()))
            .await
            .unwrap();
        let reply = read_reply(&mut stream).await;
        assert_eq!(reply.status, 200);
        ids.insert(reply.header("x-amzn-requestid").unwrap().to_owned());
    }
    assert_eq!(ids.len(), 20);
}

#[tokio::test]
async fn gzip_bodies_are_unpacked_after_verification() {
    let door = start().await;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(br#"{"name":"zipped"}"#).unwrap();
    let mut call = Call::json("Echo", "").header("content-encoding", "gzip");
    call.body = packer.finish().unwrap();
    assert_eq!(door.call(call).await.json(), json!({"name": "zipped"}));
}

#[tokio::test]
async fn chunked_bodies_are_read_whole() {
    let door = start().await;
    let call = Call::json("Echo", r#"{"name":"abc"}"#);
    let signed = String::from_utf8(call.signed(door.clock.now())).unwrap();
    let (head, _) = signed.split_once("content-length").unwrap();
    let bytes = format!("{head}transfer-encoding: chunked\r\n\r\n3\r\n{{\"n\r\nb\r\name\":\"abc\"}}\r\n0\r\n\r\n");
    assert_eq!(door.send(bytes.as_bytes()).await.json(), json!({"name": "abc"}));
}

#[tokio::test]
async fn an_operation_ends_even_when_its_client_went_away() {
    let door = start().await;
    let mut stream = door.connect().await;
    stream
        .write_all(&Call::json("Wait", "{}").signed(door.clock.now()))
        .await
        .unwrap();
    door.trial.entered.notified().await;
    drop(stream);
    // Another call on another connection proves that the server has had its turn to notice.
    assert_eq!(door.call(Call::json("Echo", "{}")).await.status, 200);
    door.trial.release.notify_one();
    door.trial.finished.notified().await;
}

#[tokio::test]
async fn shutdown_lets_running_requests_end_and_refuses_new_ones() {
    let mut door = start().await;
    let mut idle = door.connect().await;
    idle.write_all(&Call::json("Echo", "{}").signed(door.clock.now()))
        .await
        .unwrap();
    assert_eq!(read_reply(&mut idle).await.status, 200);
    let mut busy = door.connect().await;
    busy.write_all(&Call::json("Wait", "{}").signed(door.clock.now()))
        .await
        .unwrap();
    door.trial.entered.notified().await;
    door.stop.take().unwrap().send(()).unwrap();
    assert_eq!(read_to_close(&mut idle).await, "");
    assert!(tokio::net::TcpStream::connect(door.address).await.is_err());
    door.trial.release.notify_one();
    assert_eq!(read_reply(&mut busy).await.status, 200);
    door.task.await.unwrap();
}
