//! One accepted connection and the listeners that it may be for.
//!
//! Made by the accept loops, given to whatever serves the connection: `http1`, `http2` or `nlb`.

use crate::doors::{Behind, Door};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Where a connection came from and whom it asked for.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub client: SocketAddr,
    /// The address that the client connected to.
    pub local: SocketAddr,
    pub tls: Option<TlsFacts>,
    pub at: Instant,
    /// Names the connection in access logs.
    pub id: u128,
    pub door: Rc<LocalDoor>,
    /// Settled already: by the name in TLS, or because the door has one listener.
    pub settled: Option<Rc<Behind>>,
}

/// What a TLS handshake settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// E.g. `TLSv1.3`, as access logs name it.
    pub version: &'static str,
    /// E.g. `TLS_AES_128_GCM_SHA256` or `ECDHE-RSA-AES128-GCM-SHA256`.
    pub cipher: &'static str,
    /// The name that the client asked for.
    pub server_name: Option<Arc<str>>,
    /// ARN of the certificate that it got.
    pub certificate: Option<Arc<str>>,
}

/// A door as one thread sees it.
#[derive(Debug)]
pub struct LocalDoor {
    names: RefCell<(Door, Vec<Rc<Behind>>)>,
    open: Cell<bool>,
}

impl LocalDoor {
    pub fn new(door: Door) -> LocalDoor {
        let behind = door.behind.iter().cloned().map(Rc::new).collect();
        LocalDoor {
            names: RefCell::new((door, behind)),
            open: Cell::new(true),
        }
    }

    pub fn change(&self, door: Door) {
        let behind = door.behind.iter().cloned().map(Rc::new).collect();
        *self.names.borrow_mut() = (door, behind);
    }

    /// Connections that came through it finish what they run, and take nothing new.
    pub fn close(&self) {
        self.open.set(false);
    }

    pub fn is_open(&self) -> bool {
        self.open.get()
    }

    pub fn names(&self) -> crate::doors::Names {
        self.names.borrow().0.names
    }

    /// See `Door::named`.
    pub fn named(&self, name: &[u8]) -> Option<Rc<Behind>> {
        let names = self.names.borrow();
        let at = names.0.named(name)?;
        Some(names.1[at].clone())
    }

    /// All of them.
    pub fn behind(&self) -> Vec<Rc<Behind>> {
        self.names.borrow().1.clone()
    }
}

impl Arrival {
    /// The listener for a request to `host`, which may have a port.
    pub fn behind(&self, host: &[u8]) -> Option<Rc<Behind>> {
        match &self.settled {
            Some(settled) => Some(settled.clone()),
            None => self.door.named(without_port(host)),
        }
    }
}

/// A host as `Host` has it, without its port.
pub fn without_port(host: &[u8]) -> &[u8] {
    match host.iter().rposition(|b| *b == b':') {
        Some(colon) if host[colon + 1..].iter().all(u8::is_ascii_digit) => &host[..colon],
        _ => host,
    }
}
