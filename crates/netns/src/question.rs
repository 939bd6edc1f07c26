//! The little of the DNS wire format (RFC 1035) that the resolver needs: one question read, its answer written.
//!
//! `dns` is the caller. Pure. The invariant: whatever bytes come, reading ends and answers none for what is no plain
//! question.

use std::net::Ipv4Addr;

pub const A: u16 = 1;
pub const PTR: u16 = 12;
pub const ANY: u16 = 255;
const INTERNET: u16 = 1;
/// Seconds that clients may keep an answer, as Elastic Load Balancing's names have it.
const TIME_TO_LIVE: u32 = 60;
/// Most that a client without EDNS takes by UDP.
const UDP_SIZE: usize = 512;

/// The one question of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Lower case, without the last dot.
    pub name: String,
    pub kind: u16,
    /// Where the question ends in the query.
    end: usize,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Addresses(Vec<Ipv4Addr>),
    Name(String),
    /// The name is there, and has nothing of the kind asked for.
    Nothing,
    NoSuchName,
    Refused,
}

/// Reads a standard query with one question of the Internet class.
pub fn read(query: &[u8]) -> Option<Question> {
    let is_query = query.len() > 12 && query[2] & 0xf8 == 0;
    if !is_query || query[4..6] != [0, 1] {
        return None;
    }
    let mut name = String::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        // Names in questions are not compressed, and 253 characters at most.
        if length > 63 || name.len() + length > 253 {
            return None;
        }
        let label = query.get(at..at + length)?;
        at += length;
        if !name.is_empty() {
            name.push('.');
        }
        for byte in label {
            // A dot inside a label is not the dot between labels.
            if !byte.is_ascii_graphic() || *byte == b'.' {
                return None;
            }
            name.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    let rest = query.get(at..at + 4)?;
    let kind = u16::from_be_bytes([rest[0], rest[1]]);
    let class = u16::from_be_bytes([rest[2], rest[3]]);
    (class == INTERNET).then_some(Question {
        name,
        kind,
        end: at + 4,
    })
}

/// The answer to `query`, whose question `read` made. Over UDP, what does not fit is left out and marked.
pub fn write(query: &[u8], question: &Question, answer: &Answer, udp: bool) -> Vec<u8> {
    let mut out = query[..question.end].to_vec();
    let code = match answer {
        Answer::Addresses(_) | Answer::Name(_) | Answer::Nothing => 0,
        Answer::NoSuchName => 3,
        Answer::Refused => 5,
    };
    // An authoritative answer that keeps the client's wish for recursion, which is there.
    out[2] = 0x84 | (query[2] & 1);
    out[3] = 0x80 | code;
    out[6..12].fill(0);
    let records: Vec<(u16, Vec<u8>)> = match answer {
        Answer::Addresses(addresses) => addresses.iter().map(|a| (A, a.octets().to_vec())).collect(),
        Answer::Name(name) => vec![(PTR, labels(name))],
        _ => Vec::new(),
    };
    let mut count: u16 = 0;
    for (kind, data) in records {
        if udp && out.len() + 12 + data.len() > UDP_SIZE {
            out[2] |= 0x02;
            break;
        }
        // The name is that of the question, at offset 12.
        out.extend_from_slice(&[0xc0, 12]);
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&INTERNET.to_be_bytes());
        out.extend_from_slice(&TIME_TO_LIVE.to_be_bytes());
        out.extend_from_slice(&(data.len() as u16).to_be_bytes());
        out.extend_from_slice(&data);
        count += 1;
    }
    out[6..8].copy_from_slice(&count.to_be_bytes());
    out
}

/// The query turned into a SERVFAIL answer; none when it is no query.
pub fn server_failure(query: &[u8]) -> Option<Vec<u8>> {
    if query.len() < 12 || query[2] & 0x80 != 0 {
        return None;
    }
    let mut reply = query.to_vec();
    reply[2] |= 0x80;
    reply[3] = 0x80 | 2;
    Some(reply)
}

fn labels(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 2);
    for label in name.split('.') {
        let label = &label.as_bytes()[..label.len().min(63)];
        out.push(label.len() as u8);
        out.extend_from_slice(label);
    }
    out.push(0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut out = vec![0xab, 0xcd, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
        out.extend(labels(name));
        out.extend_from_slice(&kind.to_be_bytes());
        out.extend_from_slice(&INTERNET.to_be_bytes());
        out
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_left(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(question) = read(&bytes) {
                let _ = write(&bytes, &question, &Answer::Refused, true);
            }
            let _ = server_failure(&bytes);
        }

        #[test]
        fn damaged_queries_are_read_or_left(at in 0usize..60, byte: u8, cut in 0usize..60) {
            let mut bytes = query("ip-10-0-1-5.eu-west-1.compute.internal", A);
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(cut);
            if let Some(question) = read(&bytes) {
                let _ = write(&bytes, &question, &Answer::Addresses(vec![Ipv4Addr::LOCALHOST; 60]), true);
            }
        }

        #[test]
        fn names_are_read_as_they_are_asked(name in "[a-z0-9-]{1,20}(\\.[a-z0-9-]{1,20}){0,4}", kind: u16) {
            let bytes = query(&name.to_uppercase(), kind);
            let question = read(&bytes).unwrap();
            prop_assert_eq!((question.name, question.kind), (name, kind));
        }
    }

    #[test]
    fn addresses_are_answered_and_those_that_do_not_fit_are_marked_as_left_out() {
        let bytes = query("web.local", A);
        let question = read(&bytes).unwrap();
        let answer = write(&bytes, &question, &Answer::Addresses(vec![[10, 0, 0, 7].into()]), true);
        assert_eq!(answer[..2], [0xab, 0xcd]);
        assert_eq!((answer[2] & 0x80, answer[3] & 0x0f, answer[7]), (0x80, 0, 1));
        assert!(answer.ends_with(&[0, 4, 10, 0, 0, 7]));
        let many = Answer::Addresses(vec![Ipv4Addr::LOCALHOST; 60]);
        let by_udp = write(&bytes, &question, &many, true);
        assert!(by_udp.len() <= 512 && by_udp[2] & 2 == 2);
        assert_eq!(write(&bytes, &question, &many, false)[7], 60);
    }

    #[test]
    fn a_query_nobody_answers_becomes_a_server_failure() {
        let mut bytes = query("x", A);
        let reply = server_failure(&bytes).unwrap();
        assert_eq!((reply[2] & 0x80, reply[3] & 0x0f), (0x80, 2));
        bytes[2] |= 0x80;
        assert!(server_failure(&bytes).is_none());
    }
}
