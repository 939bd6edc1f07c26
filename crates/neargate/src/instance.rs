//! The settings of one Neargate, kept in its data directory: what was said once holds until something else is said.

use crate::paths;
use crate::quotas::Quotas;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// As stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Four hex digits that tell this instance's kernel objects from another's.
    pub instance: String,
    /// 32 hex digits: this machine as a container instance.
    pub node_id: String,
    pub listen: SocketAddr,
    pub region: String,
    pub account: String,
    pub vpc_cidr: String,
    pub bridge_cidr: String,
    /// Public addresses, of tasks and elastic ones.
    #[serde(default = "default_public_cidr")]
    pub public_cidr: String,
    /// Where internet-facing load balancers take requests besides at their own addresses.
    #[serde(default = "default_balancer_listen")]
    pub load_balancer_listen: IpAddr,
    /// `builtin`, `runc`, `crun` or a path.
    pub runtime: String,
    /// Nodes that only pretend; none runs containers.
    pub simulated_nodes: Option<u32>,
    /// Seconds.
    pub healthy_after: u32,
    /// Registry accounts in the form of Docker's configuration file; none is the starting user's own.
    #[serde(default)]
    pub registry_auth: Option<PathBuf>,
    #[serde(default)]
    pub quotas: Quotas,
}

fn default_public_cidr() -> String {
    "198.19.0.0/16".into()
}

fn default_balancer_listen() -> IpAddr {
    IpAddr::V4(Ipv4Addr::LOCALHOST)
}

/// What a command line changes.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub listen: Option<String>,
    pub region: Option<String>,
    pub account: Option<String>,
    pub vpc_cidr: Option<String>,
    pub bridge_cidr: Option<String>,
    pub public_cidr: Option<String>,
    pub load_balancer_listen: Option<String>,
    pub runtime: Option<String>,
    pub simulated_nodes: Option<u32>,
    pub healthy_after: Option<u32>,
    pub registry_auth: Option<PathBuf>,
    /// Each `NAME=N`.
    pub quotas: Vec<String>,
}

/// A data directory and its settings.
#[derive(Clone, Debug)]
pub struct Instance {
    pub data: PathBuf,
    pub settings: Settings,
}

impl Instance {
    /// The instance that was started here before.
    ///
    /// # Errors
    /// When none was, with what to do.
    pub fn open(data: &Path) -> Result<Instance, String> {
        match read(data)? {
            Some(settings) => Ok(Instance {
                data: data.to_owned(),
                settings,
            }),
            None => Err(format!(
                "no Neargate was started with the data directory {}: run `neargate up` first, or name another with --data-dir",
                data.display()
            )),
        }
    }

    /// Opens or makes the instance and applies what the command line says; `keep` makes it last.
    ///
    /// # Errors
    /// A value that cannot be, named with its flag.
    pub fn prepare(data: &Path, overrides: Overrides) -> Result<Instance, String> {
        paths::make_private(data)?;
        let settings = match read(data)? {
            Some(settings) => {
                same_account(&settings, &overrides)?;
                apply(settings, overrides)?
            }
            None => apply(fresh(data)?, overrides)?,
        };
        Ok(Instance {
            data: data.to_owned(),
            settings,
        })
    }

    /// Stores the settings, and returns what puts the earlier ones back.
    ///
    /// # Errors
    /// When the data directory cannot be written.
    pub fn keep(&self) -> Result<Earlier, String> {
        let earlier = Earlier {
            data: self.data.clone(),
            settings: read(&self.data)?,
        };
        write(&self.data, &self.settings)?;
        Ok(earlier)
    }

    /// Where AWS tools reach it.
    pub fn endpoint(&self) -> String {
        let listen = self.settings.listen;
        match listen.ip() {
            ip if ip.is_unspecified() => format!("http://127.0.0.1:{}", listen.port()),
            IpAddr::V6(ip) => format!("http://[{ip}]:{}", listen.port()),
            IpAddr::V4(ip) => format!("http://{ip}:{}", listen.port()),
        }
    }
}

/// The settings before a start; none before the first.
pub struct Earlier {
    data: PathBuf,
    settings: Option<Settings>,
}

