//! FastFaktura: checks whether an invoice is paid there, and tells a person what to do. It writes nothing.
//!
//! FastFaktura's API (<https://fastfaktura.io/en/docs/api>, version "v1 · 1.0.0") has no call that records a payment or marks
//! an invoice as paid. So this sink finds the invoice, holds the payment with an instruction, checks again on schedule, and
//! closes once FastFaktura shows the invoice as paid. Every call is a `GET`; above all nothing is sent to a debtor
//! (`/invoices/{id}/send`). An invoice's public page is named but never opened, because that would count as the debtor's
//! visit.
//!
//! Assumptions about what the documentation leaves open: a list is a bare array, or is under one of a few names
//! (`list_key`); pages begin at 1 and end at an empty one, or at one on which nothing is new; the order is unknown, so
//! everything is searched within the bound, first the statuses that can still change. Statuses are compared in lower case,
//! and only `paid` means paid.

use std::{convert::Infallible, time::Duration};

use ::http::{HeaderMap, HeaderName};
use async_trait::async_trait;
use outgoing::Egress;
use serde_json::value::RawValue;

use super::{
    Answer, Api, Books, Common, Defaults, Finding, Request, Settings, StatusChange, StatusPlan, Transcript, Trouble,
    Verified, Wanted,
    system::System,
    watching::{
        Fields, Id, Index, Listed, Page, Search, Shelf, closes, compared, only, overpaid, paid_of_what, share, told,
    },
};
use crate::{
    model::money::Cents,
    options::{header::HeaderSecret, section::Section},
};

/// The name for people.
const SYSTEM: &str = "FastFaktura";
/// The field with the number.
const NUMBER: &str = "number";
/// The names under which a list is looked for, if `list_key` does not say where it is.
const LIST_KEYS: [&str; 4] = ["data", "items", "invoices", "results"];
/// The names under which a single object is looked for, if it is not the whole answer.
const ONE_KEYS: [&str; 4] = ["data", "invoice", "business", "item"];
/// With this `list_key` the sink looks for the list itself.
const AUTO: &str = "auto";
/// One call, if the attempt has time for more than that.
const LONGEST_CALL: Duration = Duration::from_secs(15);

/// The options of a `fastfaktura` sink.
#[derive(Debug, Clone)]
pub struct Options {
    /// The options of every invoicing sink.
    pub common: Common,
    /// A key of the account's settings, `ffk_…`.
    pub api_key: HeaderSecret,
    /// The name of a list in an answer; `auto` looks for it.
    pub list_key: String,
    /// The largest number of pages of each list that are searched for an invoice's number: 1 to 1000.
    pub lookup_max_pages: u32,
    /// Invoices of these statuses are searched first, one list after the other, and then all.
    pub lookup_statuses: Vec<String>,
}

impl System for Options {
    const NAME: &'static str = "fastfaktura";
    const ABOUT: &'static str =
        "Writes nothing to FastFaktura: tells what to do there, and closes once the invoice is paid.";
    const DEFAULTS: Defaults = Defaults {
        base_url: "https://app.fastfaktura.io/api/v1",
        zone: "Europe/Paris",
        // One call a second on average: no limit is documented.
        limits: &[(60, 60)],
        actions: &[],
    };
    type Books = FastFaktura;

    fn read(section: &mut Section<'_>, egress: &Egress) -> Option<Self> {
        let api_key = section
            .key("api_key", "A key of the account's settings, `ffk_…`.")
            .required("create a key in FastFaktura's settings")
            .header_secret();
        let list_key = section
            .key(
                "list_key",
                "The name of a list in an answer; `auto` takes a bare list, or one that is called `data`, \
                 `items`, `invoices` or `results`.",
            )
            .allowed("`auto`, or a name")
            .text_or(AUTO);
        if list_key.is_empty() {
            section.problem("list_key", "is empty: leave it out, or write the name of a list in an answer");
        }
        let lookup_max_pages = section
            .key(
                "lookup_max_pages",
                "The largest number of pages of each list that are searched for an invoice's number.",
            )
            .whole_or(1..=1000, 50_u32);
        let lookup_statuses = section
            .key("lookup_statuses", "Invoices of these statuses are searched first, then all.")
            .texts_or(&["sent", "opened", "overdue", "paid"]);
        for (index, status) in lookup_statuses.iter().enumerate() {
            if status.is_empty() {
                section.problem(&format!("lookup_statuses[{index}]"), "is empty: write a status such as `sent`");
            }
        }
        let common = Common::read(section, &Self::DEFAULTS, egress);
        Some(Self { common: common?, api_key: api_key?, list_key, lookup_max_pages, lookup_statuses })
    }

