//! Constraints, their wording, and what must never panic.

use super::validate;
use crate::dialect::{Dialect, dialect};
use crate::schema::{self, Kind, Protocol, Service, Shape, m};
use neargate_core::AwsError;
use proptest::prelude::*;
use serde_json::{Value, json};

static NAME: Shape = Shape {
    name: "Name",
    kind: Kind::String {
        min: Some(1),
        max: Some(5),
        pattern: Some("[a-z\\d-]+"),
        values: &[],
    },
};
static MODE: Shape = Shape {
    name: "Mode",
    kind: Kind::String {
        min: None,
        max: None,
        pattern: None,
        values: &["ON", "OFF"],
    },
};
static COUNT: Shape = Shape {
    name: "Count",
    kind: Kind::Integer {
        min: Some(0),
        max: Some(10),
    },
};
static RATIO: Shape = Shape {
    name: "Ratio",
    kind: Kind::Double {
        min: Some(0.5),
        max: None,
    },
};
static NAMES: Shape = Shape {
    name: "Names",
    kind: Kind::List {
        member: &NAME,
        member_name: None,
        flattened: false,
        min: Some(1),
        max: Some(2),
    },
};
static TAGS: Shape = Shape {
    name: "Tags",
    kind: Kind::Map {
        key: &NAME,
        value: &MODE,
        key_name: None,
        value_name: None,
        flattened: false,
        min: None,
        max: Some(2),
    },
};
static BLOB: Shape = Shape {
    name: "Data",
    kind: Kind::Blob {
        min: None,
        max: Some(3),
    },
};
static CHOICE: Shape = Shape {
    name: "Choice",
    kind: Kind::Structure {
        members: &[m("a", &schema::STRING), m("b", &schema::STRING)],
        union: true,
    },
};
static INNER: Shape = Shape {
    name: "Inner",
    kind: Kind::Structure {
        members: &[m("name", &NAME).required(), m("next", &INNERS)],
        union: false,
    },
};
static INNERS: Shape = Shape {
    name: "Inners",
    kind: Kind::List {
        member: &INNER,
        member_name: None,
        flattened: false,
        min: None,
        max: None,
    },
};
static INPUT: Shape = Shape {
    name: "Input",
    kind: Kind::Structure {
        members: &[
            m("anything", &schema::DOCUMENT),
            m("big", &schema::LONG),
            m("choice", &CHOICE),
            m("count", &COUNT),
            m("data", &BLOB),
            m("flag", &schema::BOOLEAN),
            m("inners", &INNERS),
            m("mode", &MODE),
            m("names", &NAMES),
            m("ratio", &RATIO),
            m("tags", &TAGS),
            m("when", &schema::TIMESTAMP),
        ],
        union: false,
    },
};

fn service(name: &'static str) -> Service {
    Service {
        name,
        signing_name: name,
        target_prefix: "",
        api_version: "",
        xml_namespace: "",
        protocols: &[],
        operations: &[],
        modelled: &[],
    }
}

fn ecs() -> Dialect {
    dialect(&service("ecs"), Protocol::AwsJson11)
}

fn refuse(mut value: Value) -> AwsError {
    validate(&INPUT, &mut value, &ecs()).unwrap_err()
}

#[track_caller]
fn broken(value: Value, constraint: &str) {
    let error = refuse(value);
    assert_eq!(error.code, "InvalidParameterException");
    assert_eq!(error.message, format!("1 validation error detected: {constraint}"));
}

#[test]
fn good_values_pass_and_take_their_plain_form() {
    let mut value = json!({
        "anything": {"x": [null]}, "big": 9007199254740993_i64, "choice": {"a": "x", "b": null}, "count": 2.0,
        "data": "AAEC", "flag": false, "inners": [{"name": "a-1", "next": []}], "mode": "ON", "names": ["a"], "ratio": 1,
        "tags": {"k": "OFF"}, "when": "2025-11-21T08:40:00Z", "__type": "x"
    });
    validate(&INPUT, &mut value, &ecs()).unwrap();
    assert_eq!(
        value,
        json!({
            "anything": {"x": [null]}, "big": 9007199254740993_i64, "choice": {"a": "x"}, "count": 2, "data": "AAEC",
            "flag": false, "inners": [{"name": "a-1", "next": []}], "mode": "ON", "names": ["a"], "ratio": 1,
            "tags": {"k": "OFF"}, "when": 1763714400.0
        })
    );
}

