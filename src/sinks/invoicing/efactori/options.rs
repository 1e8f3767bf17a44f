//! What the operator says of an eFactori sink, and what of it cannot work.

use std::{collections::BTreeMap, time::Duration};

use ::http::HeaderValue;
use serde::Deserialize;
use url::Url;

use crate::{model::secret::Secret, sinks::invoicing::Common};

/// Ours, since none is documented beyond that there is an answer 429: one call a second.
pub(super) const LIMITS: [(u32, u32); 1] = [(60, 60)];
/// Calls of an attempt beside reading lists: the invoice (perhaps twice), the payment, reading back, its status.
const OTHER_CALLS: u32 = 5;
/// A place in a limit of so short a time is waited for within an attempt.
const SHORT: Duration = Duration::from_secs(3);

/// How an invoice is found by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lookup {
    /// Reads the list, and compares here.
    #[default]
    Scan,
    /// Lets the platform filter, and compares here.
    Query,
    /// Reads the list if the filter finds nothing.
    QueryThenScan,
}

/// How an amount is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AmountFormat {
    /// `150.00`
    #[default]
    Number,
    /// `{"_": 150.00}`
    Object,
    /// `"150.00"`
    String,
}

/// Where our marker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MarkerField {
    /// In the name of the other party.
    #[default]
    Name,
    /// Nowhere: what became of a payment that got no answer, a person has to look up.
    None,
}

/// The options of an `efactori` sink, beside those of all invoicing sinks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Of the platform; all brands share the default.
    #[serde(default = "Options::default_base_url")]
    pub base_url: Url,
    /// `X-SESSION-KEY`, from the personal settings there.
    pub session_key: Secret,
    /// `X-COMPANY-UUID`, from the same place.
    pub company_uuid: Secret,
    /// By the method of a payment (`card`, `bank_transfer`, `sepa_debit`, `payment_link`), the id of the payment account
    /// that it is booked to; `other` for all that are not named.
    #[serde(default)]
    pub accounts: BTreeMap<String, String>,
    /// How an invoice is found.
    #[serde(default)]
    pub lookup: Lookup,
    /// Pages of 100 invoices that are read, newest first.
    #[serde(default = "Options::default_lookup_max_pages")]
    pub lookup_max_pages: u32,
    /// The order of both lists: newest first.
    #[serde(default = "Options::default_lookup_order_by")]
    pub lookup_order_by: String,
    /// How an amount is written.
    #[serde(default)]
    pub amount_format: AmountFormat,
    /// Where our marker stands.
    #[serde(default)]
    pub marker_field: MarkerField,
    /// What every marker begins with; Finkare's id of the payment follows.
    #[serde(default = "Options::default_marker_prefix")]
    pub marker_prefix: String,
    /// The list of payments, without `.json`. The OpenAPI file leaves out `/v1` here.
    #[serde(default = "Options::default_payments_path")]
    pub payments_path: String,
    /// The list of payment accounts, likewise.
    #[serde(default = "Options::default_payment_accounts_path")]
    pub payment_accounts_path: String,
    /// Pages of 100 payments that are read, newest first, when a marker is looked for.
    #[serde(default = "Options::default_payments_max_pages")]
    pub payments_max_pages: u32,
    /// The word for a paid invoice, for `status_map`.
    #[serde(default = "Options::default_status_paid_value")]
    pub status_paid_value: String,
}

impl Options {
    /// In which time zone a payment's time becomes a day, unless [`Common::timezone`] says so.
    pub const ZONE: &'static str = "Europe/Brussels";
    /// What [`Common::status_map`] may name.
    pub const ACTIONS: [&'static str; 2] = ["nothing", "paid"];

    fn default_base_url() -> Url {
        Url::parse("https://api5.onfact.be").expect("it is a URL")
    }

    const fn default_lookup_max_pages() -> u32 {
        20
    }

    fn default_lookup_order_by() -> String {
        "date:descend".to_owned()
    }

    fn default_marker_prefix() -> String {
        "Finkare ".to_owned()
    }

    fn default_payments_path() -> String {
        "/v1/payments".to_owned()
    }

    fn default_payment_accounts_path() -> String {
        "/v1/payment-accounts".to_owned()
    }

    const fn default_payments_max_pages() -> u32 {
        10
    }

    fn default_status_paid_value() -> String {
        "paid".to_owned()
    }

    /// What is wrong, by the option.
    pub fn problems(&self, common: &Common) -> Vec<(&'static str, String)> {
        let mut problems = vec![];
        let mut wrong = |key, what: &str| problems.push((key, what.to_owned()));
        for (key, secret) in [("session_key", &self.session_key), ("company_uuid", &self.company_uuid)] {
            if secret.expose().trim().is_empty() {
                wrong(key, "is empty: it stands in the personal settings there");
            } else if HeaderValue::try_from(secret.expose()).is_err() {
                wrong(key, "has a character that no header may have, such as a line break");
            }
        }
        if self.accounts.is_empty() {
            wrong(
                "accounts",
                "is missing: name a payment account for each method, such as { card = \"4\", other = \"3\" }",
            );
        }
        if self.accounts.iter().any(|(method, account)| method.trim().is_empty() || account.trim().is_empty()) {
            wrong("accounts", "has an empty method or account: write, for example, { card = \"4\", other = \"3\" }");
        }
        for (key, path) in
            [("payments_path", &self.payments_path), ("payment_accounts_path", &self.payment_accounts_path)]
        {
            let is_path = path.strip_prefix('/').is_some_and(|path| {
                let mut steps = path.split('/');
                steps.all(|step| {
                    !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
                })
            });
            if !is_path {
                wrong(key, "is no path: write, for example, `/v1/payments`; `.json` is added");
            }
        }
        let order = self.lookup_order_by.split_once(':');
        if !order.is_some_and(|(field, way)| !field.is_empty() && ["ascend", "descend"].contains(&way)) {
            wrong("lookup_order_by", "is no order: write, for example, `date:descend`");
        }
        let prefix = &self.marker_prefix;
        if prefix.trim().is_empty()
            || prefix.trim_start() != prefix
            || prefix.chars().count() > 40
            || prefix.chars().any(char::is_control)
        {
            wrong("marker_prefix", "has to be 1 to 40 characters, and begin with none that is blank");
        }
        if self.status_paid_value.trim().is_empty() {
            wrong("status_paid_value", "is empty: write the word for a paid invoice, such as `paid`");
        }
        for (key, pages) in
            [("lookup_max_pages", self.lookup_max_pages), ("payments_max_pages", self.payments_max_pages)]
        {
            if !(1..=1000).contains(&pages) {
                wrong(key, "is not from 1 to 1000");
            }
        }
        // Otherwise an attempt that has to read all of them would never come to its end.
        let calls = self.lookup_max_pages.saturating_add(self.payments_max_pages).saturating_add(OTHER_CALLS);
        let limits = common.limits(&LIMITS);
        if let Some((requests, _)) = limits.iter().find(|(requests, per)| *per > SHORT && requests.get() < calls) {
            let what = format!(
                "an attempt may need {calls} calls (lookup_max_pages + payments_max_pages + {OTHER_CALLS}), and the limit is \
                 {requests}: read fewer pages, or raise `api_limits` if the platform allows it"
            );
            wrong("lookup_max_pages", &what);
        }
        problems
    }
}
