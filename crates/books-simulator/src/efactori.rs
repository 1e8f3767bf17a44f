//! eFactori, a brand of the onFact platform, as far as it is documented: its page about the API
//! (<https://efactori.gitbook.io/efactori.be-fr/af/api>), the vendor's OpenAPI file and PHP SDK
//! (`onFact/onfact5-api-php` on GitHub, of 2021).
//!
//! From these: the paths and `.json` at their end, the headers `X-SESSION-KEY` and `X-COMPANY-UUID`, lists with
//! `offset`, `limit`, `order_by` and `{count, items}`, the fields, amounts as objects, `201 {id, code}`, errors as
//! `{code, message, errors}` with nested errors, `document-events`. Ours, since they are silent: the words of a status,
//! the names of the rules in errors, that there is no quota until a test sets one, that a locked invoice refuses a
//! payment. Hearsay taken over: a plain query parameter named like a field is ignored.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use serde::Serialize;
use serde_json::{Value, json, value::RawValue};

use super::{
    Books, Entry, Invoice, Ledger, decimal,
    desk::{self, Call, Clerk, Desk, Reply, Running},
    is_date, lock, page, thousandths,
};

/// The value of `X-SESSION-KEY` that it takes.
pub const SESSION_KEY: &str = "5f0c7a1b9e2d4c6688aa";
/// The value of `X-COMPANY-UUID` that it takes.
pub const COMPANY_UUID: &str = "0f3a2b1c-7d6e-4f50-8a9b-1c2d3e4f5a6b";
/// The ids and names of its payment accounts.
pub const ACCOUNTS: [(u64, &str); 2] = [(3, "Banque"), (4, "Finkare")];

/// What `q` does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// Nothing: the whole list comes back.
    Ignored,
    /// It finds by `number_formatted`, exactly, or by its beginning with `*` at the end.
    Works,
    /// It finds every number that begins with what is looked for.
    Loose,
    /// 400.
    Refused,
}

/// How an amount is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `121.0`
    Number,
    /// `{"_": 121.0}`
    Object,
    /// `"121.0"`
    Text,
}

/// How this server behaves where nothing is documented.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a behaviour of its own")]
pub struct Variant {
    /// What `q` does.
    pub query: Query,
    /// The shapes of an amount that a new payment may have.
    pub takes: Vec<Shape>,
    /// The numbers within amounts are written as text.
    pub amounts_are_text: bool,
    /// Ids are written as text.
    pub ids_are_text: bool,
    /// `order_by` does nothing.
    pub ignores_order: bool,
    /// A new payment is booked without the decimals of its amount.
    pub drops_decimals: bool,
    /// Characters of `name` that are kept.
    pub name_length: usize,
    /// The words that a document event may have.
    pub words: Vec<&'static str>,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            query: Query::Ignored,
            takes: vec![Shape::Number, Shape::Object],
            amounts_are_text: false,
            ids_are_text: false,
            ignores_order: false,
            drops_decimals: false,
            name_length: 255,
            words: vec!["concept", "sent", "paid"],
        }
    }
}

struct Office {
    desk: Arc<Desk>,
    ledger: Mutex<Ledger>,
    variant: Mutex<Variant>,
}

/// A running server; it stops with its last clone.
#[derive(Clone)]
pub struct Efactori {
    office: Arc<Office>,
    running: Arc<Running>,
}

impl Efactori {
    /// Without an invoice; a payment that covers an invoice leaves its status as it is.
    pub async fn start() -> Self {
        Self::listen(desk::ANYWHERE).await.expect("a port is free")
    }

    /// The same at this address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is in use, or does not belong to this machine.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        let ledger = Mutex::new(Ledger::new(None));
        let office = Arc::new(Office { desk: desk.clone(), ledger, variant: Mutex::default() });
        let running = Arc::new(desk::open(address, desk, office.clone()).await?);
        Ok(Self { office, running })
    }

    /// Behaves differently from now on.
    pub fn vary(&self, change: impl FnOnce(&mut Variant)) {
        change(&mut lock(&self.office.variant));
    }

    /// From now on a payment that covers an invoice gives it this status.
    pub fn set_status_when_covered(&self, word: &str) {
        self.locked_ledger().status_when_covered = Some(word.to_owned());
    }
}

impl Books for Efactori {
    fn locked_ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.office.ledger)
    }

    fn desk(&self) -> &Desk {
        &self.office.desk
    }

    fn url(&self) -> String {
        format!("http://{}", self.running.address)
    }
}

/// Text that is JSON already: the way to write a number without a float.
fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("it is written as JSON")
}

#[derive(Serialize)]
struct List<T> {
    count: usize,
    items: Vec<T>,
}

