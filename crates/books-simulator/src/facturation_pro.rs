//! Facturation.PRO as its documentation describes it (<https://facturation.dev>, the same as one text at
//! <https://facturation.dev/llms.txt>): the firm's invoices and their settlements.
//!
//! From the documentation: the paths, HTTP Basic with identifier and key, `.json` at the end of each path, a
//! `User-Agent` with a contact, 501 for a write without `application/json; charset=utf-8`, the fields, `X-Pagination`,
//! an invoice that is marked as paid by the settlement that covers it, 600 requests in 5 minutes and 10,000 a day, 429
//! with the text `Retry later`. Ours, since it is silent: the shape of errors and their words, that a list of
//! settlements has pages as every list has, that refused requests do not count for the quotas, that the headers speak
//! of the quota of which least is left.

use std::{
    collections::BTreeMap,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json, value::RawValue};

use super::{
    Books, Entry, Invoice, Ledger, Paid, decimal,
    desk::{self, Call, Clerk, Desk, Quota, Reply, Running},
    is_date, lock, page, thousandths,
};

/// The API identifier that it takes.
pub const API_ID: &str = "41837";
/// The key that belongs to it.
pub const API_KEY: &str = "c2f1d9a07be64c35";
/// The only firm of the account.
pub const FIRM: &str = "12345";

/// The documented codes for sales.
const MODES: [i64; 17] = [0, 1, 2, 3, 4, 5, 6, 8, 9, 30, 31, 32, 50, 51, 90, 99, 999];

/// The filters of the documentation that this server does not play.
const UNPLAYED: [&str; 12] = [
    "customer_id",
    "title",
    "company",
    "last_name",
    "category_id",
    "followup_id",
    "user_id",
    "accounting_entry",
    "period_start",
    "period_end",
    "period_type",
    "api_id",
];

/// How this server behaves where the documentation is silent or contradicts itself.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a behaviour of its own")]
pub struct Variant {
    /// Items of the invoice list lack `balance` and `full_invoice_ref`, as older examples do.
    pub lists_are_bare: bool,
    /// Lists write `payement_ref`, as one example does.
    pub lists_misspell: bool,
    /// An exact search without a hit answers 404, not `[]`.
    pub no_hit_is_404: bool,
    /// The exact search ignores case and takes any number that begins with what is looked for.
    pub search_is_loose: bool,
    /// A settlement's `total` is taken without VAT: the balance falls by 20 % more.
    pub settlements_without_vat: bool,
    /// Errors are text, not an object.
    pub errors_are_text: bool,
    /// Items on a page.
    pub per_page: usize,
    /// Characters of a settlement's `payment_ref` that are kept.
    pub ref_length: usize,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            lists_are_bare: false,
            lists_misspell: false,
            no_hit_is_404: false,
            search_is_loose: false,
            settlements_without_vat: false,
            errors_are_text: false,
            per_page: 30,
            ref_length: 255,
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
pub struct FacturationPro {
    office: Arc<Office>,
    running: Arc<Running>,
}

impl FacturationPro {
    /// Without an invoice, with the documented quotas.
    pub async fn start() -> Self {
        Self::listen(desk::ANYWHERE).await.expect("a port is free")
    }

    /// The same at this address; port 0 takes a free one.
    ///
    /// # Errors
    /// The address is in use, or does not belong to this machine.
    pub async fn listen(address: SocketAddr) -> io::Result<Self> {
        let desk = Arc::new(Desk::default());
        desk.limit([
            Quota { requests: 600, per: Duration::from_mins(5) },
            Quota { requests: 10_000, per: Duration::from_hours(24) },
        ]);
        let office = Arc::new(Office {
            desk: desk.clone(),
            ledger: Mutex::new(Ledger::new(Some("paid"))),
            variant: Mutex::default(),
        });
        let running = Arc::new(desk::open(address, desk, office.clone()).await?);
        Ok(Self { office, running })
    }

    /// Behaves differently from now on.
    pub fn vary(&self, change: impl FnOnce(&mut Variant)) {
        change(&mut lock(&self.office.variant));
    }
}

impl Books for FacturationPro {
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

fn is_signed_in(call: &Call) -> bool {
    let expected = BASE64_STANDARD.encode(format!("{API_ID}:{API_KEY}"));
    call.header("authorization").strip_prefix("Basic ").is_some_and(|given| given == expected)
}

/// An application and, behind it, an address to write to.
fn names_a_contact(call: &Call) -> bool {
    let names = |agent: &str| {
        let (application, contact) = agent.split_once(' ').unwrap_or((agent, ""));
        !application.is_empty() && (contact.contains('@') || contact.contains("://"))
    };
    names(call.header("user-agent")) || names(call.header("x-user-agent"))
}

fn is_declared_json(call: &Call) -> bool {
    let declared = call.header("content-type").to_ascii_lowercase().replace(' ', "");
    declared == "application/json;charset=utf-8"
}

fn not_found() -> Reply {
    Reply::of(404, "text/plain; charset=utf-8", String::new()).because("The record could not be found")
}

impl Clerk for Office {
    fn page(&self) -> String {
        page::text("Facturation.PRO", &lock(&self.ledger), &self.desk.complaints())
    }

