//! A line of a Network Load Balancer's access log: connections of TLS listeners.

use super::Line;
use crate::digits;
use neargate_core::Timestamp;
use std::net::SocketAddr;
use std::time::Duration;

/// What there is to say of a TLS connection. Fields are in the order of the line.
#[derive(Clone, Copy, Debug)]
pub struct NlbTlsEntry<'a> {
    /// When the connection ended.
    pub time: Timestamp,
    /// `net/NAME/0123456789abcdef`.
    pub elb: &'a str,
    /// The last part of the listener's ARN.
    pub listener: &'a str,
    pub client: SocketAddr,
    /// The balancer's address to which the client connected.
    pub destination: SocketAddr,
    pub connection_time: Duration,
    /// None: the handshake failed.
    pub handshake_time: Option<Duration>,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Number of the alert that the client sent.
    pub incoming_alert: Option<u8>,
    pub certificate: Option<&'a str>,
    pub cipher: Option<&'a str>,
    /// `tlsv12`, `tlsv13`.
    pub protocol_version: Option<&'a str>,
    pub named_group: Option<&'a str>,
    pub domain_name: Option<&'a str>,
    pub alpn_client: Option<&'a str>,
    pub alpn_target: Option<&'a str>,
    /// The client's list, each in quotes.
    pub alpn_preferences: &'a [&'a str],
    pub created: Timestamp,
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

impl NlbTlsEntry<'_> {
    /// Adds the line and its end to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut line = Line::new(out);
        line.plain("tls 2.0");
        line.space();
        digits::seconds(self.time, line.out);
        line.plain(self.elb);
        line.plain(self.listener);
        line.address(self.client);
        line.address(self.destination);
        line.number(millis(self.connection_time));
        line.optional(self.handshake_time.map(millis));
        line.number(self.received_bytes);
        line.number(self.sent_bytes);
        line.optional(self.incoming_alert.map(u64::from));
        line.text(self.certificate.map(str::as_bytes));
        // The certificate's serial number, which AWS keeps for itself.
        line.plain("-");
        for text in [
            self.cipher,
            self.protocol_version,
            self.named_group,
            self.domain_name,
            self.alpn_client,
            self.alpn_target,
        ] {
            line.text(text.map(str::as_bytes));
        }
        if self.alpn_preferences.is_empty() {
            line.plain("-");
        } else {
            line.space();
            for (place, name) in self.alpn_preferences.iter().enumerate() {
                if place > 0 {
                    line.out.push(b',');
                }
                line.out.push(b'"');
                super::escape(name.as_bytes(), true, line.out);
                line.out.push(b'"');
            }
        }
        line.space();
        digits::seconds(self.created, line.out);
        line.end();
    }
}