#[derive(Serialize)]
struct ShownInvoice {
    id: Box<RawValue>,
    number: u64,
    number_formatted: String,
    date: String,
    expiration_date: String,
    status: String,
    currency_id: String,
    customer_id: Box<RawValue>,
    customer_name: &'static str,
    total_amount_incl: BTreeMap<String, Box<RawValue>>,
    total_amount_excl: BTreeMap<String, Box<RawValue>>,
    ogm: &'static str,
    nota: &'static str,
    order_reference: &'static str,
    locked: bool,
    deleted: bool,
    created: String,
    modified: String,
}

#[derive(Serialize)]
struct ShownPayment {
    id: Box<RawValue>,
    payment_account_id: String,
    date: String,
    amount: BTreeMap<String, Box<RawValue>>,
    currency_id: String,
    name: Option<String>,
    iban: Option<String>,
}

#[derive(Serialize)]
struct Made {
    id: Box<RawValue>,
    code: String,
}

impl Variant {
    fn id(&self, id: u64) -> Box<RawValue> {
        raw(if self.ids_are_text { format!("\"{id}\"") } else { id.to_string() })
    }

    /// In the document's currency, and in euros as the platform converts it.
    fn amount(&self, thousandths: i64, currency: &str) -> BTreeMap<String, Box<RawValue>> {
        let write = |amount| {
            let text = decimal(amount);
            raw(if self.amounts_are_text { format!("\"{text}\"") } else { text })
        };
        // A rate that shows when somebody reads the wrong key.
        let euros = if currency == "EUR" { thousandths } else { thousandths * 9 / 10 };
        [("_", thousandths), ("EUR", euros), (currency, thousandths)]
            .map(|(key, amount)| (key.to_owned(), write(amount)))
            .into()
    }

    fn invoice(&self, invoice: &Invoice) -> ShownInvoice {
        let digits: String = invoice.number.chars().filter(char::is_ascii_digit).collect();
        ShownInvoice {
            id: self.id(invoice.id),
            number: digits.parse().unwrap_or(invoice.id),
            number_formatted: invoice.full_number(),
            date: invoice.date.clone(),
            expiration_date: invoice.date.clone(),
            status: invoice.status.clone(),
            currency_id: invoice.currency.clone(),
            customer_id: self.id(77),
            customer_name: "Débiteur SPRL",
            total_amount_incl: self.amount(invoice.total, &invoice.currency),
            // At 21 %, to a tenth of a cent.
            total_amount_excl: self.amount(invoice.total * 100 / 121, &invoice.currency),
            ogm: "+++090/9337/55493+++",
            nota: "",
            order_reference: "",
            locked: invoice.locked,
            deleted: invoice.deleted,
            created: invoice.date.clone(),
            modified: invoice.date.clone(),
        }
    }

    fn payment(&self, entry: &Entry) -> ShownPayment {
        ShownPayment {
            id: self.id(entry.id),
            payment_account_id: entry.mode.clone(),
            date: entry.date.clone(),
            amount: self.amount(entry.thousandths, &entry.currency),
            currency_id: entry.currency.clone(),
            name: entry.marker.clone(),
            iban: None,
        }
    }

    fn made(&self, status: u16, id: u64) -> Reply {
        Reply::json(status, &Made { id: self.id(id), code: format!("{id:08}") })
    }
}

fn error(status: u16, code: &str, message: &str, errors: &Value) -> Reply {
    Reply::json(status, &json!({"code": code, "message": message, "errors": errors}))
}

fn is_signed_in(call: &Call) -> bool {
    call.header("x-session-key") == SESSION_KEY && call.header("x-company-uuid") == COMPANY_UUID
}

/// Whether a sink may make this call.
fn is_allowed(method: &str, segments: &[&str]) -> bool {
    matches!(
        (method, segments),
        (
            "GET",
            ["v1", "invoices" | "payments" | "payment-accounts"]
                | ["v1", "invoices" | "payments" | "payment-accounts", _]
        ) | ("POST", ["v1", "invoices", _, "payments" | "document-events"])
    )
}

impl Clerk for Office {
    fn page(&self) -> String {
        page::text("eFactori", &lock(&self.ledger), &self.desk.complaints())
    }

    fn judge(&self, call: &Call) {
        let complain = |what: &str| self.desk.complain(call, what);
        if !is_signed_in(call) {
            complain("not the session key and company of this account");
        }
        for name in ["x-force-cache", "x-actions"] {
            if call.headers.contains_key(name) {
                complain(&format!("a sink never sends {name}"));
            }
        }
        let Some(segments) = call.segments() else { return complain("the path does not end in .json") };
        if !is_allowed(&call.method, &segments) {
            complain("a sink never makes this call");
        }
        if call.is_write() && call.method != "DELETE" && !call.header("content-type").starts_with("application/json") {
            complain("a write that is not declared as JSON");
        }
        if call.method == "GET" && !call.body.is_empty() {
            complain("a GET with a body");
        }
    }

