//! PutLogEvents, GetLogEvents, FilterLogEvents.

use super::*;

#[tokio::test]
async fn events_are_got_from_the_head_page_by_page_and_the_last_token_stays() {
    let bed = Bed::new();
    bed.stream("/t/one", "s").await;
    let events: Vec<(i64, String)> = (0..10).map(|i| (NOW + i, format!("m{i}"))).collect();
    let events: Vec<(i64, &str)> = events.iter().map(|(t, m)| (*t, m.as_str())).collect();
    bed.put("/t/one", "s", &events).await;
    let base = json!({"logGroupName": "/t/one", "logStreamName": "s"});
    let with = |extra: Value| {
        let mut all = base.clone();
        all.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        all
    };
    let first = bed
        .ok("GetLogEvents", with(json!({"startFromHead": true, "limit": 4})))
        .await;
    assert_eq!(messages(&first), ["m0", "m1", "m2", "m3"]);
    assert_eq!(first["events"][0]["ingestionTime"], json!(NOW));
    let more = bed
        .ok("GetLogEvents", with(json!({"nextToken": first["nextForwardToken"]})))
        .await;
    assert_eq!(messages(&more).len(), 6);
    let end = bed
        .ok("GetLogEvents", with(json!({"nextToken": more["nextForwardToken"]})))
        .await;
    assert!(messages(&end).is_empty());
    assert_eq!(end["nextForwardToken"], more["nextForwardToken"]);
    // Back from the end: the newest before the token, in order of time.
    let back = bed
        .ok(
            "GetLogEvents",
            with(json!({"nextToken": end["nextBackwardToken"], "limit": 3})),
        )
        .await;
    assert_eq!(messages(&back), ["m7", "m8", "m9"]);
    let back = bed
        .ok(
            "GetLogEvents",
            with(json!({"nextToken": back["nextBackwardToken"], "limit": 30})),
        )
        .await;
    assert_eq!(messages(&back).len(), 7);
    let start = bed
        .ok("GetLogEvents", with(json!({"nextToken": back["nextBackwardToken"]})))
        .await;
    assert!(messages(&start).is_empty());
    assert_eq!(start["nextBackwardToken"], back["nextBackwardToken"]);
    let again = bed
        .ok(
            "GetLogEvents",
            with(json!({"nextToken": start["nextForwardToken"], "limit": 1})),
        )
        .await;
    assert_eq!(messages(&again), ["m0"]);
    // Without token: the newest first page.
    let newest = bed.ok("GetLogEvents", with(json!({"limit": 2}))).await;
    assert_eq!(messages(&newest), ["m8", "m9"]);
    // The end time is not included, the start time is.
    let some = bed
        .ok("GetLogEvents", with(json!({"startTime": NOW + 2, "endTime": NOW + 4})))
        .await;
    assert_eq!(messages(&some), ["m2", "m3"]);
    let (code, _) = bed.refused("GetLogEvents", with(json!({"nextToken": "f/12/s"}))).await;
    assert_eq!(code, "InvalidParameterException");
}