    fn common(&self) -> &Common {
        &self.common
    }

    /// FastFaktura has no ids of companies; each key belongs to one company.
    fn company_id(&self) -> String {
        self.api_key.expose().trim().to_owned()
    }

    fn books(&self, timeout: Duration, transcript: Option<Transcript>) -> Result<FastFaktura, String> {
        FastFaktura::new(self, timeout, transcript)
    }
}

/// FastFaktura's books; only the status of their invoices can be read.
#[derive(Debug)]
pub struct FastFaktura {
    api: Api,
    index: Index,
    list_key: Option<String>,
    max_pages: u32,
    statuses: Vec<String>,
    /// How long one attempt may search.
    patience: Duration,
}

impl FastFaktura {
    /// The client. Makes no call. `timeout` bounds a whole attempt.
    ///
    /// # Errors
    /// Why this machine cannot start a client, such as missing CA certificates.
    pub fn new(options: &Options, timeout: Duration, transcript: Option<Transcript>) -> Result<Self, String> {
        let api = Api::new(Settings {
            system: SYSTEM,
            base_url: options.common.base_url.clone(),
            headers: HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), options.api_key.value())]),
            user_agent: concat!("finkare-relay/", env!("CARGO_PKG_VERSION")).to_owned(),
            secrets: vec![options.api_key.secret().clone()],
            limits: options.common.limits(),
            timeout: LONGEST_CALL.min(timeout / 4),
            egress: options.common.egress.clone(),
            transcript,
        })?;
        Ok(Self {
            api,
            index: Index::default(),
            list_key: Some(options.list_key.clone()).filter(|key| key != AUTO),
            max_pages: options.lookup_max_pages,
            statuses: options.lookup_statuses.clone(),
            patience: timeout / 2,
        })
    }

    /// Makes a call. If it is refused, the reason says what to do about the key.
    async fn read(&self, request: Request) -> Result<Answer, Trouble> {
        self.api.read(request).await.map_err(|trouble| match trouble {
            Trouble::Locked { reason } => Trouble::Locked {
                reason: format!(
                    "{reason}. Keys are created in FastFaktura's settings and begin with `ffk_`: put a valid one where `api_key` \
                     is read from, reload the configuration, and resume the sink"
                ),
            },
            other => other,
        })
    }

    /// The list in an answer, bare or under a name.
    fn list(&self, answer: &Answer) -> Result<Vec<Box<RawValue>>, Trouble> {
        let body: Box<RawValue> = answer.json()?;
        let found = match (&self.list_key, Fields::of(&body)) {
            (None, None) => serde_json::from_str(body.get()).ok(),
            (None, Some(fields)) => LIST_KEYS.iter().find_map(|key| fields.list(key)),
            (Some(key), fields) => fields.and_then(|fields| fields.list(key)),
        };
        found.ok_or_else(|| answer.unreadable("there is no list where `list_key` says"))
    }

    /// The single object in an answer, by itself or wrapped.
    fn single(answer: &Answer) -> Result<Option<Fields>, Trouble> {
        let body: Box<RawValue> = answer.json()?;
        Ok(Fields::of(&body).and_then(|fields| match fields.get_if_any::<Id>("id") {
            Ok(None) => fields.inner(&ONE_KEYS),
            _ => Some(fields),
        }))
    }

    /// What an invoice shows, or what is wrong with it.
    fn shown(&self, invoice: &Listed) -> Result<Shown, String> {
        let fields = &invoice.fields;
        let status: String = fields.get("status")?;
        let page: Option<String> = fields.help("public_url");
        let archived: Option<String> = fields.help("archived_at");
        let currency: Option<String> = fields.get_if_any("currency")?;
        Ok(Shown {
            total: fields.get_if_any("total_cents")?.map(Cents),
            currency: currency.map(|currency| self.api.quote(&currency)),
            word: self.api.quote(&status),
            status: status.to_lowercase(),
            is_archived: archived.is_some(),
            page: page.map(|page| self.api.quote(&page)).filter(|page| page.starts_with("http")),
        })
    }

    fn not_understood(&self, about: &str, invoice: &Listed, number: &str, odd: &str) -> String {
        format!(
            "{about}, and invoice {number} (id {}) cannot be understood as FastFaktura shows it: {}. Look at it there, see to \
             it by hand, and cancel this dispatch",
            invoice.id,
            self.api.quote(odd)
        )
    }
}

