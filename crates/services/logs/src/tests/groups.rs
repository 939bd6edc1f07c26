//! Groups, streams and tags.

use super::*;

#[tokio::test]
async fn a_group_is_made_described_and_deleted_once() {
    let bed = Bed::new();
    let name = json!({"logGroupName": "/t/one", "tags": {"a": "b"}});
    bed.ok("CreateLogGroup", name.clone()).await;
    let (code, message) = bed.refused("CreateLogGroup", name).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        (
            "ResourceAlreadyExistsException",
            "The specified log group already exists"
        )
    );
    let group = described(&bed, "/t/").await;
    assert_eq!(group["arn"], "arn:aws:logs:us-east-1:000000000000:log-group:/t/one:*");
    assert_eq!(
        group["logGroupArn"],
        "arn:aws:logs:us-east-1:000000000000:log-group:/t/one"
    );
    assert_eq!(group["creationTime"], json!(NOW));
    assert_eq!(group["storedBytes"], json!(0));
    assert_eq!(group["metricFilterCount"], json!(0));
    assert!(group.get("retentionInDays").is_none());
    let input = json!({"logGroupName": "/t/one"});
    bed.ok("DeleteLogGroup", input.clone()).await;
    let (code, message) = bed.refused("DeleteLogGroup", input).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("ResourceNotFoundException", "The specified log group does not exist.")
    );
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_name() {
    let bed = Bed::new();
    for (member, value) in [
        ("kmsKeyId", json!("arn:aws:kms:us-east-1:000000000000:key/k")),
        ("logGroupClass", json!("INFREQUENT_ACCESS")),
        ("deletionProtectionEnabled", json!(true)),
    ] {
        let (code, message) = bed
            .refused("CreateLogGroup", json!({"logGroupName": "g", member: value}))
            .await;
        assert_eq!(code, "InvalidParameterException");
        assert!(message.contains(member), "{message}");
    }
    let standard = json!({"logGroupName": "g", "logGroupClass": "STANDARD", "deletionProtectionEnabled": false});
    bed.ok("CreateLogGroup", standard).await;
    let (code, _) = bed.refused("CreateLogGroup", json!({"logGroupName": "aws/g"})).await;
    assert_eq!(code, "InvalidParameterException");
}