    fn judge(&self, call: &Call) {
        let complain = |what: &str| self.desk.complain(call, what);
        if !names_a_contact(call) {
            complain("the User-Agent names no application with a contact");
        }
        if !is_signed_in(call) {
            complain("not the identifier and key of this account");
        }
        let Some(segments) = call.segments() else { return complain("the path does not end in .json") };
        if !is_allowed(&call.method, &segments) {
            complain("a sink never makes this call");
        }
        if call.is_write() && call.method != "DELETE" && !is_declared_json(call) {
            complain("a write without `Content-Type: application/json; charset=utf-8`");
        }
        if call.method == "GET" && !call.body.is_empty() {
            complain("a GET with a body");
        }
    }

    fn answer(&self, call: &Call) -> Reply {
        if !is_signed_in(call) {
            return self.error(401).with("www-authenticate", "Basic realm=\"Application\"");
        }
        let Some(segments) = call.segments() else { return not_found() };
        let rest = match *segments {
            ["account"] if call.method == "GET" => return account(),
            ["firms", FIRM, ref rest @ ..] => rest,
            _ => return not_found(),
        };
        if call.is_write() && call.method != "DELETE" && !is_declared_json(call) {
            return self.error(501);
        }
        let mut ledger = lock(&self.ledger);
        match (&*call.method, rest) {
            ("GET", ["invoices"]) => self.list(&ledger, call),
            ("POST", ["invoices"]) => self.refuse(call, "base", "a sink makes no invoices"),
            (method, ["invoices", id, rest @ ..]) => {
                let id = id.parse().ok().filter(|id| ledger.invoice(*id).is_some());
                let Some(id) = id else { return not_found() };
                match (method, rest) {
                    ("GET", []) => {
                        Reply::json(200, &self.shown(&ledger, id, Shown { is_item: false, with_settlements: true }))
                    }
                    ("PATCH" | "PUT", []) => self.patch(&mut ledger, id, call),
                    ("DELETE", []) => self.refuse(call, "base", "a finalised invoice is cancelled by a credit note"),
                    ("POST", ["refund"]) => self.cancel(&mut ledger, id),
                    ("GET", ["settlements"]) => self.settlements(&ledger, id, call),
                    ("POST", ["settlements"]) => self.settle(&mut ledger, id, call),
                    (method, ["settlements", settlement]) => {
                        let settlement = settlement.parse().ok();
                        let found = ledger.entries_of(id).find(|entry| Some(entry.id) == settlement).cloned();
                        match (method, found) {
                            ("GET", Some(entry)) => Reply::json(200, &settlement_shown(&entry, false)),
                            ("DELETE", Some(entry)) => reopen(&mut ledger, &entry),
                            _ => not_found(),
                        }
                    }
                    // Mails and the like: the complaint is what matters.
                    ("POST", _) => Reply::json(201, &json!({})),
                    _ => not_found(),
                }
            }
            _ => not_found(),
        }
    }

    fn error(&self, status: u16) -> Reply {
        match status {
            404 => not_found(),
            429 => Reply::of(429, "text/plain", "Retry later\n".into()),
            500.. => Reply::of(status, "text/html; charset=utf-8", format!("<html><body>{status}</body></html>")),
            _ => self.errors(status, "base", &format!("the stand-in says {status}")),
        }
    }
}

/// Whether a sink may make this call. What it may write is looked at in the body.
fn is_allowed(method: &str, segments: &[&str]) -> bool {
    let rest = match segments {
        ["account"] => return method == "GET",
        ["firms", _, rest @ ..] => rest,
        _ => return false,
    };
    matches!(
        (method, rest),
        ("GET", ["invoices"] | ["invoices", _] | ["invoices", _, "settlements"] | ["invoices", _, "settlements", _])
            | ("POST", ["invoices", _, "settlements"])
            | ("PATCH", ["invoices", _])
    )
}

fn account() -> Reply {
    let account = json!({
        "id": 41837,
        "email": "compta@creancier.example",
        "firms": [{"id": FIRM.parse::<u64>().expect("a number"), "name": "Créancier SARL"}],
    });
    Reply::json(200, &account)
}

/// How an invoice is shown.
#[derive(Clone, Copy)]
struct Shown {
    /// In a list.
    is_item: bool,
    with_settlements: bool,
}

fn settlement_shown(entry: &Entry, is_misspelt: bool) -> Value {
    let mut shown = json!({
        "id": entry.id,
        "invoice_id": entry.invoice_id,
        "total": decimal(entry.thousandths),
        "payment_mode": entry.mode.parse::<i64>().expect("its modes are numbers"),
        "paid_on": entry.date,
    });
    shown[if is_misspelt { "payement_ref" } else { "payment_ref" }] = json!(entry.marker);
    shown
}

/// A settlement that is deleted reopens its invoice.
fn reopen(ledger: &mut Ledger, entry: &Entry) -> Reply {
    ledger.entries.retain(|kept| kept.id != entry.id);
    ledger.touch(entry.invoice_id);
    if ledger.balance(entry.invoice_id) > 0 {
        ledger.invoice_mut(entry.invoice_id).paid = None;
    }
    Reply::json(200, &json!({}))
}

impl Office {
    fn variant(&self) -> Variant {
        lock(&self.variant).clone()
    }

    fn errors(&self, status: u16, field: &str, message: &str) -> Reply {
        let errors = if self.variant().errors_are_text { json!(message) } else { json!({field: [message]}) };
        Reply::json(status, &json!({"errors": errors}))
    }

    /// 422 and a complaint.
    fn refuse(&self, call: &Call, field: &str, message: &str) -> Reply {
        self.desk.complain(call, &format!("refused: {field} {message}"));
        self.errors(422, field, message)
    }