#[tokio::test]
async fn put_tells_what_it_rejects_and_stores_the_rest() {
    let bed = Bed::new();
    bed.stream("g", "s").await;
    let day = 24 * 3_600_000;
    let answer = bed
        .put(
            "g",
            "s",
            &[(NOW - 20 * day, "old"), (NOW, "now"), (NOW + 3 * 3_600_000, "future")],
        )
        .await;
    let told = json!({"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 2});
    assert_eq!(answer["rejectedLogEventsInfo"], told);
    assert_eq!(answer["nextSequenceToken"].as_str().unwrap().len(), 56);
    assert_eq!(bed.filter(json!({"logGroupName": "g"})).await, ["now"]);
    let input = json!({"logGroupName": "g", "logStreamName": "s", "entity": {"keyAttributes": {"Type": "Service"}},
        "logEvents": [{"timestamp": NOW, "message": "x"}], "sequenceToken": "anything"});
    let answer = bed.ok("PutLogEvents", input).await;
    assert_eq!(answer["rejectedEntityInfo"]["errorType"], "UnsupportedLogGroupType");
    let missing = json!({"logGroupName": "g", "logStreamName": "t", "logEvents": [{"timestamp": NOW, "message": "x"}]});
    let (code, message) = bed.refused("PutLogEvents", missing).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("ResourceNotFoundException", "The specified log stream does not exist.")
    );
}

#[tokio::test]
async fn filter_interleaves_streams_and_selects_them() {
    let bed = Bed::new();
    for (i, name) in ["a/1", "a/2", "b/1"].into_iter().enumerate() {
        bed.stream("g", name).await;
        let events: Vec<(i64, String)> = (0..3)
            .map(|n| (NOW + n * 10 + i as i64, format!("{name} {n}")))
            .collect();
        let events: Vec<(i64, &str)> = events.iter().map(|(t, m)| (*t, m.as_str())).collect();
        bed.put("g", name, &events).await;
    }
    let all = [
        "a/1 0", "a/2 0", "b/1 0", "a/1 1", "a/2 1", "b/1 1", "a/1 2", "a/2 2", "b/1 2",
    ];
    let filter = async |extra: Value| {
        let mut input = json!({"logGroupName": "g"});
        input
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        bed.filter(input).await
    };
    assert_eq!(filter(json!({"interleaved": true})).await, all);
    assert_eq!(filter(json!({"limit": 2})).await, all);
    let mut newest = all;
    newest.reverse();
    let newest_first = json!({"startFromHead": false, "limit": 2, "startTime": NOW});
    assert_eq!(filter(newest_first).await, newest);
    assert_eq!(
        filter(json!({"logStreamNamePrefix": "b/"})).await,
        ["b/1 0", "b/1 1", "b/1 2"]
    );
    assert_eq!(
        filter(json!({"logStreamNames": ["a/2"]})).await,
        ["a/2 0", "a/2 1", "a/2 2"]
    );
    assert_eq!(filter(json!({"filterPattern": "\"/1 1\""})).await, ["a/1 1", "b/1 1"]);
    // Both ends are included.
    assert_eq!(
        filter(json!({"startTime": NOW + 2, "endTime": NOW + 10})).await,
        ["b/1 0", "a/1 1"]
    );
    let page = bed
        .ok("FilterLogEvents", json!({"logGroupIdentifier": "g", "limit": 1}))
        .await;
    let event = &page["events"][0];
    assert_eq!(
        (&event["logStreamName"], &event["timestamp"]),
        (&json!("a/1"), &json!(NOW))
    );
    assert_eq!(event["eventId"].as_str().unwrap().len(), 56);
    assert_eq!(page["searchedLogStreams"], json!([]));
    for extra in [
        json!({"logStreamNames": ["a/1"], "logStreamNamePrefix": "a"}),
        json!({"filterPattern": "{ $.n > }"}),
        json!({"nextToken": "made up"}),
        json!({"startTime": 2, "endTime": 1}),
        json!({"startFromHead": false, "startTime": 0}),
        json!({"logGroupIdentifier": "g"}),
    ] {
        let mut input = json!({"logGroupName": "g"});
        input
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let (code, _) = bed.refused("FilterLogEvents", input).await;
        assert_eq!(code, "InvalidParameterException", "{extra}");
    }
    let (code, _) = bed
        .refused(
            "FilterLogEvents",
            json!({"logGroupName": "g", "logStreamNames": ["missing"]}),
        )
        .await;
    assert_eq!(code, "ResourceNotFoundException");
}

#[tokio::test]
async fn a_page_holds_no_more_than_a_mebibyte() {
    let bed = Bed::with_memory(1 << 20);
    bed.stream("g", "s").await;
    let long = "x".repeat(400_000);
    for i in 0..6 {
        bed.put("g", "s", &[(NOW + i, &long)]).await;
    }
    let page = bed.ok("FilterLogEvents", json!({"logGroupName": "g"})).await;
    assert_eq!(messages(&page).len(), 2);
    assert_eq!(bed.filter(json!({"logGroupName": "g"})).await.len(), 6);
    let newest = bed
        .ok("GetLogEvents", json!({"logGroupName": "g", "logStreamName": "s"}))
        .await;
    let times: Vec<i64> = newest["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["timestamp"].as_i64().unwrap())
        .collect();
    assert_eq!(times, [NOW + 4, NOW + 5]);
}

#[tokio::test]
async fn following_a_stream_finds_what_comes_after_its_end() {
    let bed = Bed::new();
    bed.stream("g", "s").await;
    let input = json!({"logGroupName": "g", "logStreamName": "s", "startFromHead": true});
    let mut token = bed.ok("GetLogEvents", input).await["nextForwardToken"].clone();
    for round in 0..5 {
        let message = format!("m{round}");
        // The same time again: new events still come after old ones.
        bed.put("g", "s", &[(NOW, &message)]).await;
        let input = json!({"logGroupName": "g", "logStreamName": "s", "nextToken": token});
        let page = bed.ok("GetLogEvents", input).await;
        assert_eq!(messages(&page), [message]);
        token = page["nextForwardToken"].clone();
    }
}

#[tokio::test]
async fn regions_are_apart() {
    let mut bed = Bed::new();
    bed.stream("g", "s").await;
    bed.put("g", "s", &[(NOW, "here")]).await;
    bed.region = "eu-west-1";
    let (code, _) = bed.refused("FilterLogEvents", json!({"logGroupName": "g"})).await;
    assert_eq!(code, "ResourceNotFoundException");
    bed.stream("g", "s").await;
    assert!(bed.filter(json!({"logGroupName": "g"})).await.is_empty());
}
