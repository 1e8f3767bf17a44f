//! Books payments in Facturation.PRO (<https://www.facturation.pro>), as settlements of its invoices.
//!
//! ```text
//! find     GET  /firms/F/invoices.json?full_invoice_ref=NUMBER&with_settlements=1   (and the single invoice, if need be)
//! booking  POST /firms/F/invoices/ID/settlements.json    {"total": "150.00", "payment_ref": "finkare:<payment id>", …}
//! verify   GET  /firms/F/invoices/ID.json
//! ```
//!
//! The marker is the settlement's `payment_ref`: our prefix and Finkare's id of the payment. Facturation.PRO itself marks an
//! invoice as paid when a settlement covers its balance. This sink never deletes anything, never marks an invoice as paid
//! or written off, and sends nothing to a debtor. The only field of an invoice that it writes is `internal_note`, and only
//! if `status_map` asks for that.
//!
//! Calls, fields and limits are those of the vendor's documentation, <https://facturation.dev> (as one text:
//! <https://facturation.dev/llms.txt>). Where the documentation leaves something open, there is an option, or a person
//! decides. `wire` has the shapes of the answers, `judge` their meaning for a payment.

mod judge;
mod options;
mod wire;

use std::time::Duration;

use ::http::{HeaderMap, HeaderValue, Method, header};
use async_trait::async_trait;
use base64::{Engine, prelude::BASE64_STANDARD};
use outgoing::Egress;
use serde::{Serialize, de::DeserializeOwned};

use self::wire::{Account, Invoice, Made, Settlement, Shown, Whole, pages};
pub use self::{
    judge::Open,
    options::{NumberField, OnAlreadyPaid, Options},
};
use super::{
    Answer, Api, Books, Common, Defaults, Finding, Request, Settings, StatusChange, StatusPlan, Transcript, Trouble,
    Verified, Wanted, system::System,
};
use crate::{
    model::{booking::Payment, secret::Secret},
    options::section::Section,
};

/// The name for people.
const SYSTEM: &str = "Facturation.PRO";
/// The calls that one attempt makes, and some more: each gets an equal part of the attempt's time.
const CALLS: u32 = 4;
/// Pages of a list that are read. An exact search has one page; there are more if the search is partial or was ignored.
const MOST_PAGES: u64 = 20;
/// Invoices that are read one by one, because a list does not show their number.
const MOST_READ: usize = 10;
/// Characters of a status that a note repeats.
const LONGEST_STATUS: usize = 100;

impl System for Options {
    const NAME: &'static str = "facturation_pro";
    const ABOUT: &'static str = "Books each payment in Facturation.PRO as a settlement of its invoice, once.";
    const DEFAULTS: Defaults = Self::SHARED;
    type Books = FacturationPro;

    fn read(section: &mut Section<'_>, egress: &Egress) -> Option<Self> {
        Options::read(section, egress)
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn company_id(&self) -> String {
        self.firm_id.trim_start_matches('0').to_owned()
    }

    fn books(&self, timeout: Duration, transcript: Option<Transcript>) -> Result<FacturationPro, String> {
        FacturationPro::new(self, timeout, transcript)
    }
}

/// The books of one firm.
#[derive(Debug)]
pub struct FacturationPro {
    api: Api,
    options: Options,
}

/// The body of a new settlement, in the documented order.
#[derive(Serialize)]
struct NewSettlement<'a> {
    invoice_id: u64,
    total: String,
    payment_mode: u64,
    paid_on: String,
    payment_ref: &'a str,
}

/// The result of a search.
enum Found {
    None,
    One(Box<Shown>),
    Several(Vec<Whole>),
    /// There are more pages, or more items without a number, than are read.
    TooMany(String),
}

