//! Attributes of balancers, listeners and target groups in the types they mean.
//!
//! Control checks attributes when they are set and sends all of them; what is missing or odd here counts as AWS's default.

use crate::desync::DesyncMode;
use crate::forwarded::XffMode;
use std::collections::BTreeMap;
use std::time::Duration;

type Attributes = BTreeMap<String, String>;

/// What a balancer's attributes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancerSettings {
    pub idle_timeout: Duration,
    pub client_keep_alive: Duration,
    pub desync: DesyncMode,
    pub drop_invalid_headers: bool,
    pub preserve_host: bool,
    /// Tell targets the TLS version and cipher suite.
    pub tls_headers: bool,
    pub xff_client_port: bool,
    pub xff: XffMode,
    pub http2: bool,
    pub cross_zone: bool,
    /// None: no access log.
    pub access_log: Option<LogPlace>,
}

/// Where access logs go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPlace {
    pub bucket: String,
    /// May be empty.
    pub prefix: String,
}

/// What a listener's attributes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Send `Server: awselb/2.0` in the balancer's own answers and leave the targets' header.
    pub server_header: bool,
    /// Names in lower case and values to set on every response.
    pub response_headers: Vec<(String, String)>,
    pub tls_version_header: String,
    pub tls_cipher_header: String,
    /// TCP, TLS.
    pub tcp_idle_timeout: Duration,
}

/// What a target group's attributes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    pub deregistration_delay: Duration,
    pub terminate_on_deregistration: bool,
    pub terminate_on_unhealthy: bool,
    /// How long an unhealthy target keeps its connections when they are not terminated at once.
    pub unhealthy_draining: Duration,
    pub proxy_protocol_v2: bool,
    pub algorithm: Algorithm,
    /// Zero: off.
    pub slow_start: Duration,
    pub stickiness: Option<Stickiness>,
    /// None: as the balancer has it.
    pub cross_zone: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    RoundRobin,
    LeastOutstandingRequests,
    WeightedRandom,
}

/// What keeps a client at its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stickiness {
    LbCookie { duration: Duration },
    AppCookie { name: String, duration: Duration },
    SourceIp,
}

impl BalancerSettings {
    pub fn new(attributes: &Attributes, network: bool) -> BalancerSettings {
        let of = Of(attributes);
        BalancerSettings {
            idle_timeout: of.seconds("idle_timeout.timeout_seconds", 60),
            client_keep_alive: of.seconds("client_keep_alive.seconds", 3600),
            desync: match of.text("routing.http.desync_mitigation_mode") {
                "monitor" => DesyncMode::Monitor,
                "strictest" => DesyncMode::Strictest,
                _ => DesyncMode::Defensive,
            },
            drop_invalid_headers: of.is("routing.http.drop_invalid_header_fields.enabled", false),
            preserve_host: of.is("routing.http.preserve_host_header.enabled", false),
            tls_headers: of.is("routing.http.x_amzn_tls_version_and_cipher_suite.enabled", false),
            xff_client_port: of.is("routing.http.xff_client_port.enabled", false),
            xff: match of.text("routing.http.xff_header_processing.mode") {
                "preserve" => XffMode::Preserve,
                "remove" => XffMode::Remove,
                _ => XffMode::Append,
            },
            http2: of.is("routing.http2.enabled", true),
            cross_zone: of.is("load_balancing.cross_zone.enabled", !network),
            access_log: of.is("access_logs.s3.enabled", false).then(|| LogPlace {
                bucket: of.text("access_logs.s3.bucket").to_owned(),
                prefix: of.text("access_logs.s3.prefix").to_owned(),
            }),
        }
    }
}

impl ListenerSettings {
    pub fn new(attributes: &Attributes) -> ListenerSettings {
        const BEFORE: &str = "routing.http.response.";
        const AFTER: &str = ".header_value";
        let of = Of(attributes);
        let response_headers = attributes
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(key, value)| {
                let name = key.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
                Some((name.replace('_', "-"), value.clone()))
            })
            .collect();
        ListenerSettings {
            server_header: of.is("routing.http.response.server.enabled", true),
            response_headers,
            tls_version_header: of.or(
                "routing.http.request.x_amzn_tls_version.header_name",
                "X-Amzn-Tls-Version",
            ),
            tls_cipher_header: of.or(
                "routing.http.request.x_amzn_tls_cipher_suite.header_name",
                "X-Amzn-Tls-Cipher-Suite",
            ),
            tcp_idle_timeout: of.seconds("tcp.idle_timeout.seconds", 350),
        }
    }
}

