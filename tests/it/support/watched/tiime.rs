//! Tiime as far as it is known, which is from unofficial clients alone: the vendor documents no interface.
//!
//! Sources, as its stand-in follows them: [YT] `yabbal/tiime` (TypeScript; headers, paths, `Accept`, `Range`, fields) and
//! [ST] `francois2metz/steampipe-plugin-tiime` (error body, `Range`, comparisons of dates). What neither shows is a
//! [`Variants`] of this stand-in, so that a test can have it either way. No client has a call that marks an invoice
//! as paid, and none is here.

use std::{cmp::Ordering, net::SocketAddr};

use super::{Books, Call, Invoice, Judge, Object, Reply, Watched};

/// The bearer token that it takes from the start on.
pub(crate) const TOKEN: &str = "eyJhbGciOiJSUzI1NiJ9.b25lIHRoYXQgb3BlbnMgdGhlIGJvb2tz.c2lnbmVk";
/// The company that the token may see.
pub(crate) const COMPANY: &str = "77";

const COMPANIES_TYPE: &str = "application/vnd.tiime.companies.v2+json";
const TRANSACTIONS_TYPE: &str = "application/vnd.tiime.bank_transactions.v2+json";
/// What is shown to someone who asks for no range [YT].
const USUAL_RANGE: (usize, usize) = (0, 25);

/// A running Tiime.
pub(crate) type Tiime = Watched<TiimeBooks>;

/// Whether the last item of a `Range` is part of it; no client says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeEnd {
    Included,
    Excluded,
}

/// How one learns that there is nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The last page is a 200; so is the empty one after it.
    Whole,
    /// Every page is a 206, also the empty one after the last.
    Empty,
    /// Every page is a 206, and what begins after the last item is a 416.
    Refused,
}

/// How 2 850 euros are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Amounts {
    /// `2850.0`, `12.5`, `12.34` [YT].
    Shortest,
    /// `2850.00`, `12.50`, `12.34`.
    TwoPlaces,
    /// `2850`, `12.5`, `12.34`.
    Bare,
}

/// What is not known of Tiime, so that it may be either.
#[derive(Debug, Clone)]
pub(crate) struct Variants {
    pub range_end: RangeEnd,
    pub end: End,
    pub amounts: Amounts,
    /// The most items of one page, however many were asked for.
    pub most: usize,
    /// Everything is answered, whatever the `Range`.
    pub ignores_range: bool,
    /// `Content-Range: items 0-99/250` instead of `items 0-99/*`.
    pub shows_total: bool,
    /// Invoices have a `currency`; no client has seen one.
    pub shows_currency: bool,
}

#[derive(Debug, Clone)]
struct Transaction {
    id: u64,
    /// Signed.
    cents: i64,
    currency: String,
    wording: String,
    /// `YYYY-MM-DD`.
    date: String,
    /// Only that some are refused is known, from `hide_refused`; the words are ours.
    status: String,
}

/// What Tiime has.
pub(crate) struct TiimeBooks {
    /// Those that it knows, and whether they are still good.
    tokens: Vec<(String, bool)>,
    invoices: Vec<Invoice>,
    transactions: Vec<Transaction>,
    last_id: u64,
    variants: Variants,
}

impl Tiime {
    /// With one company and nothing in its books.
    pub(crate) async fn start() -> Self {
        Self::serving(|_: SocketAddr| TiimeBooks {
            tokens: vec![(TOKEN.into(), true)],
            invoices: vec![],
            transactions: vec![],
            last_id: 500,
            variants: Variants {
                range_end: RangeEnd::Included,
                end: End::Whole,
                amounts: Amounts::Shortest,
                most: 100,
                ignores_range: false,
                shows_total: false,
                shows_currency: false,
            },
        })
        .await
    }

    /// Makes it another of the servers that it may be.
    pub(crate) fn vary(&self, change: impl FnOnce(&mut Variants)) {
        change(&mut self.lock().books.variants);
    }

    /// Ends all tokens so far, as time does after about two hours, and takes this one.
    pub(crate) fn renew_token(&self, token: &str) {
        let tokens = &mut self.lock().books.tokens;
        tokens.iter_mut().for_each(|(_, is_good)| *is_good = false);
        tokens.push((token.to_owned(), true));
    }

