//! What each vendor's own documentation shows, word for word, and what comes of it; and each field that a decision can do
//! without, left out.
//!
//! The stand-ins are fuller than the documentation, and what only they show must not be needed. Facturation.PRO's examples
//! are those of <https://facturation.dev> (`api/factures`, `api/reglements`, `api/compte`); eFactori's answers those of the
//! vendor's OpenAPI file; Tiime's invoice is what unofficial clients have seen; FastFaktura's is its table of fields.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderName, Method, StatusCode, Uri, header},
};
use finkare_relay::{
    model::booking::BookingState,
    sinks::{
        Sink,
        invoicing::{efactori, facturation_pro, fastfaktura, system::System, tiime},
        kind::Kind,
    },
};
use serde_json::Value;
use tokio::task::JoinHandle;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(8);

/// What was asked: method, path with query, body.
type Calls = Arc<Mutex<Vec<(String, String, String)>>>;

/// A server that answers what a test has it answer, by method, path with query, and the calls before; 404 for nothing.
struct Script {
    url: String,
    calls: Calls,
    task: JoinHandle<()>,
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Script {
    async fn start(answer: impl Fn(&str, &str, &[String]) -> Option<String> + Clone + Send + Sync + 'static) -> Self {
        let calls = Calls::default();
        let known = calls.clone();
        let router = Router::new().fallback(move |method: Method, uri: Uri, body: Bytes| {
            let posted: Vec<String> = {
                let mut known = known.lock().unwrap();
                let before = known.iter().filter(|(method, ..)| method == "POST").map(|(.., body)| body.clone());
                let posted = before.collect();
                let body = String::from_utf8_lossy(&body).into_owned();
                known.push((method.to_string(), uri.to_string(), body));
                posted
            };
            let answered = answer(method.as_str(), &uri.to_string(), &posted);
            async move {
                let json: (HeaderName, &str) = (header::CONTENT_TYPE, "application/json");
                match answered {
                    Some(body) if method == Method::POST => (StatusCode::CREATED, [json], body),
                    Some(body) => (StatusCode::OK, [json], body),
                    None => (StatusCode::NOT_FOUND, [json], "{}".to_owned()),
                }
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, calls, task }
    }

    fn posted(&self) -> Vec<String> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|(method, ..)| method == "POST").map(|(.., body)| body.clone()).collect()
    }
}

/// Options that wait for nothing.
fn quick<T: System + Clone>(mut written: Value) -> T {
    written["api_limits"] = json!([{"requests": 1000, "per_secs": 1}]);
    written["settle_secs"] = json!(1);
    super::parsed(written)
}

fn facturation(script: &Script, office: &Office, more: &Value) -> Arc<dyn Sink> {
    let mut options = json!({
        "base_url": script.url, "firm_id": "2", "api_id": "1", "api_key": "k", "contact": "ops@creancier.example",
    });
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    let mut options: facturation_pro::Options = quick(options);
    options.common.settle_secs = 0;
    told(Kind::from(options).build(TIMEOUT, || office.desk(TIMEOUT)).unwrap())
}

/// `GET /firms/FIRM_ID/invoices/ID.json`, the documentation's answer.
const INVOICE: &str = r#"{
  "api_custom": null,
  "api_id": null,
  "category_id": null,
  "currency": "EUR",
  "customer_id": 1,
  "external_ref": null,
  "discount": null,
  "draft": false,
  "id": 1,
  "information": null,
  "invoice_ref": "201307-4",
  "invoiced_on": "2013-07-29",
  "language": "fr",
  "paid_on": null,
  "pay_before": "60fm",
  "payment_mode": 0,
  "payment_ref": null,
  "penalty": "0.0",
  "precompte": null,
  "quote_id": null,
  "rebate_percentage": "0.0",
  "service_personne": false,
  "tax_percent": null,
  "tax_title": null,
  "term_on": "2013-09-30",
  "title": "Facturation mensuelle",
  "total": "700.0",
  "paid_in_main_currency": null,
  "vat_exemption": null,
  "items": [
    {
      "id": 949167,
      "nature": 9,
      "optional": false,
      "position": 1,
      "product_id": null,
      "quantity": "1.0",
      "style": null,
      "title": "Affichage pub 1",
      "total": "500.0",
      "unit_price": "500.0",
      "vat": "0.200"
    },
    {
      "id": 949168,
      "nature": 9,
      "optional": false,
      "position": 2,
      "product_id": null,
      "quantity": "1.0",
      "style": null,
      "title": "Affichage pub 2",
      "total": "200.0",
      "unit_price": "200.0",
      "vat": "0.200"
    }
  ]
}"#;

