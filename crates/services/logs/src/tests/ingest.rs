//! What containers write arrives once.

use super::*;
use neargate_link::{LogBatch, LogEvent, LogOpening};

pub(super) fn batch(source: &str, from: u64, lines: &[(i64, &str)]) -> LogBatch {
    LogBatch {
        source: source.into(),
        from_offset: from,
        to_offset: from + lines.len() as u64,
        region: "us-east-1".into(),
        group: "/ecs/web".into(),
        stream: format!("p/{source}"),
        events: (lines.iter())
            .map(|(timestamp, message)| LogEvent {
                timestamp: Timestamp(*timestamp),
                message: (*message).into(),
            })
            .collect(),
    }
}

pub(super) fn opening(source: &str) -> LogOpening {
    LogOpening {
        source: source.into(),
        region: "us-east-1".into(),
        group: "/ecs/web".into(),
        stream: format!("p/{source}"),
        create_group: true,
    }
}

/// With a group and a stream that batches of `t/c` go to.
pub(super) async fn opened(bed: Bed) -> Bed {
    bed.logs().open_stream(opening("t/c")).await.unwrap();
    bed
}

async fn all(bed: &Bed) -> Vec<String> {
    bed.filter(json!({"logGroupName": "/ecs/web"})).await
}

#[tokio::test]
async fn ranges_that_are_stored_are_left_out_also_after_restarts_and_segments() {
    let mut bed = opened(Bed::with_memory(600)).await;
    for round in 0..3 {
        for i in 0..20u64 {
            let line = format!("line {i}");
            bed.logs()
                .ingest(batch("t/c", i, &[(NOW + i as i64, &line)]))
                .await
                .unwrap();
        }
        assert_eq!(all(&bed).await.len(), 20, "round {round}");
        bed.restart();
        assert_eq!(all(&bed).await.len(), 20, "round {round}");
    }
    let group = described(&bed, "/ecs/web").await;
    assert_eq!(group["logGroupName"], "/ecs/web");
    let streams = bed.ok("DescribeLogStreams", json!({"logGroupName": "/ecs/web"})).await;
    assert_eq!(streams["logStreams"][0]["logStreamName"], "p/t/c");
    assert_eq!(streams["logStreams"][0]["lastEventTimestamp"], json!(NOW + 19));
}

#[tokio::test]
async fn many_copies_at_the_same_time_are_stored_once() {
    let bed = opened(Bed::new()).await;
    let one = batch("t/c", 0, &[(NOW, "a"), (NOW, "b")]);
    let copies = (0..16).map(|_| {
        let (logs, one) = (bed.logs().clone(), one.clone());
        tokio::spawn(async move { logs.ingest(one).await })
    });
    for copy in copies.collect::<Vec<_>>() {
        copy.await.unwrap().unwrap();
    }
    assert_eq!(all(&bed).await, ["a", "b"]);
}

#[tokio::test]
async fn a_range_cut_in_another_way_is_stored_from_where_the_stored_one_ends() {
    let bed = opened(Bed::new()).await;
    let lines = [
        (NOW, "a"),
        (NOW + 1, "b"),
        (NOW + 1, "c"),
        (NOW + 2, "d"),
        (NOW + 3, "e"),
    ];
    bed.logs().ingest(batch("t/c", 0, &lines[..1])).await.unwrap();
    bed.logs().ingest(batch("t/c", 1, &lines[1..3])).await.unwrap();
    bed.logs().ingest(batch("t/c", 1, &lines[1..5])).await.unwrap();
    bed.logs().ingest(batch("t/c", 0, &lines)).await.unwrap();
    assert_eq!(all(&bed).await, ["a", "b", "c", "d", "e"]);
}

#[tokio::test]
async fn a_group_that_is_missing_or_was_deleted_is_not_made_by_events() {
    let bed = Bed::new();
    let one = batch("t/c", 0, &[(NOW, "a")]);
    let missing = || async { bed.logs().ingest(one.clone()).await.unwrap_err().code };
    assert_eq!(missing().await, "ResourceNotFoundException");
    bed.ok("CreateLogGroup", json!({"logGroupName": "/ecs/web"})).await;
    bed.logs().ingest(one.clone()).await.unwrap();
    assert_eq!(all(&bed).await, ["a"]);
    bed.ok("DeleteLogGroup", json!({"logGroupName": "/ecs/web"})).await;
    assert_eq!(missing().await, "ResourceNotFoundException");
}

#[tokio::test]
async fn a_log_that_is_opened_has_an_empty_stream_or_the_error_that_says_why_not() {
    let bed = Bed::new();
    let mut opening = LogOpening {
        create_group: false,
        ..opening("t/c")
    };
    let error = bed.logs().open_stream(opening.clone()).await.unwrap_err();
    assert_eq!(
        (&*error.code, &*error.message),
        ("ResourceNotFoundException", "The specified log group does not exist.")
    );
    opening.create_group = true;
    for _ in 0..2 {
        bed.logs().open_stream(opening.clone()).await.unwrap();
        let streams = bed.ok("DescribeLogStreams", json!({"logGroupName": "/ecs/web"})).await;
        assert_eq!(streams["logStreams"].as_array().unwrap().len(), 1);
        assert_eq!(streams["logStreams"][0]["logStreamName"], "p/t/c");
    }
    bed.logs().ingest(batch("t/c", 0, &[(NOW, "a")])).await.unwrap();
    assert_eq!(all(&bed).await, ["a"]);
    for (group, stream) in [("a b", "s"), ("", "s"), ("g", "a:b"), ("g", "")] {
        let wrong = LogOpening {
            group: group.into(),
            stream: stream.into(),
            ..opening.clone()
        };
        let error = bed.logs().open_stream(wrong).await.unwrap_err();
        assert_eq!(error.code, "InvalidParameterException", "{group} {stream}");
    }
}

#[tokio::test]
async fn empty_lines_are_left_out() {
    let bed = opened(Bed::new()).await;
    bed.logs()
        .ingest(batch("t/c", 0, &[(NOW, ""), (-5, "before the epoch"), (NOW, "a")]))
        .await
        .unwrap();
    assert_eq!(all(&bed).await, ["before the epoch", "a"]);
}
