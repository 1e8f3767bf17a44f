//! Failures on demand ([`Faults`]), and readings of undocumented details ([`Variants`]).
//!
//! Both are plain settings, made in Rust, in JSON, or one by one as `name=value` on the command line. A fault that counts
//! ("the next 3") is counted down as it happens, and reading the faults shows how many are left.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The longest delay that can be asked for, in milliseconds: ten minutes.
const MAX_MS: u64 = 600_000;
/// The most copies of one delivery, and the most deliveries that are sent in reverse order.
const MAX_COPIES: u32 = 100;

/// A fault or a variant that cannot be set to this value; the text says why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingError(String);

/// Failures on demand; by default there are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// The number of further copies of every attempt, posted at the same moment, byte for byte.
    pub repeats: u32,
    /// The number of deliveries that are collected and whose first attempts are then posted one after another, the
    /// last one first. After 300 ms those that have been collected are posted. 0 and 1 change nothing.
    pub reorder: u32,
    /// Whether a retry has a new `timestamp`, and so another body. Finkare's behaviour is not known.
    pub fresh_timestamp: bool,
    /// Milliseconds before each attempt, which is signed after them.
    pub delivery_delay_ms: u64,
    /// Milliseconds between signing and posting, for deliveries that are on their way while the secret is changed.
    pub transit_delay_ms: u64,
    /// The number of forged deliveries beside every attempt, signed with a wrong secret. Their `data` has `"forged":true`.
    pub forged: u32,
    /// The number of next API calls that are answered with 429.
    pub too_many_requests: u32,
    /// The `Retry-After` of these answers, in seconds; `null` for no such header.
    pub retry_after_secs: Option<u32>,
    /// The number of next API calls that do nothing and are answered with `api_error_status`.
    pub api_errors: u32,
    /// The status of these answers: 500 to 599.
    pub api_error_status: u16,
    /// The number of next API calls that do nothing and whose connection is cut.
    pub cut_connections: u32,
    /// Milliseconds that a rotation waits before the secret is changed. The secret is also changed if the caller has hung up
    /// by then.
    pub rotation_delay_ms: u64,
    /// Milliseconds between the change of the secret and the answer that shows it.
    pub rotation_answer_delay_ms: u64,
    /// The number of next rotations that change the secret and whose connection is then cut.
    pub lost_rotations: u32,
    /// The number of next rotations that change the secret and are answered with `api_error_status`, as by a proxy that ran
    /// into its time-out.
    pub failing_rotations: u32,
    /// The number of next rotations that change the secret and are answered with 200 and an unreadable body.
    pub garbled_rotations: u32,
    /// The number of next webhooks that are created and whose connection is then cut.
    pub lost_creates: u32,
    /// The number of next calls that create invoices, or import them, and whose connection is then cut.
    pub lost_invoices: u32,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            repeats: 0,
            reorder: 0,
            fresh_timestamp: false,
            delivery_delay_ms: 0,
            transit_delay_ms: 0,
            forged: 0,
            too_many_requests: 0,
            retry_after_secs: None,
            api_errors: 0,
            api_error_status: 503,
            cut_connections: 0,
            rotation_delay_ms: 0,
            rotation_answer_delay_ms: 0,
            lost_rotations: 0,
            failing_rotations: 0,
            garbled_rotations: 0,
            lost_creates: 0,
            lost_invoices: 0,
        }
    }
}

impl Faults {
    /// Sets one of them by its name; the value is written as in JSON.
    ///
    /// # Errors
    /// There is no such fault (the text lists them all), or it does not take this value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let changed = set(self, "fault", name, value)?;
        changed.check()?;
        *self = changed;
        Ok(())
    }

    /// Checks that the values are within their bounds.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        for (name, copies) in [("repeats", self.repeats), ("reorder", self.reorder), ("forged", self.forged)] {
            at_most("fault", name, copies.into(), MAX_COPIES.into())?;
        }
        for (name, millis) in [
            ("delivery_delay_ms", self.delivery_delay_ms),
            ("transit_delay_ms", self.transit_delay_ms),
            ("rotation_delay_ms", self.rotation_delay_ms),
            ("rotation_answer_delay_ms", self.rotation_answer_delay_ms),
        ] {
            at_most("fault", name, millis, MAX_MS)?;
        }
        if !(500..600).contains(&self.api_error_status) {
            let found = self.api_error_status;
            return Err(SettingError(format!("fault `api_error_status`: {found} is not in 500 to 599")));
        }
        Ok(())
    }
}

