use super::*;
use crate::desync::{Class, Reason};
use crate::settings::LogPlace;
use proptest::prelude::*;
use std::time::Duration;

fn entry() -> AlbEntry<'static> {
    let at = |text: &str| Timestamp::parse_iso8601(text).unwrap();
    AlbEntry {
        kind: AlbKind::Https,
        time: (at("2026-11-25T18:00:01.186Z"), 186_641),
        elb: "app/my-loadbalancer/50dc6c495c0c9188",
        client: "192.168.131.39:2817".parse().unwrap(),
        target: Some("10.0.0.1:80".parse().unwrap()),
        times: Some(TargetTimes {
            request: Duration::from_millis(86),
            target: Duration::from_millis(1048),
            response: Duration::from_micros(1337),
        }),
        elb_status: Some(200),
        target_status: Some(200),
        received_bytes: 0,
        sent_bytes: 57,
        method: b"GET",
        scheme: "https",
        host: b"www.example.com",
        port: 443,
        path_and_query: b"/a?b=c",
        version: "HTTP/1.1",
        user_agent: Some(b"curl/7.46.0"),
        ssl_cipher: Some("ECDHE-RSA-AES128-GCM-SHA256"),
        ssl_protocol: Some("TLSv1.2"),
        target_group: Some(
            "arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067",
        ),
        trace_id: Some(b"Root=1-58337281-1d84f3d73c47ec4e58577259"),
        domain_name: Some("www.example.com"),
        certificate: Some("arn:aws:acm:us-east-2:123456789012:certificate/12345678"),
        rule_priority: RulePriority::Rule(1),
        created: (at("2026-11-25T18:00:00.100Z"), 100_002),
        action: Some("forward"),
        redirect_url: None,
        error_reason: None,
        classification: (Class::Compliant, None),
        connection: 0x1234_abcd_5678_ef90,
        transformed_host: None,
        transformed_uri: None,
        transform_status: None,
    }
}