    fn answer(&self, call: &Call) -> Reply {
        if !is_signed_in(call) {
            return self.error(401);
        }
        let segments = call.segments().unwrap_or_default();
        let ["v1", segments @ ..] = &*segments else { return self.error(404) };
        let variant = lock(&self.variant).clone();
        let mut ledger = lock(&self.ledger);
        match (&*call.method, segments) {
            ("GET", ["invoices"]) => self.invoices(&ledger, &variant, call),
            ("GET", ["payments"]) => self.payments(&ledger, &variant, call),
            ("GET", ["payment-accounts"]) => {
                // They have no date, and nothing says by what else they may be ordered.
                if call.parameter("order_by").is_some() {
                    self.desk.complain(call, "payment accounts have no such order");
                    return self.error(400);
                }
                self.page(call, &ACCOUNTS, |account| account_shown(&ledger, &variant, *account))
            }
            ("GET", ["payment-accounts", id]) => {
                let account = ACCOUNTS.into_iter().find(|(known, _)| known.to_string() == *id);
                account.map_or_else(
                    || self.error(404),
                    |account| Reply::json(200, &account_shown(&ledger, &variant, account)),
                )
            }
            (method, ["payments", id]) => {
                let id = id.parse().ok();
                let Some(entry) = ledger.entries.iter().find(|entry| Some(entry.id) == id).cloned() else {
                    return self.error(404);
                };
                match method {
                    "GET" => Reply::json(200, &variant.payment(&entry)),
                    "DELETE" => {
                        ledger.entries.retain(|kept| kept.id != entry.id);
                        ledger.touch(entry.invoice_id);
                        Reply::json(200, &json!({}))
                    }
                    _ => self.error(403),
                }
            }
            (method, ["invoices", id, rest @ ..]) => {
                let id = id.parse().ok().filter(|id| ledger.invoice(*id).is_some());
                let Some(id) = id else { return self.error(404) };
                match (method, rest) {
                    ("GET", []) => Reply::json(200, &variant.invoice(ledger.invoice(id).expect("it was looked for"))),
                    ("DELETE", []) => {
                        ledger.invoice_mut(id).deleted = true;
                        ledger.touch(id);
                        variant.made(200, id)
                    }
                    ("POST", ["payments"]) => self.pay(&mut ledger, &variant, id, call),
                    ("POST", ["document-events"]) => self.event(&mut ledger, &variant, id, call),
                    // It sends the invoice to the debtor, and marks it so.
                    ("POST", ["emails"]) => {
                        ledger.invoice_mut(id).status = "sent".into();
                        variant.made(201, id)
                    }
                    ("PUT" | "PATCH", []) => self.error(403),
                    _ => self.error(404),
                }
            }
            ("POST", ["invoices" | "payments"]) => self.error(403),
            _ => self.error(404),
        }
    }

    fn error(&self, status: u16) -> Reply {
        let (code, message) = match status {
            400 => ("ValidationError", "The data are not valid"),
            401 => ("Unauthorized", "Authentication is required"),
            403 => ("Forbidden", "You have no access"),
            404 => ("NotFound", "Not found"),
            429 => ("TooManyRequests", "Too many requests"),
            _ => ("Error", "Something went wrong"),
        };
        error(status, code, message, &json!([]))
    }
}

#[derive(Serialize)]
struct ShownAccount {
    id: Box<RawValue>,
    name: &'static str,
    iban: &'static str,
    bic: &'static str,
    g_l_account_code: &'static str,
    journal_code: &'static str,
    current_balance: BTreeMap<String, Box<RawValue>>,
}