/// An invoice, read.
struct Shown {
    total: Option<Cents>,
    currency: Option<String>,
    /// In lower case, for comparing only: masking may miss a secret in another spelling, so this is never shown.
    status: String,
    /// The status as it may be shown.
    word: String,
    is_archived: bool,
    /// The invoice's public page, which the debtor opens.
    page: Option<String>,
}

#[async_trait]
impl Shelf for FastFaktura {
    fn search(&self) -> Search {
        let lists = self.statuses.len() + 1;
        Search { lists, first: 1, max_pages: self.max_pages, ends_at_repeats: true, time: self.patience }
    }

    fn api(&self) -> &Api {
        &self.api
    }

    async fn page(&self, number: &str, list: usize, page: usize) -> Result<Page, Trouble> {
        let request = self.api.get(format!("looking for invoice {number}"), &["invoices"]);
        let request = request.query("page", &page.to_string());
        let request = self.statuses.get(list).iter().fold(request, |request, status| request.query("status", status));
        let answer = self.read(request).await.map_err(|trouble| match trouble {
            Trouble::Missing { reason } => Trouble::Locked { reason: format!("{reason} (check `base_url`)") },
            other => other,
        })?;
        let invoices = self.list(&answer)?;
        Ok(Page { invoices: Listed::all(&invoices, NUMBER, &answer)?, next: Some(page + 1) })
    }

    async fn one(&self, number: &str, id: &Id) -> Result<Listed, Trouble> {
        let request = self.api.get(format!("looking at invoice {number}"), &["invoices", id.as_str()]);
        let answer = self.read(request).await?;
        Listed::of(Self::single(&answer)?, NUMBER, &answer)
    }
}

#[async_trait]
impl Books for FastFaktura {
    type Invoice = Infallible;
    const WRITES: bool = false;

    fn api(&self) -> &Api {
        &self.api
    }

