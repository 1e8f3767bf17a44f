//! Tiime: checks whether an invoice is paid there, and tells a person what to do. It writes nothing.
//!
//! The vendor documents no interface, and the known part of the one that its web application uses has no call that records
//! a payment. So this sink finds the invoice, holds the payment with an instruction, checks again on schedule, and closes
//! once Tiime shows the invoice as paid. Every call is a `GET` below `base_url`; the sink never logs in.
//!
//! What is known comes from unofficial clients, and is marked so below: (YT) <https://github.com/yabbal/tiime> (at
//! `4a8be20`), (ST) <https://github.com/francois2metz/steampipe-plugin-tiime>, (MZ)
//! <https://github.com/paultranvan/mapozy>. Whether Tiime allows its use is not known, which is why the operator has to
//! say `i_accept_unofficial_api = true`.
//!
//! Assumptions about what is not documented: a `Range` may or may not include its last item, so the next page begins after
//! the last item that was received. There is no filter by number, so lists are searched, the newest first. Only the word
//! `paid` means paid. Amounts are in euros.

use std::{convert::Infallible, time::Duration};

use ::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use async_trait::async_trait;
use jiff::{ToSpan, civil::Date};
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
    model::money::{Cents, DecimalAmount},
    options::{header::HeaderSecret, section::Section},
};

/// The name for people.
const SYSTEM: &str = "Tiime";
/// The field with the number as printed (YT).
const NUMBER: &str = "compiled_number";
/// The only currency that Tiime's invoices are known in.
const CURRENCY: &str = "EUR";
/// The `Accept` header that `GET /companies` needs (YT).
const COMPANIES: HeaderValue = HeaderValue::from_static("application/vnd.tiime.companies.v2+json");
/// The `Accept` header that `GET …/bank_transactions` needs (YT).
const TRANSACTIONS: HeaderValue = HeaderValue::from_static("application/vnd.tiime.bank_transactions.v2+json");
/// The range of companies and bank lines that are requested; one page is enough for both purposes.
const ONE_PAGE: HeaderValue = HeaderValue::from_static("items=0-99");
/// The bank line of a payment is dated between this many days before and after it: Finkare sends the money on, and
/// weekends are in between.
const DAYS_BEFORE: i64 = 3;
const DAYS_AFTER: i64 = 7;
/// The largest number of the bank's lines that an instruction names.
const MOST_CANDIDATES: usize = 3;
/// One call, if the attempt has time for more than that.
const LONGEST_CALL: Duration = Duration::from_secs(15);

/// The options of a `tiime` sink.
#[derive(Debug, Clone)]
pub struct Options {
    /// The options of every invoicing sink.
    pub common: Common,
    /// Tiime's id of the company: letters, digits and `-`.
    pub company_id: String,
    /// A bearer token that the operator got elsewhere: the sink knows no password and never logs in.
    pub token: HeaderSecret,
    /// Which version of the web application the calls say they come from.
    pub app_version: HeaderValue,
    /// The number of invoices that one call requests, 1 to 500.
    pub page_size: u32,
    /// The largest number of pages that are searched for an invoice's number, newest invoices first: 1 to 1000.
    pub lookup_max_pages: u32,
    /// Names lines of the bank with the same amount in the instruction.
    pub suggest_transactions: bool,
}

impl System for Options {
    const NAME: &'static str = "tiime";
    const ABOUT: &'static str = "Writes nothing to Tiime: tells what to do there, and closes once the invoice is paid.";
    // With one call in two seconds, several attempts would only delay each other.
    const CONCURRENCY: u32 = 1;
    const DEFAULTS: Defaults = Defaults {
        base_url: "https://chronos-api.tiime-apps.com/v1",
        zone: "Europe/Paris",
        // No limit is known, and no higher rate has been allowed.
        limits: &[(1, 2)],
        actions: &[],
    };
    type Books = Tiime;