impl GroupSettings {
    pub fn new(attributes: &Attributes) -> GroupSettings {
        let of = Of(attributes);
        let stickiness = match of.text("stickiness.type") {
            "lb_cookie" => Some(Stickiness::LbCookie {
                duration: of.seconds("stickiness.lb_cookie.duration_seconds", 86_400),
            }),
            "app_cookie" => Some(Stickiness::AppCookie {
                name: of.text("stickiness.app_cookie.cookie_name").to_owned(),
                duration: of.seconds("stickiness.app_cookie.duration_seconds", 86_400),
            }),
            "source_ip" => Some(Stickiness::SourceIp),
            _ => None,
        };
        GroupSettings {
            deregistration_delay: of.seconds("deregistration_delay.timeout_seconds", 300),
            terminate_on_deregistration: of.is("deregistration_delay.connection_termination.enabled", false),
            terminate_on_unhealthy: of.is("target_health_state.unhealthy.connection_termination.enabled", true),
            unhealthy_draining: of.seconds("target_health_state.unhealthy.draining_interval_seconds", 0),
            proxy_protocol_v2: of.is("proxy_protocol_v2.enabled", false),
            algorithm: match of.text("load_balancing.algorithm.type") {
                "least_outstanding_requests" => Algorithm::LeastOutstandingRequests,
                "weighted_random" => Algorithm::WeightedRandom,
                _ => Algorithm::RoundRobin,
            },
            slow_start: of.seconds("slow_start.duration_seconds", 0),
            stickiness: stickiness.filter(|_| of.is("stickiness.enabled", false)),
            cross_zone: of.text("load_balancing.cross_zone.enabled").parse().ok(),
        }
    }
}

struct Of<'a>(&'a Attributes);

impl<'a> Of<'a> {
    fn text(&self, key: &str) -> &'a str {
        self.0.get(key).map_or("", String::as_str)
    }

    fn or(&self, key: &str, default: &str) -> String {
        let given = self.text(key);
        if given.is_empty() { default } else { given }.to_owned()
    }

    fn is(&self, key: &str, default: bool) -> bool {
        self.text(key).parse().unwrap_or(default)
    }

    fn seconds(&self, key: &str, default: u64) -> Duration {
        Duration::from_secs(self.text(key).parse().unwrap_or(default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_is_missing_is_as_aws_has_it() {
        let settings = BalancerSettings::new(&Attributes::new(), false);
        assert_eq!(settings.idle_timeout, Duration::from_secs(60));
        assert_eq!(settings.desync, DesyncMode::Defensive);
        assert_eq!(settings.xff, XffMode::Append);
        assert!(settings.http2 && settings.cross_zone && settings.access_log.is_none());
        assert!(!BalancerSettings::new(&Attributes::new(), true).cross_zone);
        let group = GroupSettings::new(&Attributes::new());
        assert_eq!(group.deregistration_delay, Duration::from_secs(300));
        assert_eq!((group.stickiness, group.cross_zone), (None, None));
    }

    #[test]
    fn stickiness_counts_only_when_enabled() {
        let mut given = attributes(&[
            ("stickiness.enabled", "false"),
            ("stickiness.type", "app_cookie"),
            ("stickiness.app_cookie.cookie_name", "session"),
            ("stickiness.app_cookie.duration_seconds", "60"),
        ]);
        assert_eq!(GroupSettings::new(&given).stickiness, None);
        given.insert("stickiness.enabled".to_owned(), "true".to_owned());
        let expected = Stickiness::AppCookie {
            name: "session".to_owned(),
            duration: Duration::from_secs(60),
        };
        assert_eq!(GroupSettings::new(&given).stickiness, Some(expected));
    }

    #[test]
    fn response_headers_to_set_are_named_as_headers() {
        let given = attributes(&[
            ("routing.http.response.server.enabled", "false"),
            ("routing.http.response.x_frame_options.header_value", "DENY"),
            ("routing.http.response.content_security_policy.header_value", ""),
        ]);
        let settings = ListenerSettings::new(&given);
        assert!(!settings.server_header);
        let expected = [("x-frame-options".to_owned(), "DENY".to_owned())];
        assert_eq!(settings.response_headers, expected);
    }
}