/// Counts down by one; true if the count was not zero.
pub(crate) fn spend(count: &mut u32) -> bool {
    let left = count.checked_sub(1);
    *count = left.unwrap_or(0);
    left.is_some()
}

/// What the signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Over {
    /// The bytes that are sent.
    #[default]
    Raw,
    /// The body as compact JSON, while it is sent with blanks.
    Reserialized,
}

/// How the secret becomes the HMAC key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// The whole string.
    #[default]
    Literal,
    /// Without `whsec_`.
    Stripped,
    /// Without `whsec_`, base64-decoded.
    Base64,
}

/// Whether the body names an id of the event, and under which key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventIdField {
    /// It does not.
    #[default]
    None,
    /// `id`
    Id,
    /// `eventId`
    EventId,
    /// `deliveryId`
    DeliveryId,
}

impl EventIdField {
    pub(crate) fn key(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Id => Some("id"),
            Self::EventId => Some("eventId"),
            Self::DeliveryId => Some("deliveryId"),
        }
    }
}

/// The shape of an error's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorBody {
    /// `{"error":{"code":…,"message":…}}` in the envelope.
    #[default]
    Nested,
    /// `{"code":…,"message":…}` in the envelope.
    Flat,
    /// Plain text.
    Text,
}

/// How a list of webhooks spells its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spelling {
    /// `created_at`, as documented.
    #[default]
    Snake,
    /// `createdAt`, as in the answer to a creation.
    Camel,
}

/// The method by which a webhook is updated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateMethod {
    /// `PUT` and `PATCH`.
    #[default]
    Both,
    /// Only `PUT`.
    Put,
    /// Only `PATCH`.
    Patch,
}

/// The method by which an API key is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokeMethod {
    /// `DELETE`
    #[default]
    Delete,
    /// `POST`
    Post,
}

/// Where a new invoice's amount is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InvoiceAmount {
    /// `amount`, in cents, as on the vendor's page.
    #[default]
    Amount,
    /// `amountCents`
    AmountCents,
    /// `amount`, otherwise `amountCents`.
    Either,
    /// `amount`, in whole euros: a misreading that a client must notice.
    AmountEuros,
}

/// The reading of undocumented details. The default is the most careful reading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is an open question of its own")]
pub struct Variants {
    /// What the signature covers: `raw`, `reserialized`.
    pub signature_over: Over,
    /// Whether the signature begins with `sha256=`.
    pub signature_prefix: bool,
    /// Whether the signature's hexadecimal digits are upper-case.
    pub signature_upper_case: bool,
    /// How the secret becomes the key: `literal`, `stripped`, `base64`.
    pub secret_encoding: Encoding,
    /// Milliseconds after a rotation during which the old secret goes on signing.
    pub rotation_grace_ms: u64,
    /// An id of the event in the body: `none`, `id`, `event_id`, `delivery_id`. The same on retries.
    pub event_id: EventIdField,
    /// Whether `payment.received` carries `paymentId`, `currency`, `method` and `paidAt`.
    pub payment_fields: bool,
    /// Milliseconds for which a payment of status `completed` reads `pending` after its event.
    pub payment_pending_ms: u64,
    /// Milliseconds for which the API does not know a payment after its event.
    pub payment_hidden_ms: u64,
    /// The shape of an error's body: `nested`, `flat`, `text`.
    pub error_body: ErrorBody,
    /// How the list of webhooks spells its times: `snake`, `camel`.
    pub list_fields: Spelling,
    /// How a webhook is updated: `both`, `put`, `patch`.
    pub update_method: UpdateMethod,
    /// Path of one webhook.
    pub webhook_path: String,
    /// Path of a rotation.
    pub rotate_path: String,
    /// Path of a webhook's deliveries.
    pub deliveries_path: String,
    /// Path of one invoice.
    pub invoice_path: String,
    /// Path of all invoices.
    pub invoices_path: String,
    /// Path of an import of invoices.
    pub import_path: String,
    /// Path of a cancellation.
    pub cancel_path: String,
    /// Path of all debtors.
    pub debtors_path: String,
    /// Path of one debtor.
    pub debtor_path: String,
    /// Path of an invoice's workflow.
    pub workflow_path: String,
    /// Path that triggers an invoice's workflow.
    pub trigger_path: String,
    /// Path of all API keys.
    pub api_keys_path: String,
    /// Path of an API key's rotation.
    pub rotate_key_path: String,
    /// Path of an API key's revocation.
    pub revoke_key_path: String,
    /// How an API key is revoked: `delete`, `post`.
    pub revoke_method: RevokeMethod,
    /// Where a new invoice's amount is read from: `amount`, `amount_cents`, `either`, `amount_euros`.
    pub invoice_amount: InvoiceAmount,
    /// Whether a write that is named by an `Idempotency-Key` is carried out once: with the same key, the same call is answered
    /// as it was the first time.
    pub idempotency: bool,
    /// Whether every event is accompanied by one of an undocumented type, regardless of the types that a webhook
    /// asked for.
    pub unknown_events: bool,
    /// Whether a new webhook gets a `ping`, regardless of the types that it asked for.
    pub ping: bool,
}

