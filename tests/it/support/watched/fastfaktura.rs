//! FastFaktura as far as it is documented (fastfaktura.io/en/docs/api, version "v1 · 1.0.0"): the two headers for the
//! key, the paths, the fields of an invoice with its integer cents, the words for its status.
//!
//! Not documented are the shape of lists, the size and the number of the first page, the order, the body of an error and
//! what `archived_at` of an invoice would mean: each is a [`Variants`] of this stand-in. An invoice's `public_url` points to
//! the stand-in as well, where opening it does what a debtor's visit does: `sent` becomes `opened`. The service
//! must not do that.

use std::net::SocketAddr;

use super::{Books, Call, Invoice, Judge, Object, Reply, Watched};

/// The only key that it takes.
pub(crate) const KEY: &str = "ffk_dGhlIGtleSB0byB0aGUgYm9va3M";

/// The documented words.
const STATUSES: [&str; 6] = ["draft", "sent", "opened", "paid", "overdue", "cancelled"];

/// A running FastFaktura.
pub(crate) type FastFaktura = Watched<FastFakturaBooks>;

/// What a list is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// In nothing.
    Bare,
    /// In an object, under this name.
    Under(&'static str),
}

/// What becomes of `page`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pages {
    /// It is honoured; the first page has this number.
    From(usize),
    /// Always the first page.
    First,
    /// Always everything.
    All,
}

/// What is not known of FastFaktura, so that it may be either.
#[derive(Debug, Clone)]
pub(crate) struct Variants {
    pub list: Shape,
    /// What a single thing is in.
    pub one: Shape,
    pub pages: Pages,
    pub page_size: usize,
    /// The last invoice comes first.
    pub newest_first: bool,
    /// Statuses are written `PAID`; as a filter either is understood.
    pub upper_case: bool,
    /// `status` is not looked at.
    pub ignores_status: bool,
}

/// What FastFaktura has.
pub(crate) struct FastFakturaBooks {
    address: SocketAddr,
    invoices: Vec<Invoice>,
    /// The ids of those that are in no list any more, but can be read; with `archived_at`.
    archived: Vec<String>,
    variants: Variants,
}

impl FastFaktura {
    /// With nothing in its books; lists are under `data`, 20 to a page.
    pub(crate) async fn start() -> Self {
        Self::serving(|address| FastFakturaBooks {
            address,
            invoices: vec![],
            archived: vec![],
            variants: Variants {
                list: Shape::Under("data"),
                one: Shape::Bare,
                pages: Pages::From(1),
                page_size: 20,
                newest_first: true,
                upper_case: false,
                ignores_status: false,
            },
        })
        .await
    }

    /// Makes it another of the servers that it may be.
    pub(crate) fn vary(&self, change: impl FnOnce(&mut Variants)) {
        change(&mut self.lock().books.variants);
    }

    /// Takes the invoice with this id out of the lists.
    pub(crate) fn archive(&self, id: &str) {
        self.lock().books.archived.push(id.to_owned());
    }
}

impl FastFakturaBooks {
    fn admit(&self, call: &Call, judge: &mut Judge) -> Result<(), Reply> {
        let bearer = call.header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let given: Vec<_> = [call.header("x-api-key"), bearer].into_iter().flatten().collect();
        if given.is_empty() || given.iter().any(|key| *key != KEY) {
            judge.against("the key is missing or another one");
            return Err(self.error(401));
        }
        let accepted = call.header("accept").unwrap_or("*/*");
        if !accepted.split(',').any(|one| ["*/*", "application/json"].contains(&one.trim())) {
            judge.against(&format!("accepts `{accepted}`, not JSON"));
            return Err(self.error(406));
        }
        Ok(())
    }