    async fn find(&self, wanted: &Wanted<'_>) -> Result<Finding<Infallible>, Trouble> {
        let number = wanted.number;
        let hold = |instruction: String, recheck: bool| Ok(Finding::Hold { instruction, recheck });
        let found = self.index.look_up(self, number).await?;
        let about = format!("Finkare has the payment of {}", wanted.in_words());
        let invoice = match only(found, SYSTEM, number, &about) {
            Ok(invoice) => invoice,
            Err(no) => return Ok(no.into()),
        };
        let shown = match self.shown(&invoice) {
            Ok(shown) => shown,
            Err(odd) => return hold(self.not_understood(&about, &invoice, number, &odd), true),
        };
        if let Some(currency) = shown.currency.as_ref().filter(|currency| **currency != wanted.payment.currency) {
            return hold(
                format!(
                    "{about}, and invoice {number} is in {currency} in FastFaktura: compare both, see to it by hand, and cancel \
                     this dispatch"
                ),
                false,
            );
        }
        if let Some(instruction) = shown.total.and_then(|total| overpaid(wanted, SYSTEM, total)) {
            return hold(instruction, false);
        }
        let (status, word) = (shown.status.as_str(), &shown.word);
        match status {
            "paid" if shown.total.is_none() => {
                return hold(paid_of_what(&about, SYSTEM, number, "total_cents"), true);
            }
            "paid" if shown.currency.is_none() => {
                return hold(paid_of_what(&about, SYSTEM, number, "currency"), true);
            }
            "paid" => {
                let note = format!("FastFaktura shows invoice {number} (id {}) as paid", invoice.id);
                return Ok(Finding::Paid { note });
            }
            "draft" | "cancelled" => {
                let instruction = format!(
                    "{about}, and invoice {number} is `{word}` in FastFaktura: find out why, see to the payment by hand \
                     there, then `dispatches retry`; or cancel this dispatch"
                );
                return hold(instruction, false);
            }
            _ => {}
        }
        let known = if ["sent", "opened", "overdue"].contains(&status) {
            ""
        } else {
            ", a word that this version does not know"
        };
        let archived = if shown.is_archived { " and archived" } else { "" };
        let page = shown.page.map(|page| format!(" (its page for the debtor: {page})")).unwrap_or_default();
        hold(
            format!(
                "{about}, and FastFaktura shows invoice {number} as `{word}`{known}{archived}{page}. FastFaktura has no call \
                 that records a payment, so do it by hand: {}. Until it is marked as paid, FastFaktura may still treat it as \
                 overdue and remind the debtor. {}",
                share(wanted, shown.total),
                closes(SYSTEM)
            ),
            true,
        )
    }

    fn recognised_by(&self, _wanted: &Wanted<'_>) -> Option<String> {
        None
    }

    fn booking(&self, _wanted: &Wanted<'_>, invoice: &Infallible) -> Request {
        match *invoice {}
    }

    fn receipt(&self, answer: &Answer) -> Result<String, Trouble> {
        Err(answer.unreadable("nothing is ever recorded in FastFaktura"))
    }

    async fn verify(&self, wanted: &Wanted<'_>, _: Option<&Infallible>, _: &str) -> Result<Verified, Trouble> {
        let what = format!("nothing is ever recorded in FastFaktura, so not {} either", wanted.in_words());
        Ok(Verified::Missing { what })
    }

    async fn status(&self, change: &StatusChange<'_>) -> Result<StatusPlan, Trouble> {
        let found = self.index.look_up(self, change.number).await?;
        let about = told(change);
        let invoice = match only(found, SYSTEM, change.number, &about) {
            Ok(invoice) => invoice,
            Err(no) => return Ok(no.into()),
        };
        Ok(match invoice.fields.get::<String>("status") {
            Ok(status) => {
                let is_same = status.to_lowercase() == change.action.to_lowercase();
                compared(change, SYSTEM, &self.api.quote(&status), is_same)
            }
            Err(odd) => {
                let instruction = self.not_understood(&about, &invoice, change.number, &odd);
                StatusPlan::Hold { instruction, recheck: true }
            }
        })
    }

    async fn check(&self) -> Result<String, String> {
        let said = |trouble: Trouble| match trouble {
            Trouble::Missing { reason } => format!("{reason} (check `base_url`)"),
            other => other.reason().to_owned(),
        };
        let answer = self.read(self.api.get("the business", &["business"])).await.map_err(said)?;
        let body: Box<RawValue> = answer.json().map_err(said)?;
        let business = Fields::of(&body)
            .ok_or_else(|| said(answer.unreadable("there is no object where the business should be")))?;
        let business = business.inner(&ONE_KEYS).unwrap_or(business);
        // The fields of a business are not documented; its name is shown if it has one.
        let name: Option<String> = business.get_if_any("name").ok().flatten();
        let name = name.map(|name| format!(" {}", self.api.quote(&name))).unwrap_or_default();
        // The shape of the list is not documented either: a problem should show now, not with the first payment.
        let invoices = self.api.get("the first page of invoices", &["invoices"]).query("page", "1");
        self.list(&self.read(invoices).await.map_err(said)?).map_err(said)?;
        let clock = answer.clock()?;
        Ok(format!("the business{name} and its invoices can be read; {clock}"))
    }
}
