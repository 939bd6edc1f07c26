//! Buffers of one thread: taken while a connection has something to say, given back while it is idle.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// How much a fresh buffer holds, and how much is read at a time where a head is awaited: most heads with a small body,
/// and little to copy of a large one, whose rest goes straight from socket to socket.
const USUAL: usize = 8 * 1024;
/// Larger ones are not kept, and none that were made smaller.
const LARGEST_KEPT: usize = 16 * 1024;
const MOST_KEPT: usize = 256;
/// How much of a body is read at a time.
pub const READ: usize = 64 * 1024;

thread_local! {
    static KEPT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

/// An empty buffer.
pub fn lend() -> Vec<u8> {
    let kept = KEPT.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| Vec::with_capacity(USUAL))
}

/// Takes a buffer back; what is left in it is forgotten.
pub fn give_back(mut buffer: Vec<u8>) {
    if !(USUAL..=LARGEST_KEPT).contains(&buffer.capacity()) {
        return;
    }
    buffer.clear();
    KEPT.with_borrow_mut(|kept| {
        if kept.len() < MOST_KEPT {
            kept.push(buffer);
        }
    });
}

/// Reads at most `most` bytes and hands them to `each`, which must not read on this thread. Nothing is held while there is
/// nothing to read. An empty slice is the end.
pub fn poll_read<R, T>(
    cx: &mut Context<'_>,
    from: &mut R,
    most: usize,
    each: impl FnOnce(&mut Context<'_>, &[u8]) -> T,
) -> Poll<io::Result<T>>
where
    R: AsyncRead + Unpin,
{
    SCRATCH.with_borrow_mut(|scratch| {
        let most = most.min(scratch.len());
        let mut buffer = ReadBuf::new(&mut scratch[..most]);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(each(cx, buffer.filled())))
    })
}

/// Reads what there is behind `into`, which is lent when it has no room yet; true at the end.
pub fn poll_append<R: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    from: &mut R,
    into: &mut Vec<u8>,
) -> Poll<io::Result<bool>> {
    poll_read(cx, from, USUAL, |_, bytes| {
        if into.capacity() == 0 {
            *into = lend();
        }
        into.extend_from_slice(bytes);
        bytes.is_empty()
    })
}
