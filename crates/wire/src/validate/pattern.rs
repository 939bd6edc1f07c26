//! The models' patterns, which are Java's, as expressions of the `regex` crate.
//!
//! AWS matches the whole value. Differences that matter are rewritten: `\w`, `\d` and `\s` are ASCII in Java, and a hyphen
//! after a class inside brackets is literal there and an error here. Look-around and back-references cannot be expressed;
//! such a pattern constrains nothing, and a test in `control` lists every served pattern to which that happens.

use regex::{Regex, RegexBuilder};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock, RwLock};

/// The expression behind `pattern`, compiled at first use; `None` when it cannot be expressed.
pub fn compiled(pattern: &'static str) -> Option<Arc<Regex>> {
    type Cache = RwLock<HashMap<&'static str, Option<Arc<Regex>>>>;
    static CACHE: OnceLock<Cache> = OnceLock::new();
    let cache = CACHE.get_or_init(Cache::default);
    if let Some(found) = cache.read().unwrap_or_else(|e| e.into_inner()).get(pattern) {
        return found.clone();
    }
    let made = compile(pattern).ok().map(Arc::new);
    cache
        .write()
        .unwrap_or_else(|e| e.into_inner())
        .insert(pattern, made.clone());
    made
}

/// Compiles `pattern` to match whole values.
///
/// # Errors
/// The `regex` crate's, for what it cannot express.
pub fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&format!(r"\A(?:{})\z", translate(pattern)))
        .size_limit(64 << 20)
        .build()
}

/// True when `pattern` uses what no finite automaton can do.
pub fn is_beyond_automata(pattern: &str) -> bool {
    ["(?=", "(?!", "(?<=", "(?<!", "(?>", r"\1", r"\2", r"\3"]
        .iter()
        .any(|part| pattern.contains(part))
}

fn translate(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut chars = pattern.chars().peekable();
    let mut depth = 0_usize;
    // Inside brackets: the last item was a class such as `\w`, after which a hyphen cannot start a range.
    let mut after_class = false;
    while let Some(c) = chars.next() {
        let was_class = std::mem::take(&mut after_class);
        match c {
            '\\' => match chars.next() {
                Some(class @ ('w' | 'd' | 's')) => {
                    let set = match class {
                        'w' => "0-9A-Za-z_",
                        'd' => "0-9",
                        _ => r" \t\n\x0B\x0C\r",
                    };
                    if depth == 0 {
                        out.push('[');
                    }
                    out.push_str(set);
                    if depth == 0 {
                        out.push(']');
                    }
                    after_class = depth > 0;
                }
                Some(class @ ('W' | 'D' | 'S')) => {
                    out.push_str(match class {
                        'W' => "[^0-9A-Za-z_]",
                        'D' => "[^0-9]",
                        _ => r"[^ \t\n\x0B\x0C\r]",
                    });
                    after_class = depth > 0;
                }
                Some(other) => {
                    out.push('\\');
                    out.push(other);
                    if matches!(other, 'p' | 'P') {
                        after_class = depth > 0;
                        if chars.peek() == Some(&'{') {
                            for inner in chars.by_ref() {
                                out.push(inner);
                                if inner == '}' {
                                    break;
                                }
                            }
                        }
                    }
                }
                None => out.push('\\'),
            },
            '[' => {
                depth += 1;
                out.push('[');
                if chars.peek() == Some(&'^') {
                    chars.next();
                    out.push('^');
                }
            }
            ']' if depth > 0 => {
                depth -= 1;
                out.push(']');
            }
            '-' if depth > 0 && (was_class || chars.peek() == Some(&'-')) => out.push_str(r"\-"),
            '~' if depth > 0 => out.push_str(r"\~"),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_patterns_match_whole_values_in_ascii() {
        let yes = |p: &str, v: &str| assert!(compile(p).unwrap().is_match(v), "{p} should match {v}");
        let no = |p: &str, v: &str| assert!(!compile(p).unwrap().is_match(v), "{p} should not match {v}");
        yes("[\\w-_]*", "a-b_c");
        no("[\\w-_]*", "a b");
        yes("[\\.\\-_/#A-Za-z0-9]+", "/aws/ecs-1");
        no("[\\.\\-_/#A-Za-z0-9]+", "x y");
        no("[a-z]", "ab");
        no("\\d{12}", "١٢٣٤٥٦٧٨٩٠١٢");
        no("a|b", "ac");
        yes("([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)", "Größe 7/é");
        no("([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)", "a*b");
        yes("^arn:aws([a-z-]+)?:ec2$", "arn:aws-cn:ec2");
        yes("[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+", "tab\tline\n");
        no("[^:*]*", "a:b");
        no("[a-z]*", "abc\n");
    }

    #[test]
    fn look_around_is_recognised_as_beyond_automata() {
        let pattern = "^(?=.{20,2048}$)arn:aws[a-z-]*";
        assert!(compile(pattern).is_err());
        assert!(is_beyond_automata(pattern));
        assert!(!is_beyond_automata("(?:a|b)+"));
    }
}
