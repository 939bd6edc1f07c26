use super::flows::{self, Bounds, Counted, Flows, Opened};
use super::tunnel::{self, End};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

const LONG: Duration = Duration::from_secs(60);

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

#[tokio::test]
async fn a_side_that_said_its_last_still_hears_the_other() {
    let ((mut client, near), (far, mut target)) = (pair().await, pair().await);
    let tunnel = tokio::spawn(tunnel::run(near, far, LONG, std::future::pending()));
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut asked = String::new();
    target.read_to_string(&mut asked).await.unwrap();
    assert_eq!(asked, "question");
    target.write_all(b"answer").await.unwrap();
    drop(target);
    let mut answered = String::new();
    client.read_to_string(&mut answered).await.unwrap();
    assert_eq!(answered, "answer");
    let (end, passed) = tunnel.await.unwrap();
    assert_eq!((end, passed.sent, passed.received), (End::Closed, 8, 6));
}

#[tokio::test]
async fn much_passes_both_ways_at_once_to_slow_readers() {
    let ((client, near), (far, target)) = (pair().await, pair().await);
    let tunnel = tokio::spawn(tunnel::run(near, far, LONG, std::future::pending()));
    let bytes: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let talk = |stream: TcpStream, bytes: Vec<u8>| async move {
        let (mut read, mut write) = stream.into_split();
        let writing = tokio::spawn(async move {
            write.write_all(&bytes).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        read.read_to_end(&mut got).await.unwrap();
        writing.await.unwrap();
        got
    };
    let (a, b) = tokio::join!(talk(client, bytes.clone()), talk(target, bytes.clone()));
    assert!(a == bytes && b == bytes);
    assert_eq!(tunnel.await.unwrap().0, End::Closed);
}

#[tokio::test]
async fn a_client_that_breaks_off_breaks_off_the_target() {
    let ((client, near), (far, mut target)) = (pair().await, pair().await);
    let tunnel = tokio::spawn(tunnel::run(near, far, LONG, std::future::pending()));
    tunnel::Wire::reset_on_close(&client);
    drop(client);
    let error = target.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(tunnel.await.unwrap().0, End::Client);
}

#[tokio::test]
async fn an_idle_connection_is_reset_counted_from_its_last_use() {
    let ((mut client, near), (far, mut target)) = (pair().await, pair().await);
    let idle = Duration::from_millis(200);
    let tunnel = tokio::spawn(tunnel::run(near, far, idle, std::future::pending()));
    client.write_all(b"x").await.unwrap();
    target.read_exact(&mut [0]).await.unwrap();
    let used = std::time::Instant::now();
    target.write_all(b"y").await.unwrap();
    client.read_exact(&mut [0]).await.unwrap();
    assert_eq!(tunnel.await.unwrap().0, End::Idle);
    assert!(used.elapsed() >= idle);
    assert!(client.read(&mut [0]).await.is_err());
}

#[tokio::test]
async fn a_cut_resets_both_sides() {
    let ((mut client, near), (far, mut target)) = (pair().await, pair().await);
    let (end, _) = tunnel::run(near, far, LONG, async {}).await;
    assert_eq!(end, End::Cut);
    assert!(client.read(&mut [0]).await.is_err());
    assert!(target.read(&mut [0]).await.is_err());
}

async fn local(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

struct To {
    target: SocketAddr,
    passed: Rc<Cell<u64>>,
    refused: Rc<Cell<u64>>,
    preface: Vec<u8>,
}

struct Bytes(Rc<Cell<u64>>);

impl Counted for Bytes {
    fn bytes(&self) -> Rc<Cell<u64>> {
        self.0.clone()
    }
}

impl Flows for To {
    type Counted = Bytes;

    fn open(&mut self, _: SocketAddr) -> Option<Opened<Bytes>> {
        Some(Opened {
            target: self.target,
            source: None,
            preface: self.preface.clone(),
            cut: Box::pin(std::future::pending()),
            counted: Bytes(self.passed.clone()),
        })
    }

    fn refused(&mut self) {
        self.refused.set(self.refused.get() + 1);
    }
}

/// Within a `LocalSet`: its address, bytes passed, flows refused.
async fn balancer(target: SocketAddr, flows: usize, preface: &[u8]) -> (SocketAddr, Rc<Cell<u64>>, Rc<Cell<u64>>) {
    let socket = Rc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let at = socket.local_addr().unwrap();
    let (passed, refused) = (Rc::<Cell<u64>>::default(), Rc::<Cell<u64>>::default());
    let to = To {
        target,
        passed: passed.clone(),
        refused: refused.clone(),
        preface: preface.to_vec(),
    };
    let bounds = Bounds { flows, idle: LONG };
    tokio::task::spawn_local(flows::serve(socket, bounds, to));
    (at, passed, refused)
}

async fn echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut bytes = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
            socket.send_to(&bytes[..length], from).await.unwrap();
        }
    });
    at
}

/// Asks until answered: datagrams may be lost.
async fn ask(socket: &UdpSocket, question: &[u8]) -> Vec<u8> {
    let mut bytes = [0; 2048];
    loop {
        socket.send(question).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut bytes)).await;
        if let Ok(Ok(length)) = answer {
            return bytes[..length].to_vec();
        }
    }
}

#[tokio::test]
async fn two_thousand_clients_each_get_their_own_answers() {
    local(async {
        let (at, passed, refused) = balancer(echo().await, 4096, b"").await;
        let mut clients = Vec::new();
        for n in 0..2_000u32 {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(at).await.unwrap();
            assert_eq!(ask(&socket, &n.to_be_bytes()).await, n.to_be_bytes());
            clients.push(socket);
        }
        for (n, socket) in clients.iter().enumerate().step_by(97) {
            let n = u32::try_from(n).unwrap();
            assert_eq!(
                ask(socket, &n.to_be_bytes()).await,
                n.to_be_bytes(),
                "the flow is still there"
            );
        }
        assert!(passed.get() >= 2 * 4 * 2_000);
        assert_eq!(refused.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn flows_beyond_the_bound_are_dropped_and_those_before_go_on() {
    local(async {
        let (at, _, refused) = balancer(echo().await, 1, b"").await;
        let (first, second) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        first.connect(at).await.unwrap();
        second.connect(at).await.unwrap();
        ask(&first, b"a").await;
        second.send(b"b").await.unwrap();
        assert_eq!(ask(&first, b"c").await, b"c");
        assert_eq!(refused.get(), 1);
        assert!(second.try_recv(&mut [0; 8]).is_err());
    })
    .await;
}

#[tokio::test]
async fn the_first_datagram_alone_carries_the_preface() {
    local(async {
        let (at, ..) = balancer(echo().await, 8, b"PROXY ").await;
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(at).await.unwrap();
        assert_eq!(ask(&client, b"first").await, b"PROXY first");
        assert_eq!(ask(&client, b"second").await, b"second");
    })
    .await;
}