fn written(entry: &AlbEntry<'_>) -> String {
    let mut out = Vec::new();
    entry.write(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_line_has_every_field_in_order() {
    assert_eq!(
        written(&entry()),
        "https 2026-11-25T18:00:01.186641Z app/my-loadbalancer/50dc6c495c0c9188 192.168.131.39:2817 10.0.0.1:80 \
         0.086 1.048 0.001 200 200 0 57 \"GET https://www.example.com:443/a?b=c HTTP/1.1\" \"curl/7.46.0\" \
         ECDHE-RSA-AES128-GCM-SHA256 TLSv1.2 \
         arn:aws:elasticloadbalancing:us-east-2:123456789012:targetgroup/my-targets/73e2d6bc24d8a067 \
         \"Root=1-58337281-1d84f3d73c47ec4e58577259\" \"www.example.com\" \
         \"arn:aws:acm:us-east-2:123456789012:certificate/12345678\" 1 2026-11-25T18:00:00.100002Z \"forward\" \"-\" \"-\" \
         \"10.0.0.1:80\" \"200\" \"-\" \"-\" TID_00000000000000001234abcd5678ef90 \"-\" \"-\" \"-\"\n"
    );
}

#[test]
fn what_there_is_not_is_a_dash() {
    let nothing = AlbEntry {
        kind: AlbKind::Http,
        target: None,
        times: None,
        elb_status: Some(400),
        target_status: None,
        method: b"",
        scheme: "http",
        host: b"",
        port: 80,
        path_and_query: b"",
        version: "",
        user_agent: None,
        ssl_cipher: None,
        ssl_protocol: None,
        target_group: None,
        trace_id: None,
        domain_name: None,
        certificate: None,
        rule_priority: RulePriority::None,
        action: None,
        classification: (Class::Severe, Some(Reason::BadMethod)),
        connection: 1,
        ..entry()
    };
    assert_eq!(
        written(&nothing),
        "http 2026-11-25T18:00:01.186641Z app/my-loadbalancer/50dc6c495c0c9188 192.168.131.39:2817 - -1 -1 -1 400 - 0 57 \
         \"- http://-:80- -\" \"-\" - - - \"-\" \"-\" \"-\" - 2026-11-25T18:00:00.100002Z \"-\" \"-\" \"-\" \"-\" \"-\" \
         \"Severe\" \"BadMethod\" TID_00000000000000000000000000000001 \"-\" \"-\" \"-\"\n"
    );
}

#[test]
fn a_line_of_a_tls_connection() {
    let at = |text: &str| Timestamp::parse_iso8601(text).unwrap();
    let mut out = Vec::new();
    NlbTlsEntry {
        time: at("2026-11-25T18:00:09Z"),
        elb: "net/my-network-loadbalancer/c6e77e28c25b2234",
        listener: "g3d4b5e8bb8464cd",
        client: "72.21.218.154:51341".parse().unwrap(),
        destination: "172.100.100.185:443".parse().unwrap(),
        connection_time: Duration::from_millis(5),
        handshake_time: Some(Duration::from_millis(2)),
        received_bytes: 98,
        sent_bytes: 246,
        incoming_alert: None,
        certificate: Some("arn:aws:acm:us-east-2:671290407336:certificate/2a108f19"),
        cipher: Some("ECDHE-RSA-AES128-SHA"),
        protocol_version: Some("tlsv12"),
        named_group: None,
        domain_name: Some("my.example"),
        alpn_client: Some("h2"),
        alpn_target: None,
        alpn_preferences: &["h2", "http/1.1"],
        created: at("2026-11-25T18:00:04Z"),
    }
    .write(&mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "tls 2.0 2026-11-25T18:00:09 net/my-network-loadbalancer/c6e77e28c25b2234 g3d4b5e8bb8464cd 72.21.218.154:51341 \
         172.100.100.185:443 5 2 98 246 - arn:aws:acm:us-east-2:671290407336:certificate/2a108f19 - ECDHE-RSA-AES128-SHA \
         tlsv12 - my.example h2 - \"h2\",\"http/1.1\" 2026-11-25T18:00:04\n"
    );
}

#[test]
fn files_lie_where_aws_puts_them() {
    let end = Timestamp::parse_iso8601("2014-02-15T23:40:00Z").unwrap();
    let key = |prefix: &str| {
        let place = LogPlace {
            bucket: "logs".to_owned(),
            prefix: prefix.to_owned(),
        };
        let address = [172, 160, 1, 192].into();
        alb_key(
            &place,
            "123456789012",
            "us-east-2",
            "app/web/1234567890abcdef",
            address,
            end,
            35,
        )
    };
    let rest = "AWSLogs/123456789012/elasticloadbalancing/us-east-2/2014/02/15/\
                123456789012_elasticloadbalancing_us-east-2_app.web.1234567890abcdef_20140215T2340Z_172.160.1.192_z0000000.log.gz";
    assert_eq!(key(""), rest);
    assert_eq!(key("web/prod"), format!("web/prod/{rest}"));
}

proptest! {
    #[test]
    fn whatever_a_client_sends_stays_in_its_field(agent in proptest::collection::vec(any::<u8>(), 0..40), uri in proptest::collection::vec(any::<u8>(), 0..40)) {
        let line = written(&AlbEntry { user_agent: Some(&agent), path_and_query: &uri, host: &uri, ..entry() });
        prop_assert_eq!(line.matches('\n').count(), 1);
        prop_assert!(line.is_ascii());
        // Fields, read as a reader of the log does: quotes hold fields together, a backslash takes the meaning away.
        let (mut fields, mut quoted, mut escaped) = (1, false, false);
        for c in line.trim_end().chars() {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                ' ' if !quoted => fields += 1,
                _ => {}
            }
        }
        prop_assert_eq!((fields, quoted), (33, false));
    }
}
