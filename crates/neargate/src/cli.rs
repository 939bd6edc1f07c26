//! The command line: what it takes, and which function each command is.

use crate::instance::{Instance, Overrides};
use crate::outcome::Outcome;
use crate::{doctor, down, images, quotas, roles, up};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use std::path::PathBuf;

const ABOUT: &str = "Amazon ECS on machines you own: the AWS CLI, boto3 and Terraform drive it unchanged.";

const START: &str = "\
Getting started:
  sudo neargate doctor              what this machine lacks, and how to get it
  sudo neargate up                  start; Ctrl-C ends it and leaves containers running
  eval \"$(sudo neargate env)\"       in another terminal: point AWS tools at it
  aws ecs create-cluster --cluster-name demo
  sudo neargate down                stop and clean up everything

Without root, containers or Linux: neargate up --simulated-nodes 3";

/// The whole command line.
pub fn command() -> Command {
    Command::new("neargate")
        .about(ABOUT)
        .version(env!("CARGO_PKG_VERSION"))
        .after_help(START)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(up_command())
        .subcommand(
            Command::new("env")
                .about("Print the export lines that point AWS tools at this Neargate")
                .after_help("Use it as: eval \"$(neargate env)\"\nIt prints the root access key: treat its output as a secret.")
                .arg(data_dir()),
        )
        .subcommand(
            Command::new("doctor")
                .about("Say what this machine lacks to run containers, and how to get it")
                .after_help("Exits 0 when everything required is there, 1 otherwise.")
                .arg(data_dir())
                .args(network_args()),
        )
        .subcommand(
            Command::new("ca")
                .about("Print the certificate of the authority that issues what `aws acm request-certificate` asks for")
                .after_help("Trust it where you call HTTPS load balancers: neargate ca > ca.pem && curl --cacert ca.pem https://…")
                .arg(data_dir()),
        )
        .subcommand(images_command())
        .subcommand(
            Command::new("down")
                .about("Stop Neargate and every container of it, and remove networks, mounts and cgroups")
                .after_help(
                    "Clusters, services, logs and images stay in the data directory: the next `neargate up` starts the services\nagain. To forget everything, remove the data directory afterwards. Running it twice does no harm.",
                )
                .arg(data_dir())
                .arg(
                    Arg::new("grace")
                        .long("grace")
                        .value_name("SECONDS")
                        .value_parser(value_parser!(u32).range(0..=3600))
                        .help(format!(
                            "How long containers may take to end after their stop signal; then they are killed [default: {}]",
                            down::GRACE
                        )),
                ),
        )
        .subcommand(role("control"))
        .subcommand(role("node"))
        .subcommand(role("gateway"))
}

fn up_command() -> Command {
    Command::new("up")
        .about("Start Neargate here: the AWS endpoint, this machine as a node, the gateway")
        .after_help(
            "The first start makes a root access key (or takes NEARGATE_ROOT_ACCESS_KEY_ID and\nNEARGATE_ROOT_SECRET_ACCESS_KEY). Ctrl-C ends Neargate and leaves containers running: the next `up` takes\nthem over. Settings given once are kept in the data directory, but for --simulated-nodes and --stop-tasks. With\n--listen 127.0.0.1:0 the system picks a free port, which `neargate env` tells.",
        )
        .arg(data_dir())
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS:PORT")
                .help("Where AWS tools connect [default: 127.0.0.1:4566]; anything but loopback exposes the API to your network"),
        )
        .arg(Arg::new("region").long("region").value_name("REGION").help("Region that `neargate env` names [default: us-east-1]; every region name works"))
        .arg(Arg::new("account").long("account").value_name("ID").help("Account to play, 12 digits [default: 000000000000]"))
        .args(network_args())
        .arg(
            Arg::new("load-balancer-listen")
                .long("load-balancer-listen")
                .value_name("ADDRESS")
                .help("Where internet-facing load balancers take requests on this machine [default: 127.0.0.1]; 0.0.0.0 opens them to your network"),
        )
        .arg(
            Arg::new("runtime")
                .long("runtime")
                .value_name("NAME|PATH")
                .help("OCI runtime to start containers with: builtin, runc, crun or a path [default: builtin]"),
        )
        .arg(
            Arg::new("simulated-nodes")
                .long("simulated-nodes")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..=20_000))
                .help("Run N nodes that only pretend: no root, no containers, any image exists. For API work in CI and where there is no Linux"),
        )
        .arg(
            Arg::new("healthy-after")
                .long("healthy-after")
                .value_name("SECONDS")
                .value_parser(value_parser!(u32))
                .help("Seconds after which a running task without health check counts as healthy in a deployment [default: 40, as on AWS]"),
        )
        .arg(
            Arg::new("registry-auth")
                .long("registry-auth")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Registry accounts, as `docker login` writes them [default: ~/.docker/config.json if it is there]"),
        )
        .arg(
            Arg::new("quota")
                .long("quota")
                .value_name("NAME=N")
                .action(ArgAction::Append)
                .help(quotas::HELP),
        )
        .arg(
            Arg::new("stop-tasks")
                .long("stop-tasks")
                .action(ArgAction::SetTrue)
                .help("Stop every task and clean up when ending, as `neargate down` does"),
        )
}