    fn shown(&self, ledger: &Ledger, id: u64, shown: Shown) -> Value {
        let variant = self.variant();
        let invoice = ledger.invoice(id).expect("it was looked for");
        let mut fields = json!({
            "id": id,
            "invoice_ref": invoice.number,
            "full_invoice_ref": invoice.full_number(),
            "external_ref": null,
            "external": false,
            "draft": invoice.draft,
            "soft_deleted": invoice.deleted,
            "hard_delete_on": invoice.deleted.then_some("2026-12-31"),
            "refund_id": invoice.credit_note.then_some(4000),
            "customer_id": 77,
            "customer_identity": "Débiteur SAS",
            "currency": invoice.currency,
            // At 20 %, to a tenth of a cent.
            "total": decimal(invoice.total * 5 / 6),
            "total_with_vat": decimal(invoice.total),
            "balance": decimal(ledger.balance(id)),
            "invoiced_on": invoice.date,
            "term_on": invoice.date,
            "payment_mode": invoice.paid.as_ref().map_or(0, |paid| paid.mode.parse().expect("its modes are numbers")),
            "paid_on": invoice.paid.as_ref().map(|paid| &paid.on),
            "payment_ref": invoice.payment_ref,
            "internal_note": invoice.internal_note,
            "overdue_at": null,
            "api_id": null,
            "api_custom": null,
            "updated_at": format!("2026-03-15T10:00:00.{:06}+01:00", invoice.version),
        });
        if shown.with_settlements {
            let is_misspelt = shown.is_item && variant.lists_misspell;
            let settlements = ledger.entries_of(id).map(|entry| settlement_shown(entry, is_misspelt));
            fields["settlements"] = settlements.collect();
        }
        if shown.is_item && variant.lists_are_bare {
            let fields = fields.as_object_mut().expect("an object was made");
            fields.remove("balance");
            fields.remove("full_invoice_ref");
        }
        fields
    }

    /// One page, with the header that tells of the others.
    fn page<T>(&self, call: &Call, items: &[&T], show: impl Fn(&T) -> Value) -> Reply {
        let per_page = self.variant().per_page;
        let page = match call.parameter("page").map(str::parse::<usize>) {
            None => 1,
            Some(Ok(page @ 1..)) => page,
            Some(_) => return self.refuse(call, "page", "is no number from 1 on"),
        };
        let on_page = items.iter().skip((page - 1).saturating_mul(per_page)).take(per_page);
        let on_page: Vec<_> = on_page.map(|item| show(item)).collect();
        let pagination = json!({
            "current_page": page,
            "total_pages": items.len().div_ceil(per_page).max(1),
            "per_page": per_page,
            "total_entries": items.len(),
        });
        Reply::json(200, &on_page).with("x-pagination", pagination.to_string())
    }

    fn settlements(&self, ledger: &Ledger, id: u64, call: &Call) -> Reply {
        let is_misspelt = self.variant().lists_misspell;
        let found: Vec<_> = ledger.entries_of(id).collect();
        self.page(call, &found, |entry| settlement_shown(entry, is_misspelt))
    }

    fn list(&self, ledger: &Ledger, call: &Call) -> Reply {
        let variant = self.variant();
        let mut found: Vec<&Invoice> = ledger.invoices.iter().collect();
        let ids: Option<Vec<u64>> =
            call.parameter("ids").map(|ids| ids.split(',').filter_map(|id| id.trim().parse().ok()).collect());
        for (name, value) in &call.query {
            let value = &**value;
            match &**name {
                "page" | "with_settlements" | "with_details" | "ids" | "order" | "sort" => {}
                // With ids, other filters are ignored.
                _ if ids.is_some() => {}
                "full_invoice_ref" if variant.search_is_loose => {
                    let wanted = value.trim().to_lowercase();
                    found.retain(|invoice| invoice.full_number().to_lowercase().starts_with(&wanted));
                }
                "full_invoice_ref" => found.retain(|invoice| invoice.full_number() == value),
                "invoice_ref" => found.retain(|invoice| invoice.number.contains(value)),
                "payment_ref" => {
                    let has = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(value));
                    found.retain(|invoice| {
                        has(&invoice.payment_ref) || ledger.entries_of(invoice.id).any(|entry| has(&entry.marker))
                    });
                }
                "bill_type" => found.retain(|invoice| match value {
                    "paid" => invoice.paid.is_some(),
                    "unpaid" => invoice.paid.is_none(),
                    "draft" => invoice.draft,
                    "refund" => invoice.credit_note,
                    "external" => false,
                    _ => true,
                }),
                name if UNPLAYED.contains(&name) => {
                    self.desk.complain(call, &format!("this stand-in does not play the filter `{name}`"));
                }
                name => self.desk.complain(call, &format!("the documentation knows no parameter `{name}`")),
            }
        }
        if let Some(ids) = &ids {
            found.retain(|invoice| ids.contains(&invoice.id));
        }
        match call.parameter("order") {
            Some("total") => found.sort_by_key(|invoice| invoice.total),
            Some("billed") => found.sort_by_key(|invoice| &invoice.date),
            Some("created") => found.sort_by_key(|invoice| invoice.id),
            Some("updated") => found.sort_by_key(|invoice| invoice.version),
            None => found.sort_by_cached_key(|invoice| invoice.full_number()),
            Some(order) => self.desk.complain(call, &format!("this stand-in does not play the order `{order}`")),
        }
        if call.parameter("sort") != Some("asc") {
            found.reverse();
        }
        if found.is_empty() && variant.no_hit_is_404 && call.parameter("full_invoice_ref").is_some() {
            return not_found();
        }
        let shown = Shown { is_item: true, with_settlements: call.parameter("with_settlements") == Some("1") };
        self.page(call, &found, |invoice| self.shown(ledger, invoice.id, shown))
    }

