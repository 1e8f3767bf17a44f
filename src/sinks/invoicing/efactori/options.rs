//! The options of an `efactori` sink.

use std::{collections::BTreeMap, time::Duration};

use outgoing::Egress;

use super::super::{Common, Defaults, METHODS};
use crate::options::{header::HeaderSecret, problem::did_you_mean, section::Section};

/// Calls of an attempt beside reading lists: the invoice (perhaps twice), the payment, reading back, its status.
const OTHER_CALLS: u32 = 5;
/// An attempt waits for a place in a limit whose period is no longer than this.
const SHORT: Duration = Duration::from_secs(3);

/// How an invoice is found by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AmountFormat {
    /// `150.00`
    #[default]
    Number,
    /// `{"_": 150.00}`
    Object,
    /// `"150.00"`
    String,
}

/// Where our marker is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MarkerField {
    /// In the name of the other party.
    #[default]
    Name,
    /// Nowhere: a person has to look up the outcome of a write that got no answer.
    None,
}

/// Where the credentials are shown.
const SETTINGS: &str = "the personal settings of eFactori show it";

/// The options of an `efactori` sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The options of every invoicing sink.
    pub common: Common,
    /// `X-SESSION-KEY`, from the personal settings there.
    pub session_key: HeaderSecret,
    /// `X-COMPANY-UUID`, from the same place.
    pub company_uuid: HeaderSecret,
    /// By the method of a payment (`card`, `bank_transfer`, `sepa_debit`, `payment_link`), the id of the payment account
    /// that it is booked to; `other` for all methods that are not named. Never empty.
    pub accounts: BTreeMap<String, String>,
    /// How an invoice is found.
    pub lookup: Lookup,
    /// Pages of 100 invoices that are read, newest first: 1 to 1000.
    pub lookup_max_pages: u32,
    /// The order of both lists: newest first.
    pub lookup_order_by: String,
    /// How an amount is written.
    pub amount_format: AmountFormat,
    /// Where our marker is written.
    pub marker_field: MarkerField,
    /// The beginning of every marker; Finkare's id of the payment follows. 1 to 40 characters.
    pub marker_prefix: String,
    /// The list of payments, without `.json`. The OpenAPI file leaves out `/v1` here.
    pub payments_path: String,
    /// The list of payment accounts, likewise.
    pub payment_accounts_path: String,
    /// Pages of 100 payments that are read, newest first, when a marker is looked for: 1 to 1000.
    pub payments_max_pages: u32,
    /// The word for a paid invoice, for `status_map`.
    pub status_paid_value: String,
}

impl Options {
    /// See [`System::DEFAULTS`](crate::sinks::invoicing::system::System::DEFAULTS).
    pub(super) const SHARED: Defaults = Defaults {
        // All brands share this address.
        base_url: "https://api5.onfact.be",
        zone: "Europe/Brussels",
        // One call a second is our own choice: the vendor documents only that there is an answer 429.
        limits: &[(60, 60)],
        actions: &["nothing", "paid"],
    };

    /// Reads these options and those of every invoicing sink. `None` after a problem, which is reported.
    pub(super) fn read(section: &mut Section<'_>, egress: &Egress) -> Option<Self> {
        let session_key = section
            .key("session_key", "The session key, from the personal settings there.")
            .required(SETTINGS)
            .header_secret();
        let company_uuid =
            section.key("company_uuid", "The company's UUID, from the same place.").required(SETTINGS).header_secret();
        for (key, secret) in [("session_key", &session_key), ("company_uuid", &company_uuid)] {
            if secret.as_ref().is_some_and(|secret| secret.expose().trim().is_empty()) {
                section.problem(key, format!("is empty: {SETTINGS}"));
            }
        }
        let accounts = accounts(section);
        let lookup = section
            .key(
                "lookup",
                "How an invoice is found by its number: `scan` reads the list, `query` lets the platform filter, which is \
                 not documented, and `query_then_scan` reads the list if the filter finds nothing.",
            )
            .word_or(
                &[
                    ("scan", Lookup::Scan),
                    ("query", Lookup::Query),
                    ("query_then_scan", Lookup::QueryThenScan),
                ],
                Lookup::default(),
            );
        let lookup_max_pages = section
            .key(
                "lookup_max_pages",
                "Pages of 100 invoices that are read, newest first. Together with `payments_max_pages` and 5 more calls it \
                 has to fit into each of `api_limits`.",
            )
            .whole_or(1..=1000, 20_u32);
        let lookup_order_by = order_by(section);
        let amount_format = section
            .key(
                "amount_format",
                "How an amount is written: `150.00` (`number`), `{\"_\": 150.00}` (`object`) or `\"150.00\"` (`string`).",
            )
            .word_or(
                &[
                    ("number", AmountFormat::Number),
                    ("object", AmountFormat::Object),
                    ("string", AmountFormat::String),
                ],
                AmountFormat::default(),
            );
        let marker_field = section
            .key(
                "marker_field",
                "Where the marker is written by which a payment is recognised: in the name of the other party (`name`). With \
                 `none`, a person has to look up the outcome of a write that got no answer.",
            )
            .word_or(&[("name", MarkerField::Name), ("none", MarkerField::None)], MarkerField::default());
        let marker_prefix = marker_prefix(section);
        let payments_path = path(
            section,
            "payments_path",
            "The list of payments; `.json` is added. The vendor's documents contradict each other about its beginning.",
            "/v1/payments",
        );
        let payment_accounts_path =
            path(section, "payment_accounts_path", "The list of payment accounts, likewise.", "/v1/payment-accounts");
        let payments_max_pages = section
            .key(
                "payments_max_pages",
                "Pages of 100 payments that are read, newest first, when a marker is looked for.",
            )
            .whole_or(1..=1000, 10_u32);
        let status_paid_value = section
            .key("status_paid_value", "The status that the action `paid` of `status_map` sets.")
            .allowed("a word")
            .text_or("paid");
        if status_paid_value.trim().is_empty() {
            section.problem("status_paid_value", "is empty: write the word for a paid invoice, such as `paid`");
        }
        let common = Common::read(section, &Self::SHARED, egress);
        if let Some(common) = &common {
            calls_fit(section, common, lookup_max_pages, payments_max_pages);
        }
        Some(Self {
            common: common?,
            session_key: session_key?,
            company_uuid: company_uuid?,
            accounts: accounts?,
            lookup,
            lookup_max_pages,
            lookup_order_by,
            amount_format,
            marker_field,
            marker_prefix,
            payments_path,
            payment_accounts_path,
            payments_max_pages,
            status_paid_value,
        })
    }
}