/// `POST /firms/FIRM_ID/invoices/INVOICE_ID/settlements.json`, the documentation's answer.
const SETTLEMENT: &str = r#"{
  "id": 1,
  "invoice_id": 1,
  "total": "100.0",
  "payment_mode": 1,
  "paid_on": "2021-01-15",
  "payment_ref": "XYZ"
  }"#;

/// `GET /account.json`, the documentation's answer.
const ACCOUNT: &str = r#"{
  "id":1,
  "email": "moi@google.com",
  "firms" : [
  {
  "id":1,
  "name": "Ma petite entreprise"
  },
  {
  "id":2,
  "name": "Ma grosse entreprise"
  }
  ]
}"#;

#[tokio::test]
async fn the_examples_of_facturation_pro_lead_to_a_booking() {
    let script = Script::start(|method, target, posted| {
        let path = target.split('?').next().unwrap_or_default();
        Some(match (method, path) {
            ("GET", "/account.json") => ACCOUNT.to_owned(),
            ("GET", "/firms/2/invoices.json") => format!("[{INVOICE}]"),
            ("GET", "/firms/2/invoices/1.json") => INVOICE.to_owned(),
            ("GET", "/firms/2/invoices/1/settlements.json") if posted.is_empty() => "[]".to_owned(),
            ("GET", "/firms/2/invoices/1/settlements.json") => format!("[{SETTLEMENT}]"),
            ("POST", "/firms/2/invoices/1/settlements.json") => SETTLEMENT.to_owned(),
            _ => return None,
        })
    })
    .await;
    let office = Office::open().await;
    // The example's reference and mode.
    let sink = facturation(&script, &office, &json!({"payment_ref_prefix": "X", "payment_modes": {"sepa_debit": 1}}));
    says(&sink.check().await.unwrap(), &["firm 2 is Ma grosse entreprise"]);
    let paid_at = "2021-01-15T10:00:00Z".parse().unwrap();
    let paid = Payment { paid_at, ..payment("YZ", "201307-4", 10_000) };
    assert_eq!(sink.deliver(&office.event(&paid)).await, Outcome::Delivered);
    let expected = r#"{"invoice_id":1,"total":"100.00","payment_mode":1,"paid_on":"2021-01-15","payment_ref":"XYZ"}"#;
    assert_eq!(script.posted(), [expected]);
    let lines = office.lines().await;
    assert_eq!((lines[0].state, lines[0].target_id.as_deref()), (BookingState::Booked, Some("1")));

    // By its lines 840.00 are asked for, of which 100.00 are paid now.
    let much = Payment { paid_at, ..payment("much", "201307-4", 74_001) };
    says(&held(&sink.deliver(&office.event(&much)).await).0, &["more than the 740.00 EUR that are still due"]);
    assert_eq!(script.posted().len(), 1);
}

/// Each invoice as documented, with all that the table of fields has; and without this and that.
#[tokio::test]
async fn facturation_pro_may_leave_out_what_is_not_needed() {
    let whole = json!({
        "id": 1, "invoice_ref": "2026-1", "full_invoice_ref": "2026-1", "external_ref": null, "external": false,
        "draft": false, "soft_deleted": false, "hard_delete_on": null, "refund_id": null, "customer_id": 7,
        "customer_identity": "Débiteur SAS", "currency": "EUR", "total": "100.0", "total_with_vat": "120.0",
        "balance": "120.0", "invoiced_on": "2026-03-01", "term_on": "2026-03-31", "payment_mode": 0, "paid_on": null,
        "payment_ref": null, "internal_note": null, "overdue_at": null, "api_id": null, "api_custom": null,
        "settlements": [], "updated_at": "2026-03-15T10:00:00.000+01:00",
    });
    let needed = BTreeMap::from([
        ("id", "cannot be read"),
        ("draft", "does not show `draft`"),
        ("currency", "does not show `currency`"),
    ]);
    let fields: Vec<String> = whole.as_object().unwrap().keys().cloned().collect();
    for field in &fields {
        let mut less = whole.clone();
        less.as_object_mut().unwrap().remove(field);
        let script = Script::start(move |method, target, posted| {
            let mut invoice = less.clone();
            let ours = posted.first().map(|posted| {
                let mut ours: Value = serde_json::from_str(posted).unwrap();
                ours["id"] = json!(88);
                ours
            });
            let list = Value::from(ours.clone().into_iter().collect::<Vec<_>>());
            if ours.is_some() {
                for (key, value) in
                    [("balance", json!("0.0")), ("paid_on", json!("2026-03-15")), ("payment_mode", json!(8))]
                {
                    if invoice.get(key).is_some() {
                        invoice[key] = value;
                    }
                }
                if invoice.get("settlements").is_some() {
                    invoice["settlements"] = list.clone();
                }
            }
            Some(match (method, target.split('?').next().unwrap_or_default()) {
                ("GET", "/firms/2/invoices.json") => json!([invoice]).to_string(),
                ("GET", "/firms/2/invoices/1.json") => invoice.to_string(),
                ("GET", "/firms/2/invoices/1/settlements.json") => list.to_string(),
                ("POST", "/firms/2/invoices/1/settlements.json") => r#"{"id": 88}"#.to_owned(),
                _ => return None,
            })
        })
        .await;
        let office = Office::open().await;
        let sink = facturation(&script, &office, &json!({}));
        let outcome = sink.deliver(&office.event(&payment("p", "2026-1", 12_000))).await;
        match needed.get(&**field) {
            None => {
                assert_eq!(outcome, Outcome::Delivered, "without `{field}`");
                assert_eq!((script.posted().len(), office.states().await), (1, vec!["p booked".to_owned()]), "{field}");
            }
            Some(words) => {
                let (Outcome::Hold { reason, .. } | Outcome::Stop { reason }) = &outcome else {
                    panic!("without `{field}`: {outcome:?}")
                };
                says(reason, &[words]);
                assert_eq!((script.posted().len(), office.states().await.len()), (0, 0), "{field}");
            }
        }
    }
}

