use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::LocalSet;

/// A stream of ours and its peer's end, the latter with the receive buffer that is wished.
async fn pair(receive: Option<usize>) -> (Stream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    if let Some(receive) = receive {
        rustix::net::sockopt::set_socket_recv_buffer_size(&listener, receive).unwrap();
    }
    let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    if receive.is_some() {
        rustix::net::sockopt::set_socket_send_buffer_size(&ours, 4096).unwrap();
    }
    let (theirs, _) = listener.accept().await.unwrap();
    (Stream::new(ours), theirs)
}

/// Runs it beside an outbox with io_uring, beside one without, and where there is none.
fn everywhere(test: impl AsyncFn()) {
    for outbox in ["io_uring", "one by one", "none"] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        OUTBOX.set(None);
        let local = LocalSet::new();
        local.block_on(&runtime, async {
            match outbox {
                "io_uring" => drop(spawn_local(run())),
                "one by one" => drop(spawn_local(run_with(None))),
                _ => {}
            }
            tokio::task::yield_now().await;
            let limit = Duration::from_secs(30);
            tokio::time::timeout(limit, test()).await.expect(outbox);
        });
    }
}

/// Bytes that show where they belong.
fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|n| ((n * 7 + n / 251 + seed) % 256) as u8).collect()
}

#[test]
fn all_that_many_connections_write_arrives_in_order() {
    everywhere(async || {
        let mut pairs = Vec::new();
        for _ in 0..150 {
            pairs.push(pair(None).await);
        }
        // Short, long behind short, and short behind long.
        let lengths = [10, 3_000, SHORT - 100, 100_000, 1, SHORT, SHORT + 1];
        let mut writers = Vec::new();
        let mut readers = Vec::new();
        for (seed, (mut ours, mut theirs)) in pairs.into_iter().enumerate() {
            let all = pattern(lengths.iter().sum(), seed);
            let expected = all.clone();
            writers.push(spawn_local(async move {
                let mut rest = &all[..];
                for length in lengths {
                    let (piece, next) = rest.split_at(length);
                    ours.write_all(piece).await.unwrap();
                    rest = next;
                }
                // Dropped without a word: what was taken is sent all the same.
            }));
            readers.push(spawn_local(async move {
                let mut got = Vec::new();
                theirs.read_to_end(&mut got).await.unwrap();
                assert!(got == expected, "{} bytes of {}", got.len(), expected.len());
            }));
        }
        for task in writers.into_iter().chain(readers) {
            task.await.unwrap();
        }
    });
}

#[test]
fn a_receiver_that_takes_nothing_slows_its_sender_and_nobody_else() {
    everywhere(async || {
        let (mut slow, mut theirs) = pair(Some(4096)).await;
        let all = pattern(1_000_000, 1);
        let expected = all.clone();
        let writer = spawn_local(async move {
            for piece in all.chunks(1_000) {
                slow.write_all(piece).await.unwrap();
            }
            slow.shutdown().await.unwrap();
        });
        let (mut quick, mut other) = pair(None).await;
        for n in 0..100 {
            quick.write_all(&[n]).await.unwrap();
            assert_eq!(other.read_u8().await.unwrap(), n);
        }
        assert!(!writer.is_finished(), "a megabyte went into buffers of some kilobytes");
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        assert!(got == expected);
        writer.await.unwrap();
    });
}

#[test]
fn what_is_left_of_a_dropped_connection_is_sent_when_its_receiver_takes_it() {
    everywhere(async || {
        let (mut ours, mut theirs) = pair(Some(4096)).await;
        let mut written = Vec::new();
        // Until the receiver has had enough, so that the last piece is stuck.
        loop {
            let piece = pattern(1_000, written.len());
            let once = |cx: &mut Context<'_>| Poll::Ready(Pin::new(&mut ours).poll_write(cx, &piece));
            match std::future::poll_fn(once).await {
                Poll::Ready(took) => written.extend_from_slice(&piece[..took.unwrap()]),
                Poll::Pending => break,
            }
            tokio::task::yield_now().await;
        }
        drop(ours);
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        assert!(got == written, "{} bytes of {}", got.len(), written.len());
    });
}

#[test]
fn a_receiver_that_is_gone_is_told_of_at_the_next_write_and_the_others_get_theirs() {
    everywhere(async || {
        let (mut broken, theirs) = pair(None).await;
        rustix::net::sockopt::set_socket_linger(&theirs, Some(Duration::ZERO)).unwrap();
        drop(theirs);
        let (mut whole, mut other) = pair(None).await;
        let failed = loop {
            whole.write_all(b"x").await.unwrap();
            match broken.write_all(b"x").await {
                Ok(()) => {}
                Err(error) => break error,
            }
            assert_eq!(other.read_u8().await.unwrap(), b'x');
        };
        assert!(
            matches!(
                failed.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            ),
            "{failed}"
        );
    });
}