    fn read(section: &mut Section<'_>, egress: &Egress) -> Option<Self> {
        let company_id = section
            .key("company_id", "Tiime's id of the company.")
            .allowed("letters, digits and `-`")
            .required("write Tiime's id of the company")
            .text();
        if company_id.as_ref().is_some_and(|id| !is_made_of(id, b'-')) {
            section.problem("company_id", "is not Tiime's id of a company: letters, digits and `-`");
        }
        let token = section
            .key(
                "token",
                "A bearer token that you got elsewhere; the sink knows no password and never logs in. Tokens expire after \
                 about two hours, so a file is the better place: a reload reads `{ file = \"PATH\" }` again.",
            )
            .required("write { file = \"PATH\" }, { env = \"NAME\" } or the token itself")
            .header_secret();
        let is_accepted = section
            .key(
                "i_accept_unofficial_api",
                "Must be `true`: Tiime documents no interface, and may forbid the one that this sink uses at any time. Ask \
                 Tiime first.",
            )
            .flag_or(false);
        if !is_accepted {
            section.problem("i_accept_unofficial_api", REFUSAL);
        }
        let app_version = section
            .key("app_version", "Which version of Tiime's web application the calls say they come from.")
            .allowed("a version")
            // The newest that was seen (MZ).
            .text_or("4.36.3");
        let app_version = HeaderValue::try_from(&app_version).ok().filter(|_| is_made_of(&app_version, b'.'));
        if app_version.is_none() {
            section.problem("app_version", "is not a version: write, for example, `4.36.3`");
        }
        let page_size = section.key("page_size", "How many invoices one call requests.").whole_or(1..=500, 100_u32);
        let lookup_max_pages = section
            .key(
                "lookup_max_pages",
                "The largest number of pages that are searched for an invoice's number, the newest invoices first.",
            )
            .whole_or(1..=1000, 20_u32);
        let suggest_transactions = section
            .key(
                "suggest_transactions",
                "Names up to three incoming lines of the bank with the same amount, from 3 days before the payment to 7 \
                 days after it.",
            )
            .flag_or(true);
        let common = Common::read(section, &Self::DEFAULTS, egress);
        Some(Self {
            common: common?,
            company_id: company_id?,
            token: token?,
            app_version: app_version?,
            page_size,
            lookup_max_pages,
            suggest_transactions,
        })
    }

    fn common(&self) -> &Common {
        &self.common
    }

    fn company_id(&self) -> String {
        self.company_id.to_ascii_lowercase()
    }

    fn books(&self, timeout: Duration, transcript: Option<Transcript>) -> Result<Tiime, String> {
        Tiime::new(self, timeout, transcript)
    }
}

fn is_made_of(text: &str, other: u8) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == other)
}

/// Tiime's books, of which only the invoices' status is known.
#[derive(Debug)]
pub struct Tiime {
    api: Api,
    index: Index,
    company: String,
    page_size: usize,
    max_pages: u32,
    suggests: bool,
    /// For searching within one attempt.
    patience: Duration,
}

