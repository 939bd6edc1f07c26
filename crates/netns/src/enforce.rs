//! Brings the machine to what the network table says: firewall, routes, addresses.
//!
//! `Network` is the caller. A change of elements alone goes by raw netlink, one with chains and rules by one `nft` run;
//! when the kernel refuses a change, because somebody took the firewall away say, everything is written anew at once. The
//! invariant: rules are there before what they protect, and leave after it.

use crate::config::{Cidr, NetworkConfig};
use crate::firewall;
use crate::journal::{self, Journal};
use crate::netlink::Netlink;
use crate::network::{LOOPBACK, absent_is_fine};
use crate::nfnetlink;
use crate::ports::Ports;
use crate::ranges::foreign;
use crate::table::{Delta, Step, Table};
use std::collections::BTreeSet;
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Where the table is kept.
pub fn journal_path(config: &NetworkConfig) -> PathBuf {
    config.run_dir.with_extension("table")
}

fn empty_table(config: &NetworkConfig) -> Table {
    Table::new(config.table(), config.vpc_cidr, config.public_cidr)
}

/// What the machine itself has besides the firewall.
#[derive(Clone, Debug, Default, PartialEq)]
struct Hosted {
    unreachable: BTreeSet<Cidr>,
    /// On the loopback interface: resolvers and load balancers.
    addresses: BTreeSet<Ipv4Addr>,
    /// Routes that let the machine itself call public addresses.
    publics: BTreeSet<Ipv4Addr>,
}

impl Hosted {
    fn of(config: &NetworkConfig, table: &Table) -> Hosted {
        let mut unreachable: BTreeSet<Cidr> = table.ranges().into_iter().collect();
        unreachable.extend([config.bridge_cidr, config.public_cidr]);
        let mut addresses = table.resolvers();
        addresses.extend(table.balancers());
        Hosted {
            unreachable,
            addresses,
            publics: table.publics(),
        }
    }
}

pub struct Enforcement {
    config: NetworkConfig,
    table: Table,
    journal: Journal,
    hosted: Hosted,
    /// The last change failed: the next writes everything anew.
    broken: bool,
}

impl Enforcement {
    /// Enforces what an earlier process of the instance left, or the defaults: nothing is admitted.
    ///
    /// # Errors
    /// When the firewall, a route or an address cannot be set.
    pub fn start(config: &NetworkConfig, netlink: &mut Netlink) -> io::Result<Enforcement> {
        let mut table = empty_table(config);
        let path = journal_path(config);
        journal::replay(&path, &mut table)?;
        let mut enforcement = Enforcement {
            config: config.clone(),
            journal: Journal::open(&path, &table)?,
            table,
            hosted: Hosted::default(),
            broken: false,
        };
        enforcement.refuse_foreign(netlink)?;
        enforcement.rebuild(&Ports::default())?;
        enforcement.restore_hosted(netlink)?;
        Ok(enforcement)
    }

    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Takes a step.
    ///
    /// # Errors
    /// When the machine cannot be brought there; the next step tries again from the whole table.
    pub fn step(&mut self, step: Step, netlink: &mut Netlink, ports: &Ports) -> io::Result<()> {
        if let Err(error) = self.journal.append(&step) {
            tracing::error!(%error, "the network table cannot be stored: a node that starts again must wait for control");
        }
        if matches!(&step, Step::Control(change) if change.whole) {
            // Control speaks for the first time in a while: a firewall that somebody took away comes back with it.
            self.broken |= !firewall::is_loaded(&self.config)?;
        }
        let delta = self.table.step(step);
        let done = self.perform(delta, netlink, ports);
        self.broken = done.is_err();
        if let Err(error) = self.journal.compact(&self.table) {
            tracing::warn!(%error, "the stored network table cannot be written anew");
        }
        done
    }

    fn perform(&mut self, mut delta: Delta, netlink: &mut Netlink, ports: &Ports) -> io::Result<()> {
        if delta.vpcs {
            self.refuse_foreign(netlink)?;
            self.table.follow_ranges(&mut delta);
        }
        let hosted = match delta.vpcs || delta.hosted || self.broken {
            true => Hosted::of(&self.config, &self.table),
            false => self.hosted.clone(),
        };
        self.withdraw(&hosted, netlink)?;
        for range in hosted.unreachable.difference(&self.hosted.unreachable) {
            netlink.add_unreachable(*range)?;
        }
        let changed = match self.broken {
            true => self.rebuild(ports),
            false => self.change(&delta),
        };
        if let Err(error) = changed {
            tracing::warn!(%error, "the firewall is not as it was left; writing it anew");
            self.rebuild(ports)?;
        }
        for address in hosted.addresses.difference(&self.hosted.addresses) {
            netlink.add_address(LOOPBACK, *address)?;
        }
        for public in hosted.publics.difference(&self.hosted.publics) {
            netlink.add_link_route(*public, LOOPBACK, Some(self.config.resolver()))?;
        }
        for range in self.hosted.unreachable.difference(&hosted.unreachable) {
            absent_is_fine(netlink.delete_unreachable(*range))?;
        }
        self.hosted = hosted;
        Ok(())
    }