impl FacturationPro {
    /// A client of one firm's books. Makes no call. `timeout` bounds a whole attempt.
    ///
    /// The process's TLS provider must be installed
    /// (`rustls::crypto::aws_lc_rs::default_provider().install_default()`).
    ///
    /// # Errors
    /// Why this machine cannot start a client, such as missing CA certificates.
    pub fn new(options: &Options, timeout: Duration, transcript: Option<Transcript>) -> Result<Self, String> {
        let pair = Secret::new(format!("{}:{}", options.api_id.expose(), options.api_key.expose()));
        let basic = Secret::new(BASE64_STANDARD.encode(pair.expose()));
        let mut authorization =
            HeaderValue::try_from(format!("Basic {}", basic.expose())).expect("base64 is visible ASCII");
        authorization.set_sensitive(true);
        let api = Api::new(Settings {
            system: SYSTEM,
            base_url: options.common.base_url.clone(),
            headers: HeaderMap::from_iter([(header::AUTHORIZATION, authorization)]),
            // The vendor may suspend an account that names no contact (the introduction of its documentation).
            user_agent: format!("finkare-relay/{} ({})", env!("CARGO_PKG_VERSION"), options.contact),
            secrets: vec![options.api_id.clone(), options.api_key.clone(), pair, basic],
            limits: options.common.limits(),
            timeout: timeout / CALLS,
            egress: options.common.egress.clone(),
            transcript,
        })?;
        Ok(Self { api, options: options.clone() })
    }

    fn marker(&self, payment: &Payment) -> String {
        format!("{}{}", self.options.payment_ref_prefix, payment.id)
    }

    /// A call about the firm's invoices: `invoices.json`, or a path below it.
    fn get(&self, purpose: String, path: &[&str]) -> Request {
        self.api.get(purpose, &[&["firms", &*self.options.firm_id], path].concat())
    }

    /// All items of a list, page by page; [`Trouble::Missing`] if there is no such list (404).
    ///
    /// The inner error says why the list is not complete.
    async fn list<T: DeserializeOwned>(&self, request: &Request) -> Result<Result<Vec<T>, String>, Trouble> {
        let mut items: Vec<T> = Vec::new();
        let mut page = 1;
        loop {
            let this = request.clone();
            let this = if page == 1 { this } else { this.query("page", &page.to_string()) };
            let answer = match self.api.read(this).await {
                // A page that was announced.
                Err(Trouble::Missing { reason }) if page > 1 => return Err(Trouble::Unreadable { reason }),
                answer => answer?,
            };
            let on_page: Vec<T> = answer.json()?;
            let pages = pages(&answer, on_page.len()).map_err(|what| answer.unreadable(what))?;
            items.extend(on_page);
            if page >= pages {
                return Ok(Ok(items));
            }
            if page == MOST_PAGES {
                return Ok(Err(format!("the search finds {pages} pages of invoices, of which {MOST_PAGES} are read")));
            }
            page += 1;
        }
    }

