//! Shows what a sink would send or do, without sending or doing it.
//!
//! This is plain data: sinks create it, and the command `try` and the admin API show it.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a target would receive, with secrets masked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preview {
    /// An HTTP request.
    Request {
        /// Its method.
        method: String,
        /// Scheme, host and port. The path is not shown, because for many hooks it is a secret.
        url: String,
        /// Names and values, in the order of the names.
        headers: Vec<(String, String)>,
        /// The body, as text if it is text.
        body: String,
    },
    /// Nothing: the sink's template fails for this event.
    Broken(Broken),
    /// A mail.
    Mail {
        /// Its headers that a person reads.
        headers: Vec<(String, String)>,
        /// Its plain text.
        text: String,
    },
    /// One line of a file or of standard output, without its line break.
    Line(String),
}

/// What a sink would do, and the calls by which it found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explained {
    /// The calls that were made to find out, and at the end those that would be made (without an answer).
    pub calls: Vec<Step>,
    /// What would be done and why, for an accountant.
    pub decision: String,
    /// The state that the dispatch would end in: `delivered`, `waits`, `held` …
    pub outcome: String,
}

/// A call, made or only planned, as `try` shows it. Credentials travel in headers and are not shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// The purpose, in words: "looking for invoice F-12".
    pub purpose: String,
    /// `GET`, `POST` …
    pub method: String,
    /// The address.
    pub url: String,
    /// The body.
    #[schema(required)]
    pub body: Option<String>,
    /// The status of the answer, or what went wrong; null for a call that was not made.
    #[schema(required)]
    pub answer: Option<String>,
}

/// Why a template failed, and how far it got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Broken {
    /// What is missing or wrong.
    pub problem: String,
    /// The line in the template, counted from 1; null if the problem concerns the whole.
    #[schema(required)]
    pub line: Option<usize>,
    /// The character in that line, counted from 1.
    #[schema(required)]
    pub column: Option<usize>,
    /// The text at that place in the template.
    #[schema(required)]
    pub excerpt: Option<String>,
    /// The text that was rendered until then.
    pub made: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", place(self.line, self.column), self.problem)
    }
}

/// `line 2, column 4 of the template: `, or nothing.
pub(crate) fn place(line: Option<usize>, column: Option<usize>) -> String {
    match (line, column) {
        (None, _) => String::new(),
        (Some(line), None) => format!("line {line} of the template: "),
        (Some(line), Some(column)) => format!("line {line}, column {column} of the template: "),
    }
}