fn images_command() -> Command {
    Command::new("images")
        .about("Images on this machine")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("load")
                .about("Take an OCI layout or a docker archive, so that its images run without a registry")
                .after_help(
                    "FILE|DIR is an OCI image layout (a folder, or a tar of one) or what `docker save` and\n`skopeo copy … docker-archive:` write; gzip and zstd are recognised. Example:\n  docker save my/app:1 | gzip > app.tar.gz && sudo neargate images load app.tar.gz",
                )
                .arg(Arg::new("path").value_name("FILE|DIR").required(true).value_parser(value_parser!(PathBuf)).help("OCI image layout or docker archive"))
                .arg(Arg::new("name").long("name").value_name("REFERENCE").help("Name for an image that brings none, e.g. my/app:1"))
                .arg(data_dir()),
        )
        .subcommand(Command::new("list").about("List the images on this machine").arg(data_dir()))
        .subcommand(
            Command::new("remove")
                .about("Forget an image; its layers go once no task uses them")
                .arg(Arg::new("reference").value_name("REFERENCE").required(true).help("As `neargate images list` shows it, e.g. my/app:1"))
                .arg(data_dir()),
        )
}

/// A process that `up` starts; hidden, because people start `up`.
fn role(name: &'static str) -> Command {
    Command::new(name).hide(true).arg(data_dir())
}

fn data_dir() -> Arg {
    Arg::new("data-dir")
        .long("data-dir")
        .value_name("DIR")
        .value_parser(value_parser!(PathBuf))
        .help("Where everything is kept [default: /var/lib/neargate for root, else $XDG_DATA_HOME/neargate]")
}

fn network_args() -> [Arg; 3] {
    [
        Arg::new("vpc-cidr")
            .long("vpc-cidr")
            .value_name("RANGE")
            .help("Addresses of the default VPC [default: 172.31.0.0/16]; must not overlap this machine's networks"),
        Arg::new("bridge-cidr")
            .long("bridge-cidr")
            .value_name("RANGE")
            .help("Addresses of containers in bridge mode [default: 198.18.0.0/16]"),
        Arg::new("public-cidr")
            .long("public-cidr")
            .value_name("RANGE")
            .help("Public addresses, reachable from this machine [default: 198.19.0.0/16]"),
    ]
}

/// Carries out the command.
pub fn run(matches: &ArgMatches) -> Outcome {
    let (name, args) = matches.subcommand().ok_or("no command given: try neargate --help")?;
    let dir = |args: &ArgMatches| crate::paths::data_dir(args.get_one::<PathBuf>("data-dir").cloned());
    let text = |args: &ArgMatches, id: &str| args.try_get_one::<String>(id).ok().flatten().cloned();
    match name {
        "up" => {
            let overrides = Overrides {
                listen: text(args, "listen"),
                region: text(args, "region"),
                account: text(args, "account"),
                vpc_cidr: text(args, "vpc-cidr"),
                bridge_cidr: text(args, "bridge-cidr"),
                public_cidr: text(args, "public-cidr"),
                load_balancer_listen: text(args, "load-balancer-listen"),
                runtime: text(args, "runtime"),
                simulated_nodes: args.get_one::<u32>("simulated-nodes").copied(),
                healthy_after: args.get_one::<u32>("healthy-after").copied(),
                registry_auth: args.get_one::<PathBuf>("registry-auth").cloned(),
                quotas: args.get_many("quota").unwrap_or_default().cloned().collect(),
            };
            up::run(&dir(args)?, overrides, args.get_flag("stop-tasks"))
        }
        "env" => crate::credentials::print_env(&dir(args)?),
        "doctor" => doctor::run(
            &dir(args)?,
            text(args, "vpc-cidr").as_deref(),
            text(args, "bridge-cidr").as_deref(),
            text(args, "public-cidr").as_deref(),
        ),
        "ca" => crate::authority::print(&dir(args)?),
        "down" => down::run(&dir(args)?, args.get_one("grace").copied().unwrap_or(down::GRACE)),
        "images" => {
            let (what, args) = args.subcommand().ok_or("try neargate images --help")?;
            let dir = dir(args)?;
            match what {
                "load" => {
                    let path = args.get_one::<PathBuf>("path").ok_or("no file given")?;
                    images::load(&dir, path, text(args, "name").as_deref())
                }
                "list" => images::list(&dir),
                _ => images::remove(&dir, &text(args, "reference").ok_or("no reference given")?),
            }
        }
        role => roles::run(role, Instance::open(&dir(args)?)?),
    }
}