impl Tiime {
    /// The client. Makes no call. `timeout` bounds a whole attempt.
    ///
    /// # Errors
    /// Why this machine cannot start a client, such as missing CA certificates.
    pub fn new(options: &Options, timeout: Duration, transcript: Option<Transcript>) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        let mut bearer = HeaderValue::try_from(format!("Bearer {}", options.token.expose()))
            .expect("what a header can hold, it can hold behind a word");
        bearer.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, bearer);
        // As its web application sends them (YT).
        headers.insert(HeaderName::from_static("tiime-app"), HeaderValue::from_static("tiime"));
        headers.insert(HeaderName::from_static("tiime-app-platform"), HeaderValue::from_static("web"));
        headers.insert(HeaderName::from_static("tiime-app-version"), options.app_version.clone());
        let api = Api::new(Settings {
            system: SYSTEM,
            base_url: options.common.base_url.clone(),
            headers,
            user_agent: concat!("finkare-relay/", env!("CARGO_PKG_VERSION")).to_owned(),
            secrets: vec![options.token.secret().clone()],
            limits: options.common.limits(),
            timeout: LONGEST_CALL.min(timeout / 4),
            egress: options.common.egress.clone(),
            transcript,
        })?;
        Ok(Self {
            api,
            index: Index::default(),
            company: options.company_id.clone(),
            page_size: usize::try_from(options.page_size).unwrap_or(usize::MAX).max(1),
            max_pages: options.lookup_max_pages,
            suggests: options.suggest_transactions,
            patience: timeout / 2,
        })
    }

    /// Makes a call. A refusal counts for all calls, because they are alike.
    async fn read(&self, request: Request) -> Result<Answer, Trouble> {
        self.api.read(request).await.map_err(|trouble| match trouble {
            Trouble::Locked { reason } | Trouble::Refused { reason } => Trouble::Locked {
                reason: format!(
                    "{reason}. A token of Tiime expires after about two hours: put a new one where `token` is read from, reload the \
                     configuration, and resume the sink. If the token is new, set `app_version` to what Tiime's web \
                     application sends"
                ),
            },
            other => other,
        })
    }

    /// What an invoice shows, or what is wrong with it.
    fn shown(&self, invoice: &Listed) -> Result<Shown, String> {
        let fields = &invoice.fields;
        let total: Option<DecimalAmount> = fields.get_if_any("total_including_taxes")?;
        let status: String = fields.get("status")?;
        // No known client has seen a currency; if there is one, it counts.
        let currency: Option<String> = fields.get_if_any("currency")?;
        Ok(Shown {
            total: total.map(|total| total.0),
            is_paid: status == "paid",
            is_draft: status == "draft",
            // A saved or sent invoice waits for its payment (YT); other words are not known.
            is_open: ["saved", "sent"].contains(&status.as_str()),
            status: self.api.quote(&status),
            currency: currency.map_or_else(|| CURRENCY.to_owned(), |currency| self.api.quote(&currency)),
        })
    }

    /// Incoming bank lines with the same amount, in words; empty if there are none, or if they cannot be read.
    async fn suggestion(&self, wanted: &Wanted<'_>) -> String {
        if !self.suggests {
            return String::new();
        }
        match self.candidates(wanted).await {
            Ok(lines) if lines.is_empty() => String::new(),
            Ok(lines) => format!(". At the bank it may be {}", lines.join(" or ")),
            Err(trouble) => {
                tracing::debug!(
                    payment.id = wanted.payment.id,
                    error = trouble.reason(),
                    "bank lines could not be read: none is suggested"
                );
                String::new()
            }
        }
    }

    async fn candidates(&self, wanted: &Wanted<'_>) -> Result<Vec<String>, Trouble> {
        let day = |days: i64| wanted.date.checked_add(days.days()).unwrap_or(wanted.date).to_string();
        let request = self
            .api
            .get(
                format!("looking for the payment of invoice {} at the bank", wanted.number),
                &["companies", &self.company, "bank_transactions"],
            )
            .query("hide_refused", "true")
            .query("amount_type", "positive")
            .query("transaction_date_start", &day(-DAYS_BEFORE))
            .query("transaction_date_end", &day(DAYS_AFTER))
            .header(header::ACCEPT, TRANSACTIONS)
            .header(header::RANGE, ONE_PAGE);
        let answer = self.read(request).await?;
        let body: Box<RawValue> = answer.json()?;
        let lines = Fields::of(&body)
            .and_then(|body| body.list("transactions"))
            .ok_or_else(|| answer.unreadable("it has no list `transactions`"))?;
        // A line that cannot be understood is no candidate: this only helps a person.
        Ok(lines.iter().filter_map(|line| self.candidate(wanted, &Fields::of(line)?)).take(MOST_CANDIDATES).collect())
    }

    fn candidate(&self, wanted: &Wanted<'_>, line: &Fields) -> Option<String> {
        let amount: DecimalAmount = line.get("amount").ok()?;
        let currency: Option<String> = line.get_if_any("currency").ok()?;
        if amount.0 != wanted.payment.amount_cents || currency.is_some_and(|currency| currency != CURRENCY) {
            return None;
        }
        let (id, date): (Id, String) = (line.get("id").ok()?, line.get("transaction_date").ok()?);
        let date: Date = date.parse().ok()?;
        let wording: String = line.get_if_any("wording").ok()?.unwrap_or_default();
        Some(format!("the line `{}` of {date} (id {id})", self.api.quote(&wording)))
    }
}