impl Earlier {
    pub fn is_first(&self) -> bool {
        self.settings.is_none()
    }

    /// Forgets what a start that failed had asked for.
    ///
    /// # Errors
    /// When the data directory cannot be written.
    pub fn restore(self) -> Result<(), String> {
        let path = paths::instance(&self.data);
        match self.settings {
            Some(settings) => write(&self.data, &settings),
            None => std::fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display())),
        }
    }
}

fn write(data: &Path, settings: &Settings) -> Result<(), String> {
    let text = serde_json::to_vec_pretty(settings).map_err(|e| e.to_string())?;
    paths::write_private(&paths::instance(data), &text)
}

/// Every ARN that is stored holds the account.
fn same_account(settings: &Settings, overrides: &Overrides) -> Result<(), String> {
    match &overrides.account {
        Some(asked) if *asked != settings.account => Err(format!(
            "--account {asked}: what is in this data directory belongs to account {}; name another with --data-dir",
            settings.account
        )),
        _ => Ok(()),
    }
}

fn read(data: &Path) -> Result<Option<Settings>, String> {
    let path = paths::instance(data);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            format!(
                "{} is damaged ({e}): mend it, or remove it to start with new settings",
                path.display()
            )
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => Err(format!(
            "{}: {e}; was it started by root? Try with sudo",
            path.display()
        )),
        Err(e) => Err(format!("{}: {e}", path.display())),
    }
}

fn fresh(data: &Path) -> Result<Settings, String> {
    use neargate_core::Ids as _;
    let name = data.canonicalize().map_err(|e| format!("{}: {e}", data.display()))?;
    let hash = name
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    Ok(Settings {
        instance: format!("{:04x}", (hash >> 16) ^ (hash & 0xffff)),
        node_id: neargate_core::ids::RandomIds.hex32(),
        listen: SocketAddr::from(([127, 0, 0, 1], 4566)),
        region: "us-east-1".into(),
        account: "000000000000".into(),
        vpc_cidr: "172.31.0.0/16".into(),
        bridge_cidr: "198.18.0.0/16".into(),
        public_cidr: default_public_cidr(),
        load_balancer_listen: default_balancer_listen(),
        runtime: "builtin".into(),
        simulated_nodes: None,
        healthy_after: 40,
        registry_auth: None,
        quotas: Quotas::default(),
    })
}

fn apply(mut settings: Settings, overrides: Overrides) -> Result<Settings, String> {
    if let Some(listen) = overrides.listen {
        settings.listen = listen
            .replace("localhost:", "127.0.0.1:")
            .parse()
            .map_err(|_| format!("--listen {listen}: give an address and a port, such as 127.0.0.1:4566"))?;
    }
    if let Some(region) = overrides.region {
        let fits = !region.is_empty()
            && region
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        settings.region = if fits {
            region
        } else {
            return Err(format!("--region {region}: give a region name such as us-east-1"));
        };
    }
    if let Some(account) = overrides.account {
        let fits = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        settings.account = if fits {
            account
        } else {
            return Err(format!("--account {account}: an account has 12 digits"));
        };
    }
    if let Some(range) = overrides.vpc_cidr {
        settings.vpc_cidr = checked_range("--vpc-cidr", range, 8, 24)?;
    }
    if let Some(range) = overrides.bridge_cidr {
        settings.bridge_cidr = checked_range("--bridge-cidr", range, 8, 28)?;
    }
    if let Some(range) = overrides.public_cidr {
        settings.public_cidr = checked_range("--public-cidr", range, 8, 28)?;
    }
    if let Some(address) = overrides.load_balancer_listen {
        settings.load_balancer_listen = address.replace("localhost", "127.0.0.1").parse().map_err(|_| {
            format!("--load-balancer-listen {address}: give an address without a port, such as 127.0.0.1 or 0.0.0.0")
        })?;
        if let Err(error) = std::net::TcpListener::bind((settings.load_balancer_listen, 0)) {
            return Err(format!(
                "--load-balancer-listen {address}: this machine cannot listen there: {error}"
            ));
        }
    }
    if let Some(runtime) = overrides.runtime {
        settings.runtime = runtime;
    }
    if let Some(seconds) = overrides.healthy_after {
        settings.healthy_after = seconds;
    }
    if let Some(path) = overrides.registry_auth {
        settings.registry_auth =
            Some(std::path::absolute(&path).map_err(|e| format!("--registry-auth {}: {e}", path.display()))?);
    }
    for quota in overrides.quotas {
        settings.quotas.set(&quota)?;
    }
    settings.simulated_nodes = overrides.simulated_nodes;
    Ok(settings)
}

