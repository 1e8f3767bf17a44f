//! Books payments in eFactori, or another brand of the onFact platform (onFact.be, onFact.nl, enFact): they share one API.
//!
//! What is known comes from the vendor's page about the API (<https://efactori.gitbook.io/efactori.be-fr/af/api>: the
//! address, `.json` at the end of every path, the two headers), from its OpenAPI file and its PHP SDK
//! (`onFact/onfact5-api-php` on GitHub, of 2021: paths, fields, lists). Where these are silent or contradict each other
//! there is an option whose default is the careful assumption.
//!
//! A payment is added to its invoice (`POST /v1/invoices/{id}/payments.json`), with our marker as the name of the other
//! party, because there is no field for a reference. To find the marker, the list of all payments is read back to the
//! payment's day, because payments cannot be listed by invoice. A payment does not show which invoice it belongs to, and
//! an invoice does not show how much is still due. So the most that may be booked on an invoice is its total less what the
//! relay booked before. A payment that a person booked by hand, or that a bank statement brought, shows only as a payment
//! of the same amount near the same day, perhaps of another invoice: a person looks at it, unless `on_same_amount` says
//! otherwise.
//!
//! - `wire`: the shapes of answers. `list`: lists by pages, and the conclusions that they allow. `marker`: our marker,
//!   whole or cut off. `trace`: looks for a payment in the list of all payments.

mod list;
mod marker;
mod options;
mod trace;
mod wire;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use ::http::{HeaderMap, HeaderName, Method};
use async_trait::async_trait;
use moka::{future::Cache, policy::EvictionPolicy};
use outgoing::Egress;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

pub use self::options::{AmountFormat, Lookup, MarkerField, Options};
use self::{
    list::{Extent, Listing, Question},
    marker::Likeness,
    wire::{Id, Listed as _},
};
use super::{
    Answer, Api, Books, Common, Defaults, Finding, Request, Settings, StatusChange, StatusPlan, Transcript, Trouble,
    Verified, Wanted, system::System,
};
use crate::{
    model::{booking::Payment, money::Cents},
    options::section::Section,
};

/// The name for people.
const SYSTEM: &str = "eFactori";
/// The `User-Agent` of every call.
const AGENT: &str = concat!("finkare-relay/", env!("CARGO_PKG_VERSION"));
/// The longest time for one call. The vendor's SDK waits 10 s; this is longer, because a time-out leaves the outcome
/// unknown.
const CALL: Duration = Duration::from_secs(20);
/// How many invoice numbers are remembered with their ids.
const REMEMBERED: u64 = 20_000;
/// How many times a list is read if it changes while it is read.
const READINGS: usize = 3;
/// The method whose account is used for all methods without one.
const OTHER: &str = "other";
/// Pages of payment accounts that are read; a company has few accounts.
const ACCOUNT_PAGES: u32 = 10;

impl System for Options {
    const NAME: &'static str = "efactori";
    const ABOUT: &'static str =
        "Books each payment on its invoice in eFactori, or in another brand of the onFact platform, once.";
    const DEFAULTS: Defaults = Self::SHARED;
    type Books = Efactori;

    fn read(section: &mut Section<'_>, egress: &Egress) -> Option<Self> {
        Options::read(section, egress)
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn company_id(&self) -> String {
        self.company_uuid.expose().trim().to_ascii_lowercase()
    }

    fn books(&self, timeout: Duration, transcript: Option<Transcript>) -> Result<Efactori, String> {
        Efactori::new(self, timeout, transcript)
    }
}

/// The segments of a path.
#[derive(Debug)]
struct Path(Vec<String>);

impl Path {
    fn new(path: &str) -> Self {
        Self(path.split('/').filter(|step| !step.is_empty()).map(str::to_owned).collect())
    }

