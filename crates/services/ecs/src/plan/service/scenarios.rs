//! Scenarios as text: `scenarios/*.txt` hold scripts (lines that begin with `> `) with everything that happens on them.
//! A change of behaviour shows as a difference of these files; `NEARGATE_UPDATE_SCENARIOS=1` writes them anew.

use super::Checks;
use super::simulator::{Behaviour, Simulator};
use crate::records::{SchedulingStrategy, StopRequest};
use std::fs;
use std::path::Path;
use std::time::Duration;

#[test]
fn every_scenario_goes_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/service/scenarios");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(files.len() > 10, "the scenarios are there");
    let mut different = Vec::new();
    for file in files {
        let expected = fs::read_to_string(&file).unwrap();
        let actual = play(&expected);
        if actual == expected {
            continue;
        }
        if std::env::var_os("NEARGATE_UPDATE_SCENARIOS").is_some() {
            fs::write(&file, actual).unwrap();
        } else {
            different.push(format!("{}:\n{actual}", file.display()));
        }
    }
    assert!(different.is_empty(), "these went otherwise:\n{}", different.join("\n"));
}

/// Runs the script in `text` and answers it with its output.
fn play(text: &str) -> String {
    let mut sim = Simulator::new(1, 100, 200);
    let mut out = String::new();
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            out += &format!("#{comment}\n");
        }
        let Some(command) = line.strip_prefix("> ") else {
            continue;
        };
        let words: Vec<&str> = command.split_whitespace().collect();
        perform(&mut sim, &words);
        out += &format!("> {command}\n{}", std::mem::take(&mut sim.transcript));
    }
    out
}

fn perform(sim: &mut Simulator, words: &[&str]) {
    let number = |text: &str| text.parse::<u32>().unwrap();
    match words {
        ["service", settings @ ..] => {
            for setting in settings {
                let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
                let percent = || Some(value.parse::<i32>().unwrap());
                let configuration = &mut sim.service.deployment_configuration;
                match name {
                    "desired" => sim.service.desired_count = number(value),
                    "min" => configuration.minimum_healthy_percent = percent(),
                    "max" => configuration.maximum_percent = percent(),
                    "daemon" => sim.service.scheduling = SchedulingStrategy::Daemon,
                    "zones" => {
                        sim.zones = value.split(',').map(str::to_owned).collect();
                        sim.service.availability_zone_rebalancing = "ENABLED".to_owned();
                    }
                    "breaker" => sim.breaker(false, value.parse().ok(), None),
                    "rollback" => sim.breaker(true, value.parse().ok(), None),
                    "rollback-cumulative" => sim.breaker(true, value.parse().ok(), Some(false)),
                    "budget" => sim.budget = value.parse().unwrap(),
                    other => panic!("unknown setting {other}"),
                }
            }
            if !sim.service.deployments.is_empty() {
                sim.settle();
            }
        }
        ["revision", revision, traits @ ..] => {
            let mut b = Behaviour::default();
            for one in traits {
                let (name, value) = one.split_once('=').unwrap_or((one, ""));
                match name {
                    "starts" => b.starts = duration(value),
                    "stops" => b.stops = duration(value),
                    "fails" => b.fails_to_start = true,
                    "exits" => b.exits = Some(duration(value)),
                    "healthy" => b.healthy = Some(duration(value)),
                    "unhealthy" => b.unhealthy = Some(duration(value)),
                    other => panic!("unknown behaviour {other}"),
                }
            }
            sim.behaviours.insert(number(revision), b);
        }
        ["deploy", revision] => sim.deploy(number(revision)),
        ["run", time] => sim.run(duration(time)),
        ["scale", desired] => sim.scale(number(desired)),
        ["kill", tasks @ ..] => tasks.iter().for_each(|id| sim.kill(id)),
        ["user-stop", id] => sim.user_stop(id),
        ["lose", id] => sim.lose(id),
        ["health", id, "healthy"] => sim.set_health(id, Checks::Healthy),
        ["health", id, "unhealthy"] => sim.set_health(id, Checks::Unhealthy),
        ["protect", id, time] => sim.protect(id, duration(time)),
        ["full", reason @ ..] => sim.set_full(Some(&format!(" {}", reason.join(" ")))),
        ["free"] => sim.set_full(None),
        ["node", id, "joins"] => sim.set_node(id, Some(true)),
        ["node", id, "disconnects"] => sim.set_node(id, Some(false)),
        ["node", id, "leaves"] => sim.set_node(id, None),
        ["rollback"] => sim.stop_deployment(StopRequest::Rollback),
        ["abort"] => sim.stop_deployment(StopRequest::Abort),
        ["delete"] => sim.delete(),
        ["show"] => sim.show(),
        other => panic!("unknown command {other:?}"),
    }
}

fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap());
    let number: f64 = number.parse().unwrap();
    Duration::from_secs_f64(match unit {
        "ms" => number / 1000.0,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        other => panic!("unknown unit {other}"),
    })
}
