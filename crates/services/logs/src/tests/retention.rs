//! Retention: what has expired is not answered any more, then deleted.

use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn files(bed: &Bed) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(bed.dir.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() != "journal" {
            let files = std::fs::read_dir(entry.path()).unwrap();
            bytes += files.map(|f| f.unwrap().metadata().unwrap().len()).sum::<u64>();
        }
    }
    bytes
}

#[tokio::test]
async fn only_the_periods_of_the_model_are_taken() {
    let bed = Bed::new();
    bed.ok("CreateLogGroup", json!({"logGroupName": "g"})).await;
    for days in [0, 2, -1, 3654] {
        let (code, _) = bed
            .refused(
                "PutRetentionPolicy",
                json!({"logGroupName": "g", "retentionInDays": days}),
            )
            .await;
        assert_eq!(code, "InvalidParameterException");
    }
    bed.ok("PutRetentionPolicy", json!({"logGroupName": "g", "retentionInDays": 7}))
        .await;
    assert_eq!(described(&bed, "g").await["retentionInDays"], json!(7));
    bed.ok("DeleteRetentionPolicy", json!({"logGroupName": "g"})).await;
    assert!(described(&bed, "g").await.get("retentionInDays").is_none());
    for operation in ["PutRetentionPolicy", "DeleteRetentionPolicy"] {
        let (code, _) = bed
            .refused(operation, json!({"logGroupName": "missing", "retentionInDays": 1}))
            .await;
        assert_eq!(code, "ResourceNotFoundException");
    }
}

#[tokio::test]
async fn expired_events_are_hidden_at_once_and_deleted_by_the_sweep() {
    let mut bed = Bed::with_memory(4000);
    bed.stream("g", "s").await;
    bed.ok("PutRetentionPolicy", json!({"logGroupName": "g", "retentionInDays": 3}))
        .await;
    let text = "t".repeat(100);
    for day in 0..6 {
        for i in 0..50 {
            bed.put("g", "s", &[(bed.now() + i, &text)]).await;
        }
        bed.advance(DAY);
        assert!(bed.filter(json!({"logGroupName": "g"})).await.len() <= 200, "day {day}");
    }
    // Days 3 to 5 begin at most three days ago.
    assert_eq!(bed.filter(json!({"logGroupName": "g"})).await.len(), 150);
    // What is still on its way to a segment is in one afterwards.
    bed.restart();
    let before = described(&bed, "g").await["storedBytes"].as_u64().unwrap();
    let on_disk = files(&bed);
    bed.logs().sweep().await;
    let after = described(&bed, "g").await["storedBytes"].as_u64().unwrap();
    assert!(after >= 150 * 126 && after < before * 3 / 4, "{before} {after}");
    assert!(files(&bed) < on_disk, "{on_disk} {}", files(&bed));
    assert_eq!(bed.filter(json!({"logGroupName": "g"})).await.len(), 150);
    bed.restart();
    assert_eq!(bed.filter(json!({"logGroupName": "g"})).await.len(), 150);
    bed.advance(DAY * 10);
    bed.logs().sweep().await;
    assert_eq!(described(&bed, "g").await["storedBytes"], json!(0));
    assert_eq!(files(&bed), 0);
}

#[tokio::test]
async fn events_of_a_deleted_stream_go_from_the_files() {
    let bed = Bed::with_memory(4000);
    bed.stream("g", "keep").await;
    bed.stream("g", "drop").await;
    for i in 0..100 {
        bed.put("g", "keep", &[(NOW + i, "kept")]).await;
        bed.put("g", "drop", &[(NOW + i, "dropped")]).await;
    }
    bed.ok("DeleteLogStream", json!({"logGroupName": "g", "logStreamName": "drop"}))
        .await;
    assert_eq!(bed.filter(json!({"logGroupName": "g"})).await.len(), 100);
    // What is just being written to a segment goes with the next sweep after.
    bed.ok(
        "CreateLogStream",
        json!({"logGroupName": "g", "logStreamName": "other"}),
    )
    .await;
    bed.ok(
        "DeleteLogStream",
        json!({"logGroupName": "g", "logStreamName": "other"}),
    )
    .await;
    bed.logs().sweep().await;
    assert_eq!(bed.filter(json!({"logGroupName": "g"})).await, vec!["kept"; 100]);
    let left = bed.store.snapshot().range::<crate::records::SweepRecord>("").count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn the_loop_sweeps_when_told_and_stops_when_told() {
    let bed = Bed::with_memory(1000);
    bed.stream("g", "s").await;
    for i in 0..50 {
        bed.put("g", "s", &[(NOW + i, "some text")]).await;
    }
    bed.advance(DAY * 2);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let running = tokio::spawn(bed.logs().clone().run(stopped));
    bed.ok("PutRetentionPolicy", json!({"logGroupName": "g", "retentionInDays": 1}))
        .await;
    let swept = async {
        while described(&bed, "g").await["storedBytes"] != json!(0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), swept).await.unwrap();
    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(10), running)
        .await
        .unwrap()
        .unwrap();
}
