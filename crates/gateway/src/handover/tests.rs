use super::*;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !holds() {
        assert!(std::time::Instant::now() < end, "{what} never held");
        std::thread::yield_now();
    }
}

fn listen() -> (SocketAddr, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    (listener.local_addr().unwrap(), listener)
}

fn gateway(keeper: &Keeper) -> (Attached, Sockets) {
    let (attached, channel) = keeper.attach().unwrap();
    (attached, Sockets::inherited(channel).unwrap())
}

#[test]
fn a_connection_made_between_two_gateways_is_served_by_the_second() {
    let keeper = Keeper::default();
    let (address, listener) = listen();
    let (attached, first) = gateway(&keeper);
    first.keep(address, &listener);
    until("kept", || keeper.count() == 1);
    drop((listener, first, attached));

    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(b"are you there").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();

    let (_attached, second) = gateway(&keeper);
    let listener = second.take(address).expect("kept");
    assert!(second.take(address).is_none(), "taken once");
    let (mut stream, _) = listener.accept().unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert_eq!(said, "are you there");
}

#[test]
fn datagrams_sent_between_two_gateways_wait() {
    let keeper = Keeper::default();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (attached, first) = gateway(&keeper);
    first.keep_udp(address, &socket);
    until("kept", || keeper.count() == 1);
    drop((socket, first, attached));
    UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .send_to(b"hello", address)
        .unwrap();
    let (_attached, second) = gateway(&keeper);
    let mut bytes = [0; 16];
    let (length, _) = second.take_udp(address).unwrap().recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], b"hello");
}

#[test]
fn what_is_forgotten_refuses_and_what_nobody_takes_is_closed() {
    let keeper = Keeper::default();
    let (attached, first) = gateway(&keeper);
    let (closed, a) = listen();
    let (untaken, b) = listen();
    first.keep(closed, &a);
    first.keep(untaken, &b);
    first.forget(closed);
    drop((a, b));
    until("refused", || TcpStream::connect(closed).is_err());
    assert!(TcpStream::connect(untaken).is_ok());
    drop((first, attached));
    let (_attached, second) = gateway(&keeper);
    second.forget_rest();
    until("refused", || TcpStream::connect(untaken).is_err());
}

#[test]
fn many_sockets_and_the_table_pass() {
    let keeper = Keeper::default();
    let (attached, first) = gateway(&keeper);
    let listeners: Vec<_> = (0..200).map(|_| listen()).collect();
    let table: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
    // What is sent last is there last: with the sockets, the newer table.
    first.keep_table(b"an older one");
    first.keep_table(&table);
    for (address, listener) in &listeners {
        first.keep(*address, listener);
    }
    until("kept", || keeper.count() == 201);
    drop((first, attached));
    let (_attached, second) = gateway(&keeper);
    assert!(listeners.iter().all(|(address, _)| second.take(*address).is_some()));
    let taken = second.take_table().expect("kept");
    assert!(taken == table, "{} bytes of {}", taken.len(), table.len());
}

#[tokio::test]
async fn a_superseded_gateway_is_told_and_has_no_say_any_more() {
    let keeper = Keeper::default();
    let (old_attached, old) = gateway(&keeper);
    let (address, listener) = listen();
    old.keep(address, &listener);
    until("kept", || keeper.count() == 1);
    let (_attached, new) = gateway(&keeper);
    let taken = new.take(address).expect("kept");

    // Opened by the old one while the new one starts: the new one hears of it.
    let (late, late_listener) = listen();
    old.keep(late, &late_listener);
    until("passed on", || new.take(late).is_some());

    old_attached.supersede();
    old.superseded().await;
    old.forget(address);
    drop((listener, taken, old, new));
    let (_attached, third) = gateway(&keeper);
    assert!(third.take(address).is_some(), "still kept");
    assert!(TcpStream::connect(address).is_err() || keeper.count() == 2);
}

#[tokio::test]
async fn without_a_keeper_everything_is_quiet() {
    let sockets = Sockets::default();
    let (address, listener) = listen();
    sockets.keep(address, &listener);
    sockets.keep_table(b"table");
    assert!(sockets.take(address).is_none());
    sockets.forget_rest();
    tokio::select! {
        () = sockets.superseded() => panic!("nobody superseded it"),
        () = tokio::task::yield_now() => {}
    }
}
