//! The query family against a small model of its own: names, lists, maps, flattening, errors, round trips.

use super::*;
use crate::schema::{Kind, Member, Shape, m};
use crate::{schema, validate};
use proptest::prelude::*;
use serde_json::json;

static NAMES: Shape = Shape {
    name: "Names",
    kind: Kind::List {
        member: &schema::STRING,
        member_name: None,
        flattened: false,
        min: None,
        max: None,
    },
};
static FLAT: Shape = Shape {
    name: "Flat",
    kind: Kind::List {
        member: &schema::STRING,
        member_name: Some("FlatItem"),
        flattened: true,
        min: None,
        max: None,
    },
};
static FILTERS: Shape = Shape {
    name: "Filters",
    kind: Kind::List {
        member: &FILTER,
        member_name: Some("Filter"),
        flattened: false,
        min: None,
        max: None,
    },
};
static FILTER: Shape = Shape {
    name: "Filter",
    kind: Kind::Structure {
        members: &[m("Name", &schema::STRING), m("Values", &NAMES).named("Value")],
        union: false,
    },
};
static TAGS: Shape = Shape {
    name: "Tags",
    kind: Kind::Map {
        key: &schema::STRING,
        value: &schema::STRING,
        key_name: None,
        value_name: None,
        flattened: false,
        min: None,
        max: None,
    },
};
static MEMBERS: &[Member] = &[
    m("Count", &schema::INTEGER),
    m("DryRun", &schema::BOOLEAN).named("dryRun"),
    m("Filters", &FILTERS).named("Filter"),
    m("Flat", &FLAT),
    m("Name", &schema::STRING),
    m("Names", &NAMES).named("namesSet").query("OtherName"),
    m("Ratio", &schema::DOUBLE),
    m("Tags", &TAGS),
    m("When", &schema::TIMESTAMP),
];
static INPUT: Shape = Shape {
    name: "Input",
    kind: Kind::Structure {
        members: MEMBERS,
        union: false,
    },
};

pub static OPERATION: Operation = Operation {
    name: "Try",
    method: "POST",
    uri: "/",
    input: Some(&INPUT),
    output: Some(&INPUT),
    result_wrapper: Some("TryResult"),
    errors: &[],
};
pub static SILENT: Operation = Operation {
    name: "Hush",
    method: "POST",
    uri: "/",
    input: None,
    output: None,
    result_wrapper: None,
    errors: &[],
};
static SERVICE: Service = Service {
    name: "try",
    signing_name: "try",
    target_prefix: "",
    api_version: "2020-01-01",
    xml_namespace: "http://try.example/doc",
    protocols: &[Protocol::Query],
    operations: &[],
    modelled: &[],
};

fn read(protocol: Protocol, form: &str) -> Result<Value, AwsError> {
    let headers: &[(&str, &[u8])] = &[("content-type", b"application/x-www-form-urlencoded")];
    let request = Request {
        method: "POST",
        path: "/",
        query: "",
        headers,
        body: form.as_bytes(),
    };
    decode(protocol, &SERVICE, &OPERATION, &request)
}

fn write(protocol: Protocol, tree: &Value) -> String {
    let out = encode(protocol, &SERVICE, &OPERATION, tree, "id-1").unwrap();
    assert_eq!(out.status, 200);
    String::from_utf8(out.body).unwrap()
}

