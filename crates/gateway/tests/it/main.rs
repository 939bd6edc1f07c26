//! The gateway over real sockets on the loopback device, told what to serve by a control of the test's own.

mod answers;
mod hostile;
mod http1;
mod rig;
mod tables;
mod tls;
