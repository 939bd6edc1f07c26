//! Reading a log group: everything in memory and every segment merged into one order, lazily.

use super::segment::{Cursor, Segment};
use super::{Event, Key, StorageError};
use imbl::OrdMap;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

/// Which streams' events are wanted, by id. Asked once per stream and segment.
pub type Select<'a> = dyn FnMut(u64) -> bool + Send + 'a;

/// Events taken out of a map at once.
const CHUNK: usize = 256;

/// Keys strictly between `after` and `before`, and which end comes first.
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub after: Key,
    pub before: Key,
    pub forward: bool,
}

impl Range {
    pub fn holds(&self, key: Key) -> bool {
        self.after < key && key < self.before
    }
}

/// What is known of a log group's events at one moment.
pub struct View {
    pub maps: Vec<OrdMap<Key, Event>>,
    pub segments: Vec<Arc<Segment>>,
}

enum Source {
    Map {
        map: OrdMap<Key, Event>,
        ready: VecDeque<Event>,
        /// The last key handed out.
        at: Option<Key>,
    },
    Closed(Arc<Segment>),
    Segment(Box<Cursor>),
}

struct Head {
    key: Key,
    source: usize,
    forward: bool,
    /// None while the source has not been opened: then the key is a bound.
    event: Option<Event>,
}

impl Head {
    /// Greater comes out of the heap first; a bound before an event of the same key.
    fn rank(&self, other: &Head) -> Ordering {
        let by_key = self.key.cmp(&other.key);
        let by_key = if self.forward { by_key.reverse() } else { by_key };
        by_key.then_with(|| self.event.is_none().cmp(&other.event.is_none()))
    }
}

impl PartialEq for Head {
    fn eq(&self, other: &Head) -> bool {
        self.rank(other) == Ordering::Equal
    }
}
impl Eq for Head {}
impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Head) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Head {
    fn cmp(&self, other: &Head) -> Ordering {
        self.rank(other)
    }
}

/// The events of a view that are in a range and selected, in order.
pub struct Events<'a> {
    range: Range,
    select: Box<Select<'a>>,
    sources: Vec<Source>,
    heads: BinaryHeap<Head>,
    /// Uncompressed bytes that were looked at.
    pub scanned: u64,
}

impl<'a> Events<'a> {
    pub fn new(view: View, range: Range, select: Box<Select<'a>>) -> Events<'a> {
        let mut events = Events {
            range,
            select,
            sources: Vec::new(),
            heads: BinaryHeap::new(),
            scanned: 0,
        };
        let forward = range.forward;
        let bound = if forward { range.after } else { range.before };
        for map in view.maps {
            let source = events.sources.len();
            events.sources.push(Source::Map {
                map,
                ready: VecDeque::new(),
                at: None,
            });
            events.heads.push(Head {
                key: bound,
                source,
                forward,
                event: None,
            });
        }
        for segment in view.segments {
            if segment.max < range.after.timestamp || segment.min > range.before.timestamp {
                continue;
            }
            let edge = if forward {
                Key::start_of(segment.min).max(bound)
            } else {
                let newest = Key {
                    timestamp: segment.max,
                    seq: u64::MAX,
                };
                newest.min(bound)
            };
            let source = events.sources.len();
            events.sources.push(Source::Closed(segment));
            events.heads.push(Head {
                key: edge,
                source,
                forward,
                event: None,
            });
        }
        events
    }

    /// # Errors
    /// When a segment cannot be read.
    pub fn next(&mut self) -> Result<Option<Event>, StorageError> {
        while let Some(head) = self.heads.pop() {
            let next = self.advance(head.source)?;
            if let Some(event) = next {
                self.heads.push(Head {
                    key: event.key,
                    source: head.source,
                    forward: self.range.forward,
                    event: Some(event),
                });
            }
            if head.event.is_some() {
                return Ok(head.event);
            }
        }
        Ok(None)
    }

    fn advance(&mut self, source: usize) -> Result<Option<Event>, StorageError> {
        if let Source::Closed(segment) = &self.sources[source] {
            let cursor = Cursor::open(segment.clone(), &self.range, &mut self.select)?;
            self.sources[source] = Source::Segment(Box::new(cursor));
        }
        match &mut self.sources[source] {
            Source::Segment(cursor) => cursor.next(&self.range, &mut self.scanned),
            Source::Map { map, ready, at } => loop {
                if let Some(event) = ready.pop_front() {
                    if (self.select)(event.stream) {
                        return Ok(Some(event));
                    }
                    continue;
                }
                take(map, &self.range, *at, ready);
                let Some(last) = ready.back() else { return Ok(None) };
                *at = Some(last.key);
                self.scanned += ready.iter().map(Event::bytes).sum::<u64>();
            },
            Source::Closed(_) => Ok(None),
        }
    }
}

/// The next events of `map` beyond `at`.
fn take(map: &OrdMap<Key, Event>, range: &Range, at: Option<Key>, out: &mut VecDeque<Event>) {
    use std::ops::Bound::Excluded;
    let (after, before) = match (at, range.forward) {
        (Some(at), true) => (at, range.before),
        (Some(at), false) => (range.after, at),
        (None, _) => (range.after, range.before),
    };
    if after >= before {
        return;
    }
    let found = map.range((Excluded(after), Excluded(before)));
    if range.forward {
        out.extend(found.take(CHUNK).map(|(_, event)| event.clone()));
    } else {
        out.extend(found.rev().take(CHUNK).map(|(_, event)| event.clone()));
    }
}