#[test]
fn query_forms_become_trees() {
    let form = "Action=Try&Version=2020-01-01&Count=3&dryRun=true&Filter.Filter.2.Name=b&Filter.Filter.10.Name=c\
                &Filter.member.1.Name=ignored-when-named&Flat&FlatItem.1=x&FlatItem.2=y&namesSet.member.1=n\
                &Tags.entry.1.key=k&Tags.entry.1.value=v&Ratio=1.5&When=2025-11-21T08:40:00Z";
    let error = read(Protocol::Query, form).unwrap_err();
    assert_eq!(error.code, "ValidationError");
    assert!(
        error.message.contains("'Filter.member.1.Name'") || error.message.contains("'Flat'"),
        "{error}"
    );
    let good = form
        .replace("&Filter.member.1.Name=ignored-when-named", "")
        .replace("&Flat&", "&");
    assert_eq!(
        read(Protocol::Query, &good).unwrap(),
        json!({
            "Count": 3, "DryRun": true, "Filters": [{"Name": "b"}, {"Name": "c"}], "Flat": ["x", "y"], "Names": ["n"],
            "Tags": {"k": "v"}, "Ratio": 1.5, "When": "2025-11-21T08:40:00Z"
        })
    );
}

#[test]
fn empty_lists_and_maps_are_sent_as_empty_values() {
    assert_eq!(
        read(Protocol::Query, "namesSet=&Tags=").unwrap(),
        json!({"Names": [], "Tags": {}})
    );
}

#[test]
fn ec2_forms_use_their_own_names() {
    let form = "Action=Try&DryRun=false&Filter.1.Name=vpc-id&Filter.1.Value.1=a&Filter.1.Value.2=b&OtherName.1=z";
    assert_eq!(
        read(Protocol::Ec2Query, form).unwrap(),
        json!({"DryRun": false, "Filters": [{"Name": "vpc-id", "Values": ["a", "b"]}], "Names": ["z"]})
    );
    let error = read(Protocol::Ec2Query, "Name=x&Bogus.1=y").unwrap_err();
    assert_eq!(
        (error.code.as_ref(), error.message.as_str()),
        ("UnknownParameter", "The parameter Bogus.1 is not recognized")
    );
}

#[test]
fn values_of_the_wrong_type_are_named() {
    for (form, name) in [
        ("Count=three", "Count"),
        ("dryRun=1", "dryRun"),
        ("Ratio=x", "Ratio"),
        ("Ratio=NaN", "Ratio"),
    ] {
        let error = read(Protocol::Query, form).unwrap_err();
        assert_eq!(error.code, "MalformedInput", "{form}");
        assert!(error.message.contains(name), "{error}");
    }
    assert_eq!(read(Protocol::Query, "Name=%ff").unwrap_err().code, "MalformedInput");
    assert_eq!(
        read(Protocol::Query, "Tags.entry.1.value=v").unwrap_err().code,
        "MalformedInput"
    );
}

#[test]
fn query_replies_are_wrapped_and_escaped() {
    let tree = json!({
        "Name": "a<b>&\"c\"\u{1}", "Names": ["x", "y"], "Flat": ["1", "2"], "Tags": {"k": "v"}, "Filters": [],
        "When": 1763714400.5, "DryRun": true, "Count": null
    });
    assert_eq!(
        write(Protocol::Query, &tree),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<TryResponse xmlns=\"http://try.example/doc\"><TryResult>\
         <dryRun>true</dryRun><Filter></Filter><FlatItem>1</FlatItem><FlatItem>2</FlatItem>\
         <Name>a&lt;b&gt;&amp;&quot;c&quot;\u{FFFD}</Name><namesSet><member>x</member><member>y</member></namesSet>\
         <Tags><entry><key>k</key><value>v</value></entry></Tags><When>2025-11-21T08:40:00.500Z</When></TryResult>\
         <ResponseMetadata><RequestId>id-1</RequestId></ResponseMetadata></TryResponse>"
    );
}

#[test]
fn ec2_replies_carry_the_request_id_first() {
    assert_eq!(
        write(Protocol::Ec2Query, &json!({"Names": ["x"], "DryRun": false})),
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<TryResponse xmlns=\"http://try.example/doc/\">\
         <requestId>id-1</requestId><dryRun>false</dryRun><namesSet><item>x</item></namesSet></TryResponse>"
    );
}