#[test]
fn each_constraint_has_awss_words() {
    broken(
        json!({"inners": [{"name": "abcdef"}]}),
        "Value 'abcdef' at 'inners.1.member.name' failed to satisfy constraint: Member must have length less than or equal to 5",
    );
    broken(
        json!({"inners": [{"name": "a", "next": [{"name": ""}]}]}),
        "Value '' at 'inners.1.member.next.1.member.name' failed to satisfy constraint: Member must have length greater than or equal to 1",
    );
    broken(
        json!({"inners": [{"name": "A"}]}),
        "Value 'A' at 'inners.1.member.name' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-z\\d-]+",
    );
    broken(
        json!({"inners": [{"name": "a"}, {}]}),
        "Value null at 'inners.2.member.name' failed to satisfy constraint: Member must not be null",
    );
    broken(
        json!({"mode": "on"}),
        "Value 'on' at 'mode' failed to satisfy constraint: Member must satisfy enum value set: [ON, OFF]",
    );
    broken(
        json!({"count": 11}),
        "Value '11' at 'count' failed to satisfy constraint: Member must have value less than or equal to 10",
    );
    broken(
        json!({"count": -1}),
        "Value '-1' at 'count' failed to satisfy constraint: Member must have value greater than or equal to 0",
    );
    broken(
        json!({"ratio": 0.25}),
        "Value '0.25' at 'ratio' failed to satisfy constraint: Member must have value greater than or equal to 0.5",
    );
    broken(
        json!({"names": ["a", "b", "c"]}),
        "Value '[a, b, c]' at 'names' failed to satisfy constraint: Member must have length less than or equal to 2",
    );
    broken(
        json!({"names": ["a", "B"]}),
        "Value '[a, B]' at 'names' failed to satisfy constraint: Member must satisfy constraint: [Member must satisfy regular expression pattern: [a-z\\d-]+]",
    );
    broken(
        json!({"tags": {"k": "x"}}),
        "Value '{k=x}' at 'tags' failed to satisfy constraint: Map value must satisfy constraint: [Member must satisfy enum value set: [ON, OFF]]",
    );
    broken(
        json!({"tags": {"K": "ON"}}),
        "Value '{K=ON}' at 'tags' failed to satisfy constraint: Map keys must satisfy constraint: [Member must satisfy regular expression pattern: [a-z\\d-]+]",
    );
    broken(
        json!({"data": "AAECAw=="}),
        "Value 'AAECAw==' at 'data' failed to satisfy constraint: Member must have length less than or equal to 3",
    );
    broken(
        json!({"choice": {"a": "1", "b": "2"}}),
        "Value '{a=1, b=2}' at 'choice' failed to satisfy constraint: Member must have exactly one of: [a, b]",
    );
    broken(
        json!({"choice": {}}),
        "Value '{}' at 'choice' failed to satisfy constraint: Member must have exactly one of: [a, b]",
    );
}

#[test]
fn several_violations_are_told_together_and_counted() {
    let error = refuse(json!({"count": 11, "mode": "x"}));
    assert!(
        error
            .message
            .starts_with("2 validation errors detected: Value '11' at 'count'"),
        "{error}"
    );
    assert!(error.message.contains("; Value 'x' at 'mode' failed"), "{error}");
    let many: Vec<Value> = (0..500).map(|_| json!({})).collect();
    let error = refuse(json!({"inners": many}));
    assert!(error.message.starts_with("500 validation errors detected"), "{error}");
    assert!(error.message.len() < 10_000);
}

#[test]
fn lengths_count_characters_not_bytes() {
    static TEXT: Shape = Shape {
        name: "T",
        kind: Kind::String {
            min: None,
            max: Some(3),
            pattern: None,
            values: &[],
        },
    };
    assert!(validate(&TEXT, &mut json!("äöü"), &ecs()).is_ok());
    assert!(validate(&TEXT, &mut json!("äöüß"), &ecs()).is_err());
}