    /// Adds a line of the bank's; its amount is negative for what went out.
    pub(crate) fn add_transaction(&self, cents: i64, currency: &str, wording: &str, date: &str, status: &str) {
        let mut inner = self.lock();
        let id = inner.books.next_id();
        let (currency, wording, date) = (currency.to_owned(), wording.to_owned(), date.to_owned());
        let transaction = Transaction { id, cents, currency, wording, date, status: status.to_owned() };
        inner.books.transactions.push(transaction);
    }
}

impl TiimeBooks {
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The first error that stands in the way of a request.
    fn admit(&self, call: &Call, judge: &mut Judge) -> Result<(), Reply> {
        let token = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let known = self.tokens.iter().find(|(known, _)| Some(known.as_str()) == token);
        if known.is_none() {
            judge.against("no bearer token that was ever good");
        }
        let mut is_dressed = true;
        for (name, allowed) in [("tiime-app", &["tiime"][..]), ("tiime-app-platform", &["web", "cli"])] {
            if !call.header(name).is_some_and(|value| allowed.contains(&value)) {
                judge.against(&format!("`{name}` is not one of {allowed:?}"));
                is_dressed = false;
            }
        }
        let version = call.header("tiime-app-version").unwrap_or_default();
        let is_version = version.split('.').count() == 3
            && version.split('.').all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_version {
            judge.against("`tiime-app-version` is no version");
        }
        match known {
            Some((_, true)) if is_dressed && is_version => Ok(()),
            Some((_, true)) => Err(self.error(400)),
            _ => Err(self.error(401)),
        }
    }

    /// What must be accepted: plain JSON, or where a client was seen to ask so, a type of the vendor's.
    fn accept(&self, call: &Call, wanted: Option<&str>, judge: &mut Judge) -> Result<(), Reply> {
        let given = call.header("accept").unwrap_or("*/*");
        let fits = match wanted {
            Some(wanted) => given == wanted,
            None => given.split(',').any(|one| ["*/*", "application/json"].contains(&one.trim())),
        };
        if !fits {
            judge.against(&format!("accepts `{given}`, not `{}`", wanted.unwrap_or("application/json")));
            return Err(self.error(406));
        }
        Ok(())
    }

    /// One page of these, as the `Range` asks for it; `list` makes the body out of its items.
    fn page(&self, call: &Call, judge: &mut Judge, items: &[String], list: impl Fn(&str) -> String) -> Reply {
        let Variants { range_end, end, most, ignores_range, shows_total, .. } = self.variants;
        let (first, last) = match call.headers.contains_key("range") {
            false => USUAL_RANGE,
            true => match call.header("range").and_then(range) {
                Some(range) => range,
                None => {
                    judge.against("its `Range` is not `items=<first>-<last>`");
                    return self.error(416);
                }
            },
        };
        if ignores_range {
            return Reply::json(200, list(&items.join(",")));
        }
        let after = if range_end == RangeEnd::Included { last + 1 } else { last };
        let after = after.min(first + most).min(items.len());
        let is_last = after >= items.len();
        let status = if is_last && end == End::Whole { 200 } else { 206 };
        let Some(page) = items.get(first..after).filter(|page| !page.is_empty()) else {
            return if end == End::Refused { self.error(416) } else { Reply::json(status, list("")) };
        };
        let total = if shows_total { items.len().to_string() } else { "*".into() };
        Reply::json(status, list(&page.join(","))).with("content-range", format!("items {first}-{}/{total}", after - 1))
    }

    fn companies(&self, call: &Call, judge: &mut Judge) -> Result<Reply, Reply> {
        self.accept(call, Some(COMPANIES_TYPE), judge)?;
        judge.only(&[]);
        let company = Object::new().text("id", COMPANY).with("name", "Les Tests").into_text();
        let reply = self.page(call, judge, &[company], |items| format!("[{items}]"));
        Ok(reply.with("content-type", COMPANIES_TYPE))
    }