fn account_shown(ledger: &Ledger, variant: &Variant, (id, name): (u64, &'static str)) -> ShownAccount {
    let mode = id.to_string();
    let held = ledger.entries.iter().filter(|entry| entry.mode == mode).map(|entry| entry.thousandths).sum();
    ShownAccount {
        id: variant.id(id),
        name,
        iban: "BE68539007547034",
        bic: "GKCCBEBB",
        g_l_account_code: "550000",
        journal_code: "FIN",
        current_balance: variant.amount(held, "EUR"),
    }
}

impl Office {
    /// 400 and a complaint.
    fn refuse(&self, call: &Call, field: &str, rule: &str, message: &str) -> Reply {
        self.desk.complain(call, &format!("refused: {field} {message}"));
        let errors = json!({"payments": [{field: {rule: message}}]});
        error(400, "ValidationError", "The data are not valid", &errors)
    }

    fn page<T, S: Serialize>(&self, call: &Call, items: &[T], show: impl Fn(&T) -> S) -> Reply {
        let number = |name, default| call.parameter(name).map_or(Ok(default), str::parse::<usize>);
        let (Ok(offset), Ok(limit @ 1..)) = (number("offset", 0), number("limit", 100)) else {
            self.desk.complain(call, "offset and limit are whole numbers, limit from 1 on");
            return self.error(400);
        };
        if limit > 100 {
            self.desk.complain(call, "the limit is at most 100");
        }
        let on_page = items.iter().skip(offset).take(limit.min(100));
        Reply::json(200, &List { count: items.len(), items: on_page.map(show).collect() })
    }

    /// By a field, if it is known; ties stay in the order of making.
    fn order<T>(&self, call: &Call, variant: &Variant, items: &mut [&T], key: impl Fn(&T, &str) -> Option<String>) {
        let Some(order) = call.parameter("order_by") else { return };
        let Some((field, direction @ ("ascend" | "descend"))) = order.split_once(':') else {
            return self.desk.complain(call, "order_by is `field:ascend` or `field:descend`");
        };
        if variant.ignores_order {
            return;
        }
        if direction == "ascend" {
            items.sort_by_cached_key(|item| key(item, field));
        } else {
            items.sort_by_cached_key(|item| Reverse(key(item, field)));
        }
    }

    fn invoices(&self, ledger: &Ledger, variant: &Variant, call: &Call) -> Reply {
        let mut found: Vec<&Invoice> = ledger.invoices.iter().collect();
        if let Some(query) = call.parameter("q").filter(|_| variant.query != Query::Ignored) {
            let wanted = query.strip_prefix("number_formatted:").map(|value| value.trim_matches('"'));
            let Some(wanted) = wanted.filter(|_| variant.query != Query::Refused) else { return self.error(400) };
            let (beginning, is_open) = wanted.strip_suffix('*').map_or((wanted, false), |beginning| (beginning, true));
            let is_open = is_open || variant.query == Query::Loose;
            found.retain(|invoice| {
                let number = invoice.full_number();
                if is_open { number.starts_with(beginning) } else { number == beginning }
            });
        }
        self.order(call, variant, &mut found, |invoice, field| match field {
            "date" | "created" | "modified" | "expiration_date" => Some(invoice.date.clone()),
            "number_formatted" => Some(invoice.full_number()),
            "id" => Some(format!("{:020}", invoice.id)),
            _ => None,
        });
        self.page(call, &found, |invoice| variant.invoice(invoice))
    }

    fn payments(&self, ledger: &Ledger, variant: &Variant, call: &Call) -> Reply {
        let mut found: Vec<&Entry> = ledger.entries.iter().collect();
        if call.parameter("q").is_some() && variant.query == Query::Refused {
            return self.error(400);
        }
        self.order(call, variant, &mut found, |entry, field| match field {
            "date" => Some(entry.date.clone()),
            "id" => Some(format!("{:020}", entry.id)),
            _ => None,
        });
        self.page(call, &found, |entry| variant.payment(entry))
    }

    /// The amount in thousandths, from the text that was sent; or what is wrong with it.
    fn amount(variant: &Variant, sent: &RawValue) -> Result<i64, &'static str> {
        let inner;
        let (shape, text) = match sent.get().as_bytes()[0] {
            b'"' => (Shape::Text, sent.get().trim_matches('"')),
            b'{' => {
                let keys: BTreeMap<String, Box<RawValue>> =
                    serde_json::from_str(sent.get()).map_err(|_| "is no object of amounts")?;
                inner = keys.get("_").ok_or("has no `_`")?.clone();
                (Shape::Object, inner.get())
            }
            _ => (Shape::Number, sent.get()),
        };
        if !variant.takes.contains(&shape) {
            return Err("has not the right shape");
        }
        let amount = thousandths(text).ok_or("is no plain decimal number")?;
        if amount <= 0 { Err("is not above 0") } else { Ok(amount) }
    }

    /// Books a payment as it is sent, above the total too.
    fn pay(&self, ledger: &mut Ledger, variant: &Variant, id: u64, call: &Call) -> Reply {
        // The text of each value is kept: a number must not go through a float.
        let Ok(body) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(&call.body) else {
            self.desk.complain(call, "the body is no JSON object");
            return self.error(400);
        };
        let text = |name: &str| body.get(name).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        for name in body.keys() {
            if !matches!(&**name, "payment_account_id" | "date" | "amount" | "currency_id" | "name" | "iban") {
                self.desk.complain(call, &format!("no field `{name}` is documented"));
            }
        }
        for name in ["payment_account_id", "date", "amount"] {
            if !body.contains_key(name) {
                return self.refuse(call, name, "_required", "is missing");
            }
        }
        let account = text("payment_account_id").unwrap_or_else(|| body["payment_account_id"].get().to_owned());
        if !ACCOUNTS.iter().any(|(known, _)| known.to_string() == account) {
            return self.refuse(call, "payment_account_id", "_existsIn", "is no payment account");
        }
        let Some(date) = text("date").filter(|date| is_date(date)) else {
            return self.refuse(call, "date", "date", "is no date");
        };
        let amount = match Self::amount(variant, &body["amount"]) {
            Ok(amount) => amount,
            Err(wrong) => return self.refuse(call, "amount", "numeric", wrong),
        };
        if amount % 10 != 0 {
            self.desk.complain(call, "an amount that is no whole number of cents");
        }
        let invoice = ledger.invoice(id).expect("it was looked for");
        if invoice.locked {
            return self.refuse(call, "id", "locked", "is locked");
        }
        let is_draft = invoice.status == "concept";
        for (is_so, what) in
            [(is_draft, "a draft"), (invoice.deleted, "a deleted invoice"), (invoice.credit_note, "a credit note")]
        {
            if is_so {
                self.desk.complain(call, &format!("a payment on {what}"));
            }
        }
        let currency = text("currency_id").unwrap_or_else(|| invoice.currency.clone());
        if currency != invoice.currency {
            self.desk.complain(call, "a payment in another currency than the invoice");
        }
        let amount = if variant.drops_decimals { amount / 1000 * 1000 } else { amount };
        let entry = Entry {
            id: 0,
            invoice_id: id,
            invoice_number: invoice.full_number(),
            marker: text("name").map(|name| name.chars().take(variant.name_length).collect()),
            thousandths: amount,
            date,
            mode: account,
            currency,
            by_hand: false,
            counts: amount,
        };
        variant.made(201, ledger.book(entry))
    }

    fn event(&self, ledger: &mut Ledger, variant: &Variant, id: u64, call: &Call) -> Reply {
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        let Some(word) = body["status"].as_str().filter(|word| variant.words.contains(word)) else {
            self.desk.complain(call, "no status that is known");
            let errors = json!({"document_events": [{"status": {"inList": "is no status"}}]});
            return error(400, "ValidationError", "The data are not valid", &errors);
        };
        word.clone_into(&mut ledger.invoice_mut(id).status);
        ledger.touch(id);
        variant.made(201, ledger.next_id())
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::{
        super::{
            NewInvoice,
            desk::{Fault, On, Quota, Then},
        },
        *,
    };
    use crate::testing::http;

    async fn raw_ask(server: &Efactori, method: &str, path: &str, body: &str) -> (u16, String) {
        let method: http::Method = method.parse().unwrap();
        let mut request = http().request(method.clone(), format!("{}{path}", server.url()));
        request = request.header("X-SESSION-KEY", SESSION_KEY).header("X-COMPANY-UUID", COMPANY_UUID);
        if method == http::Method::POST {
            request = request.header("Content-Type", "application/json").body(body.to_owned());
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn ask(server: &Efactori, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, text) = raw_ask(server, method, path, body).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    async fn get(server: &Efactori, path: &str) -> (u16, Value) {
        ask(server, "GET", path, "").await
    }

    fn numbers(list: &Value) -> Vec<&str> {
        list["items"].as_array().unwrap().iter().map(|item| item["number_formatted"].as_str().unwrap()).collect()
    }

    fn payment(amount: &str) -> String {
        let start = r#"{"payment_account_id": "4", "date": "2026-03-15", "currency_id": "EUR", "name": "Finkare p-1""#;
        format!(r#"{start}, "amount": {amount}}}"#)
    }

    #[tokio::test]
    async fn a_payment_is_booked_and_read_back() {
        let server = Efactori::start().await;
        let id = server.add(NewInvoice::of("12", 12_100).prefix("2026/"));
        let other = server.add(NewInvoice::of("13", 12_100));
        let path = format!("/v1/invoices/{id}/payments.json");
        let (status, made) = ask(&server, "POST", &path, &payment("100.05")).await;
        assert!(status == 201 && made["code"].is_string(), "{made}");
        let one = format!("/v1/payments/{}.json", made["id"]);
        let (status, shown) = raw_ask(&server, "GET", &one, "").await;
        assert_eq!(status, 200);
        // As text: `100.05` is not made of a float.
        assert!(
            shown.contains(r#""amount":{"EUR":100.05,"_":100.05},"currency_id":"EUR","name":"Finkare p-1""#),
            "{shown}"
        );
        let entries = server.entries();
        let entry = &entries[0];
        assert_eq!((entries.len(), entry.cents(), &*entry.date, &*entry.mode), (1, 10_005, "2026-03-15", "4"));
        assert_eq!((&*entry.invoice_number, entry.marker.as_deref()), ("2026/12", Some("Finkare p-1")));
        assert_eq!((entry.id.to_string(), entry.invoice_id), (made["id"].to_string(), id));
        assert_eq!((server.balance_cents("2026/12"), server.balance_cents("13")), (2095, 12_100));

        // A bad server: it takes the same payment twice, and too much. The books tell.
        assert!(server.doubled().is_empty() && server.overpaid().is_empty());
        assert_eq!(ask(&server, "POST", &path, &payment(r#"{"_": 100.05, "EUR": 100.05}"#)).await.0, 201);
        assert_eq!(server.doubled(), [("Finkare p-1".to_owned(), 2)]);
        assert_eq!((server.overpaid(), server.balance_cents("2026/12")), (vec!["2026/12".to_owned()], -7910));
        assert_eq!(server.invoice("2026/12").status, "sent", "nothing says that a payment changes it");
        let (_, accounts) = get(&server, "/v1/payment-accounts.json").await;
        assert_eq!((accounts["count"].as_u64(), accounts["items"][1]["name"].as_str()), (Some(2), Some("Finkare")));
        let (_, account) = raw_ask(&server, "GET", "/v1/payment-accounts/4.json", "").await;
        assert!(account.contains(r#""current_balance":{"EUR":200.1,"_":200.1}"#), "{account}");
        assert_eq!(server.complaints(), Vec::<String>::new());

        server.set_status_when_covered("payed");
        assert_eq!(ask(&server, "POST", &format!("/v1/invoices/{other}/payments.json"), &payment("121")).await.0, 201);
        assert_eq!(server.invoice("13").status, "payed");
        server.add(NewInvoice::of("14", 500));
        server.pay_by_hand("14", 200, None);
        assert!(server.entries()[3].by_hand && server.balance_cents("14") == 300);
        assert_eq!((server.invoices().len(), server.doubled()[0].1), (3, 3));
    }

    #[tokio::test]
    async fn invoices_are_shown_as_documented() {
        let server = Efactori::start().await;
        let id = server.add(NewInvoice::of("1", 12_100).currency("USD").dated("2026-02-01").locked());
        server.add(NewInvoice::of("2", 5000).draft());
        server.add(NewInvoice::of("3", 5000).paid().deleted());
        let (_, shown) = raw_ask(&server, "GET", &format!("/v1/invoices/{id}.json"), "").await;
        for part in [
            r#""total_amount_incl":{"EUR":108.9,"USD":121.0,"_":121.0}"#,
            r#""total_amount_excl":{"EUR":90.0,"USD":100.0,"_":100.0}"#,
            r#""number_formatted":"1","date":"2026-02-01""#,
            r#""locked":true,"deleted":false"#,
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        let (_, list) = get(&server, "/v1/invoices.json").await;
        let states: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["status"].clone()).collect();
        assert_eq!(
            (states, &list["items"][2]["deleted"]),
            (vec!["sent".into(), "concept".into(), "paid".into()], &json!(true))
        );

        server.vary(|variant| (variant.ids_are_text, variant.amounts_are_text) = (true, true));
        let (_, shown) = get(&server, &format!("/v1/invoices/{id}.json")).await;
        assert_eq!((&shown["id"], &shown["total_amount_incl"]["_"]), (&json!(id.to_string()), &json!("121.0")));
        assert_eq!(
            get(&server, "/v1/invoices/1.json").await.1,
            json!({"code": "NotFound", "message": "Not found", "errors": []})
        );
        assert_eq!(server.complaints(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn lists_have_an_offset_an_order_and_perhaps_a_query() {
        let server = Efactori::start().await;
        for number in 0..250 {
            server.add(NewInvoice::of(&format!("F{number:03}"), 100).dated(&format!("2026-03-{:02}", number % 28 + 1)));
        }
        let (_, first) = get(&server, "/v1/invoices.json?order_number=F200").await;
        assert_eq!((first["count"].as_u64(), numbers(&first).len(), numbers(&first)[0]), (Some(250), 100, "F000"));
        let (_, last) = get(&server, "/v1/invoices.json?offset=200&limit=100").await;
        assert_eq!((numbers(&last).len(), numbers(&last)[49]), (50, "F249"));
        assert!(numbers(&get(&server, "/v1/invoices.json?offset=900").await.1).is_empty());
        let newest = "/v1/invoices.json?order_by=date:descend&limit=2";
        assert_eq!(numbers(&get(&server, newest).await.1), ["F027", "F055"]);
        assert_eq!(
            numbers(&get(&server, "/v1/invoices.json?order_by=number_formatted:ascend&limit=1").await.1),
            ["F000"]
        );
        let wanted = "/v1/invoices.json?q=number_formatted:%22F20%22";
        assert_eq!(get(&server, wanted).await.1["count"], 250, "ignored");
        server.vary(|variant| (variant.ignores_order, variant.query) = (true, Query::Works));
        assert_eq!(numbers(&get(&server, newest).await.1), ["F000", "F001"]);
        assert_eq!(get(&server, wanted).await.1["count"], 0);
        assert_eq!(numbers(&get(&server, "/v1/invoices.json?q=number_formatted:F201").await.1), ["F201"]);
        assert_eq!(get(&server, "/v1/invoices.json?q=number_formatted:F20*").await.1["count"], 10);
        server.vary(|variant| variant.query = Query::Loose);
        assert_eq!(get(&server, wanted).await.1["count"], 10);
        server.vary(|variant| variant.query = Query::Refused);
        assert_eq!(get(&server, wanted).await.1["code"], "ValidationError");
        assert_eq!(get(&server, "/v1/payments.json?q=name:x").await.0, 400);
        assert_eq!(server.complaints(), Vec::<String>::new());

        assert_eq!(numbers(&get(&server, "/v1/invoices.json?limit=500").await.1).len(), 100);
        assert_eq!(get(&server, "/v1/invoices.json?offset=-1").await.0, 400);
        assert_eq!(get(&server, "/v1/invoices.json?order_by=date").await.0, 200);
        assert_eq!(server.complaints().len(), 3, "{:?}", server.complaints());
    }

    #[tokio::test]
    async fn payments_are_listed_by_date() {
        let server = Efactori::start().await;
        let id = server.add(NewInvoice::of("1", 100_000));
        server.vary(|variant| (variant.name_length, variant.drops_decimals) = (9, true));
        let path = format!("/v1/invoices/{id}/payments.json");
        assert_eq!(ask(&server, "POST", &path, &payment("10.99")).await.0, 201);
        let later = payment("7.0").replace("03-15", "03-20");
        assert_eq!(ask(&server, "POST", &path, &later).await.0, 201);
        let (_, list) = get(&server, "/v1/payments.json?order_by=date:descend").await;
        assert_eq!((&list["count"], &list["items"][0]["date"]), (&json!(2), &json!("2026-03-20")));
        assert_eq!((&list["items"][1]["name"], list["items"][1].get("invoice_id")), (&json!("Finkare p"), None));
        assert_eq!(server.entries()[0].cents(), 1000, "its decimals are gone");
        let (_, by_id) = get(&server, "/v1/payments.json?order_by=id:descend&limit=1").await;
        assert_eq!(by_id["items"][0]["date"], "2026-03-20");
    }

    #[tokio::test]
    async fn what_is_not_valid_is_refused_in_the_shape_of_the_system() {
        let server = Efactori::start().await;
        let id = server.add(NewInvoice::of("1", 12_100));
        let path = format!("/v1/invoices/{id}/payments.json");
        let good = payment("1.0");
        let (_, refused) = ask(&server, "POST", &path, &good.replace("\"4\"", "\"5\"")).await;
        assert_eq!(refused["code"], "ValidationError");
        assert_eq!(refused["errors"]["payments"][0]["payment_account_id"]["_existsIn"], "is no payment account");
        let (_, refused) = ask(&server, "POST", &path, &good.replace("payment_account_id", "account")).await;
        assert_eq!(refused["errors"]["payments"][0]["payment_account_id"]["_required"], "is missing");
        for body in [
            "[]".to_owned(),
            "no JSON".to_owned(),
            good.replace("2026-03-15", "15/03/2026"),
            good.replace("\"date\"", "\"day\""),
            good.replace("\"amount\"", "\"total\""),
            payment("0.0"),
            payment("-1.0"),
            payment("1e2"),
            payment("0.30000000000000004"),
            payment("\"1.0\""),
            payment("{\"EUR\": 1.0}"),
            payment("null"),
        ] {
            let complaints = server.complaints().len();
            assert_eq!(ask(&server, "POST", &path, &body).await.0, 400, "{body}");
            assert!(server.complaints().len() > complaints, "{body}");
        }
        assert!(server.entries().is_empty());
        server.vary(|variant| variant.takes = vec![Shape::Text]);
        assert_eq!(ask(&server, "POST", &path, &good).await.0, 400);
        assert_eq!(ask(&server, "POST", &path, &payment("\"1.50\"")).await.0, 201);
        assert_eq!(server.entries()[0].cents(), 150);
        assert_eq!(ask(&server, "POST", "/v1/invoices/1/payments.json", &good).await.0, 404);
    }

    #[tokio::test]
    async fn a_payment_on_what_is_no_open_invoice_is_complained_about() {
        let server = Efactori::start().await;
        server.add(NewInvoice::of("draft", 100).draft());
        server.add(NewInvoice::of("deleted", 100).deleted());
        server.add(NewInvoice::of("credit", 100).credit_note());
        server.add(NewInvoice::of("dollars", 100).currency("USD"));
        server.add(NewInvoice::of("locked", 100).locked());
        for number in ["draft", "deleted", "credit", "dollars", "locked"] {
            let path = format!("/v1/invoices/{}/payments.json", server.invoice(number).id);
            let status = ask(&server, "POST", &path, &payment("1.0")).await.0;
            assert_eq!(status, if number == "locked" { 400 } else { 201 }, "{number}");
        }
        let complaints = server.complaints();
        let parts = ["a draft", "a deleted", "a credit note", "another currency", "is locked"];
        assert!(complaints.iter().zip(parts).all(|(complaint, part)| complaint.contains(part)), "{complaints:?}");
        assert_eq!((complaints.len(), server.entries().len()), (5, 4));
        let path = format!("/v1/invoices/{}/payments.json", server.invoice("draft").id);
        assert_eq!(ask(&server, "POST", &path, &payment("0.005").replace("name", "note")).await.0, 201);
        let complaints = server.complaints().split_off(5);
        assert!(complaints[0].contains("`note`") && complaints[1].contains("whole number of cents"), "{complaints:?}");
    }

    #[tokio::test]
    async fn a_document_event_changes_the_status() {
        let server = Efactori::start().await;
        let path = format!("/v1/invoices/{}/document-events.json", server.add(NewInvoice::of("1", 100)));
        assert_eq!(ask(&server, "POST", &path, r#"{"status": "paid"}"#).await.0, 201);
        assert_eq!(server.invoice("1").status, "paid");
        assert_eq!(server.complaints(), Vec::<String>::new());
        assert_eq!(ask(&server, "POST", &path, r#"{"status": "payed"}"#).await.0, 400);
        server.vary(|variant| variant.words.push("payed"));
        assert_eq!(ask(&server, "POST", &path, r#"{"status": "payed"}"#).await.0, 201);
        assert_eq!((&*server.invoice("1").status, server.complaints().len()), ("payed", 1));
    }

    #[tokio::test]
    async fn what_a_sink_must_never_do_is_done_and_complained_about() {
        let server = Efactori::start().await;
        let id = server.add(NewInvoice::of("1", 100).draft());
        server.pay_by_hand("1", 100, Some("by hand"));
        let payment_id = server.entries()[0].id;
        let calls = [
            ("POST", format!("/v1/invoices/{id}/emails.json"), 201),
            ("DELETE", format!("/v1/payments/{payment_id}.json"), 200),
            ("DELETE", format!("/v1/invoices/{id}.json"), 200),
            ("POST", "/v1/invoices.json".into(), 403),
            ("POST", "/v1/payments.json".into(), 403),
            ("POST", "/v1/bulk/invoices.json".into(), 404),
            ("GET", format!("/v1/invoices/{id}"), 404),
            ("GET", format!("/v1/invoices/{id}.pdf"), 404),
            ("GET", "/invoices.json".into(), 404),
        ];
        for (at, (method, path, status)) in calls.iter().enumerate() {
            assert_eq!(ask(&server, method, path, "{}").await.0, *status, "{method} {path}");
            assert_eq!(server.complaints().len(), at + 1, "{method} {path}: {:?}", server.complaints());
        }
        let undeclared = |method, path: String| {
            http()
                .request(method, format!("{}{path}", server.url()))
                .header("X-SESSION-KEY", SESSION_KEY)
                .header("X-COMPANY-UUID", COMPANY_UUID)
                .body("{}")
        };
        let changed = undeclared(http::Method::PUT, format!("/v1/invoices/{id}.json")).send().await.unwrap();
        assert_eq!(changed.status(), StatusCode::FORBIDDEN);
        let read = undeclared(http::Method::GET, "/v1/invoices.json".into()).header("X-FORCE-CACHE", "60");
        assert_eq!(read.send().await.unwrap().status(), StatusCode::OK);
        let complaints = server.complaints().split_off(calls.len());
        let parts = ["never makes", "not declared as JSON", "never sends x-force-cache", "GET with a body"];
        assert!(
            complaints.len() == 4 && complaints.iter().zip(parts).all(|(given, part)| given.contains(part)),
            "{complaints:?}"
        );
        let invoice = server.invoice("1");
        assert!(invoice.deleted && invoice.status == "sent" && server.entries().is_empty());
    }

    #[tokio::test]
    async fn strangers_are_turned_away_and_complaints_name_no_key() {
        let server = Efactori::start().await;
        for (key, company) in [(SESSION_KEY, "another"), ("another", COMPANY_UUID)] {
            let request = http().get(format!("{}/v1/invoices.json", server.url()));
            let request = request.header("X-SESSION-KEY", key).header("X-COMPANY-UUID", company);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(response.json::<Value>().await.unwrap()["code"], "Unauthorized");
        }
        let complaints = server.complaints();
        assert!(complaints.len() == 2 && !complaints.concat().contains("another"), "{complaints:?}");
    }

    #[tokio::test]
    async fn faults_and_quotas_speak_as_the_system_does() {
        let server = Efactori::start().await;
        let id = server.add(NewInvoice::of("1", 12_100));
        let path = format!("/v1/invoices/{id}/payments.json");
        server.desk().next_on(On("POST", "/payments.json"), 1, Fault::after(Then::Status(503)));
        assert_eq!(get(&server, "/v1/invoices.json").await.0, 200);
        let (status, error) = ask(&server, "POST", &path, &payment("1.0")).await;
        assert_eq!((status, &error["code"], server.entries().len()), (503, &json!("Error"), 1));
        server.desk().next(1, Fault::before(Then::Status(403)));
        assert_eq!(ask(&server, "POST", &path, &payment("1.0")).await.1["code"], "Forbidden");
        server.desk().limit([Quota { requests: 4, per: std::time::Duration::from_hours(1) }]);
        assert_eq!(get(&server, "/v1/invoices.json").await.0, 200);
        let (status, error) = get(&server, "/v1/invoices.json").await;
        assert_eq!((status, &error["code"]), (429, &json!("TooManyRequests")));
        assert_eq!((server.entries().len(), server.desk().answered(429)), (1, 1));
    }
}
