//! Patterns of conditions: `*` stands for any characters, `?` for one, `\` takes the meaning from what follows it.
//!
//! Matching never backtracks beyond one segment: its cost is the product of the lengths at worst, linear as a rule.

use neargate_link::gateway::Pattern;
use regex::bytes::{Regex, RegexBuilder};

/// What a regular expression may take when compiled; control admits the same.
const REGEX_SIZE: usize = 1 << 20;

/// A compiled pattern.
#[derive(Debug)]
pub enum Matcher {
    Glob(Glob),
    Regex(Regex),
    /// An expression that does not compile: control never admits one.
    Never,
}

impl Matcher {
    pub fn new(pattern: &Pattern, ignore_case: bool) -> Matcher {
        match pattern {
            Pattern::Wildcard(text) => Matcher::Glob(Glob::new(text, ignore_case)),
            Pattern::Regex(text) => RegexBuilder::new(text)
                .size_limit(REGEX_SIZE)
                .case_insensitive(ignore_case)
                .build()
                .map_or(Matcher::Never, Matcher::Regex),
        }
    }

    pub fn is_match(&self, text: &[u8]) -> bool {
        match self {
            Matcher::Glob(glob) => glob.is_match(text),
            Matcher::Regex(regex) => regex.is_match(text),
            Matcher::Never => false,
        }
    }

    pub fn glob(&self) -> Option<&Glob> {
        match self {
            Matcher::Glob(glob) => Some(glob),
            _ => None,
        }
    }
}

/// A wildcard pattern, cut at its stars.
#[derive(Debug)]
pub struct Glob {
    /// Never empty; one: a pattern without a star.
    segments: Vec<Segment>,
    ignore_case: bool,
}

/// One unit a byte; none: any byte.
type Segment = Box<[Option<u8>]>;

impl Glob {
    pub fn new(text: &str, ignore_case: bool) -> Glob {
        let mut segments = Vec::new();
        let mut segment = Vec::new();
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            let literal = match byte {
                b'*' => {
                    segments.push(std::mem::take(&mut segment).into_boxed_slice());
                    continue;
                }
                b'?' => {
                    segment.push(None);
                    continue;
                }
                b'\\' => bytes.next().unwrap_or(b'\\'),
                other => other,
            };
            segment.push(Some(if ignore_case {
                literal.to_ascii_lowercase()
            } else {
                literal
            }));
        }
        segments.push(segment.into_boxed_slice());
        Glob { segments, ignore_case }
    }

    pub fn is_match(&self, text: &[u8]) -> bool {
        let [first, others @ ..] = self.segments.as_slice() else {
            return false;
        };
        let Some((last, middle)) = others.split_last() else {
            return text.len() == first.len() && self.fits(first, text);
        };
        if text.len() < first.len() + last.len() {
            return false;
        }
        let (start, rest) = text.split_at(first.len());
        let (mut rest, end) = rest.split_at(rest.len() - last.len());
        if !self.fits(first, start) || !self.fits(last, end) {
            return false;
        }
        // The leftmost place of each leaves the most to those after it.
        for segment in middle.iter().filter(|segment| !segment.is_empty()) {
            match rest
                .windows(segment.len())
                .position(|window| self.fits(segment, window))
            {
                Some(at) => rest = &rest[at + segment.len()..],
                None => return false,
            }
        }
        true
    }

    fn fits(&self, segment: &[Option<u8>], text: &[u8]) -> bool {
        segment.iter().zip(text).all(|(unit, byte)| match unit {
            None => true,
            Some(unit) if self.ignore_case => *unit == byte.to_ascii_lowercase(),
            Some(unit) => unit == byte,
        })
    }

    /// The text that alone matches, when there is only one (any case where case is ignored).
    pub fn literal(&self) -> Option<Vec<u8>> {
        match self.segments.as_slice() {
            [only] => only.iter().copied().collect(),
            _ => None,
        }
    }

    /// What every match begins with.
    pub fn prefix(&self) -> Vec<u8> {
        self.segments
            .first()
            .map(|first| first.iter().map_while(|unit| *unit).collect())
            .unwrap_or_default()
    }

    /// What every match ends with, back to front.
    pub fn suffix_reversed(&self) -> Vec<u8> {
        self.segments
            .last()
            .map(|last| last.iter().rev().map_while(|unit| *unit).collect())
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn glob(pattern: &str, text: &str) -> bool {
        Glob::new(pattern, false).is_match(text.as_bytes())
    }

    #[test]
    fn stars_and_question_marks() {
        assert!(glob("/img/*", "/img/"));
        assert!(glob("/img/*/pics", "/img/a/b/pics"));
        assert!(!glob("/img/*", "/img"));
        assert!(glob("/a?c", "/abc"));
        assert!(!glob("/a?c", "/ac"));
        assert!(glob("*", ""));
        assert!(glob("a*b*c", "abbc"));
        assert!(!glob("a*a", "a"));
        assert!(!glob("/A", "/a"));
        assert!(glob(r"1\*2", "1*2"));
        assert!(!glob(r"1\*2", "1x2"));
        assert!(glob(r"a\", r"a\"));
        assert!(Glob::new("*.Example.com", true).is_match(b"WWW.EXAMPLE.com"));
    }

    #[test]
    fn an_expression_that_does_not_compile_matches_nothing() {
        let matcher = Matcher::new(&Pattern::Regex("(".to_owned()), false);
        assert!(!matcher.is_match(b"("));
    }

    /// The definition, without any cleverness.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern {
            [] => text.is_empty(),
            [b'*', rest @ ..] => (0..=text.len()).any(|skip| naive(rest, &text[skip..])),
            [b'?', rest @ ..] => !text.is_empty() && naive(rest, &text[1..]),
            [byte, rest @ ..] => text.first() == Some(byte) && naive(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn matches_by_definition(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            prop_assert_eq!(glob(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn what_matches_has_the_prefix_and_the_suffix(pattern in "[ab*?]{0,8}", text in "[ab]{0,10}") {
            let glob = Glob::new(&pattern, false);
            if glob.is_match(text.as_bytes()) {
                prop_assert!(text.as_bytes().starts_with(&glob.prefix()));
                let reversed: Vec<u8> = text.bytes().rev().collect();
                prop_assert!(reversed.starts_with(&glob.suffix_reversed()));
                if let Some(literal) = glob.literal() {
                    prop_assert_eq!(literal, text.into_bytes());
                }
            }
        }
    }
}