fn checked_range(flag: &str, text: String, least: u8, most: u8) -> Result<String, String> {
    let cidr: neargate_netns::Cidr = text.parse().map_err(|e| format!("{flag}: {e}"))?;
    if !(least..=most).contains(&cidr.prefix()) {
        return Err(format!(
            "{flag} {text}: the prefix length must be between /{least} and /{most}"
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            instance: "0000".into(),
            node_id: "0".repeat(32),
            listen: "127.0.0.1:4566".parse().unwrap(),
            region: "us-east-1".into(),
            account: "000000000000".into(),
            vpc_cidr: "172.31.0.0/16".into(),
            bridge_cidr: "198.18.0.0/16".into(),
            public_cidr: default_public_cidr(),
            load_balancer_listen: default_balancer_listen(),
            runtime: "builtin".into(),
            simulated_nodes: Some(3),
            healthy_after: 40,
            registry_auth: None,
            quotas: Quotas::default(),
        }
    }

    #[test]
    fn what_was_said_once_holds_but_simulation_is_asked_for_each_time() {
        let kept = apply(
            settings(),
            Overrides {
                region: Some("eu-central-1".into()),
                ..Overrides::default()
            },
        )
        .unwrap();
        assert_eq!(kept.region, "eu-central-1");
        assert_eq!(kept.account, "000000000000");
        assert_eq!(kept.simulated_nodes, None);
    }

    #[test]
    fn the_account_stays_and_localhost_is_an_address() {
        let asked = |account: &str| Overrides {
            account: Some(account.into()),
            ..Overrides::default()
        };
        assert!(same_account(&settings(), &asked("000000000000")).is_ok());
        assert!(
            same_account(&settings(), &asked("123456789012"))
                .unwrap_err()
                .starts_with("--account")
        );
        let local = Overrides {
            listen: Some("localhost:4700".into()),
            ..Overrides::default()
        };
        assert_eq!(
            apply(settings(), local).unwrap().listen,
            "127.0.0.1:4700".parse().unwrap()
        );
    }

    #[test]
    fn what_a_failed_start_asked_for_is_forgotten() {
        let data = std::env::temp_dir().join(format!("neargate-settings-{}", std::process::id()));
        let region = |region: &str| Overrides {
            region: Some(region.into()),
            ..Overrides::default()
        };
        let first = Instance::prepare(&data, region("eu-west-1")).unwrap().keep().unwrap();
        assert!(first.is_first());
        let second = Instance::prepare(&data, region("eu-west-2")).unwrap().keep().unwrap();
        assert!(!second.is_first());
        second.restore().unwrap();
        let kept = Instance::open(&data).unwrap().settings.region;
        first.restore().unwrap();
        let forgotten = Instance::open(&data).is_err();
        std::fs::remove_dir_all(&data).unwrap();
        assert_eq!((kept.as_str(), forgotten), ("eu-west-1", true));
    }

    #[test]
    fn impossible_values_are_refused_with_their_flag() {
        let wrong = |o: Overrides| apply(settings(), o).unwrap_err();
        assert!(
            wrong(Overrides {
                listen: Some("4566".into()),
                ..Overrides::default()
            })
            .starts_with("--listen")
        );
        assert!(
            wrong(Overrides {
                account: Some("1".into()),
                ..Overrides::default()
            })
            .starts_with("--account")
        );
        assert!(
            wrong(Overrides {
                vpc_cidr: Some("10.0.0.0/30".into()),
                ..Overrides::default()
            })
            .starts_with("--vpc-cidr")
        );
        assert!(
            wrong(Overrides {
                region: Some("US East".into()),
                ..Overrides::default()
            })
            .starts_with("--region")
        );
    }
}
