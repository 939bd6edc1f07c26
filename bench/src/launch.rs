//! How long until a program runs, everything included from the call on.

use crate::Result;
use crate::instance::{Instance, RANGES, Scratch, arns, client, run_task, wait_status, with_stamp};
use crate::peers::{Docker, Runc};
use crate::stamp::Stamps;
use crate::stats::Sample;
use serde_json::json;
use std::time::{Duration, Instant};

const ROUNDS: usize = 40;
const LIMIT: Duration = Duration::from_secs(20);

pub fn run() -> Result<()> {
    let scratch = Scratch::new("launch")?;
    let mut stamps = Stamps::open(&scratch.0)?;
    let instance = Instance::start(&scratch.0, &RANGES)?;
    let subnet = with_stamp(&scratch.0, &instance)?;
    let mut client = client();
    let runc = Runc::prepare(&scratch.0)?;
    let docker = Docker::start(&scratch.0);
    if let Err(why) = &docker {
        println!("docker is left out: {why}");
    }
    let (mut program, mut seen, mut bare, mut docked) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS + 2 {
        let warm = round >= 2;
        let begin = Instant::now();
        let answer = client.ecs("RunTask", &run_task(&subnet, 1))?;
        let runs = stamps.wait(1, LIMIT)?;
        let tasks = arns(&answer);
        let running = wait_status(&mut client, &tasks, "RUNNING", LIMIT)?;
        if warm {
            program.push(runs - begin);
            seen.push(running - begin);
        }
        client.ecs("StopTask", &json!({ "cluster": "bench", "task": tasks[0] }))?;
        wait_status(&mut client, &tasks, "STOPPED", LIMIT)?;

        let begin = Instant::now();
        runc.run(round)?;
        let runs = stamps.wait(1, LIMIT)?;
        if warm {
            bare.push(runs - begin);
        }
        runc.remove(round);

        if let Ok(docker) = &docker {
            let begin = Instant::now();
            let id = docker.run()?;
            let runs = stamps.wait(1, LIMIT)?;
            if warm {
                docked.push(runs - begin);
            }
            docker.remove(&id);
        }
    }
    let (program, bare) = (Sample::new(program), Sample::new(bare));
    println!("launch: from the call to the program running");
    println!("  neargate RunTask           {program}");
    println!("  neargate RUNNING seen      {}", Sample::new(seen));
    println!("  runc run -d, same bundle   {bare}");
    if docker.is_ok() {
        let docked = Sample::new(docked);
        println!("  docker run -d              {docked}");
        println!(
            "  docker / neargate          {:.1}",
            docked.median().as_secs_f64() / program.median().as_secs_f64()
        );
    }
    println!(
        "  runc / neargate            {:.1}",
        bare.median().as_secs_f64() / program.median().as_secs_f64()
    );
    Ok(())
}
