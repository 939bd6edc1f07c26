//! A line of a Network Load Balancer's access log: connections of TLS listeners.

use super::Line;
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

impl NlbTlsEntry<'_> {
    /// Adds the line and its end to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let seconds = |at: Timestamp| {
            let whole = at.iso8601();
            whole
                .split_once('.')
                .map_or(String::new(), |(seconds, _)| seconds.to_owned())
        };
        let mut line = Line::new(out);
        line.field("tls 2.0");
        line.field(seconds(self.time));
        line.field(self.elb);
        line.field(self.listener);
        line.field(self.client);
        line.field(self.destination);
        line.field(self.connection_time.as_millis());
        line.optional(self.handshake_time.map(|took| took.as_millis()));
        line.field(self.received_bytes);
        line.field(self.sent_bytes);
        line.optional(self.incoming_alert);
        line.text(self.certificate.map(str::as_bytes));
        // The certificate's serial number, which AWS keeps for itself.
        line.field('-');
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
            line.field('-');
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
        line.field(seconds(self.created));
        line.end();
    }
}
