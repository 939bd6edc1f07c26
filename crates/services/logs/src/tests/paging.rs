//! Every event comes once, in order, however the pages are cut and wherever the events lie.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
struct Plan {
    /// Stream and times of each request.
    puts: Vec<(usize, Vec<i64>)>,
    limit: i64,
    memory: usize,
    restart: bool,
}

fn plan() -> impl Strategy<Value = Plan> {
    let put = (0..4usize, proptest::collection::vec(0..60i64, 1..12));
    (
        proptest::collection::vec(put, 1..25),
        1..40i64,
        prop_oneof![Just(500usize), Just(5000), Just(1 << 20)],
        any::<bool>(),
    )
        .prop_map(|(puts, limit, memory, restart)| Plan {
            puts,
            limit,
            memory,
            restart,
        })
}

async fn holds(plan: Plan) {
    let mut bed = Bed::with_memory(plan.memory);
    for stream in 0..4 {
        bed.stream("g", &format!("s{stream}")).await;
    }
    // Time, place in the order of coming, stream: the order in which events are answered.
    let mut expected = Vec::new();
    let mut came = 0;
    for (stream, mut times) in plan.puts.clone() {
        times.sort_unstable();
        let events: Vec<(i64, String)> = times
            .iter()
            .map(|time| {
                came += 1;
                expected.push((*time, came, stream));
                (NOW + time, came.to_string())
            })
            .collect();
        let events: Vec<(i64, &str)> = events.iter().map(|(t, m)| (*t, m.as_str())).collect();
        bed.put("g", &format!("s{stream}"), &events).await;
    }
    if plan.restart {
        bed.restart();
    }
    expected.sort_unstable();
    let all: Vec<String> = expected.iter().map(|(_, came, _)| came.to_string()).collect();
    let forward = json!({"logGroupName": "g", "limit": plan.limit});
    assert_eq!(bed.filter(forward).await, all);
    let backward = json!({"logGroupName": "g", "limit": plan.limit, "startFromHead": false});
    let mut newest = bed.filter(backward).await;
    newest.reverse();
    assert_eq!(newest, all);
    let some = json!({"logGroupName": "g", "limit": plan.limit, "startTime": NOW + 20, "endTime": NOW + 40});
    let between: Vec<String> = (expected.iter())
        .filter(|(time, ..)| (20..=40).contains(time))
        .map(|(_, came, _)| came.to_string())
        .collect();
    assert_eq!(bed.filter(some).await, between);
    for stream in 0..4 {
        let own: Vec<String> = (expected.iter())
            .filter(|(.., of)| *of == stream)
            .map(|(_, came, _)| came.to_string())
            .collect();
        assert_eq!(walk(&bed, stream, plan.limit, true).await, own);
        assert_eq!(walk(&bed, stream, plan.limit, false).await, own);
    }
}

/// All events of a stream by GetLogEvents, in order of time.
async fn walk(bed: &Bed, stream: usize, limit: i64, forward: bool) -> Vec<String> {
    let mut input = json!({"logGroupName": "g", "logStreamName": format!("s{stream}"), "limit": limit,
        "startFromHead": forward});
    let token = if forward {
        "nextForwardToken"
    } else {
        "nextBackwardToken"
    };
    let mut pages = Vec::new();
    loop {
        let page = bed.ok("GetLogEvents", input.clone()).await;
        let found = messages(&page);
        if found.is_empty() {
            let given = input.get("nextToken");
            assert!(
                given.is_none() || given == page.get(token),
                "the end answers the token it was given"
            );
            break;
        }
        pages.push(found);
        input["nextToken"] = page[token].clone();
    }
    if !forward {
        pages.reverse();
    }
    pages.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_event_comes_once_in_order(plan in plan()) {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
            .block_on(holds(plan));
    }
}