    fn number_of<'a>(&self, shown: &'a Shown) -> Option<&'a str> {
        match self.options.number_field {
            NumberField::FullInvoiceRef => shown.full_invoice_ref.as_deref(),
            NumberField::InvoiceRef => shown.invoice_ref.as_deref(),
            NumberField::ExternalRef => shown.external_ref.as_deref(),
        }
    }

    /// True if an item that lacks the compared number can be ruled out without reading it.
    fn cannot_be(&self, shown: &Shown, number: &str) -> bool {
        match self.options.number_field {
            // The number with its prefix ends with the number without it.
            NumberField::FullInvoiceRef => shown.invoice_ref.as_ref().is_some_and(|end| !number.ends_with(&**end)),
            NumberField::InvoiceRef => false,
            NumberField::ExternalRef => shown.external == Some(false),
        }
    }

    /// Looks for the invoices with exactly this number. The results are compared here, because the vendor's search may be
    /// inexact, ignore the case, or ignore the query.
    async fn search(&self, number: &str) -> Result<Found, Trouble> {
        let request = self.get(format!("looking for invoice {number}"), &["invoices.json"]);
        let request = match self.options.number_field {
            NumberField::FullInvoiceRef => request.query("full_invoice_ref", number),
            // A partial search.
            NumberField::InvoiceRef => request.query("invoice_ref", number),
            // There is no search for this number, only one for imported invoices.
            NumberField::ExternalRef => request.query("bill_type", "external"),
        };
        let items: Vec<Shown> = match self.list(&request.query("with_settlements", "1")).await {
            Ok(Ok(items)) => items,
            Ok(Err(what)) => return Ok(Found::TooMany(what)),
            // A search without a hit may be answered with 404: it is not documented.
            Err(Trouble::Missing { .. }) => return Ok(Found::None),
            Err(trouble) => return Err(trouble),
        };
        let (mut found, mut unknown): (Vec<Shown>, Vec<Shown>) = (Vec::new(), Vec::new());
        for item in items {
            match self.number_of(&item) {
                Some(given) if given == number => found.push(item),
                Some(_) => {}
                None if self.cannot_be(&item, number) => {}
                None => unknown.push(item),
            }
        }
        if unknown.len() > MOST_READ {
            return Ok(Found::TooMany(format!("the search finds {} invoices without a number", unknown.len())));
        }
        for item in unknown {
            let whole = self.single(item.id).await?;
            // If the number with its prefix is not shown, as in the documentation's own example, the number without it has
            // to be the whole number: then there is no prefix, or none that Finkare knows.
            let is_it = match (self.number_of(&whole), self.options.number_field) {
                (Some(given), _) => given == number,
                (None, NumberField::FullInvoiceRef) => whole.invoice_ref.as_deref() == Some(number),
                (None, NumberField::InvoiceRef | NumberField::ExternalRef) => false,
            };
            if is_it {
                found.push(whole);
            }
        }
        // Pages move while they are read.
        found.sort_by_key(|shown| shown.id.0);
        found.dedup_by_key(|shown| shown.id);
        Ok(match found.len() {
            0 => Found::None,
            1 => Found::One(Box::new(found.remove(0))),
            _ => Found::Several(found.iter().map(|shown| shown.id).collect()),
        })
    }

    async fn single_answer(&self, id: Whole) -> Result<(Answer, Shown), Trouble> {
        let path = ["invoices", &format!("{id}.json")];
        let answer = self.api.read(self.get(format!("reading the invoice with the id {id}"), &path)).await?;
        let shown: Shown = answer.json()?;
        if shown.id != id {
            return Err(answer.unreadable("it is another invoice"));
        }
        if !shown.owns_its_settlements() {
            return Err(answer.unreadable("it has another invoice's payments"));
        }
        Ok((answer, shown))
    }

    async fn single(&self, id: Whole) -> Result<Shown, Trouble> {
        Ok(self.single_answer(id).await?.1)
    }

    /// The invoice with its payments. Fields that a list leaves out are read from the single invoice, which may leave them
    /// out as well.
    async fn whole(&self, shown: &Shown) -> Result<Invoice, Trouble> {
        match shown.invoice() {
            Some(invoice) if shown.is_complete() && shown.owns_its_settlements() => Ok(invoice),
            _ => self.reread(shown.id).await,
        }
    }

    async fn reread(&self, id: Whole) -> Result<Invoice, Trouble> {
        let (answer, mut shown) = self.single_answer(id).await?;
        if shown.settlements.is_none() {
            let path = ["invoices", &id.to_string(), "settlements.json"];
            let request = self.get(format!("reading the payments of the invoice with the id {id}"), &path);
            let settlements: Vec<Settlement> = match self.list(&request).await {
                Ok(list) => {
                    list.map_err(|what| answer.unreadable(&format!("{what}, and these are payments of one invoice")))?
                }
                // "Not found" means that there are no payments only if the invoice says so as well.
                Err(Trouble::Missing { .. }) if shown.shows_no_payment() => Vec::new(),
                Err(Trouble::Missing { reason }) => return Err(Trouble::Unreadable { reason }),
                Err(trouble) => return Err(trouble),
            };
            shown.settlements = Some(settlements);
            if !shown.owns_its_settlements() {
                return Err(answer.unreadable("it has another invoice's payments"));
            }
        }
        shown.invoice().ok_or_else(|| answer.unreadable("its payments are missing"))
    }

    fn absent(number: &str, what: &str) -> String {
        format!(
            "{what} waits for invoice {number}, which is not in {SYSTEM}. If it has another number there, set `number` or \
             `number_field`; if it is in another firm, set `firm_id`; or deal with it there by hand and cancel this dispatch \
             (`dispatches cancel`)"
        )
    }

    fn several(number: &str, ids: &[Whole], what: &str) -> String {
        let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
        format!(
            "{} invoices in {SYSTEM} have the number {number} (their ids: {}), and {what} belongs to one of them. Book it there by \
             hand and cancel this dispatch (`dispatches cancel`), or give each its own number and retry it (`dispatches retry`)",
            ids.len(),
            ids.join(", ")
        )
    }

    fn too_many(number: &str, problem: &str, what: &str) -> String {
        format!(
            "invoice {number} cannot be found reliably in {SYSTEM}: {problem}. Book {what} there by hand and cancel this dispatch \
             (`dispatches cancel`); `number_field = \"full_invoice_ref\"` searches exactly"
        )
    }
}

