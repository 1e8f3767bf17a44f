//! What a sink would send or do, without sending or doing it.
//!
//! Plain data: sinks make it, the command `try` shows it.

use std::fmt;

use serde::Serialize;

/// What a target would get. What is secret in it is masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Preview {
    /// An HTTP request.
    Request {
        /// Its method.
        method: &'static str,
        /// Scheme, host and port; a path is a secret of many a hook.
        url: String,
        /// Names and values, in the order of the names.
        headers: Vec<(String, String)>,
        /// The body, as text if it is text.
        body: String,
    },
    /// Nothing: the sink's template cannot make a body of the event.
    Broken(Broken),
    /// One line of a file or of standard output, without its line break.
    Line(String),
}

/// What a sink would do, and how it found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// The calls that were made to find out, and at the end those that would be made (without an answer).
    pub calls: Vec<Step>,
    /// What would be done and why, in the words of who keeps the books.
    pub decision: String,
    /// What would become of the dispatch: `delivered`, `waits`, `held` …
    pub outcome: &'static str,
}

/// A call, made or only meant, as `try` shows it. Credentials travel in headers and are not here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What for, in words: "looking for invoice F-12".
    pub purpose: String,
    /// `GET`, `POST` …
    pub method: String,
    /// The address.
    pub url: String,
    /// What is sent with it.
    pub body: Option<String>,
    /// The status that was answered, or what went wrong; `None` for a call that was not made.
    pub answer: Option<String>,
}

/// Why no body could be made, and how far it came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// What is missing or wrong.
    pub problem: String,
    /// Where in the template, counted from 1; none if it is about the whole.
    pub line: Option<usize>,
    /// The character in that line, counted from 1.
    pub column: Option<usize>,
    /// What stands there in the template.
    pub excerpt: Option<String>,
    /// What had been made until then.
    pub made: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", place(self.line, self.column), self.problem)
    }
}

/// `line 2, column 4 of it: `, or nothing.
pub(super) fn place(line: Option<usize>, column: Option<usize>) -> String {
    match (line, column) {
        (None, _) => String::new(),
        (Some(line), None) => format!("line {line} of it: "),
        (Some(line), Some(column)) => format!("line {line}, column {column} of it: "),
    }
}
