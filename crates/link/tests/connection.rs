//! The transport over real sockets and over streams that misbehave.

use neargate_link::{Connection, ControlConnection, FromNode, LinkError, LinkListener, NodeConnection, Timing, ToNode};
use neargate_link::{connect_unix, frame};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const QUICK: Timing = Timing {
    heartbeat: Duration::from_millis(20),
    silence: Duration::from_millis(200),
};

async fn pair(timing: Timing) -> (NodeConnection, ControlConnection) {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    let (node, control) = tokio::join!(
        NodeConnection::establish(ours, timing),
        ControlConnection::establish(theirs, timing)
    );
    (node.unwrap(), control.unwrap())
}

#[tokio::test]
async fn messages_cross_a_unix_socket_in_order_and_the_socket_is_private() {
    let directory = tempfile::tempdir().unwrap();
    // Longer than a socket address can be.
    let path = directory.path().join("d".repeat(100)).join("link.sock");
    let listener = LinkListener::bind_unix(&path, Timing::default()).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(
        LinkListener::bind_unix(&path, Timing::default()),
        Err(LinkError::InUse { .. })
    ));

    let probe = listener.accept().await.unwrap().establish().await;
    assert!(
        matches!(probe, Err(LinkError::Io(_))),
        "the second listener's probe says nothing and leaves"
    );

    let node = connect_unix(&path, Timing::default());
    let control = async { listener.accept().await.unwrap().establish().await };
    let (node, control) = tokio::join!(node, control);
    let (node, mut control) = (node.unwrap(), control.unwrap());
    for sequence in 0..1000 {
        node.send(
            "n1",
            &FromNode::Reports {
                sequence,
                tasks: Vec::new(),
            },
        )
        .await
        .unwrap();
    }
    for expected in 0..1000 {
        let frame = control.recv().await.unwrap().unwrap();
        assert_eq!(&*frame.node, "n1");
        assert!(matches!(frame.message, FromNode::Reports { sequence, .. } if sequence == expected));
    }
    drop(node);
    assert!(
        control.recv().await.unwrap().is_none(),
        "a closed connection ends in good order"
    );

    drop(listener);
    assert!(matches!(
        connect_unix(&path, Timing::default()).await,
        Err(LinkError::Socket { .. })
    ));
    LinkListener::bind_unix(&path, Timing::default()).expect("a dead process's socket is replaced");
}

#[tokio::test]
async fn heartbeats_keep_a_quiet_connection_and_silence_ends_it() {
    let (_node, mut control) = pair(QUICK).await;
    let quiet = tokio::time::timeout(Duration::from_millis(500), control.recv()).await;
    assert!(
        quiet.is_err(),
        "heartbeats hold the connection well beyond the silence limit"
    );

    let (ours, mut mute) = tokio::io::duplex(1024);
    mute.write_all(&frame::greeting(frame::PROTOCOL)).await.unwrap();
    let mut control = ControlConnection::establish(ours, QUICK).await.unwrap();
    assert!(matches!(control.recv().await, Err(LinkError::Silent { .. })));
}

#[tokio::test]
async fn another_protocol_is_told_to_both_sides() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    theirs.write_all(&frame::greeting(99)).await.unwrap();
    let error = ControlConnection::establish(ours, QUICK).await.unwrap_err();
    assert!(error.to_string().contains("protocol 99"), "{error}");
    let mut said = Vec::new();
    theirs.read_to_end(&mut said).await.unwrap();
    assert_eq!(
        said,
        frame::greeting(frame::PROTOCOL),
        "the other side can tell its user the same"
    );
}

#[tokio::test]
async fn a_frame_cut_short_or_unreadable_is_an_error() {
    for (bytes, expect) in [
        (vec![9, 0, 0, 0, b'{'], "middle of a frame"),
        ([&[2, 0, 0, 0][..], b"{}"].concat(), "cannot be read"),
        (vec![255, 255, 255, 255], "longer than the limit"),
    ] {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        theirs.write_all(&frame::greeting(frame::PROTOCOL)).await.unwrap();
        let mut control = ControlConnection::establish(ours, QUICK).await.unwrap();
        theirs.write_all(&bytes).await.unwrap();
        drop(theirs);
        let error = control.recv().await.unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_read_makes_senders_wait_and_its_end_frees_them() {
    let (ours, mut theirs) = tokio::io::duplex(1024);
    theirs.write_all(&frame::greeting(frame::PROTOCOL)).await.unwrap();
    let connection: Connection<String, String> = Connection::establish(ours, Timing::default()).await.unwrap();
    let (sender, _receiver) = connection.split();
    let line = "x".repeat(1024 * 1024);
    let mut sent = 0;
    while let Ok(outcome) = tokio::time::timeout(Duration::from_millis(100), sender.send("n", &line)).await {
        outcome.unwrap();
        sent += 1;
    }
    assert!((2..=5).contains(&sent), "{sent} MiB were taken");
    let waiting = tokio::spawn(async move { sender.send("n", &line).await });
    drop(theirs);
    let outcome = tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(outcome, Err(LinkError::Closed)), "{outcome:?}");
}

#[tokio::test]
async fn a_large_set_and_small_messages_share_the_stream() {
    let (mut node, control) = pair(Timing::default()).await;
    let many: Vec<String> = (0..200_000).map(|n| format!("{n:032x}")).collect();
    let sending = tokio::spawn(async move {
        let whole = ToNode::Desired {
            generation: 1,
            base: Some(0),
            upsert: Vec::new(),
            remove: many,
        };
        control.send("n", &whole).await.unwrap();
        control.send("n", &ToNode::Pong).await.unwrap();
        control
    });
    let first = node.recv().await.unwrap().unwrap();
    assert!(matches!(first.message, ToNode::Desired { remove, .. } if remove.len() == 200_000));
    assert!(matches!(node.recv().await.unwrap().unwrap().message, ToNode::Pong));
    drop(sending.await.unwrap());
}
