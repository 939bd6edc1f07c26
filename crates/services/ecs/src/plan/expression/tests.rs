use super::*;

struct Machine;

impl Instance for Machine {
    fn attribute(&self, name: &str) -> Option<Option<String>> {
        match name {
            "ecs.instance-type" => Some(Some("g2.2xlarge".to_owned())),
            "ecs.availability-zone" => Some(Some("us-east-1a".to_owned())),
            "stack" => Some(Some("prod".to_owned())),
            "cores" => Some(Some("16".to_owned())),
            "ssd" => Some(None),
            _ => None,
        }
    }

    fn hosts_group(&self, wanted: &dyn Fn(&str) -> bool) -> bool {
        ["service:production", "family:batch"].into_iter().any(wanted)
    }

    fn agent_connected(&self) -> bool {
        true
    }

    fn agent_version(&self) -> &str {
        "1.40.0"
    }

    fn instance_id(&self) -> &str {
        "i-0123"
    }

    fn registered_at(&self) -> Timestamp {
        Timestamp::parse_iso8601("2026-11-21T09:00:00Z").unwrap()
    }

    fn running_tasks(&self) -> u32 {
        3
    }
}

#[test]
fn expressions_hold_as_the_developer_guide_says() {
    for (text, want) in [
        ("attribute:ecs.instance-type == g2.2xlarge", true),
        ("attribute:ecs.instance-type equals t2.small", false),
        ("attribute:ecs.instance-type != t2.small", true),
        ("attribute:missing == x", false),
        ("attribute:missing != x", true),
        ("attribute:missing exists", false),
        ("attribute:missing !exists", true),
        ("attribute:missing not_exists", true),
        ("attribute:ssd exists", true),
        ("attribute:ssd == yes", false),
        ("attribute:ecs.availability-zone in [us-east-1a, us-east-1b]", true),
        ("attribute:ecs.availability-zone in [us-east-1c]", false),
        ("attribute:ecs.availability-zone !in [us-east-1c,us-east-1d]", true),
        ("attribute:ecs.availability-zone not_in [us-east-1a]", false),
        ("attribute:ecs.instance-type =~ g2.*", true),
        ("attribute:ecs.instance-type =~ g2", false),
        ("attribute:ecs.instance-type matches (g2|t2)[.].+", true),
        ("attribute:ecs.instance-type !~ t2.*", true),
        (
            "(attribute:ecs.instance-type =~ t2.*) or (attribute:stack == prod)",
            true,
        ),
        ("attribute:cores > 9", true),
        ("attribute:cores >= 16 and attribute:cores < 17", true),
        ("attribute:cores less_than_equal 15", false),
        ("task:group == service:production", true),
        ("task:group == service:test", false),
        ("not(task:group == service:production)", false),
        ("not (task:group == service:test)", true),
        ("task:group != service:production", false),
        ("task:group =~ family:.*", true),
        ("task:group in [service:a, family:batch]", true),
        ("agentConnected == true", true),
        ("agentVersion > 1.9.0", true),
        ("agentVersion < 1.40.1", true),
        ("agentVersion == 1.40", true),
        ("ec2InstanceId == i-0123", true),
        ("ec2InstanceId in ['i-0123', \"i-4\"]", true),
        ("registeredAt > 2026-02-18", true),
        ("registeredAt >= 2026-11-21T09:00:00", true),
        ("registeredAt < 2026-11-21T09:00:00Z", false),
        ("runningTasksCount >= 3", true),
        ("runningTasksCount greater_than 3", false),
        ("attribute:stack == prod and not attribute:missing exists", true),
        ("attribute:stack == prod && !(attribute:ssd exists)", false),
        ("attribute:stack == test || attribute:stack == prod", true),
        // `and` binds closer than `or`.
        (
            "attribute:stack == prod or attribute:stack == test and attribute:stack == none",
            true,
        ),
        (
            "(attribute:stack == prod or attribute:stack == test) and attribute:stack == none",
            false,
        ),
    ] {
        let parsed = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(parsed.holds(&Machine), want, "{text}");
    }
}

#[test]
fn what_is_no_expression_is_refused_with_its_place() {
    let deep = format!("{}attribute:a exists{}", "(".repeat(60), ")".repeat(60));
    for text in [
        "",
        "attribute:",
        "attribute:a",
        "attribute:a ==",
        "attribute:a == b c",
        "attribute:a ~ b",
        "attribute:a in b",
        "attribute:a in [b",
        "attribute:a in []",
        "attribute:a =~ (",
        "attribute:a =~",
        "color == red",
        "(attribute:a exists",
        "attribute:a exists)",
        "attribute:a == 'b",
        "and attribute:a exists",
        "attribute:a exists and",
        "attribute:a ! exist",
        "!",
        "🦀 == 1",
        deep.as_str(),
    ] {
        assert!(parse(text).is_err(), "{text} was taken");
    }
    assert_eq!(parse("attribute:a == b c").unwrap_err().at, 17);
    let huge = format!("attribute:a =~ {}", "(a{1000}){1000}");
    assert!(parse(&huge).is_err());
}