#[async_trait]
impl Books for FacturationPro {
    type Invoice = Open;

    fn api(&self) -> &Api {
        &self.api
    }

    async fn find(&self, wanted: &Wanted<'_>) -> Result<Finding<Open>, Trouble> {
        let payment = format!("the payment of {}", wanted.in_words());
        let shown = match self.search(wanted.number).await? {
            Found::One(shown) => shown,
            Found::None => return Ok(Finding::Absent { instruction: Self::absent(wanted.number, &payment) }),
            Found::Several(ids) => {
                let instruction = Self::several(wanted.number, &ids, &payment);
                return Ok(Finding::Hold { instruction, recheck: true });
            }
            Found::TooMany(problem) => {
                let instruction = Self::too_many(wanted.number, &problem, &payment);
                return Ok(Finding::Hold { instruction, recheck: false });
            }
        };
        let invoice = self.whole(&shown).await?;
        let (marker, prefix) = (self.marker(wanted.payment), &self.options.payment_ref_prefix);
        Ok(judge::before(wanted, &marker, prefix, &invoice, self.options.on_already_paid))
    }

    fn recognised_by(&self, wanted: &Wanted<'_>) -> Option<String> {
        Some(format!("write `{}` as its reference", self.marker(wanted.payment)))
    }

    fn booking(&self, wanted: &Wanted<'_>, invoice: &Open) -> Request {
        let settlement = NewSettlement {
            invoice_id: invoice.id.0,
            total: wanted.payment.amount_cents.to_string(),
            payment_mode: self.options.payment_mode(wanted.payment.method.as_deref()),
            paid_on: wanted.date.to_string(),
            payment_ref: &self.marker(wanted.payment),
        };
        let body = serde_json::to_string(&settlement).expect("texts and numbers can be written as JSON");
        let purpose = format!("recording the payment of {} on invoice {}", wanted.in_words(), wanted.number);
        let id = invoice.id.to_string();
        let path = ["firms", &self.options.firm_id, "invoices", &id, "settlements.json"];
        self.api.write(Method::POST, purpose, &path, body)
    }

    fn receipt(&self, answer: &Answer) -> Result<String, Trouble> {
        let Made { id } = answer.json()?;
        Ok(id.to_string())
    }

    async fn verify(&self, wanted: &Wanted<'_>, invoice: Option<&Open>, target_id: &str) -> Result<Verified, Trouble> {
        let marker = self.marker(wanted.payment);
        let payment_mode = self.options.payment_mode(wanted.payment.method.as_deref());
        let (read, payment_mode) = match invoice {
            Some(open) => (self.reread(open.id).await?, Some(payment_mode)),
            // An attempt that ended before it read the payment back has written it.
            None => match self.search(wanted.number).await? {
                Found::One(shown) => (self.whole(&shown).await?, None),
                Found::None | Found::Several(_) | Found::TooMany(_) => {
                    return Ok(Verified::Missing { what: format!("one invoice with the number {}", wanted.number) });
                }
            },
        };
        Ok(judge::after(wanted, &marker, payment_mode, &read, target_id))
    }

