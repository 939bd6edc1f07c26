//! Packets that ordinary sockets do not send: echo requests, other protocols, borrowed addresses.

use super::{SOON, inside};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};

fn raw_socket(protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers, and the descriptor is nobody else's.
    unsafe {
        match libc::socket(libc::AF_INET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

fn send(socket: &OwnedFd, bytes: &[u8], to: Ipv4Addr) -> io::Result<()> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: 0,
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(to.octets()),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: both buffers live for the call, and their sizes are given.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            bytes.as_ptr().cast(),
            bytes.len(),
            0,
            (&raw const address).cast(),
            size_of::<libc::sockaddr_in>() as libc::socklen_t,
        )
    };
    if sent < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Receives packets, IP header included, until one that `wanted` likes comes or none does in time.
fn receive(socket: &OwnedFd, wanted: impl Fn(&[u8]) -> bool) -> bool {
    let until = std::time::Instant::now() + SOON;
    let mut buffer = [0u8; 2048];
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        let timeout = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = [rustix::event::PollFd::new(socket, rustix::event::PollFlags::IN)];
        if left.is_zero() || rustix::event::poll(&mut fds, Some(&timeout)).unwrap_or(0) == 0 {
            return false;
        }
        // SAFETY: the buffer lives for the call, and its size is given.
        let size = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if usize::try_from(size).is_ok_and(|size| size > 20 && wanted(&buffer[20..size])) {
            return true;
        }
    }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes
        .chunks(2)
        .map(|w| u32::from(w[0]) << 8 | u32::from(*w.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// Whether `address` answers an echo request from the namespace at `path`; each is a conversation of its own.
pub fn pings(path: &Path, address: Ipv4Addr) -> bool {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let id = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    inside(path, move || {
        let socket = raw_socket(libc::IPPROTO_ICMP).unwrap();
        let mut request = [8, 0, 0, 0, id[0], id[1], 0, 1, 1, 2, 3, 4];
        let sum = checksum(&request);
        request[2..4].copy_from_slice(&sum);
        send(&socket, &request, address).is_ok() && receive(&socket, |icmp| icmp[0] == 0 && icmp[4..6] == id)
    })
}

/// Whether a packet of IP protocol `number` gets from one namespace to the other.
pub fn passes(from: &Path, to: &Path, address: Ipv4Addr, number: u8) -> bool {
    let receiver = inside(to, move || raw_socket(i32::from(number)).unwrap());
    inside(from, move || {
        let socket = raw_socket(i32::from(number)).unwrap();
        let _ = send(&socket, b"neargate", address);
    });
    receive(&receiver, |payload| payload == b"neargate")
}

/// Sends a UDP datagram `text` to `to`:9 from the namespace at `path`, with `source` as its source address.
pub fn send_as(path: &Path, source: Ipv4Addr, to: Ipv4Addr, text: &'static [u8]) {
    inside(path, move || {
        let socket = raw_socket(libc::IPPROTO_RAW).unwrap();
        let length = (28 + text.len()) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend_from_slice(&length.to_be_bytes());
        packet.extend_from_slice(&[0x4e, 0x47, 0, 0, 64, 17, 0, 0]);
        packet.extend_from_slice(&source.octets());
        packet.extend_from_slice(&to.octets());
        // Port 4000 to port 9; no checksum.
        packet.extend_from_slice(&[0x0f, 0xa0, 0, 9]);
        packet.extend_from_slice(&(8 + text.len() as u16).to_be_bytes());
        packet.extend_from_slice(&[0, 0]);
        packet.extend_from_slice(text);
        let _ = send(&socket, &packet, to);
    });
}