#[test]
fn wrong_types_are_serialization_exceptions_that_name_the_place() {
    for (value, text) in [
        (
            json!({"count": "3"}),
            "STRING_VALUE cannot be converted to Integer (at 'count')",
        ),
        (json!({"count": 1.5}), "1.5 cannot be converted to Integer (at 'count')"),
        (
            json!({"count": 4294967296_i64}),
            "4294967296 cannot be converted to Integer (at 'count')",
        ),
        (json!({"big": 1e30}), "1e+30 cannot be converted to Long (at 'big')"),
        (
            json!({"mode": 3}),
            "NUMBER_VALUE cannot be converted to String (at 'mode')",
        ),
        (
            json!({"flag": "true"}),
            "STRING_VALUE cannot be converted to Boolean (at 'flag')",
        ),
        (json!({"names": "a"}), "Expected list or null (at 'names')"),
        (
            json!({"mode": {}}),
            "Start of structure or map found where not expected (at 'mode')",
        ),
        (
            json!({"inners": [3]}),
            "Unexpected value type in payload (at 'inners.1.member')",
        ),
        (
            json!({"inners": {}}),
            "Unexpected START_OBJECT, expected List (at 'inners')",
        ),
        (json!({"data": "*"}), "Invalid Base64 value (at 'data')"),
        (
            json!({"when": "soon"}),
            "STRING_VALUE cannot be converted to Timestamp (at 'when')",
        ),
    ] {
        let error = refuse(value);
        assert_eq!(
            (error.code.as_ref(), error.message.as_str()),
            ("SerializationException", text)
        );
    }
}

#[test]
fn unknown_members_are_named() {
    let error = refuse(json!({"bogus": 1}));
    assert_eq!(error.code, "InvalidParameterException");
    assert_eq!(error.message, "Unknown parameter in the request: 'bogus'");
    let error = refuse(json!({"inners": [{"name": "a", "nmae": "b"}]}));
    assert_eq!(error.message, "Unknown parameter in 'inners.1.member': 'nmae'");
    assert!(validate(&INPUT, &mut json!({"bogus": null}), &ecs()).is_ok());
}

#[test]
fn each_service_uses_its_own_codes() {
    let code = |name: &'static str, protocol, mut value: Value| {
        validate(&INPUT, &mut value, &dialect(&service(name), protocol))
            .unwrap_err()
            .code
            .into_owned()
    };
    let wrong = || json!({"mode": "x"});
    let lacking = || json!({"inners": [{}]});
    assert_eq!(code("ecs", Protocol::AwsJson11, wrong()), "InvalidParameterException");
    assert_eq!(code("logs", Protocol::AwsJson11, wrong()), "InvalidParameterException");
    assert_eq!(code("kms", Protocol::AwsJson11, wrong()), "ValidationException");
    assert_eq!(code("sts", Protocol::Query, wrong()), "ValidationError");
    assert_eq!(code("ec2", Protocol::Ec2Query, wrong()), "InvalidParameterValue");
    assert_eq!(code("ec2", Protocol::Ec2Query, lacking()), "MissingParameter");
    assert_eq!(code("ec2", Protocol::Ec2Query, json!({"bogus": 1})), "UnknownParameter");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::String),
        "[0-9TZ:+-]{0,25}".prop_map(Value::String),
    ];
    let key = prop_oneof![
        Just("inners".to_owned()),
        Just("name".to_owned()),
        Just("next".to_owned()),
        Just("names".to_owned()),
        Just("tags".to_owned()),
        Just("choice".to_owned()),
        Just("count".to_owned()),
        Just("when".to_owned()),
        Just("data".to_owned()),
        ".{0,4}"
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            proptest::collection::vec((key.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn validation_never_panics_and_what_it_passes_it_passes_again(mut value in any_json()) {
        if validate(&INPUT, &mut value, &ecs()).is_ok() {
            let once = value.clone();
            prop_assert!(validate(&INPUT, &mut value, &ecs()).is_ok());
            prop_assert_eq!(once, value);
        }
    }
}
