//! What is refused, with AWS's code in the client's own protocol.

use crate::client::{Call, start};
use neargate_core::{Clock as _, Timestamp};
use std::time::Duration;

#[tokio::test]
async fn unsigned_and_forged_calls_are_refused() {
    let door = start().await;
    let reply = door.send(&Call::json("Echo", "{}").unsigned()).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (400, "MissingAuthenticationTokenException")
    );

    let reply = door
        .call(Call {
            access_key: "AKIANOBODY",
            ..Call::json("Echo", "{}")
        })
        .await;
    assert_eq!(reply.code(), "UnrecognizedClientException");
    assert_eq!(
        reply.json()["message"],
        "The security token included in the request is invalid."
    );

    let reply = door
        .call(Call {
            secret: "guessed",
            ..Call::json("Echo", "{}")
        })
        .await;
    assert_eq!(reply.code(), "InvalidSignatureException");
    let message = reply.json()["message"].as_str().unwrap().to_owned();
    assert!(
        message.contains("The Canonical String for this request should have been\n'POST\n/\n"),
        "{message}"
    );
    assert!(!message.contains("root-secret"));

    let mut forged = Call::json("Echo", r#"{"name":"abc"}"#).signed(door.clock.now());
    let at = forged.len() - 5;
    forged[at] = b'X';
    assert_eq!(door.send(&forged).await.code(), "InvalidSignatureException");

    let token = Call::json("Echo", "{}").header("x-amz-security-token", "stolen");
    assert_eq!(door.call(token).await.code(), "UnrecognizedClientException");

    let odd = Call::json("Echo", "{}")
        .header("authorization", "Bearer abc")
        .unsigned();
    assert_eq!(door.send(&odd).await.code(), "IncompleteSignatureException");

    let elsewhere = Call {
        service: "sts",
        ..Call::json("Echo", "{}")
    };
    let reply = door.call(elsewhere).await;
    assert_eq!(reply.code(), "InvalidSignatureException");
    assert!(
        reply.json()["message"]
            .as_str()
            .unwrap()
            .contains("correct service: 'trial'")
    );
}

#[tokio::test]
async fn stale_signatures_are_refused_with_the_times() {
    let door = start().await;
    let old = Call::json("Echo", "{}").signed(door.clock.now());
    door.clock.advance(Duration::from_secs(301));
    let reply = door.send(&old).await;
    assert_eq!(reply.code(), "InvalidSignatureException");
    assert_eq!(
        reply.json()["message"],
        "Signature expired: 20261121T084000Z is now earlier than 20261121T084001Z (20261121T084501Z - 5 min.)"
    );
    let future = Call::json("Echo", "{}").signed(Timestamp(door.clock.now().0 + 301_000));
    assert!(
        door.send(&future).await.json()["message"]
            .as_str()
            .unwrap()
            .starts_with("Signature not yet current")
    );
}

#[tokio::test]
async fn the_query_family_is_refused_in_xml() {
    let door = start().await;
    let identity = "Action=GetCallerIdentity&Version=2011-06-15";
    let text = |reply: crate::client::Reply| (reply.status, reply.text());
    let (status, body) = text(door.send(&Call::form("sts", identity).unsigned()).await);
    assert!(
        status == 403 && body.contains("<Code>MissingAuthenticationToken</Code>"),
        "{body}"
    );
    let (status, body) = text(
        door.call(Call {
            access_key: "AKIANOBODY",
            ..Call::form("sts", identity)
        })
        .await,
    );
    assert!(
        status == 403 && body.contains("<Code>InvalidClientTokenId</Code>"),
        "{body}"
    );
    let (status, body) = text(
        door.call(Call {
            secret: "x",
            ..Call::form("sts", identity)
        })
        .await,
    );
    assert!(
        status == 403 && body.contains("<Code>SignatureDoesNotMatch</Code>"),
        "{body}"
    );
    let (_, body) = text(door.call(Call::form("sts", &format!("{identity}&Bogus=1"))).await);
    assert!(
        body.contains("<Code>ValidationError</Code>") && body.contains("Bogus"),
        "{body}"
    );
    let (_, body) = text(door.call(Call::form("sts", "Action=Fly&Version=2011-06-15")).await);
    assert!(body.contains("<Code>InvalidAction</Code>"), "{body}");
    let (_, body) = text(
        door.call(Call::form("sts", "Action=GetCallerIdentity&Version=1999-01-01"))
            .await,
    );
    assert!(
        body.contains("Could not find operation GetCallerIdentity for version 1999-01-01"),
        "{body}"
    );
    let (_, body) = text(
        door.call(Call::form("sts", "Action=AssumeRole&Version=2011-06-15"))
            .await,
    );
    assert!(body.contains("<Code>UnsupportedOperation</Code>"), "{body}");
    assert!(
        body.contains("The operation AssumeRole of sts is not supported by Neargate yet."),
        "{body}"
    );
}

