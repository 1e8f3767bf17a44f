//! What a sink would send, without sending it.

use serde::Serialize;

use super::{Kind, Message, http, http::Broken, invoicing, message};

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
    pub calls: Vec<invoicing::Step>,
    /// What would be done and why, in the words of who keeps the books.
    pub decision: String,
    /// What would become of the dispatch: `delivered`, `waits`, `held` …
    pub outcome: &'static str,
}

impl Kind {
    /// What this kind of sink would send of a message. Asks nobody and opens nothing.
    ///
    /// # Errors
    /// What cannot work and what to change, in a sentence, as [`Kind::build`] says it; or why there is nothing to send.
    pub fn preview(&self, message: &Message, timeout: std::time::Duration) -> Result<Preview, String> {
        match self {
            Kind::Stdout(_) | Kind::File(_) => {
                Ok(Preview::Line(String::from_utf8_lossy(&message::object(message)).into_owned()))
            }
            Kind::Http(options) => Ok(http::Http::new(options, timeout)?.preview(message)),
            // They get no message: what is done follows from what the books show ([`super::Sink::explain`]).
            Kind::FacturationPro(..) | Kind::Efactori(..) | Kind::Tiime(..) | Kind::Fastfaktura(..) => Err(format!(
                "what a sink of type `{}` does is found out by asking the books, not from the event",
                self.name()
            )),
        }
    }
}