impl Default for Variants {
    fn default() -> Self {
        Self {
            signature_over: Over::default(),
            signature_prefix: false,
            signature_upper_case: false,
            secret_encoding: Encoding::default(),
            rotation_grace_ms: 0,
            event_id: EventIdField::default(),
            payment_fields: false,
            payment_pending_ms: 0,
            payment_hidden_ms: 0,
            error_body: ErrorBody::default(),
            list_fields: Spelling::default(),
            update_method: UpdateMethod::default(),
            webhook_path: "/webhooks/{id}".into(),
            rotate_path: "/webhooks/{id}/rotate-secret".into(),
            deliveries_path: "/webhooks/{id}/deliveries".into(),
            invoice_path: "/invoices/{id}".into(),
            invoices_path: "/invoices".into(),
            import_path: "/invoices/bulk".into(),
            cancel_path: "/invoices/{id}/cancel".into(),
            debtors_path: "/debtors".into(),
            debtor_path: "/debtors/{id}".into(),
            workflow_path: "/workflow/invoice/{id}".into(),
            trigger_path: "/workflow/invoice/{id}/trigger".into(),
            api_keys_path: "/api-keys".into(),
            rotate_key_path: "/api-keys/{id}/rotate".into(),
            revoke_key_path: "/api-keys/{id}".into(),
            revoke_method: RevokeMethod::default(),
            invoice_amount: InvoiceAmount::default(),
            idempotency: false,
            unknown_events: false,
            ping: false,
        }
    }
}

impl Variants {
    /// Sets one of them by its name; the value is written as in JSON, a text without quotes.
    ///
    /// # Errors
    /// There is no such variant (the text lists them all), or it does not take this value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let changed = set(self, "variant", name, value)?;
        changed.check()?;
        *self = changed;
        Ok(())
    }

    /// Checks that the values are within their bounds.
    pub(crate) fn check(&self) -> Result<(), SettingError> {
        for (name, millis) in [
            ("rotation_grace_ms", self.rotation_grace_ms),
            ("payment_pending_ms", self.payment_pending_ms),
            ("payment_hidden_ms", self.payment_hidden_ms),
        ] {
            at_most("variant", name, millis, MAX_MS)?;
        }
        for (name, path) in [
            ("webhook_path", &self.webhook_path),
            ("rotate_path", &self.rotate_path),
            ("deliveries_path", &self.deliveries_path),
            ("invoice_path", &self.invoice_path),
            ("cancel_path", &self.cancel_path),
            ("debtor_path", &self.debtor_path),
            ("workflow_path", &self.workflow_path),
            ("trigger_path", &self.trigger_path),
            ("rotate_key_path", &self.rotate_key_path),
            ("revoke_key_path", &self.revoke_key_path),
        ] {
            let ids = path.split('/').filter(|&segment| segment == "{id}").count();
            if !path.starts_with('/') || ids != 1 || path.len() > 200 {
                return Err(SettingError(format!(
                    "variant `{name}`: a path begins with `/` and has one segment `{{id}}`, like `/webhooks/{{id}}`"
                )));
            }
        }
        for (name, path) in [
            ("invoices_path", &self.invoices_path),
            ("import_path", &self.import_path),
            ("debtors_path", &self.debtors_path),
            ("api_keys_path", &self.api_keys_path),
        ] {
            if !path.starts_with('/') || path.contains("{id}") || path.len() > 200 {
                return Err(SettingError(format!(
                    "variant `{name}`: a path begins with `/` and has no segment `{{id}}`, like `/invoices`"
                )));
            }
        }
        Ok(())
    }
}