#[tokio::test]
async fn groups_are_listed_by_prefix_pattern_and_identifier_in_pages() {
    let mut bed = Bed::new();
    for name in ["b", "a/one", "a/two", "c/one"] {
        bed.ok("CreateLogGroup", json!({"logGroupName": name})).await;
    }
    bed.region = "eu-west-1";
    bed.ok("CreateLogGroup", json!({"logGroupName": "elsewhere"})).await;
    bed.region = "us-east-1";
    let names = async |input: Value| -> Vec<String> {
        let answer = bed.ok("DescribeLogGroups", input).await;
        let groups = answer["logGroups"].as_array().unwrap();
        groups
            .iter()
            .map(|g| g["logGroupName"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names(json!({})).await, ["a/one", "a/two", "b", "c/one"]);
    assert_eq!(names(json!({"logGroupNamePrefix": "a/"})).await, ["a/one", "a/two"]);
    assert_eq!(names(json!({"logGroupNamePattern": "one"})).await, ["a/one", "c/one"]);
    assert_eq!(names(json!({"logGroupClass": "ESSENTIALS"})).await, [] as [&str; 0]);
    let arn = "arn:aws:logs:us-east-1:000000000000:log-group:b";
    let identifiers = json!({"logGroupIdentifiers": ["c/one", arn, format!("{arn}:*"), "missing"]});
    assert_eq!(names(identifiers).await, ["b", "c/one"]);
    let first = bed.ok("DescribeLogGroups", json!({"limit": 3})).await;
    let rest = json!({"limit": 3, "nextToken": first["nextToken"]});
    assert_eq!(names(rest).await, ["c/one"]);
    for input in [
        json!({"logGroupNamePrefix": "a", "logGroupNamePattern": "a"}),
        json!({"logGroupNamePrefix": "a", "logGroupIdentifiers": ["a"]}),
        json!({"accountIdentifiers": ["000000000000"]}),
        json!({"nextToken": "made up"}),
        json!({"logGroupIdentifiers": ["arn:aws:s3:::bucket"]}),
    ] {
        let (code, _) = bed.refused("DescribeLogGroups", input).await;
        assert_eq!(code, "InvalidParameterException");
    }
}

#[tokio::test]
async fn streams_are_ordered_by_name_and_by_last_event_in_pages() {
    let bed = Bed::new();
    for (name, time) in [("a", NOW + 30), ("b", NOW + 10), ("c", NOW + 20)] {
        bed.stream("g", name).await;
        bed.put("g", name, &[(time - 5, "first"), (time, "last")]).await;
    }
    bed.stream("g", "empty").await;
    let names = async |extra: Value| -> Vec<String> {
        let mut input = json!({"logGroupName": "g", "limit": 2});
        input
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let mut out = Vec::new();
        loop {
            let answer = bed.ok("DescribeLogStreams", input.clone()).await;
            let streams = answer["logStreams"].as_array().unwrap();
            assert!(streams.len() <= 2);
            out.extend(streams.iter().map(|s| s["logStreamName"].as_str().unwrap().to_owned()));
            match answer.get("nextToken") {
                Some(token) => input["nextToken"] = token.clone(),
                None => return out,
            }
        }
    };
    assert_eq!(names(json!({})).await, ["a", "b", "c", "empty"]);
    assert_eq!(names(json!({"descending": true})).await, ["empty", "c", "b", "a"]);
    assert_eq!(
        names(json!({"orderBy": "LastEventTime"})).await,
        ["empty", "b", "c", "a"]
    );
    let newest = json!({"orderBy": "LastEventTime", "descending": true});
    assert_eq!(names(newest).await, ["a", "c", "b", "empty"]);
    assert_eq!(names(json!({"logStreamNamePrefix": "e"})).await, ["empty"]);
    let input = json!({"logGroupIdentifier": "arn:aws:logs:us-east-1:000000000000:log-group:g:*", "limit": 1});
    let answer = bed.ok("DescribeLogStreams", input).await;
    let stream = &answer["logStreams"][0];
    assert_eq!(
        stream["arn"],
        "arn:aws:logs:us-east-1:000000000000:log-group:g:log-stream:a"
    );
    assert_eq!(stream["firstEventTimestamp"], json!(NOW + 25));
    assert_eq!(stream["lastEventTimestamp"], json!(NOW + 30));
    assert_eq!(stream["lastIngestionTime"], json!(NOW));
    assert_eq!(stream["storedBytes"], json!(0));
    assert_eq!(stream["uploadSequenceToken"].as_str().unwrap().len(), 56);
    for input in [
        json!({"logGroupName": "g", "orderBy": "LastEventTime", "logStreamNamePrefix": "a"}),
        json!({"logGroupName": "g", "logGroupIdentifier": "g"}),
        json!({}),
        json!({"logGroupName": "g", "nextToken": "made up"}),
    ] {
        let (code, _) = bed.refused("DescribeLogStreams", input).await;
        assert_eq!(code, "InvalidParameterException");
    }
}

#[tokio::test]
async fn streams_have_their_own_errors_and_deleted_ones_lose_their_events() {
    let bed = Bed::new();
    let named = json!({"logGroupName": "g", "logStreamName": "s"});
    let (_, message) = bed.refused("CreateLogStream", named.clone()).await;
    assert_eq!(message, "The specified log group does not exist.");
    bed.stream("g", "s").await;
    let (code, message) = bed.refused("CreateLogStream", named.clone()).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        (
            "ResourceAlreadyExistsException",
            "The specified log stream already exists"
        )
    );
    bed.put("g", "s", &[(NOW, "gone")]).await;
    bed.ok("DeleteLogStream", named.clone()).await;
    let (_, message) = bed.refused("GetLogEvents", named.clone()).await;
    assert_eq!(message, "The specified log stream does not exist.");
    let (_, message) = bed.refused("DeleteLogStream", named.clone()).await;
    assert_eq!(message, "The specified log stream does not exist.");
    assert!(bed.filter(json!({"logGroupName": "g"})).await.is_empty());
    // A stream of the same name starts empty.
    bed.stream("g", "s").await;
    assert!(messages(&bed.ok("GetLogEvents", named).await).is_empty());
    bed.logs().sweep().await;
    assert_eq!(described(&bed, "g").await["storedBytes"], json!(0));
}

#[tokio::test]
async fn a_group_made_again_has_nothing_of_the_one_before() {
    let mut bed = Bed::with_memory(1000);
    for round in 0..3 {
        bed.stream("g", "s").await;
        for i in 0..20 {
            bed.put("g", "s", &[(NOW + i, "some text")]).await;
        }
        assert_eq!(
            bed.filter(json!({"logGroupName": "g"})).await.len(),
            20,
            "round {round}"
        );
        if round == 1 {
            bed.restart();
            assert_eq!(bed.filter(json!({"logGroupName": "g"})).await.len(), 20);
        }
        bed.ok("DeleteLogGroup", json!({"logGroupName": "g"})).await;
    }
    bed.restart();
    let dirs = std::fs::read_dir(bed.dir.path()).unwrap().count();
    assert_eq!(dirs, 1, "only the journal's directory is left");
    let left = bed
        .store
        .snapshot()
        .range::<crate::records::LogStreamRecord>("")
        .count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn tags_are_kept_by_both_generations_of_operations() {
    let bed = Bed::new();
    bed.ok("CreateLogGroup", json!({"logGroupName": "g", "tags": {"a": "1"}}))
        .await;
    let arn = "arn:aws:logs:us-east-1:000000000000:log-group:g";
    bed.ok("TagResource", json!({"resourceArn": arn, "tags": {"b": "2"}}))
        .await;
    bed.ok(
        "TagLogGroup",
        json!({"logGroupName": "g", "tags": {"a": "3", "c": "4"}}),
    )
    .await;
    let tags = bed.ok("ListTagsForResource", json!({"resourceArn": arn})).await;
    assert_eq!(tags["tags"], json!({"a": "3", "b": "2", "c": "4"}));
    bed.ok(
        "UntagResource",
        json!({"resourceArn": arn, "tagKeys": ["a", "missing"]}),
    )
    .await;
    bed.ok("UntagLogGroup", json!({"logGroupName": "g", "tags": ["b"]}))
        .await;
    let tags = bed.ok("ListTagsLogGroup", json!({"logGroupName": "g"})).await;
    assert_eq!(tags["tags"], json!({"c": "4"}));
    let many: serde_json::Map<String, Value> = (0..50).map(|i| (format!("k{i}"), json!(""))).collect();
    let (code, _) = bed
        .refused("TagResource", json!({"resourceArn": arn, "tags": many}))
        .await;
    assert_eq!(code, "TooManyTagsException");
    let (code, _) = bed
        .refused("TagLogGroup", json!({"logGroupName": "g", "tags": {"aws:x": "1"}}))
        .await;
    assert_eq!(code, "InvalidParameterException");
    for (arn, expected) in [
        (
            "arn:aws:logs:us-east-1:000000000000:log-group:other",
            "ResourceNotFoundException",
        ),
        (
            "arn:aws:logs:eu-west-1:000000000000:log-group:g",
            "ResourceNotFoundException",
        ),
        (
            "arn:aws:logs:us-east-1:000000000000:destination:g",
            "ResourceNotFoundException",
        ),
        ("g", "InvalidParameterException"),
    ] {
        let (code, _) = bed.refused("ListTagsForResource", json!({"resourceArn": arn})).await;
        assert_eq!(code, expected, "{arn}");
    }
}
