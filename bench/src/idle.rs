//! What Neargate costs when nothing happens, and how soon it answers.

use crate::Result;
use crate::instance::{Instance, RANGES, Scratch, memory_kib};
use crate::stats::Sample;

const ROUNDS: usize = 7;

pub fn run() -> Result<()> {
    let mut answers = Vec::new();
    let mut memory = Vec::new();
    for round in 0..ROUNDS {
        let scratch = Scratch::new(&format!("idle{round}"))?;
        let instance = Instance::start(&scratch.0, &RANGES)?;
        answers.push(instance.first_answer);
        let roles: Vec<(&str, u64, u64)> = instance
            .pids()
            .iter()
            .map(|(role, pid)| (*role, memory_kib(*pid, "VmRSS"), memory_kib(*pid, "Pss")))
            .collect();
        memory.push(roles);
    }
    memory.sort_by_key(|roles| roles.iter().map(|(_, rss, _)| rss).sum::<u64>());
    let median = &memory[memory.len() / 2];
    println!("idle: after start");
    println!("  exec to first answered call  {}", Sample::new(answers));
    for (role, rss, pss) in median {
        println!(
            "  {role:8} {:5.1} MiB resident, {:5.1} MiB its share",
            *rss as f64 / 1024.0,
            *pss as f64 / 1024.0
        );
    }
    let (rss, pss) = median.iter().fold((0, 0), |(r, p), (_, rss, pss)| (r + rss, p + pss));
    println!(
        "  together {:5.1} MiB resident, {:5.1} MiB counting shared pages once",
        rss as f64 / 1024.0,
        pss as f64 / 1024.0
    );
    Ok(())
}