    /// The path with these segments appended, and `.json` at the end.
    fn to(&self, steps: &[&str]) -> Vec<String> {
        let mut path = self.0.clone();
        path.extend(steps.iter().map(|step| (*step).to_owned()));
        if let Some(last) = path.last_mut() {
            last.push_str(".json");
        }
        path
    }
}

/// Payments in an eFactori company.
pub struct Efactori {
    api: Api,
    options: Options,
    invoices: Path,
    payments: Path,
    accounts: Path,
    /// The ids of invoices by their numbers. Every use checks that the id still has the number.
    ids: Cache<String, Id>,
    /// Held by the one attempt that reads the list of invoices; the others then find their ids in `ids`. If several attempts
    /// read it at the same time, they would use up the call limit, and none would reach the end.
    scanning: Mutex<()>,
}

impl fmt::Debug for Efactori {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Efactori").field("api", &self.api).field("options", &self.options).finish_non_exhaustive()
    }
}

/// An invoice that takes a payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    id: Id,
    number: String,
    /// The payment account that the payment is booked to.
    account: String,
}

/// The result of looking for a number.
enum Located {
    One(Box<wire::Invoice>),
    /// There is none on any page.
    Absent,
    /// It cannot be decided, or there are several. Says why, and what to do.
    Unclear(String),
}