#[test]
fn errors_have_each_protocols_own_form() {
    let error = AwsError::new("Nope", 400, "a & b");
    let text = |protocol| {
        let out = encode_error(protocol, "urn:x", &error, "id-1");
        assert_eq!(out.status, 400);
        String::from_utf8(out.body).unwrap()
    };
    assert!(text(Protocol::Query).ends_with(
        "<ErrorResponse xmlns=\"urn:x\"><Error><Type>Sender</Type><Code>Nope</Code><Message>a &amp; b</Message></Error>\
         <RequestId>id-1</RequestId></ErrorResponse>"
    ));
    assert!(text(Protocol::Ec2Query).ends_with(
        "<Response><Errors><Error><Code>Nope</Code><Message>a &amp; b</Message></Error></Errors>\
         <RequestID>id-1</RequestID></Response>"
    ));
    assert!(
        text(Protocol::RestXml)
            .ends_with("<Error><Code>Nope</Code><Message>a &amp; b</Message><RequestId>id-1</RequestId></Error>")
    );
}

/// What botocore would send for `tree`.
fn as_form(protocol: Protocol, tree: &Value) -> String {
    fn put(out: &mut Vec<String>, name: &str, value: &Value) {
        let text = match value {
            Value::String(s) => s.clone(),
            other => other.to_string(),
        };
        let mut encoded = String::new();
        for byte in text.bytes() {
            encoded.push_str(&format!("%{byte:02x}"));
        }
        out.push(format!("{name}={encoded}"));
    }
    let ec2 = protocol == Protocol::Ec2Query;
    let mut out = vec!["Action=Try".to_owned()];
    for (name, value) in tree.as_object().unwrap() {
        match (name.as_str(), value) {
            ("Names", Value::Array(items)) => {
                for (i, item) in items.iter().enumerate() {
                    let prefix = if ec2 { "OtherName" } else { "namesSet.member" };
                    put(&mut out, &format!("{prefix}.{}", i + 1), item);
                }
            }
            ("Filters", Value::Array(items)) => {
                for (i, item) in items.iter().enumerate() {
                    let prefix = if ec2 { "Filter" } else { "Filter.Filter" };
                    put(&mut out, &format!("{prefix}.{}.Name", i + 1), &item["Name"]);
                }
            }
            ("DryRun", _) => put(&mut out, if ec2 { "DryRun" } else { "dryRun" }, value),
            _ => put(&mut out, name, value),
        }
    }
    out.join("&")
}

fn trees() -> impl Strategy<Value = Value> {
    let texts = || proptest::collection::vec(".{0,8}", 1..12);
    (any::<i32>(), any::<bool>(), ".{0,20}", texts(), texts()).prop_map(|(count, dry, name, names, filters)| {
        let filters: Vec<Value> = filters.into_iter().map(|name| json!({"Name": name})).collect();
        json!({"Count": count, "DryRun": dry, "Name": name, "Names": names, "Filters": filters})
    })
}

proptest! {
    #[test]
    fn forms_round_trip(tree in trees()) {
        for protocol in [Protocol::Query, Protocol::Ec2Query] {
            prop_assert_eq!(&read(protocol, &as_form(protocol, &tree)).unwrap(), &tree);
        }
    }

    #[test]
    fn no_form_makes_decoding_panic(body in ".{0,200}", keys in proptest::collection::vec("[A-Za-z]{0,6}(\\.[0-9a-z]{0,6}){0,4}=[0-9a-z%+]{0,8}", 0..8)) {
        let _ = read(Protocol::Query, &body);
        let joined = keys.join("&");
        for protocol in [Protocol::Query, Protocol::Ec2Query] {
            if let Ok(mut tree) = read(protocol, &joined) {
                let _ = validate::validate(&INPUT, &mut tree, &dialect(&SERVICE, protocol));
                let _ = encode(protocol, &SERVICE, &OPERATION, &tree, "id");
            }
        }
    }
}