fn at_most(what: &str, name: &str, found: u64, most: u64) -> Result<(), SettingError> {
    if found <= most {
        return Ok(());
    }
    Err(SettingError(format!("{what} `{name}`: {found} is too much: at most {most}")))
}

/// The settings with one of them changed. The names are those of JSON, so that there is no second list of them.
fn set<T: Serialize + DeserializeOwned>(settings: &T, what: &str, name: &str, value: &str) -> Result<T, SettingError> {
    let Ok(Value::Object(mut map)) = serde_json::to_value(settings) else {
        unreachable!("both are structs of plain fields")
    };
    let Some(place) = map.get_mut(name) else {
        let known: Vec<_> = map.keys().map(String::as_str).collect();
        return Err(SettingError(format!("there is no {what} `{name}`; known are: {}", known.join(", "))));
    };
    *place = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    T::deserialize(Value::Object(map))
        .map_err(|error| SettingError(format!("{what} `{name}` cannot be `{value}`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_those_of_json() {
        let (mut faults, mut variants) = (Faults::default(), Variants::default());
        faults.set("repeats", "3").unwrap();
        faults.set("retry_after_secs", "2").unwrap();
        faults.set("fresh_timestamp", "true").unwrap();
        variants.set("secret_encoding", "base64").unwrap();
        variants.set("rotate_path", "/hooks/{id}/rotate").unwrap();
        assert_eq!(
            faults,
            Faults { repeats: 3, retry_after_secs: Some(2), fresh_timestamp: true, ..Faults::default() }
        );
        assert_eq!((variants.secret_encoding, variants.rotate_path.as_str()), (Encoding::Base64, "/hooks/{id}/rotate"));
        faults.set("retry_after_secs", "null").unwrap();
        assert_eq!(faults.retry_after_secs, None);
    }

    #[test]
    fn what_cannot_be_set_is_said_and_changes_nothing() {
        let (mut faults, mut variants) = (Faults::default(), Variants::default());
        let unknown = faults.set("repeat", "3").unwrap_err().to_string();
        assert!(unknown.starts_with("there is no fault `repeat`; known are: repeats, reorder, "), "{unknown}");
        let unknown = variants.set("prefix", "true").unwrap_err().to_string();
        assert!(unknown.starts_with("there is no variant `prefix`; known are: signature_over, "), "{unknown}");
        for (name, value, problem) in [
            ("repeats", "many", "fault `repeats` cannot be `many`: invalid type"),
            ("repeats", "101", "fault `repeats`: 101 is too much: at most 100"),
            ("transit_delay_ms", "600001", "fault `transit_delay_ms`: 600001 is too much"),
            ("api_error_status", "404", "fault `api_error_status`: 404 is not in 500 to 599"),
        ] {
            let error = faults.set(name, value).unwrap_err().to_string();
            assert!(error.starts_with(problem), "{error}");
        }
        for (name, value, problem) in [
            ("error_body", "xml", "variant `error_body` cannot be `xml`: unknown variant"),
            ("rotate_path", "/rotate", "variant `rotate_path`: a path begins"),
            ("rotation_grace_ms", "600001", "variant `rotation_grace_ms`: 600001 is too much"),
        ] {
            let error = variants.set(name, value).unwrap_err().to_string();
            assert!(error.starts_with(problem), "{error}");
        }
        assert_eq!((faults, variants), (Faults::default(), Variants::default()));
    }

    #[test]
    fn a_count_ends_at_nothing() {
        let mut count = 2;
        assert_eq!([(); 3].map(|()| spend(&mut count)), [true, true, false]);
        assert_eq!(count, 0);
    }
}