    /// Takes from the machine what it shall have no more, while the rules still hold.
    fn withdraw(&self, hosted: &Hosted, netlink: &mut Netlink) -> io::Result<()> {
        for public in self.hosted.publics.difference(&hosted.publics) {
            absent_is_fine(netlink.delete_link_route(*public))?;
        }
        for address in self.hosted.addresses.difference(&hosted.addresses) {
            absent_is_fine(netlink.delete_address(LOOPBACK, *address))?;
        }
        Ok(())
    }

    fn change(&self, delta: &Delta) -> io::Result<()> {
        let table = self.config.table();
        match delta.needs_program() {
            true => firewall::apply(&delta.script(&table)),
            false => nfnetlink::change(&table, &delta.delete, &delta.add),
        }
    }

    fn rebuild(&mut self, ports: &Ports) -> io::Result<()> {
        let mut script = firewall::frame(&self.config) + &self.table.script();
        for (address, published) in ports.published() {
            script += &firewall::port_elements(&self.config, "add", *address, published);
        }
        firewall::apply(&script)
    }

    /// Brings back what somebody took away: the firewall, routes, addresses.
    ///
    /// # Errors
    /// When it cannot be brought back.
    pub fn uphold(&mut self, netlink: &mut Netlink, ports: &Ports) -> io::Result<()> {
        if self.broken || !firewall::is_loaded(&self.config)? {
            tracing::warn!(
                table = self.config.table(),
                "the firewall is gone or old; writing it anew"
            );
            self.rebuild(ports)?;
            self.broken = false;
        }
        self.restore_hosted(netlink)
    }

    /// Routes and addresses once more, also those that somebody took away. Safe to repeat.
    pub fn restore_hosted(&mut self, netlink: &mut Netlink) -> io::Result<()> {
        self.hosted = Hosted::of(&self.config, &self.table);
        for range in &self.hosted.unreachable {
            netlink.add_unreachable(*range)?;
        }
        for address in &self.hosted.addresses {
            netlink.add_address(LOOPBACK, *address)?;
        }
        for public in &self.hosted.publics {
            netlink.add_link_route(*public, LOOPBACK, Some(self.config.resolver()))?;
        }
        Ok(())
    }

    /// Ranges that the machine's own networks overlap are left alone: the machine must stay reachable.
    fn refuse_foreign(&mut self, netlink: &mut Netlink) -> io::Result<()> {
        let told = self.table.told_ranges();
        let networks = foreign(&netlink.in_use()?);
        let clash = |range: &Cidr| networks.iter().find(|n| n.overlaps(*range));
        let mut refused = BTreeSet::new();
        for range in told.into_iter().filter(|r| *r != self.config.vpc_cidr) {
            if let Some(network) = clash(&range) {
                tracing::error!(%range, %network, "a VPC's range overlaps a network of this machine: its tasks are not reached here");
                refused.insert(range);
            }
        }
        self.table.refuse(refused);
        Ok(())
    }
}

/// Removes from the machine all that the journal tells of.
pub fn tear_down(config: &NetworkConfig, netlink: &mut Netlink, note: &mut dyn FnMut(&str, io::Result<()>)) {
    let mut table = empty_table(config);
    let path = journal_path(config);
    note("read the network table", journal::replay(&path, &mut table));
    let hosted = Hosted::of(config, &table);
    for public in &hosted.publics {
        note(
            "remove a public address",
            absent_is_fine(netlink.delete_link_route(*public)),
        );
    }
    for address in &hosted.addresses {
        note(
            "remove an address",
            absent_is_fine(netlink.delete_address(LOOPBACK, *address)),
        );
    }
    for range in &hosted.unreachable {
        note(
            "remove an unreachable route",
            absent_is_fine(netlink.delete_unreachable(*range)),
        );
    }
    note("remove the network table", absent_is_fine(std::fs::remove_file(path)));
}
