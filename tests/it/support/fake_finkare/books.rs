//! The invoices and payments of [`FakeFinkare`], which the service may read and nobody may change but the test.
//!
//! Documented (docs.finkare.io, payments and the TypeScript SDK): `GET /payments` with its query and its pages, `GET
//! /payments/{id}`, `GET /payments/invoice/{invoiceId}`, the fields of a payment, the scopes, `RES_001`. That an invoice is
//! at `GET /invoices/{id}`, that one shows no currency, that the dates of the query mean `paidAt`, and the order of lists
//! (the last payment first; of one invoice, the first one first) are our assumptions. Whatever the service asks for that is not
//! documented is a complaint.

use std::collections::{BTreeSet, VecDeque};

use axum::{
    Extension, Router,
    extract::{Path, RawQuery, Request, State},
    response::Response,
    routing::get,
};
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{FakeFinkare, Turn, coded_error, enveloped, error, play, success};

/// When the first payment was made, if the test says nothing else; the others follow five minutes after
/// one another, so that each delivery lies nearest to its own.
const BEGIN: &str = "2026-03-15T10:29:58Z";
/// The words for a payment's status.
const STATUSES: [&str; 4] = ["pending", "completed", "failed", "refunded"];
/// The scopes for what the service does, each with the beginning of its paths.
const SCOPES: [(&str, &str); 3] =
    [("webhooks:manage", "/webhooks"), ("payments:read", "/payments"), ("invoices:read", "/invoices")];

/// An invoice of Finkare's; a test may change all of it but the id.
#[derive(Debug, Clone)]
pub(crate) struct Invoice {
    pub id: String,
    pub number: String,
    /// In cents.
    pub cents: i64,
    /// What its payments are in.
    pub currency: String,
    pub status: String,
    /// Whether the API has it.
    pub visible: bool,
    /// What is shown in the place of a field; `None` leaves it out.
    pub spoilt: Vec<(&'static str, Option<Value>)>,
}

/// A payment; a test may change all of it but the id.
#[derive(Debug, Clone)]
pub(crate) struct Payment {
    pub id: String,
    /// The id of its invoice.
    pub invoice: String,
    /// In cents.
    pub cents: i64,
    pub currency: String,
    /// `pending`, `completed`, `failed`, `refunded`.
    pub status: String,
    /// `card`, `bank_transfer`, `sepa_debit`, `payment_link`.
    pub method: String,
    pub paid_at: Timestamp,
    /// Whether the API has it.
    pub visible: bool,
    /// What is shown in the place of a field; `None` leaves it out.
    pub spoilt: Vec<(&'static str, Option<Value>)>,
    /// The `timestamp` of its first delivery.
    announced: Option<Timestamp>,
}

/// What a delivery says of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Says {
    /// What is documented: `invoiceId`, `amountCents`.
    Little,
    /// Besides, `paymentId`, `currency`, `method`, `paidAt`.
    All,
}

struct Chance {
    rng: StdRng,
    per_thousand: u32,
    turns: Vec<Turn>,
}

/// What Finkare has, and what becomes of those who read it.
#[derive(Default)]
pub(super) struct Books {
    invoices: Vec<Invoice>,
    payments: Vec<Payment>,
    /// The `timestamp`s of all deliveries: no two that are not repetitions have the same.
    announced: BTreeSet<Timestamp>,
    /// What becomes of the next reads whose paths begin so.
    turns: VecDeque<(&'static str, Turn)>,
    chance: Option<Chance>,
    /// Fields that no payment shows.
    left_out: Vec<&'static str>,
    /// Scopes that the key does not have.
    denied: Vec<&'static str>,
    pages_of_invoice: bool,
}

impl FakeFinkare {
    /// Adds an invoice and answers its id.
    pub(crate) fn add_invoice(&self, number: &str, cents: i64, currency: &str) -> String {
        let id = Uuid::new_v4().to_string();
        let invoice = Invoice {
            id: id.clone(),
            number: number.to_owned(),
            cents,
            currency: currency.to_owned(),
            status: "in_recovery".into(),
            visible: true,
            spoilt: vec![],
        };
        self.lock().books.invoices.push(invoice);
        id
    }

