use super::*;
use proptest::prelude::*;

fn key() -> CookieKey {
    CookieKey::new(&[7; 32])
}

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn ticket() -> Ticket {
    Ticket {
        expires: NOW.plus(Duration::from_secs(60)),
        group: 1,
        target: 2,
    }
}

#[test]
fn cookies_hold_until_they_expire() {
    let value = key().seal(Purpose::Lb, ticket(), NOW, 9);
    let open = |now| key().open(Purpose::Lb, value.as_bytes(), now);
    assert_eq!(open(NOW), Some(ticket()));
    assert_eq!(open(NOW.plus(Duration::from_secs(59))), Some(ticket()));
    assert_eq!(open(NOW.plus(Duration::from_secs(60))), None);
}

#[test]
fn a_cookie_of_another_purpose_or_key_is_none() {
    let value = key().seal(Purpose::Lb, ticket(), NOW, 9);
    assert_eq!(key().open(Purpose::App, value.as_bytes(), NOW), None);
    assert_eq!(CookieKey::new(&[8; 32]).open(Purpose::Lb, value.as_bytes(), NOW), None);
}

#[test]
fn cookies_are_found_among_others() {
    let headers: &[(&[u8], &[u8])] = &[(b"Cookie", b"a=1; AWSALB=x=y ;junk; b="), (b"cookie", b"c=3")];
    let mut found = Vec::new();
    visit(&headers, &mut |name, value| {
        found.push(format!("{}>{}", name.escape_ascii(), value.escape_ascii()));
    });
    assert_eq!(found, ["a>1", "AWSALB>x=y", "b>", "c>3"]);
}

#[test]
fn set_cookie_has_the_form_of_the_balancers() {
    let at = Timestamp::parse_iso8601("2026-11-25T18:00:00Z").unwrap();
    assert_eq!(
        set("AWSALBCORS", "x", at, cors_attributes(true)),
        "AWSALBCORS=x; Expires=Wed, 25 Nov 2026 18:00:00 GMT; Path=/; SameSite=None; Secure"
    );
    let response: &[(&[u8], &[u8])] = &[(b"Set-Cookie", b"session=1; Path=/; other=2")];
    assert!(is_set(&response, "session"));
    assert!(!is_set(&response, "other") && !is_set(&response, "Session"));
}

proptest! {
    #[test]
    fn cookies_round_trip(expires in 1i64.., group: u64, target: u64, random: u64) {
        let ticket = Ticket { expires: Timestamp::from_millis(expires), group, target };
        let value = key().seal(Purpose::Group, ticket, Timestamp::from_millis(0), random);
        prop_assert_eq!(key().open(Purpose::Group, value.as_bytes(), Timestamp::from_millis(0)), Some(ticket));
    }

    #[test]
    fn what_was_altered_is_none(place in 0usize..72, to in "[A-Za-z0-9+/=]") {
        let mut value = key().seal(Purpose::Lb, ticket(), NOW, 9).into_bytes();
        prop_assume!(value.get(place).is_some_and(|byte| *byte != to.as_bytes()[0]));
        value[place] = to.as_bytes()[0];
        prop_assert_eq!(key().open(Purpose::Lb, &value, NOW), None);
    }

    #[test]
    fn what_is_no_cookie_is_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(key().open(Purpose::Lb, &bytes, NOW), None);
        prop_assert_eq!(key().open(Purpose::Lb, STANDARD.encode(&bytes).as_bytes(), NOW), None);
    }
}
