//! Which rules can match at all: an index of the literal parts of host and path patterns.
//!
//! Every rule is filed once, under the literals of its host or of its path condition, whichever are rarer among the
//! listener's rules; a rule with neither is a candidate always. Hashes stand for literals: a collision only makes one
//! candidate more, since candidates are checked in full. Invariant: a rule that matches is among the candidates.

use crate::condition::Condition;
use crate::head::RequestHead;
use crate::pattern::{Glob, Matcher};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// A literal that every match of a pattern has, back to front for hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    HostIs(Vec<u8>),
    HostEnds(Vec<u8>),
    PathIs(Vec<u8>),
    PathBegins(Vec<u8>),
}

/// Rules of a listener by their literals.
#[derive(Debug, Default)]
pub struct Index {
    hosts: Literals,
    paths: Literals,
    others: Vec<u32>,
}

impl Index {
    /// `rules`: the conditions of each, by priority.
    pub fn new<'a>(rules: impl Iterator<Item = &'a [Condition]> + Clone) -> Index {
        let mut uses: BTreeMap<Key, u32> = BTreeMap::new();
        for key in rules.clone().flat_map(options).flatten() {
            *uses.entry(key).or_default() += 1;
        }
        let rarity = |keys: &Vec<Key>| keys.iter().map(|key| uses[key]).sum::<u32>();
        let mut index = Index::default();
        for (rule, conditions) in (0..).zip(rules) {
            match options(conditions).min_by_key(rarity) {
                // A literal named twice is filed once.
                Some(keys) => keys
                    .into_iter()
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .for_each(|key| index.file(key, rule)),
                None => index.others.push(rule),
            }
        }
        index
    }

    fn file(&mut self, key: Key, rule: u32) {
        match key {
            Key::HostIs(text) => self.hosts.whole(&text, rule),
            Key::HostEnds(text) => self.hosts.beginning(&text, rule),
            Key::PathIs(text) => self.paths.whole(&text, rule),
            Key::PathBegins(text) => self.paths.beginning(&text, rule),
        }
    }

    /// Calls `each` with lists of rules that may match, each list ascending.
    pub fn visit(&self, head: &RequestHead<'_>, each: &mut impl FnMut(&[u32])) {
        if !self.hosts.is_empty() {
            let host = head.host_name();
            let reversed = host.iter().rev().map(u8::to_ascii_lowercase);
            self.hosts.visit(reversed, host.len(), each);
        }
        if !self.paths.is_empty() {
            self.paths.visit(head.path.iter().copied(), head.path.len(), each);
        }
        each(&self.others);
    }
}

/// The ways in which a rule can be filed: under all keys of one of its conditions.
fn options(conditions: &[Condition]) -> impl Iterator<Item = Vec<Key>> + '_ {
    conditions.iter().filter_map(|condition| {
        let (patterns, key): (_, fn(&Glob) -> Option<Key>) = match condition {
            Condition::Host(patterns) => (patterns, host_key),
            Condition::Path(patterns) => (patterns, path_key),
            _ => return None,
        };
        patterns
            .iter()
            // What never matches needs no key, but one of its siblings may match.
            .filter(|pattern| !matches!(pattern, Matcher::Never))
            .map(|pattern| pattern.glob().and_then(key))
            .collect()
    })
}

fn host_key(glob: &Glob) -> Option<Key> {
    match glob.literal() {
        Some(text) => Some(Key::HostIs(text.into_iter().rev().collect())),
        None => Some(glob.suffix_reversed())
            .filter(|text| !text.is_empty())
            .map(Key::HostEnds),
    }
}

fn path_key(glob: &Glob) -> Option<Key> {
    match glob.literal() {
        Some(text) => Some(Key::PathIs(text)),
        None => Some(glob.prefix()).filter(|text| !text.is_empty()).map(Key::PathBegins),
    }
}

/// Whole texts and beginnings of texts by their hash.
#[derive(Debug, Default)]
struct Literals {
    whole: HashMap<u64, Vec<u32>, BuildHasherDefault<AsItIs>>,
    beginnings: HashMap<u64, Vec<u32>, BuildHasherDefault<AsItIs>>,
    /// Lengths of the beginnings, ascending.
    lengths: Vec<usize>,
    /// Length of the longest whole text.
    longest: usize,
}

impl Literals {
    fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.beginnings.is_empty()
    }

    fn whole(&mut self, text: &[u8], rule: u32) {
        self.longest = self.longest.max(text.len());
        self.whole.entry(hash(text)).or_default().push(rule);
    }

    fn beginning(&mut self, text: &[u8], rule: u32) {
        if let Err(place) = self.lengths.binary_search(&text.len()) {
            self.lengths.insert(place, text.len());
        }
        // Two literals of one rule may share a hash.
        let rules = self.beginnings.entry(hash(text)).or_default();
        if rules.last() != Some(&rule) {
            rules.push(rule);
        }
    }

    fn visit(&self, bytes: impl Iterator<Item = u8>, length: usize, each: &mut impl FnMut(&[u32])) {
        let needed = self.lengths.last().copied().unwrap_or(0);
        let needed = if length <= self.longest {
            length
        } else {
            needed.min(length)
        };
        let mut lengths = self.lengths.iter().peekable();
        let mut state = FNV_OFFSET;
        for (read, byte) in (1..=needed).zip(bytes) {
            state = step(state, byte);
            if lengths.next_if_eq(&&read).is_some()
                && let Some(rules) = self.beginnings.get(&state)
            {
                each(rules);
            }
        }
        if length <= self.longest
            && let Some(rules) = self.whole.get(&state)
        {
            each(rules);
        }
    }
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn step(state: u64, byte: u8) -> u64 {
    (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

fn hash(text: &[u8]) -> u64 {
    text.iter().fold(FNV_OFFSET, |state, byte| step(state, *byte))
}

/// Takes a number that is a hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |state, byte| step(state, *byte));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