    /// Adds a completed payment by `sepa_debit`, in the invoice's currency, and answers its id.
    pub(crate) fn add_payment(&self, invoice: &str, cents: i64) -> String {
        let mut inner = self.lock();
        let books = &mut inner.books;
        let found = books.invoices.iter().find(|found| found.id == invoice);
        let number = i64::try_from(books.payments.len()).expect("not so many");
        let payment = Payment {
            id: Uuid::new_v4().to_string(),
            invoice: invoice.to_owned(),
            cents,
            currency: found.expect("the test pays an invoice that is there").currency.clone(),
            status: "completed".into(),
            method: "sepa_debit".into(),
            paid_at: BEGIN.parse::<Timestamp>().expect("a time") + SignedDuration::from_mins(5 * number),
            visible: true,
            spoilt: vec![],
            announced: None,
        };
        let id = payment.id.clone();
        books.payments.push(payment);
        id
    }

    /// Changes an invoice.
    pub(crate) fn change_invoice(&self, id: &str, change: impl FnOnce(&mut Invoice)) {
        let mut inner = self.lock();
        let found = inner.books.invoices.iter_mut().find(|invoice| invoice.id == id);
        change(found.expect("the test changes an invoice that is there"));
    }

    /// Changes a payment.
    pub(crate) fn change_payment(&self, id: &str, change: impl FnOnce(&mut Payment)) {
        change(self.lock().books.payment_mut(id));
    }

    /// Changes a payment's status.
    pub(crate) fn set_payment_status(&self, id: &str, status: &str) {
        self.change_payment(id, |payment| status.clone_into(&mut payment.status));
    }

    /// The API does not have this payment until it is revealed.
    pub(crate) fn hide(&self, id: &str) {
        self.change_payment(id, |payment| payment.visible = false);
    }

    /// The API has this payment from now on.
    pub(crate) fn reveal(&self, id: &str) {
        self.change_payment(id, |payment| payment.visible = true);
    }

    /// Every payment that there is, visible or not, in the order in which they were added.
    pub(crate) fn payments(&self) -> Vec<Payment> {
        self.lock().books.payments.clone()
    }

