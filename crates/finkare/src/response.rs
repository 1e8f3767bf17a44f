//! What is returned: the data, and what the envelope says about it.

use jiff::Timestamp;
use outgoing::Redactor;
use serde_json::{Map, Value};

use crate::{Secret, error::redact_value};

/// An answer of success: the data, and the rest of Finkare's envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response<T> {
    /// What was asked for.
    pub data: T,
    /// Finkare's own words, on some calls.
    pub message: Option<String>,
    /// `req_…`: worth logging, and what to name when asking Finkare about a call.
    pub request_id: Option<String>,
    /// When Finkare answered, by its own clock.
    pub timestamp: Option<Timestamp>,
}

impl<T> Response<T> {
    /// The same answer with other data.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Response<U> {
        let Self { data, message, request_id, timestamp } = self;
        Response { data: change(data), message, request_id, timestamp }
    }
}

/// Data with texts that a service may have filled with an echo of our key, or with a secret.
pub(crate) trait Mask {
    /// Masks these texts.
    fn mask(&mut self, redactor: &Redactor);
}

impl Mask for () {
    fn mask(&mut self, _: &Redactor) {}
}

impl Mask for Secret {
    fn mask(&mut self, _: &Redactor) {}
}

impl Mask for Value {
    fn mask(&mut self, redactor: &Redactor) {
        redact_value(redactor, self);
    }
}

impl Mask for Map<String, Value> {
    fn mask(&mut self, redactor: &Redactor) {
        self.values_mut().for_each(|value| redact_value(redactor, value));
    }
}

impl<T: Mask> Mask for Option<T> {
    fn mask(&mut self, redactor: &Redactor) {
        if let Some(inner) = self {
            inner.mask(redactor);
        }
    }
}

impl<T: Mask> Mask for Vec<T> {
    fn mask(&mut self, redactor: &Redactor) {
        for item in self {
            item.mask(redactor);
        }
    }
}
