//! What tests start as a process of its own: a shim, as `neargate shim` is one, or a node to be killed at any moment.

use neargate_node::NodeConfig;
use std::ffi::OsString;
use std::path::Path;

fn main() {
    let args: Vec<OsString> = std::env::args_os().collect();
    match args.get(1).and_then(|a| a.to_str()) {
        Some("shim") => neargate_runtime::shim_main(&args[2..]),
        Some("node") if args.len() == 9 => node(&args[2..]),
        _ => {
            eprintln!("testnode shim … | node DATA SOCKET RUN INSTANCE VPC-CIDR BRIDGE-CIDR PUBLIC-CIDR");
            std::process::exit(2);
        }
    }
}

fn node(args: &[OsString]) {
    let text = |n: usize| args[n].to_str().expect("plain text").to_owned();
    let exe = std::env::current_exe().expect("the program's own path");
    let mut config = NodeConfig::new(Path::new(&args[0]), Path::new(&args[1]), &exe);
    config.run_dir = args[2].clone().into();
    config.instance = text(3);
    config.vpc_cidr = text(4).parse().expect("a range");
    config.bridge_cidr = text(5).parse().expect("a range");
    config.public_cidr = text(6).parse().expect("a range");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("threads can be made");
    if let Err(error) = runtime.block_on(neargate_node::run(config, || {}, std::future::pending())) {
        eprintln!("testnode: {error}");
        std::process::exit(1);
    }
}
