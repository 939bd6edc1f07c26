//! Where in a request a value stands, written as AWS writes it: `containerDefinitions.1.member.name`.

use std::fmt::Write as _;

/// A step from a value to one inside it.
#[derive(Clone, Copy)]
enum Step<'a> {
    Member(&'a str),
    /// From 0; written from 1.
    Element(usize),
    Entry(&'a str),
}

/// A chain of steps on the stack of the walk: costs nothing until it is told.
#[derive(Clone, Copy)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Option<Step<'a>>,
}

impl<'a> Path<'a> {
    pub fn root() -> Path<'a> {
        Path {
            parent: None,
            step: None,
        }
    }

    pub fn member(&'a self, name: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Some(Step::Member(name)),
        }
    }

    pub fn element(&'a self, index: usize) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Some(Step::Element(index)),
        }
    }

    pub fn entry(&'a self, key: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Some(Step::Entry(key)),
        }
    }

    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(out);
        }
        if self.step.is_some() && !out.is_empty() {
            out.push('.');
        }
        match self.step {
            Some(Step::Member(name)) => out.push_str(name),
            Some(Step::Element(index)) => {
                let _ = write!(out, "{}.member", index + 1);
            }
            Some(Step::Entry(key)) => {
                let _ = write!(out, "{}.member", key.chars().take(64).collect::<String>());
            }
            None => {}
        }
    }
}