fn accounts(section: &mut Section<'_>) -> Option<BTreeMap<String, String>> {
    const MISSING: &str = "name a payment account for each method, such as { card = \"4\", other = \"3\" }";
    let accounts = section
        .key(
            "accounts",
            "The payment account, by its id, that payments of each method are booked to (`card`, `bank_transfer`, \
             `sepa_debit`, `payment_link`); `other` is for all methods that are not named. Without it such payments are \
             held.",
        )
        .allowed("methods with ids of payment accounts")
        .required(MISSING)
        .texts_by_name()?;
    if accounts.is_empty() {
        section.problem("accounts", format!("is missing: {MISSING}"));
    }
    if accounts.iter().any(|(method, account)| method.trim().is_empty() || account.trim().is_empty()) {
        let what = "has an empty method or account: write, for example, { card = \"4\", other = \"3\" }";
        section.problem("accounts", what);
    }
    for method in accounts.keys().filter(|method| !METHODS.contains(&method.as_str())) {
        let meant = did_you_mean(method, METHODS);
        if !meant.is_empty() {
            section.notice("accounts", format!("`{method}` is not a method that Finkare documents{meant}"));
        }
    }
    Some(accounts)
}

fn order_by(section: &mut Section<'_>) -> String {
    let order = section
        .key("lookup_order_by", "The order of lists, newest first.")
        .allowed("a field, and `ascend` or `descend`")
        .text_or("date:descend");
    let parts = order.split_once(':');
    if !parts.is_some_and(|(field, way)| !field.is_empty() && ["ascend", "descend"].contains(&way)) {
        section.problem("lookup_order_by", "is not an order: write, for example, `date:descend`");
    }
    order
}

fn marker_prefix(section: &mut Section<'_>) -> String {
    let prefix = section
        .key(
            "marker_prefix",
            "The beginning of the marker; Finkare's id of the payment follows. Do not change it while payments are under \
             way.",
        )
        .allowed("1 to 40 characters")
        .text_or("Finkare ");
    if prefix.trim().is_empty()
        || prefix.trim_start() != prefix
        || prefix.chars().count() > 40
        || prefix.chars().any(char::is_control)
    {
        section.problem("marker_prefix", "must be 1 to 40 characters, and must not begin with a blank");
    }
    prefix
}

fn path(section: &mut Section<'_>, key: &'static str, meaning: &'static str, default: &str) -> String {
    let path = section.key(key, meaning).allowed("a path without `.json`").text_or(default);
    let is_path = path.strip_prefix('/').is_some_and(|path| {
        let mut steps = path.split('/');
        steps.all(|step| {
            !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        })
    });
    if !is_path {
        section.problem(key, "is not a path: write, for example, `/v1/payments`; `.json` is added");
    }
    path
}

/// Checks that the calls of one attempt fit into the limits. Otherwise an attempt that has to read all pages would never
/// finish.
fn calls_fit(section: &Section<'_>, common: &Common, lookup_max_pages: u32, payments_max_pages: u32) {
    let calls = lookup_max_pages + payments_max_pages + OTHER_CALLS;
    let limits = common.limits();
    if let Some((requests, _)) = limits.iter().find(|(requests, per)| *per > SHORT && requests.get() < calls) {
        let what = format!(
            "an attempt may need {calls} calls (lookup_max_pages + payments_max_pages + {OTHER_CALLS}), and the limit is \
             {requests}: read fewer pages, or raise `api_limits` if the platform allows it"
        );
        section.problem("lookup_max_pages", what);
    }
}