#[derive(Serialize)]
struct NewPayment<'a> {
    payment_account_id: &'a str,
    date: String,
    amount: Box<RawValue>,
    currency_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl Efactori {
    /// A client for one company. Makes no call. `timeout` bounds a whole attempt.
    ///
    /// # Errors
    /// Why this machine cannot start a client, such as missing CA certificates.
    pub fn new(options: &Options, timeout: Duration, transcript: Option<Transcript>) -> Result<Self, String> {
        let headers = [("x-session-key", &options.session_key), ("x-company-uuid", &options.company_uuid)];
        let headers = headers.map(|(name, secret)| (HeaderName::from_static(name), secret.value()));
        let api = Api::new(Settings {
            system: SYSTEM,
            base_url: options.common.base_url.clone(),
            headers: HeaderMap::from_iter(headers),
            user_agent: AGENT.to_owned(),
            secrets: vec![options.session_key.secret().clone(), options.company_uuid.secret().clone()],
            limits: options.common.limits(),
            timeout: CALL.min(timeout / 2),
            egress: options.common.egress.clone(),
            transcript,
        })?;
        Ok(Self {
            api,
            invoices: Path::new("/v1/invoices"),
            payments: Path::new(&options.payments_path),
            accounts: Path::new(&options.payment_accounts_path),
            options: options.clone(),
            ids: Cache::builder().max_capacity(REMEMBERED).eviction_policy(EvictionPolicy::lru()).build(),
            scanning: Mutex::new(()),
        })
    }

    fn get(&self, purpose: String, path: &[String]) -> Request {
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        self.api.get(purpose, &steps)
    }

    fn post(&self, purpose: String, path: &[String], body: &impl Serialize) -> Request {
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        let body = serde_json::to_string(body).expect("texts and numbers can be written as JSON");
        self.api.write(Method::POST, purpose, &steps, body)
    }

    async fn list<T: wire::Listed + serde::de::DeserializeOwned>(
        &self,
        purpose: &str,
        path: &Path,
        (q, max_pages, order_by): (Option<&str>, u32, Option<&str>),
        is_enough: impl Fn(&[T]) -> bool + Send,
    ) -> Result<Listing<T>, Trouble> {
        let path = path.to(&[]);
        let steps: Vec<&str> = path.iter().map(String::as_str).collect();
        list::read(&self.api, Question { purpose, path: &steps, order_by, q, max_pages }, is_enough).await
    }

    /// The order in which invoices and payments are requested.
    fn newest_first(&self) -> &str {
        &self.options.lookup_order_by
    }

    // --- invoices

    /// The invoice with exactly this number, read just now.
    async fn invoice(&self, number: &str) -> Result<Located, Trouble> {
        if let Some(invoice) = self.remembered(number).await? {
            return Ok(Located::One(Box::new(invoice)));
        }
        let _alone = self.scanning.lock().await;
        if let Some(invoice) = self.remembered(number).await? {
            return Ok(Located::One(Box::new(invoice)));
        }
        let id = match self.options.lookup {
            Lookup::Scan => self.scan(number).await?,
            Lookup::Query => self.query(number).await?,
            Lookup::QueryThenScan => match self.query(number).await? {
                Ok(Some(id)) => Ok(Some(id)),
                Ok(None) | Err(_) => self.scan(number).await?,
            },
        };
        Ok(match id {
            Ok(Some(id)) => {
                let (invoice, answer) = self.read_invoice(number, &id).await?;
                if invoice.number_formatted.text() != Some(number) {
                    return Err(answer.unreadable("it has another number than in the list"));
                }
                Located::One(Box::new(invoice))
            }
            Ok(None) => Located::Absent,
            Err(why) => Located::Unclear(why),
        })
    }

    /// The invoice by its remembered id, if that still has this number.
    async fn remembered(&self, number: &str) -> Result<Option<wire::Invoice>, Trouble> {
        let Some(id) = self.ids.get(number).await else { return Ok(None) };
        match self.read_invoice(number, &id).await {
            // Another invoice may have the number of one in the bin.
            Ok((invoice, _)) if invoice.number_formatted.text() == Some(number) && invoice.deleted.0 == Some(false) => {
                Ok(Some(invoice))
            }
            Ok(_) | Err(Trouble::Missing { .. }) => {
                self.ids.invalidate(number).await;
                Ok(None)
            }
            Err(trouble) => Err(trouble),
        }
    }

    async fn read_invoice(&self, number: &str, id: &Id) -> Result<(wire::Invoice, Answer), Trouble> {
        let request = self.get(format!("reading invoice {number}"), &self.invoices.to(&[id.as_str()]));
        let answer = self.api.read(request).await?;
        let invoice: wire::Invoice = answer.json()?;
        if invoice.id != *id {
            return Err(answer.unreadable("it is another invoice"));
        }
        Ok((invoice, answer))
    }

    /// Reads the list as far as allowed, and does not stop at the first invoice with the number, because a second one has
    /// to be noticed. Printed numbers are unique in a company, so an invoice that was found counts even if older ones were
    /// not read.
    async fn scan(&self, number: &str) -> Result<Result<Option<Id>, String>, Trouble> {
        let purpose = format!("looking for invoice {number}");
        let pages = self.options.lookup_max_pages;
        let listing = self
            .list(&purpose, &self.invoices, (None, pages, Some(self.newest_first())), |_: &[wire::ListedInvoice]| false)
            .await?;
        Ok(match self.pick(number, &listing.items).await {
            Ok(None) if listing.extent != Extent::Whole => Err(format!(
                "invoice {number} is not among the {} invoices that were read in {SYSTEM}, and there are more: raise \
                 `lookup_max_pages`, or try `lookup = \"query\"`",
                listing.items.len()
            )),
            picked => picked,
        })
    }

    /// Lets the platform filter. The vendor's only example of a filter is `isCustomer && name:BVBA*`, and the platform is
    /// said to ignore a filter that it does not understand. So the results are compared here.
    async fn query(&self, number: &str) -> Result<Result<Option<Id>, String>, Trouble> {
        if number.contains(['"', '\\']) {
            return Ok(Err(format!(
                "invoice number {number} cannot be written into a filter: set `lookup = \"scan\"`"
            )));
        }
        let purpose = format!("looking for invoice {number}");
        let (q, pages) = (format!("number_formatted:\"{number}\""), self.options.lookup_max_pages);
        let which = (Some(&*q), pages, Some(self.newest_first()));
        let found = self.list(&purpose, &self.invoices, which, |_: &[wire::ListedInvoice]| false).await;
        let listing = match found {
            Ok(listing) => listing,
            Err(Trouble::Refused { reason }) => {
                return Ok(Err(format!("{reason}: {SYSTEM} does not filter by number; set `lookup = \"scan\"`")));
            }
            Err(trouble) => return Err(trouble),
        };
        Ok(match self.pick(number, &listing.items).await {
            Ok(None) if listing.extent != Extent::Whole => Err(format!(
                "{SYSTEM} does not filter by number (it answered with {} other invoices, and there are more): set \
                 `lookup = \"scan\"`",
                listing.items.len()
            )),
            picked => picked,
        })
    }

    /// The invoice with this number; one in the bin counts only if there is no other. Remembers the ids of all invoices.
    async fn pick(&self, number: &str, invoices: &[wire::ListedInvoice]) -> Result<Option<Id>, String> {
        let mut by_number: HashMap<&str, Vec<&wire::ListedInvoice>> = HashMap::new();
        for invoice in invoices {
            if let Some(printed) = invoice.number_formatted.text() {
                by_number.entry(printed).or_default().push(invoice);
            }
        }
        for (printed, same) in &by_number {
            if let [one] = same.as_slice() {
                self.ids.insert((*printed).to_owned(), one.id().clone()).await;
            }
        }
        let found = by_number.remove(number).unwrap_or_default();
        let (gone, there): (Vec<_>, Vec<_>) = found.into_iter().partition(|invoice| invoice.deleted.0 == Some(true));
        match (there.as_slice(), gone.as_slice()) {
            ([one], _) | ([], [one, ..]) => Ok(Some(one.id().clone())),
            ([], []) => Ok(None),
            (several, _) => {
                let ids: Vec<_> = several.iter().map(|invoice| invoice.id().to_string()).collect();
                Err(format!(
                    "{} invoices in {SYSTEM} have the number {number} (their ids there: {}): correct that there first",
                    ids.len(),
                    ids.join(", ")
                ))
            }
        }
    }

    fn is_paid(&self, invoice: &wire::Invoice) -> bool {
        let word = invoice.status.text().unwrap_or_default().to_lowercase();
        word == "paid" || word == "payed" || word == self.options.status_paid_value.trim().to_lowercase()
    }

    /// Why an invoice must not be changed: what the problem is, and what to do there.
    fn untouchable(invoice: &wire::Invoice) -> Option<(String, &'static str)> {
        let unsaid = |what: &str| {
            let what = format!("{SYSTEM} does not say whether it is {what}");
            Some((what, "look at it there; this version needs to know"))
        };
        match (invoice.deleted.0, invoice.locked.0) {
            (Some(true), _) => Some(("it is in the bin".to_owned(), "take it out of the bin there")),
            (None, _) => unsaid("in the bin (`deleted`)"),
            (_, Some(true)) => {
                Some(("it is locked, because it is in the bookkeeping already".to_owned(), "unlock it there"))
            }
            (_, None) => unsaid("locked (`locked`)"),
            (Some(false), Some(false)) => match invoice.status.text() {
                None => unsaid("open (`status`)"),
                Some(word) if word.eq_ignore_ascii_case("concept") => {
                    Some(("it is a draft (`concept`)".to_owned(), "finish it there"))
                }
                Some(_) => None,
            },
        }
    }

    /// Why this payment must not be booked on this invoice.
    fn objection(&self, wanted: &Wanted<'_>, invoice: &wire::Invoice) -> Option<(String, &'static str)> {
        if let Some(untouchable) = Self::untouchable(invoice) {
            return Some(untouchable);
        }
        if self.is_paid(invoice) {
            let what = format!("it is `{}` there already", invoice.status.text().unwrap_or_default());
            return Some((what, "find out there by which payments, and whether this one is among them"));
        }
        let Payment { amount_cents, currency, .. } = wanted.payment;
        let theirs = invoice.currency_id.text().unwrap_or("none");
        if theirs != currency {
            return Some((format!("its currency is {theirs}"), "correct the invoice or book the payment by hand"));
        }
        let Some(total) = invoice.total_amount_incl.cents() else {
            return Some((
                "its total (`total_amount_incl`) is not an amount in whole cents".to_owned(),
                "look at it there, and book the payment by hand",
            ));
        };
        if total <= Cents::ZERO {
            return Some((
                format!("its total is {}, as of a credit note", total.of(currency)),
                "look at it there, and book the payment by hand",
            ));
        }
        let room = total.checked_sub(wanted.booked_before).unwrap_or(Cents::ZERO);
        if *amount_cents > room {
            return Some((
                format!(
                    "its total is {}, of which the relay has booked {} before, so that it would be overpaid",
                    total.of(currency),
                    wanted.booked_before.of(currency)
                ),
                "decide what to do with the excess, and book the payment by hand",
            ));
        }
        None
    }

    fn account(&self, method: Option<&str>) -> Option<&str> {
        let accounts = &self.options.accounts;
        method.and_then(|method| accounts.get(method)).or_else(|| accounts.get(OTHER)).map(|id| id.trim())
    }

    // --- payments

    fn marker(&self, payment: &Payment) -> String {
        format!("{}{}", self.options.marker_prefix, payment.id)
    }

    /// What to do about a payment that may or may not be there.
    fn make_clear(&self, payment: &Payment) -> String {
        format!(
            "make sure that Finkare's payment is there once, with `{}` as name of the other party, by which it is recognised",
            self.marker(payment)
        )
    }

    /// A hold, with an instruction for an accountant.
    fn hold<I>(wanted: &Wanted<'_>, what: &str, todo: &str) -> Finding<I> {
        Finding::Hold {
            instruction: format!(
                "the payment of {} on invoice {} was not recorded in {SYSTEM}: {what}. {todo}; then `dispatches retry`, or \
                 `dispatches cancel` if it is in the books",
                wanted.in_words(),
                wanted.number,
                todo = capitalised(todo)
            ),
            recheck: true,
        }
    }

    async fn read_payment(&self, wanted: &Wanted<'_>, id: &str) -> Result<wire::Payment, Trouble> {
        let purpose = format!("reading back Finkare's payment {}", wanted.payment.id);
        let answer = self.api.read(self.get(purpose, &self.payments.to(&[id]))).await?;
        let payment: wire::Payment = answer.json()?;
        if payment.id.as_str() == id { Ok(payment) } else { Err(answer.unreadable("it is another payment")) }
    }

    fn amount(&self, cents: Cents) -> Box<RawValue> {
        let text = match self.options.amount_format {
            AmountFormat::Number => cents.to_string(),
            AmountFormat::Object => format!("{{\"_\": {cents}}}"),
            AmountFormat::String => format!("\"{cents}\""),
        };
        RawValue::from_string(text).expect("digits and a dot are JSON")
    }

    /// Logs the invoice's status after the payment. The documents do not say whether a payment changes it.
    async fn log_status(&self, target: &Target, target_id: &str) {
        match self.read_invoice(&target.number, &target.id).await {
            Ok((invoice, _)) => tracing::info!(
                invoice.number = target.number,
                invoice.status = invoice.status.text().unwrap_or_default(),
                target.id = target_id,
                "the invoice after its payment in {SYSTEM}"
            ),
            Err(trouble) => {
                tracing::debug!(
                    invoice.number = target.number,
                    reason = trouble.reason(),
                    "the invoice's status could not be read"
                );
            }
        }
    }
}

