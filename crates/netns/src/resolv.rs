//! The machine's own DNS servers, read from resolv.conf.

use std::net::{IpAddr, SocketAddr};

/// Name servers in file order, port 53.
pub fn name_servers(resolv_conf: &str) -> Vec<SocketAddr> {
    resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok())
        .map(|ip| SocketAddr::new(ip, 53))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_noise_are_passed_over() {
        let text = "# hello\nnameserver 127.0.0.53\noptions edns0\nnameserver fe80::1%eth0\n nameserver 1.1.1.1\n";
        let servers = name_servers(text);
        assert_eq!(
            servers,
            ["127.0.0.53:53".parse().unwrap(), "1.1.1.1:53".parse().unwrap()]
        );
    }
}
