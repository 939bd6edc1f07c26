//! The front door over real sockets: signed calls, every kind of refusal, and hostile clients.

mod client;
mod hostile;
mod refusals;
mod service;
mod serving;