/// How a payment differs from the wanted one, in phrases. Without `account`, any account is right.
fn differences(wanted: &Wanted<'_>, theirs: &wire::Payment, account: Option<&str>) -> Vec<String> {
    let Payment { amount_cents, currency, .. } = wanted.payment;
    let mut differs = vec![];
    match theirs.amount.cents() {
        Some(amount) if amount == *amount_cents => {}
        Some(amount) => differs.push(format!("its amount is {amount} instead of {amount_cents}")),
        None => differs.push(format!("its amount cannot be read, and should be {amount_cents}")),
    }
    // The currency may be left out, and is the invoice's then.
    if let Some(other) = theirs.currency_id.text().filter(|other| other != currency) {
        differs.push(format!("its currency is {other} instead of {currency}"));
    }
    let Some(account) = account else { return differs };
    match theirs.day() {
        Some(day) if day == wanted.date => {}
        Some(day) => differs.push(format!("its date is {day} instead of {}", wanted.date)),
        // A date that is not shown is no difference.
        None if !theirs.shows_a_date() => {}
        None => differs.push(format!("its date cannot be read, and should be {}", wanted.date)),
    }
    if let Some(other) = theirs.payment_account_id.text().filter(|other| *other != account) {
        differs.push(format!("its payment account is {other} instead of {account}"));
    }
    differs
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[async_trait]
impl Books for Efactori {
    type Invoice = Target;

    fn api(&self) -> &Api {
        &self.api
    }

    async fn find(&self, wanted: &Wanted<'_>) -> Result<Finding<Target>, Trouble> {
        let rivals = match self.before(wanted).await? {
            Ok(rivals) => rivals,
            Err(finding) => return Ok(finding),
        };
        let invoice = match self.invoice(wanted.number).await? {
            Located::One(invoice) => invoice,
            Located::Absent => {
                return Ok(Finding::Absent {
                    instruction: format!(
                        "there is no invoice {} in {SYSTEM}, for the payment of {}: enter it there, or set `number` if it has \
                         another number there",
                        wanted.number,
                        wanted.in_words()
                    ),
                });
            }
            Located::Unclear(why) => return Ok(Self::hold(wanted, &why, "correct that first")),
        };
        if let Some((what, todo)) = self.objection(wanted, &invoice) {
            return Ok(Self::hold(wanted, &what, todo));
        }
        let method = wanted.payment.method.as_deref();
        let Some(account) = self.account(method) else {
            let key = method.unwrap_or(OTHER);
            let what = format!("`accounts` names no payment account for the method `{key}`");
            return Ok(Self::hold(
                wanted,
                &what,
                &format!("add `{key}` (or `{OTHER}`, for all) to `accounts` in the settings"),
            ));
        };
        let target = Target { id: invoice.id.clone(), number: wanted.number.to_owned(), account: account.to_owned() };
        Ok(Finding::Open { invoice: target, rivals })
    }

    fn recognised_by(&self, wanted: &Wanted<'_>) -> Option<String> {
        let is_marked = self.options.marker_field == MarkerField::Name;
        is_marked.then(|| format!("write `{}` as name of the other party", self.marker(wanted.payment)))
    }

    fn booking(&self, wanted: &Wanted<'_>, invoice: &Target) -> Request {
        let payment = wanted.payment;
        let body = NewPayment {
            payment_account_id: &invoice.account,
            date: wanted.date.to_string(),
            amount: self.amount(payment.amount_cents),
            currency_id: &payment.currency,
            name: (self.options.marker_field == MarkerField::Name).then(|| self.marker(payment)),
        };
        let purpose = format!("recording {} on invoice {}", wanted.in_words(), wanted.number);
        self.post(purpose, &self.invoices.to(&[invoice.id.as_str(), "payments"]), &body)
    }

    fn receipt(&self, answer: &Answer) -> Result<String, Trouble> {
        answer.json::<wire::Made>().map(|made| made.id.to_string())
    }

    async fn verify(
        &self,
        wanted: &Wanted<'_>,
        invoice: Option<&Target>,
        target_id: &str,
    ) -> Result<Verified, Trouble> {
        let theirs = match self.read_payment(wanted, target_id).await {
            Ok(theirs) => theirs,
            Err(Trouble::Missing { reason }) => return Ok(Verified::Missing { what: reason }),
            Err(trouble) => return Err(trouble),
        };
        let method = wanted.payment.method.as_deref();
        let account = invoice.map(|target| target.account.as_str()).or_else(|| self.account(method));
        let mut differs = differences(wanted, &theirs, account);
        let marker = self.marker(wanted.payment);
        let name = theirs.name.text().unwrap_or_default();
        if self.options.marker_field == MarkerField::Name
            && marker::compare(name, marker.trim(), self.options.marker_prefix.trim()) != Likeness::Same
        {
            differs.push(format!(
                "its name of the other party is `{name}` instead of `{marker}` (without our marker a payment is not \
                 recognised after a crash: shorten `marker_prefix`, or set `marker_field = \"none\"`)"
            ));
        }
        if !differs.is_empty() {
            return Ok(Verified::Wrong { what: differs.join(", ") });
        }
        if let Some(target) = invoice {
            self.log_status(target, target_id).await;
        }
        Ok(Verified::Right)
    }

    async fn status(&self, change: &StatusChange<'_>) -> Result<StatusPlan, Trouble> {
        let StatusChange { number, to, .. } = *change;
        if change.action != "paid" {
            return Ok(StatusPlan::Done { why: format!("`status_map` does nothing in {SYSTEM} for `{to}`") });
        }
        let invoice = match self.invoice(number).await? {
            Located::One(invoice) => invoice,
            Located::Absent => {
                return Ok(StatusPlan::Absent {
                    instruction: format!(
                        "there is no invoice {number} in {SYSTEM}, which is `{to}` at Finkare: enter it there"
                    ),
                });
            }
            Located::Unclear(why) => {
                let instruction = format!("invoice {number} is `{to}` at Finkare: {why}; then `dispatches retry`");
                return Ok(StatusPlan::Hold { instruction, recheck: true });
            }
        };
        if self.is_paid(&invoice) && invoice.deleted.0 != Some(true) {
            let word = invoice.status.text().unwrap_or_default();
            return Ok(StatusPlan::Done { why: format!("invoice {number} is `{word}` in {SYSTEM} already") });
        }
        if let Some((what, todo)) = Self::untouchable(&invoice) {
            let instruction = format!(
                "invoice {number} is `{to}` at Finkare and was not set to `{}` in {SYSTEM}: {what}. {}; then \
                 `dispatches retry`, or `dispatches cancel`",
                self.options.status_paid_value,
                capitalised(todo)
            );
            return Ok(StatusPlan::Hold { instruction, recheck: true });
        }
        let body = BTreeMap::from([("status", self.options.status_paid_value.trim())]);
        let purpose = format!("setting invoice {number} to {}", self.options.status_paid_value);
        let path = self.invoices.to(&[invoice.id.as_str(), "document-events"]);
        Ok(StatusPlan::Write(Box::new(self.post(purpose, &path, &body))))
    }

    async fn check(&self) -> Result<String, String> {
        let told = |trouble: Trouble| trouble.reason().to_owned();
        let purpose = "reading its payment accounts";
        let listing: Listing<wire::Account> = self
            // Accounts have no date to order by: a strict server would reject the order of the other lists.
            .list(purpose, &self.accounts, (None, ACCOUNT_PAGES, None), |_: &[wire::Account]| false)
            .await
            .map_err(told)?;
        let names: BTreeMap<&str, &str> = listing
            .items
            .iter()
            .map(|account| (account.id.as_str(), account.name.text().unwrap_or("without a name")))
            .collect();
        let mut found = vec![];
        for (method, id) in &self.options.accounts {
            let Some(name) = names.get(id.trim()) else {
                let there: Vec<_> = names.iter().map(|(id, name)| format!("{id} ({name})")).collect();
                return Err(format!(
                    "`accounts.{method}` is {id}, and {SYSTEM} has no such payment account: it has {}",
                    if there.is_empty() { "none".to_owned() } else { there.join(", ") }
                ));
            };
            found.push(format!("{method} to {id} ({name})"));
        }
        // A wrong path should show here, and not when a payment is booked.
        let one = self.get("reading its payments".to_owned(), &self.payments.to(&[])).query("limit", "1");
        self.api.read(one).await.and_then(|answer| answer.json::<wire::Page<wire::Payment>>()).map_err(told)?;
        let one = self.get("reading its invoices".to_owned(), &self.invoices.to(&[])).query("limit", "1");
        let answer = self.api.read(one).await.map_err(told)?;
        let invoices: wire::Page<wire::ListedInvoice> = answer.json().map_err(told)?;
        let clock = answer.clock()?;
        Ok(format!(
            "{SYSTEM} accepts our credentials and shows {} invoices; payments by {}; {clock}",
            invoices.count.0,
            found.join(", ")
        ))
    }
}