    fn list(&self, call: &Call, judge: &mut Judge) -> Result<Reply, Reply> {
        self.accept(call, None, judge)?;
        judge.only(&["sorts", "status", "emission_date"]);
        let status = call.asked("status");
        if status.is_some_and(|status| !["draft", "saved", "sent", "paid"].contains(&status)) {
            judge.against("no client knows such a `status`");
        }
        let fits = |invoice: &&Invoice| {
            status.is_none_or(|status| invoice.status == status)
                && call.asked("emission_date").is_none_or(|bound| compares(EMITTED, bound))
        };
        let mut found: Vec<_> = self.invoices.iter().filter(fits).collect();
        match call.asked("sorts").map(|sorts| sorts.split_once(':')) {
            None => {}
            Some(Some(("invoice_number", order @ ("asc" | "desc")))) => {
                found.sort_by_key(|invoice| number(invoice));
                if order == "desc" {
                    found.reverse();
                }
            }
            Some(_) => judge.against("`sorts` is not `invoice_number:asc` or `invoice_number:desc`"),
        }
        let items: Vec<_> = found.into_iter().map(|invoice| self.shown(invoice)).collect();
        Ok(self.page(call, judge, &items, |items| format!("[{items}]")))
    }

    fn one(&self, call: &Call, judge: &mut Judge, id: &str) -> Result<Reply, Reply> {
        self.accept(call, None, judge)?;
        judge.only(&[]);
        let found = self.invoices.iter().find(|invoice| invoice.id == id);
        Ok(Reply::json(200, self.shown(found.ok_or_else(|| self.error(404))?)))
    }

    fn shown(&self, invoice: &Invoice) -> String {
        let shown = Object::new()
            .text("id", &invoice.id)
            .with("compiled_number", &invoice.number)
            .with("number", number(invoice))
            .with("status", &invoice.status)
            .with("emission_date", EMITTED)
            .with("due_date", "2026-03-15")
            .with("client_id", 100)
            .with("client_name", "ACME")
            .text("total_excluding_taxes", euros(invoice.total_cents * 5 / 6, self.variants.amounts))
            .text("total_including_taxes", euros(invoice.total_cents, self.variants.amounts));
        let shown = if self.variants.shows_currency { shown.with("currency", &invoice.currency) } else { shown };
        shown.spoilt(&invoice.spoilt).into_text()
    }

    fn bank(&self, call: &Call, judge: &mut Judge) -> Result<Reply, Reply> {
        self.accept(call, Some(TRANSACTIONS_TYPE), judge)?;
        let known =
            ["hide_refused", "amount_type", "transaction_date_start", "transaction_date_end", "wording", "sorts"];
        judge.only(&known);
        let mut must_be = |name: &str, allowed: &[&str]| {
            let given = call.asked(name);
            if given.is_some_and(|given| !allowed.contains(&given)) {
                judge.against(&format!("`{name}` is not one of {allowed:?}"));
            }
            given
        };
        let kind = must_be("amount_type", &["positive", "negative"]);
        let hides = must_be("hide_refused", &["true", "false"]) == Some("true");
        let order = must_be("sorts", &["transaction_date:asc", "transaction_date:desc"]);
        let (from, to) = (call.asked("transaction_date_start"), call.asked("transaction_date_end"));
        for bound in [from, to].into_iter().flatten() {
            if bound.parse::<jiff::civil::Date>().is_err() {
                judge.against("a date of its query is not `YYYY-MM-DD`");
            }
        }
        let fits = |transaction: &&Transaction| {
            let date = transaction.date.as_str();
            kind.is_none_or(|kind| (kind == "positive") == (transaction.cents > 0))
                && !(hides && transaction.status == "refused")
                && from.is_none_or(|from| from <= date)
                && to.is_none_or(|to| date <= to)
                && call.asked("wording").is_none_or(|wording| transaction.wording.contains(wording))
        };
        let mut found: Vec<_> = self.transactions.iter().filter(fits).collect();
        match order {
            Some("transaction_date:asc") => found.sort_by(|a, b| a.date.cmp(&b.date)),
            Some(_) => found.sort_by(|a, b| b.date.cmp(&a.date)),
            None => {}
        }
        let items: Vec<_> = found.into_iter().map(|transaction| self.shown_line(transaction)).collect();
        let list = |items: &str| format!("{{\"metadata\":{{}},\"transactions\":[{items}]}}");
        Ok(self.page(call, judge, &items, list).with("content-type", TRANSACTIONS_TYPE))
    }