/// The problem to report if the operator has not agreed.
const REFUSAL: &str = "`i_accept_unofficial_api` is not true: Tiime documents no interface, and this sink uses that of \
     its web application, which may change or be forbidden at any time. Ask Tiime for permission, then set it to true";

/// An invoice, read.
struct Shown {
    total: Option<Cents>,
    status: String,
    is_paid: bool,
    is_draft: bool,
    is_open: bool,
    currency: String,
}

#[async_trait]
impl Shelf for Tiime {
    fn search(&self) -> Search {
        Search { lists: 1, first: 0, max_pages: self.max_pages, ends_at_repeats: false, time: self.patience }
    }

    fn api(&self) -> &Api {
        &self.api
    }

    async fn page(&self, number: &str, _list: usize, first: usize) -> Result<Page, Trouble> {
        let range = HeaderValue::try_from(format!("items={first}-{}", first + self.page_size - 1))
            .expect("digits are good in a header");
        let request = self
            .api
            .get(format!("looking for invoice {number}"), &["companies", &self.company, "invoices"])
            .query("sorts", "invoice_number:desc")
            .header(header::RANGE, range);
        let answer = match self.read(request).await {
            Ok(answer) => answer,
            Err(Trouble::Beyond { .. }) => return Ok(Page { invoices: vec![], next: None }),
            Err(Trouble::Missing { reason }) => {
                return Err(Trouble::Locked {
                    reason: format!("{reason} (is `company_id` right, and may the token see that company?)"),
                });
            }
            Err(trouble) => return Err(trouble),
        };
        let listed: Vec<Box<RawValue>> = answer.json()?;
        let next = first + listed.len();
        // 206 says that there is more; so does a known total that is not reached (YT).
        let total = answer
            .header(header::CONTENT_RANGE.as_str())
            .and_then(|range| range.rsplit_once('/'))
            .and_then(|(_, total)| total.parse::<usize>().ok());
        let is_last = answer.status != StatusCode::PARTIAL_CONTENT || total.is_some_and(|total| next >= total);
        Ok(Page { invoices: Listed::all(&listed, NUMBER, &answer)?, next: (!is_last).then_some(next) })
    }

    async fn one(&self, number: &str, id: &Id) -> Result<Listed, Trouble> {
        let path = ["companies", &self.company, "invoices", id.as_str()];
        let answer = self.read(self.api.get(format!("looking at invoice {number}"), &path)).await?;
        let body: Box<RawValue> = answer.json()?;
        Listed::of(Fields::of(&body), NUMBER, &answer)
    }
}

#[async_trait]
impl Books for Tiime {
    type Invoice = Infallible;
    const WRITES: bool = false;

    fn api(&self) -> &Api {
        &self.api
    }