    async fn status(&self, change: &StatusChange<'_>) -> Result<StatusPlan, Trouble> {
        let number = change.number;
        let what = format!("the note of the status `{}`", one_line(change.to));
        let shown = match self.search(number).await? {
            Found::One(shown) => shown,
            Found::None => return Ok(StatusPlan::Absent { instruction: Self::absent(number, &what) }),
            Found::Several(ids) => {
                return Ok(StatusPlan::Hold { instruction: Self::several(number, &ids, &what), recheck: true });
            }
            Found::TooMany(problem) => {
                return Ok(StatusPlan::Hold { instruction: Self::too_many(number, &problem, &what), recheck: false });
            }
        };
        let invoice = self.reread(shown.id).await?;
        if invoice.is_deleted {
            return Ok(StatusPlan::Done {
                why: format!("invoice {number} is in the bin in {SYSTEM}: nothing is noted"),
            });
        }
        let line = note(change);
        // A note that is not shown would be overwritten.
        let Some(known) = &invoice.internal_note else {
            let instruction = format!(
                "{what} cannot be added to invoice {number} (id {}) in {SYSTEM}: it does not show `internal_note`, and the \
                 present note would be lost. Write `{line}` there by hand and cancel this dispatch (`dispatches cancel`), or remove \
                 `note` from `status_map`",
                invoice.id
            );
            return Ok(StatusPlan::Hold { instruction, recheck: false });
        };
        let Some(text) = with_line(known.as_deref().unwrap_or_default(), &line) else {
            return Ok(StatusPlan::Done { why: format!("invoice {number} has the note `{line}` in {SYSTEM} already") });
        };
        let body = serde_json::json!({ "internal_note": text }).to_string();
        let purpose = format!("noting `{line}` on invoice {number}");
        let path = ["firms", &self.options.firm_id, "invoices", &format!("{}.json", invoice.id)];
        Ok(StatusPlan::Write(Box::new(self.api.write(Method::PATCH, purpose, &path, body))))
    }

    async fn check(&self) -> Result<String, String> {
        let said = |trouble: Trouble| trouble.reason().to_owned();
        let answer = self.api.read(self.api.get("the account", &["account.json"])).await.map_err(said)?;
        let account: Account = answer.json().map_err(said)?;
        let firm_id = &self.options.firm_id;
        let Some(firm) = account.firms.iter().find(|firm| firm_id.parse() == Ok(firm.id.0)) else {
            let known: Vec<_> = account.firms.iter().map(|firm| format!("{} ({})", firm.id, name_of(firm))).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(format!(
                "the account has no firm {firm_id}: it has {known}. Set `firm_id` to the one to book in"
            ));
        };
        // No invoice has this number: the call only shows whether invoices may be read.
        let request = self.get("whether invoices can be read".to_owned(), &["invoices.json"]);
        match self.api.read(request.query("full_invoice_ref", "finkare-relay check")).await {
            Err(Trouble::Missing { .. }) => {}
            answer => {
                let _: Vec<Shown> = answer.and_then(|answer| answer.json()).map_err(said)?;
            }
        }
        let clock = answer.clock()?;
        Ok(format!(
            "{SYSTEM} accepts the credentials, firm {firm_id} is {}, its invoices can be read, {clock}",
            name_of(firm)
        ))
    }
}

fn name_of(firm: &wire::Firm) -> String {
    firm.name.as_deref().map_or_else(|| "without a name".to_owned(), one_line)
}

/// Text from outside, as a part of one line.
fn one_line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_STATUS).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The line for a change of status; the same for the same event, whenever it is written.
fn note(change: &StatusChange<'_>) -> String {
    format!("Finkare {}: {}", change.date, one_line(change.to))
}

/// The note with this line at its end; `None` if the note has the line already.
fn with_line(note: &str, line: &str) -> Option<String> {
    if note.lines().any(|known| known.trim() == line) {
        return None;
    }
    let note = note.trim_end();
    Some(if note.is_empty() { line.to_owned() } else { format!("{note}\n{line}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_added_once() {
        let line = "Finkare 2026-03-15: in_recovery";
        assert_eq!(with_line("", line).unwrap(), line);
        let with = with_line("Called on Monday.\r\n\n", line).unwrap();
        assert_eq!(with, format!("Called on Monday.\n{line}"));
        for known in [with.clone(), format!("{line}\r\nmore"), format!("a\n  {line}  \nb")] {
            assert_eq!(with_line(&known, line), None, "{known:?}");
        }
        assert!(with_line("Finkare 2026-03-15: in_recovery2", line).is_some());
        assert_eq!(one_line("a\n\tb\u{1b}[0m  c"), "a b [0m c");
        assert_eq!(one_line(&"é".repeat(500)).chars().count(), LONGEST_STATUS);
    }
}