#[tokio::test]
async fn operations_and_services_that_are_not_there_are_named() {
    let door = start().await;
    let reply = door.call(Call::json("Fly", "{}")).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (400, "UnknownOperationException")
    );
    let reply = door.call(Call::json("Later", "{}")).await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (400, "UnsupportedOperationException")
    );
    assert_eq!(
        reply.json()["message"],
        "The operation Later of trial is not supported by Neargate yet."
    );

    let reply = door
        .call(Call {
            service: "kms",
            ..Call::json("Echo", "{}").header("x-amz-target", "TrentService.Encrypt")
        })
        .await;
    assert_eq!(reply.code(), "UnsupportedOperationException");
    assert!(
        reply.json()["message"]
            .as_str()
            .unwrap()
            .contains("The service kms is not supported by Neargate yet")
    );

    let reply = door
        .call(Call::form(
            "elasticloadbalancing",
            "Action=DescribeLoadBalancers&Version=2015-12-01",
        ))
        .await;
    assert!(
        reply.text().contains("<Code>UnsupportedOperation</Code>"),
        "{}",
        reply.text()
    );

    let list = Call {
        method: "GET",
        service: "s3",
        ..Call::json("", "").header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
    };
    let list = Call {
        headers: list
            .headers
            .iter()
            .filter(|(n, _)| n.starts_with("x-amz-c"))
            .cloned()
            .collect(),
        ..list
    };
    let reply = door.call(list).await;
    assert!(
        reply.text().contains("<Error><Code>NotImplemented</Code>"),
        "{}",
        reply.text()
    );

    let cbor = Call {
        service: "monitoring",
        target: "/service/GraniteServiceVersion20100801/operation/ListMetrics".into(),
        ..Call::json("", "")
    };
    let cbor = Call {
        headers: vec![("smithy-protocol".into(), "rpc-v2-cbor".into())],
        ..cbor
    };
    let reply = door.call(cbor).await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (400, Some("application/cbor"))
    );
    assert!(
        reply.text().contains("The service monitoring is not supported"),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn wrong_targets_are_refused() {
    let door = start().await;
    for target in [
        "Trial_2020",
        "Trial_2020.",
        ".Echo",
        "Trial_2021.Echo",
        "Echo",
        "Trial_2020.Echo.Echo",
        "\u{1F600}.x",
    ] {
        let reply = door.call(Call::json("Echo", "{}").header("x-amz-target", target)).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (400, "UnknownOperationException"),
            "{target}"
        );
    }
}

#[tokio::test]
async fn bad_inputs_name_the_member() {
    let door = start().await;
    for (body, code, words) in [
        ("{", "SerializationException", "not valid JSON"),
        ("[]", "SerializationException", "must be a JSON object"),
        (
            r#"{"count":"x"}"#,
            "SerializationException",
            "STRING_VALUE cannot be converted to Integer (at 'count')",
        ),
        (
            r#"{"name":"ABC"}"#,
            "ValidationException",
            "1 validation error detected: Value 'ABC' at 'name' failed",
        ),
        (r#"{"nmae":"abc"}"#, "ValidationException", "'nmae'"),
    ] {
        let reply = door.call(Call::json("Echo", body)).await;
        assert_eq!((reply.status, reply.code().as_str()), (400, code), "{body}");
        assert!(
            reply.json()["message"].as_str().unwrap().contains(words),
            "{}",
            reply.text()
        );
    }
    let reply = door
        .call(Call::json("Echo", "{}").header("content-encoding", "br"))
        .await;
    assert_eq!(
        (reply.status, reply.code().as_str()),
        (415, "UnsupportedMediaTypeException")
    );
}

#[tokio::test]
async fn what_fails_inside_stays_inside() {
    let door = start().await;
    for operation in ["Fail", "Panic", "Unlisted", "Unrouted"] {
        let reply = door.call(Call::json(operation, "{}")).await;
        assert_eq!(
            (reply.status, reply.code().as_str()),
            (500, "ServerException"),
            "{operation}"
        );
        let message = reply.json()["message"].as_str().unwrap().to_owned();
        assert_eq!(
            message,
            "The request processing has failed because of an unknown error."
        );
    }
    assert_eq!(door.call(Call::json("Echo", "{}")).await.status, 200);
}