    async fn find(&self, wanted: &Wanted<'_>) -> Result<Finding<Infallible>, Trouble> {
        let (number, what) = (wanted.number, wanted.in_words());
        let hold = |instruction: String, recheck: bool| Ok(Finding::Hold { instruction, recheck });
        let currency = &wanted.payment.currency;
        if currency != CURRENCY {
            return hold(
                format!(
                    "the payment of {what} on invoice {number} is not in {CURRENCY}, but Tiime's invoices are: see to it by hand \
                     there, and cancel this dispatch"
                ),
                false,
            );
        }
        let found = self.index.look_up(self, number).await?;
        let about = format!("Finkare has the payment of {what}");
        let invoice = match only(found, SYSTEM, number, &about) {
            Ok(invoice) => invoice,
            Err(no) => return Ok(no.into()),
        };
        let shown = match self.shown(&invoice) {
            Ok(shown) => shown,
            Err(odd) => return hold(self.not_understood(&about, &invoice, number, &odd), true),
        };
        if shown.currency != *currency {
            return hold(
                format!(
                    "{about}, and Tiime shows invoice {number} in {}: compare both, see to it by hand, and cancel this dispatch",
                    shown.currency
                ),
                false,
            );
        }
        if let Some(instruction) = shown.total.and_then(|total| overpaid(wanted, SYSTEM, total)) {
            return hold(instruction, false);
        }
        if shown.is_paid && shown.total.is_none() {
            return hold(paid_of_what(&about, SYSTEM, number, "total_including_taxes"), true);
        }
        if shown.is_paid {
            return Ok(Finding::Paid { note: format!("Tiime shows invoice {number} (id {}) as paid", invoice.id) });
        }
        let status = &shown.status;
        if shown.is_draft {
            let instruction = format!(
                "{about}, and invoice {number} is a `{status}` in Tiime: finish it there and see to the payment, then \
                 `dispatches retry`; or cancel this dispatch"
            );
            return hold(instruction, false);
        }
        let known = if shown.is_open { "" } else { ", a word that this version does not know" };
        let suggestion = self.suggestion(wanted).await;
        hold(
            format!(
                "{about}, and Tiime shows invoice {number} as `{status}`{known}. Tiime has no public way to record a payment, \
                 so link the line of the bank to the invoice there; {}{suggestion}. {}",
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
        Err(answer.unreadable("nothing is ever recorded in Tiime"))
    }

    async fn verify(&self, wanted: &Wanted<'_>, _: Option<&Infallible>, _: &str) -> Result<Verified, Trouble> {
        Ok(Verified::Missing {
            what: format!("nothing is ever recorded in Tiime, so not {} either", wanted.in_words()),
        })
    }

    async fn status(&self, change: &StatusChange<'_>) -> Result<StatusPlan, Trouble> {
        let found = self.index.look_up(self, change.number).await?;
        let about = told(change);
        let invoice = match only(found, SYSTEM, change.number, &about) {
            Ok(invoice) => invoice,
            Err(no) => return Ok(no.into()),
        };
        Ok(match invoice.fields.get::<String>("status") {
            Ok(status) => compared(change, SYSTEM, &self.api.quote(&status), status == change.action),
            Err(odd) => {
                let instruction = self.not_understood(&about, &invoice, change.number, &odd);
                StatusPlan::Hold { instruction, recheck: true }
            }
        })
    }

    async fn check(&self) -> Result<String, String> {
        let request = self
            .api
            .get("the list of companies", &["companies"])
            .header(header::ACCEPT, COMPANIES)
            .header(header::RANGE, ONE_PAGE);
        let answer = self.read(request).await.map_err(|trouble| trouble.reason().to_owned())?;
        let unreadable = |what: &str| answer.unreadable(what).reason().to_owned();
        let listed: Vec<Box<RawValue>> = answer.json().map_err(|trouble| trouble.reason().to_owned())?;
        let mut seen = Vec::new();
        for company in &listed {
            let company = Fields::of(company).ok_or_else(|| unreadable("a company is no object"))?;
            let id: Id =
                company.get("id").map_err(|odd| unreadable(&format!("a company cannot be understood: {odd}")))?;
            let name: String = company.get_if_any("name").ok().flatten().unwrap_or_default();
            if id.as_str() == self.company {
                // A list, even an empty one, shows that the token may read the company's invoices.
                self.page("of the newest number", 0, 0).await.map_err(|trouble| trouble.reason().to_owned())?;
                let clock = answer.clock()?;
                let name = self.api.quote(&name);
                return Ok(format!("the company {name} ({id}) and its invoices can be read; {clock}"));
            }
            seen.push(format!("{id} ({})", self.api.quote(&name)));
        }
        seen.truncate(10);
        let seen = if seen.is_empty() { "none".to_owned() } else { seen.join(", ") };
        Err(format!(
            "the token does not see the company of `company_id`; it sees {seen}: set `company_id` to one of these"
        ))
    }
}

impl Tiime {
    fn not_understood(&self, about: &str, invoice: &Listed, number: &str, odd: &str) -> String {
        format!(
            "{about}, and invoice {number} (id {}) cannot be understood as Tiime shows it: {}. Look at it there, see to it by \
             hand, and cancel this dispatch",
            invoice.id,
            self.api.quote(odd)
        )
    }
}