    fn list(&self, call: &Call, judge: &mut Judge) -> Reply {
        judge.only(&["page", "status"]);
        let status = call.asked("status").map(str::to_lowercase);
        if status.as_ref().is_some_and(|status| !STATUSES.contains(&status.as_str())) {
            judge.against("no such `status` is documented");
        }
        let Variants { list, pages, page_size, newest_first, ignores_status, .. } = self.variants;
        let page = match call.asked("page").map(str::parse::<usize>) {
            None => None,
            Some(Ok(page)) => Some(page),
            Some(Err(_)) => {
                judge.against("`page` is no number");
                return self.error(422);
            }
        };
        let status = status.filter(|_| !ignores_status);
        let fits = |invoice: &&Invoice| {
            status.as_ref().is_none_or(|status| invoice.status.to_lowercase() == *status)
                && !self.archived.contains(&invoice.id)
        };
        let mut found: Vec<_> =
            self.invoices.iter().filter(fits).map(|invoice| self.shown(invoice).into_text()).collect();
        if newest_first {
            found.reverse();
        }
        let page = match pages {
            Pages::All => &found[..],
            Pages::First => found.chunks(page_size).next().unwrap_or_default(),
            Pages::From(first) => match page.unwrap_or(first).checked_sub(first) {
                None => {
                    judge.against("asks for a page before the first");
                    return self.error(422);
                }
                Some(page) => found.chunks(page_size).nth(page).unwrap_or_default(),
            },
        };
        wrapped(list, &format!("[{}]", page.join(",")))
    }

    fn one(&self, judge: &mut Judge, id: &str) -> Reply {
        judge.only(&[]);
        let Some(invoice) = self.invoices.iter().find(|invoice| invoice.id == id) else { return self.error(404) };
        let line = Object::new()
            .with("description", "Work")
            .with("quantity", 1)
            .with("unit_price_cents", net(invoice))
            .with("tax_rate", 20)
            .into_text();
        let shown = self.shown(invoice).text("lines", format!("[{line}]")).text("events", "[]");
        wrapped(self.variants.one, &shown.spoilt(&invoice.spoilt).into_text())
    }

    fn shown(&self, invoice: &Invoice) -> Object {
        let status = if self.variants.upper_case { invoice.status.to_uppercase() } else { invoice.status.clone() };
        let shown = Object::new()
            .with("id", &invoice.id)
            .with("number", &invoice.number)
            .with("client_id", "2a0c4a9e-0000-4000-8000-000000000002")
            .with("currency", &invoice.currency)
            .with("subtotal_cents", net(invoice))
            .with("tax_cents", invoice.total_cents - net(invoice))
            .with("total_cents", invoice.total_cents)
            .with("status", status)
            .with("due_date", "2026-03-15")
            .with("public_url", format!("http://{}/i/{}", self.address, invoice.id));
        let is_archived = self.archived.contains(&invoice.id);
        let shown = if is_archived { shown.with("archived_at", "2026-03-20T09:00:00Z") } else { shown };
        shown.spoilt(&invoice.spoilt)
    }

    /// What a debtor sees, and what that does.
    fn visit(&mut self, id: &str) -> Reply {
        let invoice = self.invoices.iter_mut().find(|invoice| invoice.id == id);
        if let Some(invoice) = invoice.filter(|invoice| invoice.status == "sent") {
            invoice.status = "opened".into();
        }
        Reply::json(200, "<!doctype html><title>Invoice</title>").with("content-type", "text/html")
    }
}

impl Books for FastFakturaBooks {
    const BASE: &'static str = "/api/v1";

    fn new_id(&mut self) -> String {
        uuid::Uuid::new_v4().to_string()
    }

    fn invoices(&mut self) -> &mut Vec<Invoice> {
        &mut self.invoices
    }

    fn secret(&self) -> &str {
        KEY
    }

    fn answer(&mut self, call: &Call, judge: &mut Judge) -> Reply {
        if let Some(id) = call.path.strip_prefix("/i/") {
            judge.against("opened what only the debtor opens");
            return self.visit(id);
        }
        if let Err(refusal) = self.admit(call, judge) {
            return refusal;
        }
        let parts: Vec<_> = call.path.strip_prefix("/api/v1/").unwrap_or_default().split('/').collect();
        match parts[..] {
            ["business"] => {
                judge.only(&[]);
                let business =
                    Object::new().with("id", "3b0c4a9e-0000-4000-8000-000000000003").with("name", "Les Tests");
                wrapped(self.variants.one, &business.into_text())
            }
            ["invoices"] => self.list(call, judge),
            ["invoices", id] => self.one(judge, id),
            _ => {
                judge.against("the service has no business there");
                self.error(404)
            }
        }
    }

    /// Not documented; the words are ours.
    fn error(&self, status: u16) -> Reply {
        Reply::json(status, Object::new().with("message", format!("The stand-in says {status}")).into_text())
    }
}

/// The total without 20 % of taxes.
fn net(invoice: &Invoice) -> i64 {
    invoice.total_cents * 5 / 6
}