    /// Books a settlement as it is sent, above the balance too.
    fn settle(&self, ledger: &mut Ledger, id: u64, call: &Call) -> Reply {
        // The text of each value is kept: a number must not go through a float.
        let Ok(body) = serde_json::from_slice::<BTreeMap<String, Box<RawValue>>>(&call.body) else {
            self.desk.complain(call, "the body is no JSON object");
            return self.errors(400, "base", "malformed JSON");
        };
        let text = |name: &str| body.get(name).and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
        let integer = |name: &str| body.get(name).and_then(|raw| raw.get().parse::<i64>().ok());
        for name in body.keys() {
            if !matches!(&**name, "invoice_id" | "total" | "payment_mode" | "paid_on" | "payment_ref") {
                self.desk.complain(call, &format!("the documentation knows no field `{name}`"));
            }
        }
        let Some(total) = body.get("total") else { return self.refuse(call, "total", "is missing") };
        let amount = text("total").unwrap_or_else(|| {
            self.desk.complain(call, "`total` is documented as a string");
            total.get().to_owned()
        });
        let Some(amount) = thousandths(&amount) else {
            return self.refuse(call, "total", "is no decimal number of at most 3 decimals");
        };
        if amount <= 0 {
            return self.refuse(call, "total", "is not above 0");
        }
        let Some(mode) = integer("payment_mode") else {
            return self.refuse(call, "payment_mode", "is no whole number");
        };
        if mode == 0 || !MODES.contains(&mode) {
            return self.refuse(call, "payment_mode", "is no means of payment");
        }
        if mode == 999 {
            self.desk.complain(call, "only a person declares a bad debt");
        }
        let Some(date) = text("paid_on").filter(|date| is_date(date)) else {
            return self.refuse(call, "paid_on", "is no date");
        };
        if body.contains_key("invoice_id") && integer("invoice_id") != i64::try_from(id).ok() {
            return self.refuse(call, "invoice_id", "is another invoice than that of the path");
        }
        let marker = match body.get("payment_ref").map(|raw| serde_json::from_str::<Option<String>>(raw.get())) {
            None => None,
            Some(Ok(marker)) => marker,
            Some(Err(_)) => return self.refuse(call, "payment_ref", "is no text"),
        };
        if marker.as_ref().is_some_and(|marker| marker.chars().count() > 255) {
            return self.refuse(call, "payment_ref", "has more than 255 characters");
        }
        let variant = self.variant();
        let invoice = ledger.invoice(id).expect("it was looked for");
        for (is_so, what) in
            [(invoice.draft, "a draft"), (invoice.deleted, "a deleted invoice"), (invoice.credit_note, "a credit note")]
        {
            if is_so {
                self.desk.complain(call, &format!("a settlement on {what}"));
            }
        }
        let mut entry = Entry {
            id: 0,
            invoice_id: id,
            invoice_number: invoice.full_number(),
            marker: marker.map(|marker| marker.chars().take(variant.ref_length).collect()),
            thousandths: amount,
            date,
            mode: mode.to_string(),
            currency: invoice.currency.clone(),
            by_hand: false,
            counts: if variant.settlements_without_vat { amount * 6 / 5 } else { amount },
        };
        entry.id = ledger.book(entry.clone());
        let location = format!("/firms/{FIRM}/invoices/{id}/settlements/{}.json", entry.id);
        Reply::json(201, &settlement_shown(&entry, false)).with("location", location)
    }

    /// Of an invoice only its note is a sink's to change; what says that it is paid is taken with a complaint.
    fn patch(&self, ledger: &mut Ledger, id: u64, call: &Call) -> Reply {
        let Ok(changes) = serde_json::from_slice::<Map<String, Value>>(&call.body) else {
            self.desk.complain(call, "the body is no JSON object");
            return self.errors(400, "base", "malformed JSON");
        };
        let mut changed = ledger.invoice(id).expect("it was looked for").clone();
        let mut paid = changed.paid.clone().unwrap_or_else(|| Paid { on: String::new(), mode: "0".into() });
        for (name, value) in &changes {
            let text = value.as_str().map(str::to_owned);
            match (&**name, value) {
                ("internal_note", Value::String(_) | Value::Null) => {
                    let before = changed.internal_note.as_deref().unwrap_or_default();
                    if !text.as_deref().unwrap_or_default().starts_with(before) {
                        self.desk.complain(call, "what stood in the note is lost");
                    }
                    changed.internal_note = text;
                    continue;
                }
                ("payment_ref", Value::String(_) | Value::Null) => changed.payment_ref = text,
                ("paid_on", Value::String(date)) if is_date(date) => paid.on.clone_from(date),
                ("paid_on", Value::Null) => paid.on.clear(),
                ("payment_mode", Value::Number(mode)) if mode.as_i64().is_some_and(|mode| MODES.contains(&mode)) => {
                    paid.mode = mode.to_string();
                }
                (name, _) => return self.refuse(call, name, "cannot be changed so on a finalised invoice"),
            }
            self.desk.complain(call, &format!("`{name}` of an invoice is not a sink's to change"));
        }
        let is_paid = !paid.on.is_empty() && paid.mode != "0";
        if is_paid && changed.paid.is_none() {
            changed.cleared += ledger.balance(id);
        } else if !is_paid && changed.paid.is_some() {
            changed.cleared = 0;
        }
        changed.paid = is_paid.then_some(paid);
        *ledger.invoice_mut(id) = changed;
        ledger.touch(id);
        Reply::json(200, &self.shown(ledger, id, Shown { is_item: false, with_settlements: true }))
    }

