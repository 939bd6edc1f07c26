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