    fn shown_line(&self, transaction: &Transaction) -> String {
        Object::new()
            .with("id", transaction.id)
            .text("amount", euros(transaction.cents, self.variants.amounts))
            .with("currency", &transaction.currency)
            .with("wording", &transaction.wording)
            .with("original_wording", &transaction.wording)
            .with("transaction_date", &transaction.date)
            .with("realization_date", &transaction.date)
            .with("status", &transaction.status)
            .with("operation_type", "transfer")
            .text("imputations", "[]")
            .with("count_documents", 0)
            .with("count_invoices", 0)
            .into_text()
    }
}

impl Books for TiimeBooks {
    const BASE: &'static str = "/v1";

    fn new_id(&mut self) -> String {
        self.next_id().to_string()
    }

    fn invoices(&mut self) -> &mut Vec<Invoice> {
        &mut self.invoices
    }

    fn secret(&self) -> &str {
        &self.tokens.last().expect("there is always one").0
    }

    fn answer(&mut self, call: &Call, judge: &mut Judge) -> Reply {
        let admitted = self.admit(call, judge);
        let parts: Vec<_> = call.path.strip_prefix("/v1/").unwrap_or_default().split('/').collect();
        let answer = match parts[..] {
            ["companies"] => admitted.and_then(|()| self.companies(call, judge)),
            // Another company's are not there, for this token.
            ["companies", company, "invoices" | "bank_transactions", ..] if company != COMPANY => Err(self.error(404)),
            ["companies", _, "invoices"] => admitted.and_then(|()| self.list(call, judge)),
            ["companies", _, "invoices", id] => admitted.and_then(|()| self.one(call, judge, id)),
            ["companies", _, "bank_transactions"] => admitted.and_then(|()| self.bank(call, judge)),
            _ => {
                judge.against("the service has no business there");
                Err(self.error(404))
            }
        };
        answer.unwrap_or_else(|refusal| refusal)
    }

    /// As [ST] reads it; the words are ours.
    fn error(&self, status: u16) -> Reply {
        let body = Object::new()
            .with("error", status)
            .with("error_code", format!("error_{status}"))
            .with("error_description", format!("The stand-in says {status}"));
        Reply::json(status, body.into_text())
    }
}

/// When all invoices were issued.
const EMITTED: &str = "2026-02-15";

/// The number in the row of numbers: the digits at the end of the printed one; drafts have none [YT].
fn number(invoice: &Invoice) -> Option<u64> {
    let digits = invoice.number.bytes().rev().take_while(u8::is_ascii_digit).count();
    let number = invoice.number[invoice.number.len() - digits..].parse().ok();
    number.filter(|_| invoice.status != "draft")
}