fn wrapped(shape: Shape, text: &str) -> Reply {
    match shape {
        Shape::Bare => Reply::json(200, text),
        Shape::Under(name) => Reply::json(200, format!("{{\"{name}\":{text}}}")),
    }
}

mod tests {
    use serde_json::{Value, json};

    use super::{super::Fault, *};
    use crate::support::http;

    async fn ask(fast: &FastFaktura, path: &str) -> (u16, Value) {
        let response = http().get(format!("{}{path}", fast.base_url())).header("X-Api-Key", KEY).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    fn numbers(list: &Value) -> Vec<String> {
        let list = list.as_array().unwrap_or_else(|| panic!("no list: {list}"));
        list.iter().map(|invoice| invoice["number"].as_str().unwrap().to_owned()).collect()
    }

    fn none() -> Vec<String> {
        vec![]
    }

    #[tokio::test]
    async fn an_invoice_is_shown_as_documented_and_changes() {
        let fast = FastFaktura::start().await;
        let id = fast.add_invoice("2026-042", 285_000, "EUR", "sent");
        let url = format!("http://{}/i/{id}", fast.address);
        let mut documented = json!({
            "id": id, "number": "2026-042", "client_id": "2a0c4a9e-0000-4000-8000-000000000002", "currency": "EUR",
            "subtotal_cents": 237_500, "tax_cents": 47_500, "total_cents": 285_000, "status": "sent",
            "due_date": "2026-03-15", "public_url": url,
        });
        assert_eq!(ask(&fast, "/invoices").await, (200, json!({"data": [documented]})));
        documented["lines"] =
            json!([{"description": "Work", "quantity": 1, "unit_price_cents": 237_500, "tax_rate": 20}]);
        documented["events"] = json!([]);
        let path = format!("/invoices/{id}");
        assert_eq!(ask(&fast, &path).await, (200, documented));

        fast.set_status("2026-042", "paid");
        fast.spoil("2026-042", "total_cents", Some("285000.5"));
        fast.spoil("2026-042", "currency", None);
        fast.vary(|variants| (variants.one, variants.upper_case) = (Shape::Under("data"), true));
        let (_, shown) = ask(&fast, &path).await;
        assert_eq!((&shown["data"]["status"], &shown["data"]["total_cents"]), (&json!("PAID"), &json!(285_000.5)));
        assert_eq!(shown["data"].get("currency"), None);
        assert_eq!(ask(&fast, "/business").await.1["data"]["name"], "Les Tests");
        assert_eq!(ask(&fast, "/invoices/1f0c4a9e-0000-4000-8000-000000000001").await.0, 404);
        assert_eq!((fast.complaints(), fast.count("/invoices")), (none(), 1));
    }

    #[tokio::test]
    async fn lists_come_in_every_shape_and_by_pages() {
        let fast = FastFaktura::start().await;
        for number in 1..=5 {
            fast.add_invoice(&format!("F-{number}"), 100, "EUR", if number == 4 { "paid" } else { "sent" });
        }
        let twin = fast.add_invoice("F-5", 100, "NOK", "sent");
        fast.set_status_of(&twin, "overdue");
        fast.vary(|variants| (variants.page_size, variants.newest_first) = (2, false));
        for (page, expected) in
            [("", &["F-1", "F-2"][..]), ("?page=1", &["F-1", "F-2"]), ("?page=3", &["F-5", "F-5"]), ("?page=4", &[])]
        {
            assert_eq!(numbers(&ask(&fast, &format!("/invoices{page}")).await.1["data"]), expected, "{page}");
        }
        assert_eq!(numbers(&ask(&fast, "/invoices?status=overdue").await.1["data"]), ["F-5"]);
        assert_eq!(numbers(&ask(&fast, "/invoices?status=PAID&page=1").await.1["data"]), ["F-4"]);
        for name in ["items", "invoices", "results"] {
            fast.vary(|variants| variants.list = Shape::Under(name));
            assert_eq!(numbers(&ask(&fast, "/invoices?page=2").await.1[name]), ["F-3", "F-4"]);
        }
        fast.vary(|variants| (variants.list, variants.newest_first) = (Shape::Bare, true));
        assert_eq!(numbers(&ask(&fast, "/invoices?page=2").await.1), ["F-4", "F-3"]);
        fast.vary(|variants| variants.pages = Pages::From(0));
        assert_eq!(numbers(&ask(&fast, "/invoices?page=2").await.1), ["F-2", "F-1"]);
        fast.vary(|variants| variants.pages = Pages::First);
        assert_eq!(numbers(&ask(&fast, "/invoices?page=2").await.1), ["F-5", "F-5"]);
        fast.vary(|variants| (variants.pages, variants.ignores_status) = (Pages::All, true));
        assert_eq!(numbers(&ask(&fast, "/invoices?page=2&status=paid").await.1).len(), 6);

        // What is archived is in no list, but it is still there.
        fast.archive(&twin);
        assert_eq!(numbers(&ask(&fast, "/invoices").await.1).len(), 5);
        assert!(ask(&fast, &format!("/invoices/{twin}")).await.1["archived_at"].is_string());
        assert_eq!(fast.complaints(), none());

        fast.vary(|variants| variants.pages = Pages::From(1));
        for query in ["page=0", "page=last", "number=F-1", "status=settled", "page=1&page=2"] {
            ask(&fast, &format!("/invoices?{query}")).await;
        }
        assert_eq!(fast.complaints().len(), 6, "the page that is there twice, for each: {:?}", fast.complaints());
    }

    #[tokio::test]
    async fn both_headers_open_and_nothing_else_does() {
        let fast = FastFaktura::start().await;
        let url = format!("{}/business", fast.base_url());
        assert_eq!(http().get(&url).bearer_auth(KEY).send().await.unwrap().status(), 200);
        assert_eq!(http().get(&url).header("X-Api-Key", KEY).send().await.unwrap().status(), 200);
        assert_eq!(fast.complaints(), none());
        assert_eq!(http().get(&url).send().await.unwrap().status(), 401);
        assert_eq!(http().get(&url).bearer_auth("ffk_guessed").send().await.unwrap().status(), 401);
        let both = http().get(&url).header("X-Api-Key", KEY).bearer_auth("ffk_guessed").send().await.unwrap();
        assert_eq!(both.status(), 401);
        assert_eq!(fast.complaints().len(), 3, "{:?}", fast.complaints());
        ask(&fast, &format!("/invoices?status={KEY}")).await;
        assert!(fast.complaints()[3].ends_with("shows the secret in its address"), "{:?}", fast.complaints());
    }

    #[tokio::test]
    async fn whatever_writes_or_looks_like_the_debtor_is_held_against_it() {
        let fast = FastFaktura::start().await;
        let id = fast.add_invoice("F-1", 100, "EUR", "sent");
        let one = format!("{}/invoices/{id}", fast.base_url());
        for request in [http().post(format!("{one}/send")), http().put(&one), http().patch(&one), http().delete(&one)] {
            let request = request.header("X-Api-Key", KEY).json(&json!({"channels": ["email"], "reminder": true}));
            assert_eq!(request.send().await.unwrap().status(), 405);
        }
        let complaints = fast.complaints();
        assert!(complaints.contains(&format!("POST /api/v1/invoices/{id}/send: WOULD HAVE WRITTEN TO THE DEBTOR")));
        for method in ["PUT", "PATCH", "DELETE"] {
            let complaint = format!("{method} /api/v1/invoices/{id}: only looking is allowed");
            assert!(complaints.contains(&complaint), "{complaints:?}");
        }
        assert_eq!(ask(&fast, &format!("/invoices/{id}")).await.1["status"], "sent", "nothing was done");

        let before = fast.complaints().len();
        let (_, shown) = ask(&fast, &format!("/invoices/{id}")).await;
        assert_eq!(http().get(shown["public_url"].as_str().unwrap()).send().await.unwrap().status(), 200);
        assert_eq!(ask(&fast, &format!("/invoices/{id}")).await.1["status"], "opened");
        assert_eq!(ask(&fast, &format!("/invoices/{id}/pdf")).await.0, 404);
        assert_eq!(fast.complaints().len(), before + 2, "{:?}", fast.complaints());
    }

    #[tokio::test]
    async fn errors_have_its_own_body() {
        let fast = FastFaktura::start().await;
        fast.next([403, 429, 502].map(Fault::Status));
        for status in [403, 429, 502] {
            let (given, body) = ask(&fast, "/invoices").await;
            assert!(given == status && body["message"].is_string(), "{given} {body}");
        }
        assert_eq!((ask(&fast, "/invoices").await.0, fast.failed()), (200, 3));
    }
}