fn efactori(script: &Script, office: &Office) -> Arc<dyn Sink> {
    let options = json!({
        "base_url": script.url, "session_key": "s", "company_uuid": "c", "accounts": {"sepa_debit": "3"},
    });
    let mut options: efactori::Options = quick(options);
    options.common.settle_secs = 0;
    told(Kind::from(options).build(TIMEOUT, || office.desk(TIMEOUT)).unwrap())
}

#[tokio::test]
async fn the_examples_of_efactori_lead_to_a_booking() {
    const SENT: &str = r#"{ "payment_account_id": "3", "date": "2026-03-15", "amount": 150.00, "currency_id": "EUR", "name": "Finkare aaaa1111-0000-4000-8000-000000000009" }"#;
    let whole = json!({
        "id": 12, "number": 42, "number_formatted": "2026/42", "date": "2026-03-01", "expiration_date": "2026-03-31",
        "status": "sent", "currency_id": "EUR", "customer_id": 7, "customer_name": "Débiteur SPRL",
        "total_amount_incl": {"_": 181.5, "EUR": 181.5}, "total_amount_excl": {"_": 150.0, "EUR": 150.0}, "ogm": "",
        "uuid": "x", "online_payment_link": "", "nota": "", "order_reference": "", "locked": false, "deleted": false,
        "created": "2026-03-01", "modified": "2026-03-01",
    });
    let needed = BTreeMap::from([
        ("id", "cannot be read"),
        ("number_formatted", "no invoice 2026/42"),
        ("status", "does not say whether it is open (`status`)"),
        ("currency_id", "its currency is none"),
        ("total_amount_incl", "`total_amount_incl`"),
        ("locked", "does not say whether it is locked (`locked`)"),
        ("deleted", "does not say whether it is in the bin (`deleted`)"),
    ]);
    let mut fields: Vec<String> = whole.as_object().unwrap().keys().cloned().collect();
    fields.push("nothing".to_owned());
    for field in &fields {
        let mut invoice = whole.clone();
        invoice.as_object_mut().unwrap().remove(field);
        let script = Script::start(move |method, target, posted| {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let is_first = query.contains("offset=0") || !query.contains("offset");
            Some(match (method, path) {
                // The example's shape of a list, and of what was made.
                ("GET", "/v1/invoices.json") if is_first => format!(r#"{{ "count": 1, "items": [ {invoice} ] }}"#),
                ("GET", "/v1/invoices/12.json") => invoice.to_string(),
                ("GET", "/v1/payments.json") => r#"{ "count": 0, "items": [] }"#.to_owned(),
                ("POST", "/v1/invoices/12/payments.json") => r#"{"id": 991, "code": "…"}"#.to_owned(),
                ("GET", "/v1/payments/991.json") => {
                    let mut payment: Value = serde_json::from_str(posted.first()?).unwrap();
                    payment["id"] = json!(991);
                    payment["amount"] = json!({"_": 150.0, "EUR": 150.0});
                    payment.to_string()
                }
                _ => return None,
            })
        })
        .await;
        let office = Office::open().await;
        let sink = efactori(&script, &office);
        let event = office.event(&payment("aaaa1111-0000-4000-8000-000000000009", "2026/42", 15_000));
        let outcome = sink.deliver(&event).await;
        match needed.get(&**field) {
            None => {
                assert_eq!(outcome, Outcome::Delivered, "without `{field}`");
                let sent: Value = serde_json::from_str(SENT).unwrap();
                assert_eq!(serde_json::from_str::<Value>(&script.posted()[0]).unwrap(), sent, "as in the example");
                assert_eq!(office.lines().await[0].target_id.as_deref(), Some("991"));
            }
            Some(words) => {
                says(outcome.reason().unwrap_or_else(|| panic!("without `{field}`: {outcome:?}")), &[words]);
                assert!(!matches!(outcome, Outcome::Retry { .. }), "without `{field}` it is not tried until it dies");
                assert_eq!((script.posted().len(), office.states().await.len()), (0, 0), "{field}");
            }
        }
    }
}

#[tokio::test]
async fn the_invoices_of_those_who_only_look_are_understood() {
    // As unofficial clients have seen it, and as the documentation's table has it.
    let tiime = json!({
        "id": 501, "compiled_number": "FAC-2026-042", "number": 42, "status": "sent", "emission_date": "2026-02-15",
        "due_date": "2026-03-15", "client_id": 100, "client_name": "ACME", "total_excluding_taxes": 2375.0,
        "total_including_taxes": 2850.0,
    });
    let fast = json!({
        "id": "1f0c4a9e-0000-4000-8000-000000000001", "number": "2026-042",
        "client_id": "2a0c4a9e-0000-4000-8000-000000000002", "currency": "EUR", "subtotal_cents": 237_500,
        "tax_cents": 47_500, "total_cents": 285_000, "status": "sent", "due_date": "2026-03-15",
        "public_url": "https://example.test/i/abc",
    });
    // The first two are what it is found by.
    for (system, invoice, number, needed) in [
        ("tiime", tiime, "FAC-2026-042", &["id", "compiled_number", "status", "total_including_taxes"][..]),
        ("fastfaktura", fast, "2026-042", &["id", "number", "status", "total_cents", "currency"]),
    ] {
        let is_found_by = |field: &str| needed[..2].contains(&field);
        let mut fields: Vec<String> = invoice.as_object().unwrap().keys().cloned().collect();
        fields.push("nothing".to_owned());
        for status in ["sent", "paid"] {
            for field in &fields {
                let mut shown = invoice.clone();
                shown["status"] = json!(status);
                shown.as_object_mut().unwrap().remove(field);
                let script = Script::start(move |method, target, _| {
                    assert_eq!(method, "GET", "nothing is ever written");
                    let path = target.split('?').next().unwrap_or_default();
                    let is_list = path.ends_with("/invoices") && !target.contains("page=2");
                    Some(match () {
                        () if is_list => json!([shown]).to_string(),
                        () if path.ends_with("/invoices") => "[]".to_owned(),
                        () if path.contains("/invoices/") => shown.to_string(),
                        () => json!({"metadata": {}, "transactions": []}).to_string(),
                    })
                })
                .await;
                let office = Office::open().await;
                let kind = if system == "tiime" {
                    let options = json!({
                        "base_url": script.url, "company_id": "77", "token": "t", "i_accept_unofficial_api": true,
                    });
                    Kind::from(quick::<tiime::Options>(options))
                } else {
                    let options = json!({"base_url": script.url, "api_key": "k"});
                    Kind::from(quick::<fastfaktura::Options>(options))
                };
                let sink = told(kind.build(TIMEOUT, || office.desk(TIMEOUT)).unwrap());
                let outcome = sink.deliver(&office.event(&payment("p", number, 285_000))).await;
                let what = format!("{system}, {status}, without `{field}`: {outcome:?}");
                let is_needed = needed.contains(&&**field);
                match (status, &outcome) {
                    ("paid", Outcome::Delivered) => assert!(!is_needed, "{what}"),
                    ("paid", _) => {
                        assert!(is_needed && !matches!(outcome, Outcome::Retry { .. }), "{what}");
                        assert!(office.lines().await.is_empty(), "{what}");
                    }
                    // An open one is told with whatever is shown of it.
                    (_, Outcome::Hold { reason, .. }) => {
                        assert!(!is_found_by(field), "{what}");
                        assert!(reason.contains("2850.00 EUR"), "{what}");
                    }
                    _ => assert!(is_found_by(field), "{what}"),
                }
            }
        }
    }
}