    /// A credit note that cancels an invoice. There is a complaint about it already.
    fn cancel(&self, ledger: &mut Ledger, id: u64) -> Reply {
        let mut note = ledger.invoice(id).expect("it was looked for").clone();
        note.number = format!("AVOIR-{}", note.number);
        note.credit_note = true;
        let note = ledger.add(super::NewInvoice(note));
        Reply::json(201, &self.shown(ledger, note, Shown { is_item: false, with_settlements: false }))
    }
}

#[cfg(test)]
mod tests {
    use http::Method;
    use reqwest::{RequestBuilder, Response};

    use super::{super::NewInvoice, *};
    use crate::testing::http;

    const INVOICES: &str = "/firms/12345/invoices";

    fn request(server: &FacturationPro, method: Method, path: &str) -> RequestBuilder {
        let request = http().request(method, format!("{}{path}", server.url()));
        request.basic_auth(API_ID, Some(API_KEY)).header("User-Agent", "tests (compta@creancier.example)")
    }

    async fn get(server: &FacturationPro, path: &str) -> (u16, Value) {
        let response = request(server, Method::GET, path).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    async fn send(server: &FacturationPro, method: Method, path: &str, body: &str) -> Response {
        let request = request(server, method, path).header("Content-Type", "application/json; charset=utf-8");
        request.body(body.to_owned()).send().await.unwrap()
    }

    async fn post(server: &FacturationPro, path: &str, body: &str) -> (u16, Value) {
        let response = send(server, Method::POST, path, body).await;
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    fn settlement(total: &str, marker: &str) -> String {
        format!(r#"{{"total": "{total}", "payment_mode": 3, "paid_on": "2026-03-15", "payment_ref": "{marker}"}}"#)
    }

    fn settlements_of(id: u64) -> String {
        format!("{INVOICES}/{id}/settlements.json")
    }

    fn numbers(list: &Value) -> Vec<&str> {
        list.as_array().unwrap().iter().map(|item| item["full_invoice_ref"].as_str().unwrap()).collect()
    }

    #[tokio::test]
    async fn settlements_add_up_until_the_invoice_is_paid() {
        let server = FacturationPro::start().await;
        let id = server.add(NewInvoice::of("2026-001", 12_100).prefix("FA"));
        server.add(NewInvoice::of("2026-002", 100).prefix("FA"));
        let response = send(&server, Method::POST, &settlements_of(id), &settlement("100.05", "finkare:p-1")).await;
        assert_eq!(response.status(), 201);
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        let made: Value = response.json().await.unwrap();
        assert_eq!(location, format!("{INVOICES}/{id}/settlements/{}.json", made["id"]));
        assert_eq!((&made["total"], &made["payment_ref"]), (&json!("100.05"), &json!("finkare:p-1")));
        assert_eq!(get(&server, &location).await, (200, made));
        let (_, partly) = get(&server, &format!("{INVOICES}/{id}.json")).await;
        assert_eq!(
            (&partly["balance"], &partly["paid_on"], &partly["payment_mode"]),
            (&json!("20.95"), &Value::Null, &json!(0))
        );
        assert_eq!((&partly["total_with_vat"], &partly["total"]), (&json!("121.0"), &json!("100.833")));
        assert_eq!(partly["settlements"][0]["total"], "100.05");
        let entries = server.entries();
        let entry = &entries[0];
        assert_eq!((entry.cents(), &*entry.date, &*entry.mode, entry.by_hand), (10_005, "2026-03-15", "3", false));
        assert_eq!((&*entry.invoice_number, entry.marker.as_deref()), ("FA2026-001", Some("finkare:p-1")));

        let rest = r#"{"invoice_id": 4711, "total": "20.950", "payment_mode": 2, "paid_on": "2026-03-16"}"#;
        assert_eq!(post(&server, &settlements_of(id), &rest.replace("4711", &id.to_string())).await.0, 201);
        let (_, paid) = get(&server, &format!("{INVOICES}/{id}.json")).await;
        assert_eq!(
            (&paid["balance"], &paid["paid_on"], &paid["payment_mode"]),
            (&json!("0.0"), &json!("2026-03-16"), &json!(2))
        );
        assert_eq!((server.balance_cents("FA2026-001"), server.balance_cents("FA2026-002")), (0, 100));
        assert_eq!((server.overpaid(), server.doubled()), (vec![], vec![]));

        // A bad server: it takes the same payment twice, and too much. The books tell.
        assert_eq!(post(&server, &settlements_of(id), &settlement("100.05", "finkare:p-1")).await.0, 201);
        assert_eq!((server.balance_cents("FA2026-001"), server.overpaid()), (-10_005, vec!["FA2026-001".to_owned()]));
        assert_eq!(server.doubled(), [("finkare:p-1".to_owned(), 2)]);
        assert_eq!(server.complaints(), Vec::<String>::new());
        assert_eq!(server.invoices().len(), 2);
    }

    #[tokio::test]
    async fn the_exact_search_finds_the_printed_number() {
        let server = FacturationPro::start().await;
        for number in ["001", "0010", "002"] {
            server.add(NewInvoice::of(number, 100).prefix("FA"));
        }
        server.add(NewInvoice::of("003", 100).draft());
        server.add(NewInvoice::of("004", 200).credit_note().dated("2026-02-01"));
        server.add(NewInvoice::of("005", 100).paid().currency("USD"));
        server.add(NewInvoice::of("006", 100).deleted());
        server.pay_by_hand("FA002", 40, Some("by hand"));
        let list = |query: &str| {
            let (server, path) = (server.clone(), format!("{INVOICES}.json?{query}"));
            async move { get(&server, &path).await }
        };
        let (_, exact) = list("full_invoice_ref=FA001&with_settlements=1").await;
        assert_eq!((numbers(&exact), &exact[0]["settlements"]), (vec!["FA001"], &json!([])));
        assert_eq!(list("full_invoice_ref=001").await, (200, json!([])));
        assert_eq!(numbers(&list("invoice_ref=01").await.1), ["FA0010", "FA001"]);
        assert_eq!(numbers(&list("payment_ref=hand").await.1), ["FA002"]);
        assert_eq!(list("full_invoice_ref=FA002").await.1[0].get("settlements"), None);
        for (kind, count) in [("paid", 1), ("unpaid", 6), ("draft", 1), ("refund", 1), ("external", 0)] {
            assert_eq!(list(&format!("bill_type={kind}")).await.1.as_array().unwrap().len(), count, "{kind}");
        }
        let (_, draft) = list("full_invoice_ref=003").await;
        assert_eq!((&draft[0]["draft"], &draft[0]["soft_deleted"]), (&json!(true), &json!(false)));
        assert!(list("full_invoice_ref=004").await.1[0]["refund_id"].is_number());
        let (_, paid) = list("full_invoice_ref=005").await;
        assert_eq!((&paid[0]["balance"], &paid[0]["currency"]), (&json!("0.0"), &json!("USD")));
        assert_eq!((&paid[0]["paid_on"], &paid[0]["payment_mode"]), (&json!("2026-03-02"), &json!(3)));
        assert_eq!(list("full_invoice_ref=006").await.1[0]["soft_deleted"], true);
        let ids = format!("ids={},{}&bill_type=paid", server.invoice("FA001").id, server.invoice("003").id);
        assert_eq!(numbers(&list(&ids).await.1), ["FA001", "003"]);
        for (order, first) in [("total", "004"), ("created", "006"), ("updated", "FA002"), ("billed&sort=asc", "004")] {
            assert_eq!(numbers(&list(&format!("order={order}")).await.1)[0], first, "{order}");
        }
        assert_eq!(server.complaints(), Vec::<String>::new());

        server.vary(|variant| variant.search_is_loose = true);
        assert_eq!(numbers(&list("full_invoice_ref=fa001").await.1), ["FA0010", "FA001"]);
        server.vary(|variant| variant.no_hit_is_404 = true);
        assert_eq!(list("full_invoice_ref=ZZ").await, (404, Value::Null));
        server.vary(|variant| (variant.lists_are_bare, variant.lists_misspell) = (true, true));
        let (_, bare) = list("invoice_ref=002&with_settlements=1").await;
        assert_eq!((bare[0].get("balance"), bare[0].get("full_invoice_ref")), (None, None));
        assert_eq!(bare[0]["settlements"][0]["payement_ref"], "by hand");
        let id = server.invoice("FA002").id;
        assert_eq!(get(&server, &settlements_of(id)).await.1[0]["payement_ref"], "by hand");
        let (_, one) = get(&server, &format!("{INVOICES}/{id}.json")).await;
        assert_eq!((&one["settlements"][0]["payment_ref"], &one["balance"]), (&json!("by hand"), &json!("0.6")));
        assert_eq!(server.complaints(), Vec::<String>::new());
        for query in ["number=FA001", "title=x", "order=term", "page=0"] {
            let complaints = server.complaints().len();
            list(query).await;
            assert_eq!(server.complaints().len(), complaints + 1, "{query}");
        }
    }

    #[tokio::test]
    async fn lists_have_pages() {
        let server = FacturationPro::start().await;
        server.vary(|variant| variant.per_page = 4);
        for number in 0..10 {
            server.add(NewInvoice::of(&format!("F{number}"), 100_000));
        }
        let page = |path: String| {
            let server = server.clone();
            async move {
                let response = request(&server, Method::GET, &path).send().await.unwrap();
                let pages: Value = serde_json::from_str(response.headers()["x-pagination"].to_str().unwrap()).unwrap();
                (pages, response.json::<Value>().await.unwrap())
            }
        };
        let (pages, first) = page(format!("{INVOICES}.json")).await;
        assert_eq!(pages, json!({"current_page": 1, "total_pages": 3, "per_page": 4, "total_entries": 10}));
        assert_eq!(numbers(&first), ["F9", "F8", "F7", "F6"]);
        let (pages, last) = page(format!("{INVOICES}.json?page=3")).await;
        assert_eq!((&pages["current_page"], numbers(&last)), (&json!(3), vec!["F1", "F0"]));
        assert_eq!(page(format!("{INVOICES}.json?page=4")).await.1, json!([]));
        for _ in 0..5 {
            server.pay_by_hand("F0", 1, None);
        }
        let path = settlements_of(server.invoice("F0").id);
        let (pages, settlements) = page(format!("{path}?page=2")).await;
        assert_eq!((&pages["total_entries"], settlements.as_array().unwrap().len()), (&json!(5), 1));
        assert_eq!(server.complaints(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_is_not_valid_is_refused() {
        let server = FacturationPro::start().await;
        let id = server.add(NewInvoice::of("1", 12_100));
        let path = settlements_of(id);
        let good = settlement("1.0", "m");
        let long = "m".repeat(256);
        for (field, body) in [
            ("total", good.replace("\"total\"", "\"invoice_id\"")),
            ("total", settlement("0.0", "m")),
            ("total", settlement("-1.0", "m")),
            ("total", settlement("1.0000", "m")),
            ("total", settlement("1,0", "m")),
            ("total", settlement("1e2", "m")),
            ("payment_mode", good.replace(": 3", ": 7")),
            ("payment_mode", good.replace(": 3", ": 0")),
            ("payment_mode", good.replace(": 3", ": \"3\"")),
            ("payment_mode", good.replace("payment_mode", "invoice_id")),
            ("paid_on", good.replace("2026-03-15", "15/03/2026")),
            ("paid_on", good.replace("2026-03-15", "2026-02-30")),
            ("paid_on", good.replace("\"paid_on\"", "\"payment_ref2\"")),
            ("invoice_id", good.replace('{', "{\"invoice_id\": 1, ")),
            ("payment_ref", settlement("1.0", &long)),
            ("payment_ref", good.replace("\"m\"", "7")),
        ] {
            let complaints = server.complaints().len();
            let (status, refused) = post(&server, &path, &body).await;
            assert!(status == 422 && refused["errors"][field][0].is_string(), "{body}: {status} {refused}");
            assert!(server.complaints().len() > complaints, "{body}");
        }
        assert_eq!(post(&server, &path, "[1]").await.0, 400);
        server.vary(|variant| variant.errors_are_text = true);
        assert!(post(&server, &path, &settlement("0", "m")).await.1["errors"].is_string());
        assert!(server.entries().is_empty());

        // Taken, but not as documented.
        let complaints = server.complaints().len();
        assert_eq!(post(&server, &path, &good.replace("\"1.0\"", "1.125")).await.0, 201);
        assert_eq!(post(&server, &path, &good.replace(": 3", ": 999")).await.0, 201);
        assert_eq!(post(&server, &path, &good.replace('{', "{\"note\": 1, ")).await.0, 201);
        let complaints = server.complaints().split_off(complaints);
        let parts = ["as a string", "bad debt", "no field `note`"];
        assert!(
            complaints.len() == 3 && complaints.iter().zip(parts).all(|(given, part)| given.contains(part)),
            "{complaints:?}"
        );
        assert_eq!(server.entries()[0].thousandths, 1125);

        server.vary(|variant| (variant.ref_length, variant.settlements_without_vat) = (5, true));
        server.add(NewInvoice::of("2", 12_000));
        let path = settlements_of(server.invoice("2").id);
        assert_eq!(post(&server, &path, &settlement("50.0", "finkare:p-1")).await.1["payment_ref"], "finka");
        assert_eq!(server.balance_cents("2"), 6000);
    }

    #[tokio::test]
    async fn writes_must_be_declared_and_callers_known() {
        let server = FacturationPro::start().await;
        let path = settlements_of(server.add(NewInvoice::of("1", 12_100)));
        for declared in ["application/json", "application/json; charset=latin1", "text/plain", ""] {
            let undeclared = request(&server, Method::POST, &path).header("Content-Type", declared);
            assert_eq!(undeclared.body(settlement("1.0", "m")).send().await.unwrap().status(), 501, "{declared}");
        }
        let patch = request(&server, Method::PATCH, &format!("{INVOICES}/4711.json")).body("{}").send();
        assert_eq!(patch.await.unwrap().status(), 501);
        let declared = request(&server, Method::POST, &path).header("Content-Type", "application/json;charset=UTF-8");
        assert_eq!(declared.body(settlement("1.0", "m")).send().await.unwrap().status(), 201);
        assert_eq!((server.entries().len(), server.complaints().len()), (1, 5), "{:?}", server.complaints());

        let stranger = http().get(format!("{}/account.json", server.url())).basic_auth(API_ID, Some("of another"));
        let refused = stranger.header("User-Agent", "tests (x@y.example)").send().await.unwrap();
        assert!(refused.status() == 401 && refused.headers().contains_key("www-authenticate"));
        assert!(refused.json::<Value>().await.unwrap()["errors"].is_object());
        let complaints = server.complaints();
        assert!(complaints.len() == 6 && !complaints.concat().contains("of another"), "{complaints:?}");

        for (agent, is_fine) in [
            ("", false),
            ("reqwest/0.13", false),
            ("compta@creancier.example", false),
            ("Réponse (compta@creancier.example)", false),
            ("relay/1.0 (https://creancier.example/contact)", true),
        ] {
            let before = server.complaints().len();
            let asked = http().get(format!("{}/account.json", server.url())).basic_auth(API_ID, Some(API_KEY));
            let asked = asked.header("User-Agent", http::HeaderValue::from_bytes(agent.as_bytes()).unwrap());
            assert_eq!(asked.send().await.unwrap().status(), 200);
            assert_eq!(server.complaints().len() == before, is_fine, "{agent}");
        }
        let before = server.complaints().len();
        let asked = http().get(format!("{}/account.json", server.url())).basic_auth(API_ID, Some(API_KEY));
        let account = asked.header("X-User-Agent", "tests (x@y.example)").send().await.unwrap();
        assert_eq!(account.json::<Value>().await.unwrap()["firms"][0]["id"], 12345);
        assert_eq!(server.complaints().len(), before);
    }

    #[tokio::test]
    async fn a_sink_may_change_an_invoices_note_alone() {
        let server = FacturationPro::start().await;
        let id = server.add(NewInvoice::of("1", 12_100));
        let path = format!("{INVOICES}/{id}.json");
        let noted = send(&server, Method::PATCH, &path, r#"{"internal_note": "Finkare: in collection"}"#).await;
        assert_eq!(noted.json::<Value>().await.unwrap()["internal_note"], "Finkare: in collection");
        let more = r#"{"internal_note": "Finkare: in collection\nFinkare: closed"}"#;
        assert_eq!(send(&server, Method::PATCH, &path, more).await.status(), 200);
        assert_eq!(server.complaints(), Vec::<String>::new());
        assert_eq!(send(&server, Method::PATCH, &path, r#"{"internal_note": "closed"}"#).await.status(), 200);
        assert_eq!(server.invoice("1").internal_note.as_deref(), Some("closed"));
        assert_eq!(server.complaints().len(), 1, "the lines before it are lost");
        for body in [
            r#"{"total": "1.0"}"#,
            r#"{"currency": "USD"}"#,
            r#"{"internal_note": 7}"#,
            r#"{"paid_on": "tomorrow"}"#,
            r#"{"payment_mode": 7}"#,
        ] {
            let complaints = server.complaints().len();
            assert_eq!(send(&server, Method::PATCH, &path, body).await.status(), 422, "{body}");
            assert!(server.complaints().len() > complaints, "{body}");
        }
        assert_eq!(send(&server, Method::PATCH, &path, "no JSON").await.status(), 400);
        let complaints = server.complaints().len();
        let paid = r#"{"paid_on": "2026-03-15", "payment_mode": 3, "payment_ref": "finkare:p-1"}"#;
        assert_eq!(send(&server, Method::PATCH, &path, paid).await.status(), 200);
        assert_eq!((server.balance_cents("1"), server.complaints().len()), (0, complaints + 3));
        let invoice = server.invoice("1");
        assert_eq!(invoice.paid, Some(Paid { on: "2026-03-15".into(), mode: "3".into() }));
        assert_eq!(invoice.payment_ref.as_deref(), Some("finkare:p-1"));
        assert_eq!(send(&server, Method::PATCH, &path, r#"{"paid_on": null}"#).await.status(), 200);
        assert_eq!((server.balance_cents("1"), server.invoice("1").paid), (12_100, None));
    }

    #[tokio::test]
    async fn what_a_sink_must_never_do_is_complained_about() {
        let server = FacturationPro::start().await;
        let id = server.add(NewInvoice::of("1", 12_100));
        server.add(NewInvoice::of("draft", 100).draft());
        server.add(NewInvoice::of("bin", 100).deleted());
        server.add(NewInvoice::of("credit", 100).credit_note());
        let (_, made) = post(&server, &settlements_of(id), &settlement("121.0", "m")).await;
        assert!(server.invoice("1").paid.is_some() && server.complaints().is_empty());
        let calls = [
            (Method::DELETE, format!("{INVOICES}/{id}/settlements/{}.json", made["id"]), 200),
            (Method::DELETE, format!("{INVOICES}/{id}.json"), 422),
            (Method::POST, format!("{INVOICES}.json"), 422),
            (Method::POST, format!("{INVOICES}/{id}/refund.json"), 201),
            (Method::POST, format!("{INVOICES}/{id}/email.json"), 201),
            (Method::POST, settlements_of(server.invoice("draft").id), 201),
            (Method::POST, settlements_of(server.invoice("bin").id), 201),
            (Method::POST, settlements_of(server.invoice("credit").id), 201),
            (Method::GET, "/firms/12345/customers.json".into(), 404),
            (Method::GET, INVOICES.into(), 404),
            (Method::POST, format!("{INVOICES}/{id}/settlements"), 404),
        ];
        for (method, path, status) in calls {
            let complaints = server.complaints().len();
            let request = request(&server, method.clone(), &path);
            let request = match method {
                Method::POST => {
                    request.header("Content-Type", "application/json; charset=utf-8").body(settlement("1.0", "other"))
                }
                _ => request,
            };
            assert_eq!(request.send().await.unwrap().status().as_u16(), status, "{method} {path}");
            assert!(server.complaints().len() > complaints, "{method} {path}");
        }
        assert!(server.invoice("1").paid.is_none() && server.balance_cents("1") == 12_100, "reopened");
        assert!(server.invoice("AVOIR-1").credit_note);
        // Nothing is wrong with these: nobody is there.
        let complaints = server.complaints().len();
        let other_firm = request(&server, Method::GET, "/firms/12346/invoices.json").send().await.unwrap();
        assert_eq!(other_firm.status(), 404);
        assert_eq!(get(&server, &format!("{INVOICES}/1.json")).await.0, 404);
        assert_eq!(get(&server, &format!("{INVOICES}/{id}/settlements/1.json")).await.0, 404);
        assert_eq!(post(&server, &settlements_of(1), &settlement("1.0", "m")).await.0, 404);
        assert_eq!(server.complaints().len(), complaints, "{:?}", server.complaints());
    }
}