/// Reads `items=0-99`.
fn range(text: &str) -> Option<(usize, usize)> {
    let (first, last) = text.strip_prefix("items=")?.split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

/// Whether a date is what a comparison such as `>=2026-01-01` asks for [ST].
fn compares(date: &str, bound: &str) -> bool {
    let split = bound.find(|letter: char| letter.is_ascii_digit()).unwrap_or(bound.len());
    let (sign, bound) = bound.split_at(split);
    match date.cmp(bound) {
        Ordering::Less => ["<", "<="].contains(&sign),
        Ordering::Equal => ["", "=", "<=", ">="].contains(&sign),
        Ordering::Greater => [">", ">="].contains(&sign),
    }
}

/// Cents as a decimal number of euros.
fn euros(cents: i64, amounts: Amounts) -> String {
    let sign = if cents < 0 { "-" } else { "" };
    let (whole, rest) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
    match (amounts, rest) {
        (Amounts::Bare, 0) => format!("{sign}{whole}"),
        (Amounts::Shortest | Amounts::Bare, rest) if rest % 10 == 0 => format!("{sign}{whole}.{}", rest / 10),
        _ => format!("{sign}{whole}.{rest:02}"),
    }
}

mod tests {
    use reqwest::{Response, header::ACCEPT};
    use serde_json::{Value, json};

    use super::{super::Fault, *};
    use crate::support::http;

    /// A client that does everything right.
    fn get(tiime: &Tiime, path: &str) -> reqwest::RequestBuilder {
        dressed(http().get(format!("{}{path}", tiime.base_url())))
    }

    fn dressed(request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        let request = request.bearer_auth(TOKEN).header("tiime-app", "tiime").header("tiime-app-version", "4.30.3");
        request.header("tiime-app-platform", "cli")
    }

    async fn page(tiime: &Tiime, query: &str, range: &str) -> (u16, String, Vec<String>) {
        let path = format!("/companies/77/invoices{query}");
        let response = get(tiime, &path).header("range", range).send().await.unwrap();
        let (status, range) = (response.status().as_u16(), range_of(&response));
        let body: Value = response.json().await.unwrap();
        let numbers = body.as_array().into_iter().flatten();
        (status, range, numbers.map(|invoice| invoice["compiled_number"].as_str().unwrap().to_owned()).collect())
    }

    fn range_of(response: &Response) -> String {
        response.headers().get("content-range").map(|range| range.to_str().unwrap().to_owned()).unwrap_or_default()
    }

    fn none() -> Vec<String> {
        vec![]
    }

    #[test]
    fn euros_are_written_without_a_float() {
        for (cents, shortest, two, bare) in [
            (285_000, "2850.0", "2850.00", "2850"),
            (1250, "12.5", "12.50", "12.5"),
            (1234, "12.34", "12.34", "12.34"),
            (1, "0.01", "0.01", "0.01"),
            (-70, "-0.7", "-0.70", "-0.7"),
            (9_007_199_254_740_993, "90071992547409.93", "90071992547409.93", "90071992547409.93"),
        ] {
            assert_eq!(euros(cents, Amounts::Shortest), shortest);
            assert_eq!(euros(cents, Amounts::TwoPlaces), two);
            assert_eq!(euros(cents, Amounts::Bare), bare);
        }
    }

    #[tokio::test]
    async fn an_invoice_is_shown_as_clients_have_seen_it_and_changes() {
        let tiime = Tiime::start().await;
        let id = tiime.add_invoice("FAC-2026-042", 285_000, "EUR", "sent");
        let path = format!("/companies/77/invoices/{id}");
        let text = get(&tiime, &path).send().await.unwrap().text().await.unwrap();
        assert_eq!(
            text,
            r#"{"id":501,"compiled_number":"FAC-2026-042","number":42,"status":"sent","emission_date":"2026-02-15","due_date":"2026-03-15","client_id":100,"client_name":"ACME","total_excluding_taxes":2375.0,"total_including_taxes":2850.0}"#
        );
        tiime.set_status("FAC-2026-042", "paid");
        tiime.vary(|variants| variants.shows_currency = true);
        tiime.spoil("FAC-2026-042", "total_including_taxes", Some("2850.005"));
        tiime.spoil("FAC-2026-042", "client_name", None);
        let text = get(&tiime, &path).send().await.unwrap().text().await.unwrap();
        assert!(text.contains(r#""status":"paid""#) && text.contains(r#""currency":"EUR""#), "{text}");
        assert!(text.contains(r#""total_including_taxes":2850.005"#) && !text.contains("client_name"), "{text}");
        assert_eq!(get(&tiime, "/companies/77/invoices/9").send().await.unwrap().status(), 404);
        assert_eq!(get(&tiime, "/companies/78/invoices").send().await.unwrap().status(), 404);
        assert_eq!((tiime.complaints(), tiime.count("/invoices/501")), (none(), 2));
    }

    #[tokio::test]
    async fn invoices_come_in_ranges() {
        let tiime = Tiime::start().await;
        for number in [2, 3, 1] {
            tiime.add_invoice(&format!("F-{number}"), 100, "EUR", "sent");
        }
        let twin = tiime.add_invoice("F-3", 100, "EUR", "sent");
        tiime.add_invoice("F-9", 100, "EUR", "draft");
        tiime.set_status_of(&twin, "saved");
        let sorted = "?sorts=invoice_number:desc";
        let listed = |numbers: &[&str]| numbers.iter().map(|number| (*number).to_owned()).collect::<Vec<_>>();

        assert_eq!(page(&tiime, sorted, "items=0-1").await, (206, "items 0-1/*".into(), listed(&["F-3", "F-3"])));
        assert_eq!(
            page(&tiime, sorted, "items=2-9").await,
            (200, "items 2-4/*".into(), listed(&["F-2", "F-1", "F-9"]))
        );
        assert_eq!(page(&tiime, sorted, "items=5-9").await, (200, String::new(), none()));
        assert_eq!(page(&tiime, "?status=saved", "items=0-9").await, (200, "items 0-0/*".into(), listed(&["F-3"])));
        let since = format!("{sorted}&emission_date=>=2026-02-16");
        assert_eq!(page(&tiime, &since, "items=0-9").await, (200, String::new(), none()));
        let since = format!("{sorted}&emission_date=>=2026-02-15");
        assert_eq!(page(&tiime, &since, "items=0-0").await.2, listed(&["F-3"]));

        tiime.vary(|variants| {
            (variants.range_end, variants.end, variants.shows_total) = (RangeEnd::Excluded, End::Empty, true);
        });
        assert_eq!(page(&tiime, sorted, "items=0-2").await, (206, "items 0-1/5".into(), listed(&["F-3", "F-3"])));
        assert_eq!(page(&tiime, sorted, "items=4-9").await, (206, "items 4-4/5".into(), listed(&["F-9"])));
        assert_eq!(page(&tiime, sorted, "items=5-9").await, (206, String::new(), none()));
        tiime.vary(|variants| (variants.end, variants.most) = (End::Refused, 1));
        assert_eq!(page(&tiime, sorted, "items=2-9").await, (206, "items 2-2/5".into(), listed(&["F-2"])));
        assert_eq!(
            get(&tiime, "/companies/77/invoices").header("range", "items=5-9").send().await.unwrap().status(),
            416
        );
        tiime.vary(|variants| variants.ignores_range = true);
        let (status, range, all) = page(&tiime, sorted, "items=0-0").await;
        assert_eq!((status, range, all.len()), (200, String::new(), 5));
        assert_eq!(tiime.complaints(), none());

        assert_eq!(page(&tiime, "?number=F-3", "items=0-9").await.2.len(), 5, "what is not known has no effect");
        page(&tiime, "?sorts=total:desc", "items=0-9").await;
        assert_eq!(
            get(&tiime, "/companies/77/invoices").header("range", "bytes=0-9").send().await.unwrap().status(),
            416
        );
        assert_eq!(
            tiime.complaints(),
            [
                "GET /v1/companies/77/invoices: nothing is known of a `number` in its query",
                "GET /v1/companies/77/invoices: `sorts` is not `invoice_number:asc` or `invoice_number:desc`",
                "GET /v1/companies/77/invoices: its `Range` is not `items=<first>-<last>`",
            ]
        );
    }

    #[tokio::test]
    async fn the_bank_and_the_companies_want_their_own_types() {
        let tiime = Tiime::start().await;
        for (cents, date, status) in
            [(-500, "2026-03-14", "done"), (150_000, "2026-03-15", "done"), (150_000, "2026-03-16", "refused")]
        {
            tiime.add_transaction(cents, "EUR", "VIR ACME", date, status);
        }
        let ask = |query: &str| {
            let path = format!("/companies/77/bank_transactions{query}");
            get(&tiime, &path).header(ACCEPT, TRANSACTIONS_TYPE).send()
        };
        let dates = |body: Value| -> Vec<String> {
            let lines = body["transactions"].as_array().unwrap();
            lines.iter().map(|line| line["transaction_date"].as_str().unwrap()[8..].to_owned()).collect()
        };
        let response = ask("").await.unwrap();
        assert_eq!(response.headers()["content-type"], TRANSACTIONS_TYPE);
        let text = response.text().await.unwrap();
        assert!(text.contains(r#""amount":-5.0,"currency":"EUR""#), "{text}");
        assert!(serde_json::from_str::<Value>(&text).unwrap()["metadata"].is_object());
        for (query, found) in [
            ("?amount_type=positive&sorts=transaction_date:desc", &["16", "15"][..]),
            ("?amount_type=positive&hide_refused=true", &["15"]),
            ("?amount_type=negative&wording=ACME", &["14"]),
            ("?wording=OTHER", &[]),
            ("?transaction_date_start=2026-03-15&transaction_date_end=2026-03-15", &["15"]),
            ("?sorts=transaction_date:asc", &["14", "15", "16"]),
        ] {
            assert_eq!(dates(ask(query).await.unwrap().json().await.unwrap()), found, "{query}");
        }
        let companies = get(&tiime, "/companies").header(ACCEPT, COMPANIES_TYPE).header("range", "items=0-24");
        let companies: Value = companies.send().await.unwrap().json().await.unwrap();
        assert_eq!(companies, json!([{"id": 77, "name": "Les Tests"}]));
        assert_eq!(tiime.complaints(), none());

        assert_eq!(get(&tiime, "/companies").send().await.unwrap().status(), 406);
        assert_eq!(get(&tiime, "/companies/77/bank_transactions").send().await.unwrap().status(), 406);
        ask("?transaction_date_start=soon&amount_type=all").await.unwrap();
        assert_eq!(tiime.complaints().len(), 4, "{:?}", tiime.complaints());
    }

    #[tokio::test]
    async fn a_stranger_and_one_without_the_headers_are_refused() {
        let tiime = Tiime::start().await;
        let url = format!("{}/companies/77/invoices", tiime.base_url());
        let stranger = http().get(&url).header("tiime-app", "tiime").header("tiime-app-version", "4.30.3");
        let stranger = stranger.header("tiime-app-platform", "web").bearer_auth("guessed").send().await.unwrap();
        assert_eq!(stranger.status(), 401);
        let body: Value = stranger.json().await.unwrap();
        assert_eq!((&body["error"], body["error_code"].is_string()), (&json!(401), true));
        assert!(body["error_description"].is_string(), "{body}");
        assert_eq!(http().get(&url).bearer_auth(TOKEN).send().await.unwrap().status(), 400);
        assert_eq!(tiime.complaints().len(), 4, "{:?}", tiime.complaints());

        // A token that was good once is no crime.
        tiime.renew_token("a.second.one");
        assert_eq!(get(&tiime, "/companies/77/invoices").send().await.unwrap().status(), 401);
        let shown = get(&tiime, "/companies/77/invoices?status=a.second.one").send().await.unwrap();
        assert_eq!((shown.status().as_u16(), tiime.complaints().len()), (401, 5));
        assert!(tiime.complaints()[4].contains("secret"), "{:?}", tiime.complaints());
    }

    #[tokio::test]
    async fn whatever_writes_is_held_against_it() {
        let tiime = Tiime::start().await;
        let id = tiime.add_invoice("F-1", 100, "EUR", "sent");
        let one = format!("{}/companies/77/invoices/{id}", tiime.base_url());
        for request in [http().put(&one), http().delete(&one), http().patch(&one), http().post(format!("{one}/send"))] {
            assert_eq!(dressed(request).send().await.unwrap().status(), 405);
        }
        assert_eq!(get(&tiime, &format!("/companies/77/invoices/{id}/pdf")).send().await.unwrap().status(), 404);
        get(&tiime, "/companies/77/invoices").body("{}").send().await.unwrap();
        assert_eq!(
            tiime.complaints(),
            [
                "PUT /v1/companies/77/invoices/501: only looking is allowed",
                "DELETE /v1/companies/77/invoices/501: only looking is allowed",
                "PATCH /v1/companies/77/invoices/501: only looking is allowed",
                "POST /v1/companies/77/invoices/501/send: WOULD HAVE WRITTEN TO THE DEBTOR",
                "GET /v1/companies/77/invoices/501/pdf: the service has no business there",
                "GET /v1/companies/77/invoices: has a body",
            ]
        );
    }

    #[tokio::test]
    async fn faults_take_the_place_of_answers() {
        let tiime = Tiime::start().await;
        tiime.add_invoice("F-1", 100, "EUR", "sent");
        let ask = || get(&tiime, "/companies/77/invoices").send();
        tiime.next([
            Fault::Plain,
            Fault::Status(503),
            Fault::Limited(None),
            Fault::Limited(Some("60".into())),
            Fault::Garbage,
            Fault::WrongShape,
            Fault::Redirect,
            Fault::CutInside,
            Fault::Cut,
            Fault::Hang,
        ]);
        assert_eq!(ask().await.unwrap().status(), 200);
        let failing = ask().await.unwrap();
        assert_eq!(failing.status(), 503);
        assert_eq!(failing.json::<Value>().await.unwrap()["error"], 503);
        let limited = ask().await.unwrap();
        assert!(limited.status() == 429 && !limited.headers().contains_key("retry-after"));
        assert_eq!(tiime.hurried(), 0);
        let limited = ask().await.unwrap();
        assert_eq!((limited.status().as_u16(), &limited.headers()["retry-after"]), (429, &"60".parse().unwrap()));
        let garbage = ask().await.unwrap();
        assert!(garbage.status() == 200 && garbage.json::<Value>().await.is_err());
        assert_eq!(tiime.hurried(), 1);
        assert!(ask().await.unwrap().json::<Value>().await.unwrap().is_object());
        let redirect = ask().await.unwrap();
        assert_eq!(
            (redirect.status().as_u16(), &redirect.headers()["location"]),
            (302, &"/elsewhere".parse().unwrap())
        );
        let half = ask().await.expect("the head is there");
        assert!(half.status() == 200 && half.bytes().await.is_err(), "half a body");
        assert!(ask().await.is_err(), "cut");
        let hanging = get(&tiime, "/companies/77/invoices").timeout(std::time::Duration::from_millis(50)).send().await;
        assert!(hanging.is_err_and(|error| error.is_timeout()));
        assert_eq!(ask().await.unwrap().status(), 200);
        let statuses: Vec<_> = tiime.calls().into_iter().map(|call| call.status.unwrap_or(0)).collect();
        assert_eq!(statuses, [200, 503, 429, 429, 200, 200, 302, 200, 0, 0, 200]);
        assert_eq!((tiime.failed(), tiime.complaints()), (9, none()));
        http().get(format!("http://{}/elsewhere", tiime.address)).send().await.unwrap();
        assert_eq!(tiime.complaints(), ["GET /elsewhere: a redirect was followed"]);
    }

    #[tokio::test]
    async fn a_seed_decides_what_fails_and_the_clock_can_be_wrong() {
        let outcomes = async |seed| {
            let tiime = Tiime::start().await;
            tiime.sometimes(seed, 300, &[Fault::Status(500), Fault::Status(502)]);
            let mut statuses = vec![];
            for _ in 0..60 {
                statuses.push(get(&tiime, "/companies/77/invoices").send().await.unwrap().status().as_u16());
            }
            let failed = statuses.iter().filter(|status| **status != 200).count();
            assert!(failed == tiime.failed() && (5..35).contains(&failed), "{statuses:?}");
            assert!(statuses.contains(&500) && statuses.contains(&502), "{statuses:?}");
            tiime.next([Fault::Cut]);
            tiime.recover();
            for _ in 0..10 {
                assert_eq!(get(&tiime, "/companies/77/invoices").send().await.unwrap().status(), 200);
            }
            statuses
        };
        let first = outcomes(7).await;
        assert_eq!(first, outcomes(7).await);
        assert_ne!(first, outcomes(8).await);

        let tiime = Tiime::start().await;
        let ahead = async |secs| {
            tiime.skew(secs);
            let response = get(&tiime, "/companies/77/invoices").send().await.unwrap();
            httpdate::parse_http_date(response.headers()["date"].to_str().unwrap()).unwrap()
        };
        let (behind, ahead) = (ahead(-86_400).await, ahead(86_400).await);
        let apart = ahead.duration_since(behind).unwrap().as_secs();
        assert!((172_800..172_800 + 60).contains(&apart), "{apart}");
    }

    #[tokio::test]
    async fn it_stops_when_it_is_dropped() {
        let tiime = Tiime::start().await;
        let url = format!("{}/companies/77/invoices", tiime.base_url());
        let client = http();
        assert_eq!(dressed(client.get(&url)).send().await.unwrap().status(), 200);
        tiime.next([Fault::Hang]);
        let waiting = tokio::spawn(dressed(client.get(&url)).send());
        crate::support::eventually("the request", || std::future::ready(tiime.failed() == 1)).await;
        drop(tiime);
        assert!(waiting.await.unwrap().is_err_and(|error| !error.is_timeout()), "the open connection ends");
        // The port is free once the listener is gone, which is a task's end away.
        let gone = async || http().get(&url).send().await.is_err_and(|error| error.is_connect());
        crate::support::eventually("the end of the listener", gone).await;
    }
}