    /// From now on no payment shows these fields.
    pub(crate) fn leave_out(&self, fields: &[&'static str]) {
        self.lock().books.left_out = fields.to_vec();
    }

    /// Takes these scopes from the key, and gives back all others.
    pub(crate) fn deny(&self, scopes: &[&'static str]) {
        assert!(scopes.iter().all(|scope| SCOPES.iter().any(|(known, _)| known == scope)), "{scopes:?}");
        self.lock().books.denied = scopes.to_vec();
    }

    /// From now on the payments of one invoice come by pages as well.
    pub(crate) fn page_payments_of_invoice(&self) {
        self.lock().books.pages_of_invoice = true;
    }

    /// What to do with the next reads whose paths begin so (`/payments/invoice/`, `/invoices/`, `/` for any).
    /// A read that has no turn is answered as it should be.
    pub(crate) fn next_reads(&self, paths: &'static str, turns: impl IntoIterator<Item = Turn>) {
        self.lock().books.turns.extend(turns.into_iter().map(|turn| (paths, turn)));
    }

    /// What becomes of so many of a thousand reads for which nothing else was said, the same ones for the same seed
    /// and order. No turns: nothing any more.
    pub(crate) fn trouble_reads(&self, seed: u64, per_thousand: u32, turns: &[Turn]) {
        let chance = Chance { rng: StdRng::seed_from_u64(seed), per_thousand, turns: turns.to_vec() };
        self.lock().books.chance = Some(chance);
    }

    /// How many reads so far had a path that begins so.
    pub(crate) fn reads(&self, paths: &str) -> usize {
        let calls = &self.lock().calls;
        calls.iter().filter(|call| call.method == "GET" && call.path.starts_with(paths)).count()
    }

    /// The body that announces a payment, byte for byte the same every time: a repeated delivery. Its
    /// `timestamp` is about two seconds after `paidAt`, and that of no other delivery.
    pub(crate) fn delivery(&self, payment: &str, says: Says) -> Vec<u8> {
        let books = &mut self.lock().books;
        let (paid_at, announced) = (books.payment_mut(payment).paid_at, books.payment_mut(payment).announced);
        let at = announced.unwrap_or_else(|| books.free(paid_at + SignedDuration::from_secs(2)));
        let payment = books.payment_mut(payment);
        payment.announced = Some(at);
        payment.announcement(says, at)
    }

    /// The same announcement with a later `timestamp`, which makes another message of it each time.
    pub(crate) fn redelivery(&self, payment: &str, says: Says) -> Vec<u8> {
        let books = &mut self.lock().books;
        let before = books.payment_mut(payment).announced.expect("the test repeats what was announced");
        let at = books.free(before + SignedDuration::from_mins(1));
        books.payment_mut(payment).announcement(says, at)
    }
}

impl Books {
    /// Whether the key's scopes allow a path.
    pub(super) fn may(&self, path: &str) -> bool {
        let path = path.strip_prefix("/api/v1").unwrap_or(path);
        let wanted = SCOPES.iter().find(|(_, paths)| path.starts_with(paths));
        wanted.is_none_or(|(scope, _)| !self.denied.contains(scope))
    }

    fn payment_mut(&mut self, id: &str) -> &mut Payment {
        let found = self.payments.iter_mut().find(|payment| payment.id == id);
        found.expect("the test speaks of a payment that is there")
    }

    /// The first instant from this one on that no delivery has.
    fn free(&mut self, mut at: Timestamp) -> Timestamp {
        while !self.announced.insert(at) {
            at += SignedDuration::from_millis(1);
        }
        at
    }

    fn turn(&mut self, path: &str) -> Turn {
        if let Some(at) = self.turns.iter().position(|(paths, _)| path.starts_with(paths)) {
            return self.turns.remove(at).expect("it was found").1;
        }
        let Some(Chance { rng, per_thousand, turns }) = &mut self.chance else { return Turn::PLAIN };
        let fails = rng.random_range(0..1000) < *per_thousand;
        turns.choose(rng).filter(|_| fails).cloned().unwrap_or(Turn::PLAIN)
    }

    fn shown(&self, payment: &Payment) -> Value {
        let shown = json!({
            "id": payment.id,
            "invoiceId": payment.invoice,
            "amountCents": payment.cents,
            "currency": payment.currency,
            "status": payment.status,
            "method": payment.method,
            "paidAt": written(payment.paid_at),
        });
        let left_out = self.left_out.iter().map(|field| (*field, None));
        spoilt(shown, left_out.chain(payment.spoilt.iter().cloned()))
    }
}

impl Payment {
    fn announcement(&self, says: Says, at: Timestamp) -> Vec<u8> {
        let mut data = json!({"invoiceId": self.invoice, "amountCents": self.cents});
        if says == Says::All {
            data["paymentId"] = json!(self.id);
            data["currency"] = json!(self.currency);
            data["method"] = json!(self.method);
            data["paidAt"] = json!(written(self.paid_at));
        }
        json!({"event": "payment.received", "data": data, "timestamp": written(at)}).to_string().into_bytes()
    }
}

/// An ISO 8601 time as JavaScript writes it.
fn written(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn spoilt(shown: Value, spoilt: impl Iterator<Item = (&'static str, Option<Value>)>) -> Value {
    let Value::Object(mut shown) = shown else { unreachable!("objects are shown") };
    for (field, value) in spoilt {
        match value {
            Some(value) => shown.insert(field.into(), value),
            None => shown.shift_remove(field),
        };
    }
    Value::Object(shown)
}

pub(super) fn router() -> Router<FakeFinkare> {
    Router::new()
        .route("/api/v1/invoices/{id}", get(invoice))
        .route("/api/v1/payments", get(payments))
        .route("/api/v1/payments/{id}", get(payment))
        .route("/api/v1/payments/invoice/{id}", get(payments_of_invoice))
        .method_not_allowed_fallback(only_reading)
}

async fn only_reading(State(fake): State<FakeFinkare>, request: Request) -> Response {
    fake.complain(format!("{} {}: invoices and payments are only read", request.method(), request.uri().path()));
    error(405)
}

fn missing() -> Response {
    coded_error(404, "RES_001", "Resource not found")
}

/// Answers a read by its turn, with what is there as it comes in.
async fn read(
    fake: &FakeFinkare,
    path: &str,
    cut: Extension<CancellationToken>,
    show: impl FnOnce(&Books) -> Response,
) -> Response {
    let (turn, shown) = {
        let books = &mut fake.lock().books;
        (books.turn(path), show(books))
    };
    play(turn, cut.0, || (), move || shown).await
}

async fn invoice(
    State(fake): State<FakeFinkare>,
    Path(id): Path<String>,
    query: RawQuery,
    cut: Extension<CancellationToken>,
) -> Response {
    let path = format!("/invoices/{id}");
    if let Err(problem) = asked(query, &[]) {
        return refuse(&fake, &path, &problem);
    }
    read(&fake, &path, cut, move |books| {
        let found = books.invoices.iter().find(|invoice| invoice.id == id && invoice.visible);
        let Some(found) = found else { return missing() };
        let shown = json!({
            "id": found.id,
            "invoiceNumber": found.number,
            "amountCents": found.cents,
            "status": found.status,
        });
        success(&spoilt(shown, found.spoilt.iter().cloned()))
    })
    .await
}

async fn payment(
    State(fake): State<FakeFinkare>,
    Path(id): Path<String>,
    query: RawQuery,
    cut: Extension<CancellationToken>,
) -> Response {
    let path = format!("/payments/{id}");
    if let Err(problem) = asked(query, &[]) {
        return refuse(&fake, &path, &problem);
    }
    read(&fake, &path, cut, move |books| {
        let found = books.payments.iter().find(|payment| payment.id == id && payment.visible);
        found.map_or_else(missing, |found| success(&books.shown(found)))
    })
    .await
}

async fn payments_of_invoice(
    State(fake): State<FakeFinkare>,
    Path(id): Path<String>,
    query: RawQuery,
    cut: Extension<CancellationToken>,
) -> Response {
    let path = format!("/payments/invoice/{id}");
    let by_pages = fake.lock().books.pages_of_invoice;
    let asked = match asked(query, if by_pages { &["page", "limit"] } else { &[] }) {
        Ok(asked) => asked,
        Err(problem) => return refuse(&fake, &path, &problem),
    };
    read(&fake, &path, cut, move |books| {
        if !books.invoices.iter().any(|invoice| invoice.id == id && invoice.visible) {
            return missing();
        }
        let found = books.payments.iter().filter(|payment| payment.visible && payment.invoice == id);
        let found = found.map(|payment| books.shown(payment)).collect();
        if by_pages { asked.page_of(found) } else { success(&Value::Array(found)) }
    })
    .await
}

async fn payments(State(fake): State<FakeFinkare>, query: RawQuery, cut: Extension<CancellationToken>) -> Response {
    let known = ["status", "fromDate", "toDate", "invoiceId", "page", "limit"];
    let asked = match asked(query, &known) {
        Ok(asked) => asked,
        Err(problem) => return refuse(&fake, "/payments", &problem),
    };
    read(&fake, "/payments", cut, move |books| {
        let found = books.payments.iter().rev().filter(|payment| payment.visible && asked.fits(payment));
        asked.page_of(found.map(|payment| books.shown(payment)).collect())
    })
    .await
}

/// What a query asks for.
struct Asked {
    status: Option<String>,
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    invoice: Option<String>,
    page: usize,
    limit: usize,
}

impl Asked {
    fn fits(&self, payment: &Payment) -> bool {
        self.status.as_ref().is_none_or(|status| payment.status == *status)
            && self.from.is_none_or(|from| from <= payment.paid_at)
            && self.to.is_none_or(|to| payment.paid_at <= to)
            && self.invoice.as_ref().is_none_or(|invoice| payment.invoice == *invoice)
    }

    fn page_of(&self, found: Vec<Value>) -> Response {
        let pagination = json!({"page": self.page, "limit": self.limit, "total": found.len()});
        let page = found.into_iter().skip((self.page - 1) * self.limit).take(self.limit).collect();
        enveloped(&Value::Array(page), Some(pagination))
    }
}

/// A query that is not documented.
fn refuse(fake: &FakeFinkare, path: &str, problem: &str) -> Response {
    fake.complain(format!("GET {path}: {problem}"));
    error(400)
}

/// Reads a query that may have these parts and no others; else says what is wrong.
fn asked(query: RawQuery, known: &[&str]) -> Result<Asked, String> {
    let mut given = Map::new();
    for (name, value) in url::form_urlencoded::parse(query.0.unwrap_or_default().as_bytes()) {
        if !known.contains(&&*name) || given.insert(name.to_string(), value.into_owned().into()).is_some() {
            return Err(format!("`{name}` is not documented there, or is there twice"));
        }
    }
    let text = |name: &str| given.get(name).and_then(Value::as_str);
    let number = |name: &str, usual: usize, most: usize| match text(name).map(str::parse) {
        None => Ok(usual),
        Some(Ok(number)) if (1..=most).contains(&number) => Ok(number),
        Some(_) => Err(format!("`{name}` is not from 1 to {most}")),
    };
    // A day as an end lasts until the day is over; whether Finkare's does is not known.
    let time = |name: &str, days: i64| match text(name).map(|text| (text.parse(), text.parse::<Date>())) {
        None => Ok(None),
        Some((Ok(time), _)) => Ok(Some(time)),
        Some((Err(_), Ok(day))) => {
            let begin = day.to_zoned(TimeZone::UTC).expect("a day of our time").timestamp();
            let end = SignedDuration::from_hours(24 * days) - SignedDuration::from_millis(days);
            Ok(Some(begin + end))
        }
        Some(_) => Err(format!("`{name}` is no time")),
    };
    if text("status").is_some_and(|status| !STATUSES.contains(&status)) {
        return Err("no such `status` is documented".into());
    }
    if text("invoiceId").is_some_and(|id| id.parse::<Uuid>().is_err()) {
        return Err("`invoiceId` is no UUID".into());
    }
    Ok(Asked {
        status: text("status").map(str::to_owned),
        from: time("fromDate", 0)?,
        to: time("toDate", 1)?,
        invoice: text("invoiceId").map(str::to_owned),
        page: number("page", 1, usize::MAX / 100)?,
        limit: number("limit", 20, 100)?,
    })
}

mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::sync::Semaphore;

    use super::{super::Then, *};
    use crate::support::{eventually, fake_finkare::API_KEY, http};

    fn call(fake: &FakeFinkare, method: http::Method, path: &str) -> reqwest::RequestBuilder {
        let request = http().request(method, format!("{}/api/v1{path}", fake.api_url()));
        request.header("X-API-Key", API_KEY).header("User-Agent", "finkare-relay/0 (tests)")
    }

    async fn try_get(fake: &FakeFinkare, path: &str) -> reqwest::Result<(u16, Value)> {
        let response = call(fake, http::Method::GET, path).send().await?;
        Ok((response.status().as_u16(), response.json().await.unwrap_or_default()))
    }

    async fn get(fake: &FakeFinkare, path: &str) -> (u16, Value) {
        try_get(fake, path).await.unwrap()
    }

    /// The payments' ids of a list, in its order.
    async fn ids(fake: &FakeFinkare, path: &str) -> Vec<String> {
        let (status, body) = get(fake, path).await;
        let list = body["data"].as_array().unwrap_or_else(|| panic!("{path}: {status} {body}"));
        list.iter().map(|payment| payment["id"].as_str().unwrap().to_owned()).collect()
    }

    fn none() -> Vec<String> {
        vec![]
    }

    #[tokio::test]
    async fn invoices_and_payments_are_shown_as_documented() {
        let fake = FakeFinkare::start().await;
        let invoice = fake.add_invoice("FAC-2026-042", 285_000, "EUR");
        let id = fake.add_payment(&invoice, 150_000);
        let envelope = |data: &Value| json!({"success": true, "data": data, "requestId": "req_0a1b2c", "timestamp": "2026-03-15T10:30:00.000Z"});
        let mut payment = json!({
            "id": id, "invoiceId": invoice, "amountCents": 150_000, "currency": "EUR", "status": "completed",
            "method": "sepa_debit", "paidAt": "2026-03-15T10:29:58.000Z",
        });
        assert_eq!(get(&fake, &format!("/payments/{id}")).await, (200, envelope(&payment)));
        let of_invoice = format!("/payments/invoice/{invoice}");
        assert_eq!(get(&fake, &of_invoice).await, (200, envelope(&json!([payment]))));
        let mut list = envelope(&json!([payment]));
        list["pagination"] = json!({"page": 1, "limit": 20, "total": 1});
        assert_eq!(get(&fake, "/payments").await, (200, list));
        let shown = json!({
            "id": invoice, "invoiceNumber": "FAC-2026-042", "amountCents": 285_000, "status": "in_recovery",
        });
        let one = format!("/invoices/{invoice}");
        assert_eq!(get(&fake, &one).await, (200, envelope(&shown)));

        // What a test changes shows at once.
        fake.set_payment_status(&id, "refunded");
        fake.leave_out(&["currency", "paidAt"]);
        fake.change_payment(&id, |payment| {
            (payment.cents, payment.method) = (7, "card".into());
            payment.spoilt.push(("invoiceId", Some(json!(12))));
        });
        payment = json!({"id": id, "invoiceId": 12, "amountCents": 7, "status": "refunded", "method": "card"});
        assert_eq!(get(&fake, &of_invoice).await.1["data"], json!([payment]));
        fake.change_invoice(&invoice, |invoice| invoice.spoilt.push(("invoiceNumber", None)));
        assert_eq!(get(&fake, &one).await.1["data"].get("invoiceNumber"), None);

        fake.hide(&id);
        let path = format!("/payments/{id}");
        let (status, body) = get(&fake, &path).await;
        assert_eq!((status, &body["error"]["code"]), (404, &json!("RES_001")));
        assert_eq!((ids(&fake, &of_invoice).await, ids(&fake, "/payments").await), (none(), none()));
        fake.reveal(&id);
        assert_eq!(get(&fake, &path).await.0, 200);
        fake.change_invoice(&invoice, |invoice| invoice.visible = false);
        assert_eq!((get(&fake, &one).await.0, get(&fake, &of_invoice).await.0), (404, 404));
        assert_eq!((fake.payments().len(), fake.complaints()), (1, none()));
        assert_eq!((fake.reads("/payments"), fake.reads("/invoices/"), fake.reads("/")), (9, 3, 12));
    }

    #[tokio::test]
    async fn lists_are_filtered_and_come_by_pages() {
        let fake = FakeFinkare::start().await;
        let (one, two) = (fake.add_invoice("F-1", 100, "EUR"), fake.add_invoice("F-2", 100, "NOK"));
        let made: Vec<_> = (0..5).map(|n| fake.add_payment(if n < 3 { &one } else { &two }, 20)).collect();
        fake.set_payment_status(&made[0], "pending");
        fake.change_payment(&made[4], |payment| payment.paid_at = "2026-03-16T23:59:59.5Z".parse().unwrap());
        let newest: Vec<_> = made.iter().rev().cloned().collect();

        assert_eq!(ids(&fake, "/payments").await, newest);
        assert_eq!(ids(&fake, &format!("/payments/invoice/{one}")).await, made[..3]);
        for (query, expected) in [
            ("status=pending".to_owned(), &newest[4..]),
            (format!("invoiceId={two}"), &newest[..2]),
            ("fromDate=2026-03-16&toDate=2026-03-16".into(), &newest[..1]),
            ("toDate=2026-03-15".into(), &newest[1..]),
            ("fromDate=2026-03-15T10:39:58.000Z&toDate=2026-03-15T10:44:58Z".into(), &newest[1..3]),
            ("page=2&limit=2".into(), &newest[2..4]),
            ("page=3&limit=2".into(), &newest[4..]),
            ("page=4&limit=2".into(), &[]),
        ] {
            assert_eq!(ids(&fake, &format!("/payments?{query}")).await, expected, "{query}");
        }
        let (_, page) = get(&fake, "/payments?page=2&limit=2&status=completed").await;
        assert_eq!(page["pagination"], json!({"page": 2, "limit": 2, "total": 4}));
        assert_eq!(fake.complaints(), none());

        let of_invoice = format!("/payments/invoice/{one}?page=2&limit=2");
        assert_eq!(get(&fake, &of_invoice).await.0, 400);
        fake.page_payments_of_invoice();
        assert_eq!(ids(&fake, &of_invoice).await, made[2..3]);
        let bad = ["limit=101", "page=0", "status=paid", "invoiceId=F-1", "toDate=soon", "sort=asc", "page=1&page=2"];
        for query in bad {
            assert_eq!(get(&fake, &format!("/payments?{query}")).await.0, 400, "{query}");
        }
        assert_eq!(call(&fake, http::Method::POST, "/payments").send().await.unwrap().status(), 405);
        assert_eq!(call(&fake, http::Method::POST, "/invoices/x/cancel").send().await.unwrap().status(), 404);
        assert_eq!(fake.complaints().len(), 1 + bad.len() + 2, "{:?}", fake.complaints());
    }

    #[tokio::test]
    async fn a_key_reads_what_its_scopes_allow() {
        let fake = FakeFinkare::start().await;
        let invoice = fake.add_invoice("F-1", 100, "EUR");
        let statuses = async || {
            let mut statuses = vec![];
            for path in ["/webhooks".to_owned(), "/payments".into(), format!("/invoices/{invoice}")] {
                statuses.push(get(&fake, &path).await.0);
            }
            statuses
        };
        assert_eq!(statuses().await, [200, 200, 200]);
        fake.deny(&["payments:read"]);
        assert_eq!(statuses().await, [200, 403, 200]);
        fake.deny(&["webhooks:manage", "invoices:read"]);
        assert_eq!(statuses().await, [403, 200, 403]);
        assert_eq!(fake.complaints(), none());
    }

    #[tokio::test]
    async fn a_delivery_is_repeated_to_the_byte_and_no_two_payments_share_one() {
        let fake = FakeFinkare::start().await;
        let invoice = fake.add_invoice("F-1", 100, "EUR");
        let (first, twin) = (fake.add_payment(&invoice, 50), fake.add_payment(&invoice, 50));
        let when = fake.payments()[0].paid_at;
        fake.change_payment(&twin, |payment| payment.paid_at = when);
        let text = |body: Vec<u8>| String::from_utf8(body).unwrap();

        let thin = text(fake.delivery(&first, Says::Little));
        let expected = format!(
            r#"{{"event":"payment.received","data":{{"invoiceId":"{invoice}","amountCents":50}},"timestamp":"2026-03-15T10:30:00.000Z"}}"#
        );
        assert_eq!(thin, expected);
        assert_eq!(text(fake.delivery(&first, Says::Little)), thin);
        assert_eq!(text(fake.delivery(&twin, Says::Little)), thin.replace("00.000Z", "00.001Z"));
        assert_eq!(text(fake.redelivery(&first, Says::Little)), thin.replace("10:30", "10:31"));
        assert_eq!(text(fake.redelivery(&first, Says::Little)), thin.replace("10:30:00.000Z", "10:31:00.001Z"));
        assert_eq!(text(fake.delivery(&first, Says::Little)), thin);
        let full: Value = serde_json::from_slice(&fake.delivery(&twin, Says::All)).unwrap();
        let data = json!({
            "invoiceId": invoice, "amountCents": 50, "paymentId": twin, "currency": "EUR", "method": "sepa_debit",
            "paidAt": "2026-03-15T10:29:58.000Z",
        });
        assert_eq!((&full["data"], full["timestamp"].as_str()), (&data, Some("2026-03-15T10:30:00.001Z")));
    }

    #[tokio::test]
    async fn reads_fail_by_their_turns() {
        let fake = FakeFinkare::start().await;
        let invoice = fake.add_invoice("F-1", 100, "EUR");
        let one = format!("/invoices/{invoice}");
        fake.next_reads("/invoices/", [Then::Status(500), Then::Limited(Some(7)), Then::Cut].map(Turn::refusing));
        fake.next_reads("/", [Turn::refusing(Then::Garbage)]);
        assert_eq!(get(&fake, "/payments").await, (200, Value::Null), "garbage, as it is the first read of any kind");
        assert_eq!(get(&fake, &one).await.0, 500);
        assert_eq!(get(&fake, &one).await.0, 429);
        assert!(try_get(&fake, &one).await.is_err(), "cut");
        assert_eq!(get(&fake, &one).await.0, 200);

        // Behind a gate the answer is what was there when the read came.
        let gate = Arc::new(Semaphore::new(0));
        fake.next_reads("/payments", [Turn::refusing(Then::Gate(gate.clone()))]);
        let waiting = tokio::spawn({
            let fake = fake.clone();
            async move { ids(&fake, "/payments").await }
        });
        eventually("the read", || std::future::ready(fake.lock().books.turns.is_empty())).await;
        let paid = fake.add_payment(&invoice, 100);
        gate.add_permits(1);
        assert_eq!(waiting.await.unwrap(), none());
        assert_eq!(ids(&fake, "/payments").await, [paid]);
        fake.next_reads("/payments", [Turn::refusing(Then::Silence)]);
        let hurried = call(&fake, http::Method::GET, "/payments").timeout(Duration::from_millis(50)).send().await;
        assert!(hurried.is_err_and(|error| error.is_timeout()));
        // Webhooks have turns of their own.
        fake.next_reads("/", [Turn::refusing(Then::Status(500))]);
        assert_eq!((get(&fake, "/webhooks").await.0, get(&fake, &one).await.0), (200, 500));

        let outcomes = async |seed| {
            fake.trouble_reads(seed, 300, &[Then::Status(500), Then::Status(503)].map(Turn::refusing));
            let (client, url) = (http(), format!("{}/api/v1{one}", fake.api_url()));
            let mut statuses = vec![];
            for _ in 0..40 {
                let request = client.get(&url).header("X-API-Key", API_KEY).header("User-Agent", "finkare-relay/0");
                statuses.push(request.send().await.unwrap().status().as_u16());
            }
            statuses
        };
        let first = outcomes(7).await;
        assert!([200, 500, 503].iter().all(|status| first.contains(status)), "{first:?}");
        assert_eq!(first, outcomes(7).await);
        assert_ne!(first, outcomes(8).await);
        fake.trouble_reads(7, 1000, &[]);
        assert_eq!((get(&fake, &one).await.0, fake.complaints()), (200, none()));
    }
}
