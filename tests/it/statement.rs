//! The statement of a month: through the real service, from a ledger that both stores keep.

use std::{collections::BTreeMap, time::Duration};

use finkare_relay::{
    model::{
        booking::{Announced, Assignment, BookingState, BookingToken, NewBooking},
        clock,
        dispatch::{FinishedAttempt, Next, Order, Outcome},
        event::{DedupeKey, NewEvent},
        id::{EndpointName, EventId, SinkName},
        money::Cents,
    },
    store::{
        Claim, Store,
        ledger::{Advance, Assigned, BookingBegun},
    },
};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::{Value, json};

use crate::support::{
    books::{
        Books as _, NewInvoice,
        facturation_pro::{self, FacturationPro},
    },
    eventually,
    fake_finkare::{API_KEY, FakeFinkare, books::Says},
    finkare::{Finkare, payment},
    http,
    relay::{Backend, Home, Relay, SECRET, TOKEN, on_both_stores},
};

on_both_stores!(
    a_month_has_its_payments_to_the_cent,
    what_is_in_the_books_can_be_had_alone,
    a_spreadsheet_reads_it,
    accounting_entries_balance,
    a_token_of_another_endpoint_sees_nothing,
    what_cannot_be_drawn_up_is_refused,
    what_was_learned_is_shown_until_it_is_erased,
);

const BETA: &str = "the-token-of-beta-alone";

/// A payment that is in the ledger.
struct Received<'a> {
    sink: &'a str,
    endpoint: &'a str,
    id: &'a str,
    cents: i64,
    currency: &'a str,
    method: &'a str,
    debtor: &'a str,
    paid_at: &'a str,
    state: BookingState,
}

/// A payment in the usual way; a test changes what matters to it.
const PAID: Received<'static> = Received {
    sink: "compta",
    endpoint: "production",
    id: "p1",
    cents: 150_000,
    currency: "EUR",
    method: "card",
    debtor: "Durand SARL",
    paid_at: "2026-10-15",
    state: BookingState::Booked,
};

fn event(endpoint: &str, key: &str, received_at: Timestamp, sinks: &[&str]) -> NewEvent {
    let invoice = format!("invoice-{key}");
    NewEvent {
        id: EventId::generate(),
        endpoint: EndpointName::new(endpoint).unwrap(),
        dedupe_key: DedupeKey::of_message(key.as_bytes()),
        event_type: "payment.received".into(),
        occurred_at: None,
        received_at,
        readable: true,
        content_type: None,
        payload: payment(&invoice, 4_200).into(),
        invoice_id: Some(invoice),
        sinks: sinks.iter().map(|sink| SinkName::new(sink).unwrap()).collect(),
    }
}

fn facts(event: &NewEvent, paid: &Received<'_>) -> Announced {
    let known = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Announced {
        event_id: event.id,
        invoice_id: event.invoice_id.clone().unwrap(),
        amount_cents: Cents(paid.cents),
        currency: known(paid.currency),
        payment_id: known(paid.id),
        invoice_number: known(&format!("F-{}", paid.id)),
        debtor: known(paid.debtor),
        method: known(paid.method),
        paid_at: paid.paid_at.parse().ok(),
    }
}

/// Writes what a bookkeeper writes of a payment.
async fn book(store: &dyn Store, paid: &Received<'_>) -> EventId {
    let event = event(paid.endpoint, paid.id, clock::now(), &[]);
    let recorded = store.record_deliveries(std::slice::from_ref(&event)).await.unwrap();
    let event = NewEvent { id: recorded[0].id, ..event };
    let assignment = Assignment {
        event_id: event.id,
        endpoint: paid.endpoint.into(),
        payment_id: paid.id.into(),
        invoice_id: event.invoice_id.clone().unwrap(),
        amount_cents: Cents(paid.cents),
    };
    assert_eq!(store.assign(&assignment).await.unwrap(), Assigned::Ours);
    if !paid.paid_at.is_empty() {
        store.note_announced(&facts(&event, paid)).await.unwrap();
    }
    let new = NewBooking {
        sink: SinkName::new(paid.sink).unwrap(),
        payment_id: paid.id.into(),
        event_id: event.id,
        invoice_id: assignment.invoice_id,
        invoice_number: format!("F-{}", paid.id),
        amount_cents: Cents(paid.cents),
        currency: paid.currency.into(),
        token: BookingToken::generate(),
    };
    assert_eq!(store.begin_booking(&new, None).await.unwrap(), BookingBegun::Begun);
    assert!(store.send_booking(&new.sink, paid.id, new.token, Duration::ZERO).await.unwrap());
    let target_id = Some(format!("there-{}", paid.id));
    let advance = Advance { state: paid.state, target_id, note: None };
    assert_eq!(store.advance_booking(&new.sink, paid.id, new.token, &advance).await.unwrap(), None);
    event.id
}

/// An event whose dispatch ends so; `paid` is what is known of its payment.
async fn stop(store: &dyn Store, event: NewEvent, paid: Option<&Received<'_>>, next: Next, reason: &str) {
    store.record_deliveries(std::slice::from_ref(&event)).await.unwrap();
    if let Some(paid) = paid {
        store.note_announced(&facts(&event, paid)).await.unwrap();
    }
    let sink = event.sinks[0].clone();
    let claim = Claim {
        sink: &sink,
        order: Order::Invoice,
        limit: 10,
        lease: Duration::from_mins(1),
        longest_wait: Duration::MAX,
        now: None,
    };
    let leased = store.claim_due(claim).await.unwrap().dispatches;
    let outcome = match next {
        Next::Held { recheck_after } => Outcome::Hold { reason: reason.into(), recheck_after },
        _ => Outcome::Rejected { reason: reason.into() },
    };
    let attempt = FinishedAttempt {
        id: leased[0].id,
        token: leased[0].token,
        sink,
        started_at: clock::now(),
        duration: Duration::from_millis(1),
        outcome,
        next,
    };
    store.finish_attempts(&[attempt], None).await.unwrap();
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Two companies with their books, one system that takes no payments, one that takes everything, and one that tells people.
/// Nobody answers at their addresses: what the statement says is in the ledger.
fn configure(home: &Home) {
    let endpoint = format!("secret = \"{SECRET}\"\napi_key = \"fk_live_x\"\napi_url = \"http://127.0.0.1:9\"\n");
    let books = |name: &str, firm: &str, endpoint: &str| {
        format!(
            "[[sinks]]\nname = \"{name}\"\ntype = \"facturation_pro\"\nbase_url = \"http://127.0.0.1:9\"\n\
             firm_id = \"{firm}\"\napi_id = \"a\"\napi_key = \"b\"\ncontact = \"ops@example.test\"\n\
             endpoints = [\"{endpoint}\"]\n"
        )
    };
    let sinks = format!(
        "[[endpoints]]\nname = \"beta\"\npath = \"/beta\"\n{endpoint}timezone = \"America/Martinique\"\n{}{}\
         [[sinks]]\nname = \"tiime\"\ntype = \"tiime\"\nbase_url = \"http://127.0.0.1:9\"\ncompany_id = \"7\"\n\
         token = \"t\"\ni_accept_unofficial_api = true\nendpoints = [\"production\"]\n\
         [[sinks]]\nname = \"erp\"\ntype = \"http\"\nurl = \"http://127.0.0.1:9\"\n\
         [[sinks]]\nname = \"equipe\"\ntype = \"chat\"\nurl = \"http://127.0.0.1:9/x\"\nservice = \"slack\"\n",
        books("compta", "1", "production"),
        books("compta-beta", "2", "beta"),
    );
    home.configure("", &endpoint, &sinks);
    let token =
        format!("[[admin.tokens]]\nname = \"beta\"\nrole = \"viewer\"\nendpoints = [\"beta\"]\ntoken = \"{BETA}\"\n");
    std::fs::create_dir_all(home.path("relay.d")).unwrap();
    std::fs::write(home.path("relay.d/tokens.toml"), token).unwrap();
}

/// A service whose ledger has something of everything.
async fn scene(backend: Backend) -> (Home, Relay) {
    let home = Home::new(backend).await;
    configure(&home);
    let store = home.store().await;
    store.migrate().await.unwrap();
    let store = &*store;
    for paid in [
        // In Paris these are half past eleven on 31 October, half past midnight on 1 November, a quarter past midnight on
        // 1 October.
        Received { paid_at: "2026-10-31T22:30:00Z", ..PAID },
        Received { id: "p2", cents: 20_000, paid_at: "2026-10-31T23:30:00Z", ..PAID },
        Received { id: "p4", cents: 30_000, paid_at: "2026-09-30T22:15:00Z", method: "bank_transfer", ..PAID },
        // A day has no time zone.
        Received { id: "p3", cents: 999, currency: "USD", paid_at: "2026-10-31", debtor: "Été; \"Fils\"", ..PAID },
        Received { id: "p5", cents: 5_000, state: BookingState::Seen, debtor: "=cmd|' /C calc'!A0", ..PAID },
        // Of an earlier version: it is not known when it was paid.
        Received { id: "p6", cents: 60_000, paid_at: "", ..PAID },
        Received { id: "p7", cents: 70_000, state: BookingState::Written, paid_at: "2026-10-05", ..PAID },
        // In Martinique this is ten o'clock in the evening of 31 October.
        Received {
            id: "b1",
            sink: "compta-beta",
            endpoint: "beta",
            cents: 11_111,
            paid_at: "2026-11-01T02:00:00Z",
            debtor: "Secret de Beta",
            ..PAID
        },
    ] {
        book(store, &paid).await;
    }
    // The same payment in a second system.
    let first = store.find_announced(&finkare_relay::store::ledger::Search::new("p1").unwrap(), 1).await.unwrap()[0];
    let new = NewBooking {
        sink: SinkName::new("tiime").unwrap(),
        payment_id: "p1".into(),
        event_id: first,
        invoice_id: "invoice-p1".into(),
        invoice_number: "F-p1".into(),
        amount_cents: Cents(150_000),
        currency: "EUR".into(),
        token: BookingToken::generate(),
    };
    store.begin_booking(&new, None).await.unwrap();
    let seen = Advance { state: BookingState::Seen, target_id: None, note: None };
    assert_eq!(store.advance_booking(&new.sink, "p1", new.token, &seen).await.unwrap(), None);

    let held = Received { id: "h1", cents: 8_000, paid_at: "2026-10-20", debtor: "Petit", ..PAID };
    let until_a_person = Next::Held { recheck_after: None };
    stop(
        store,
        event("production", "h1", clock::now(), &["compta"]),
        Some(&held),
        until_a_person,
        "Compare; then retry",
    )
    .await;
    let day = at("2026-10-12T10:00:00Z");
    stop(store, event("production", "d1", day, &["erp"]), None, Next::Dead, "the target answered 422").await;
    stop(store, event("production", "c1", day, &["equipe"]), None, Next::Dead, "nobody was told").await;
    store.close().await;
    let relay = home.start().await;
    (home, relay)
}

async fn text(relay: &Relay, token: &str, query: &str) -> (u16, String, String) {
    let url = format!("http://{}/api/v1/statement?{query}", relay.admin);
    let answer = http().get(url).bearer_auth(token).send().await.unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    (answer.status().as_u16(), kind, String::from_utf8(answer.bytes().await.unwrap().to_vec()).unwrap())
}

async fn statement(relay: &Relay, query: &str) -> Value {
    relay.get(&format!("/statement?{query}")).await
}

fn part<'v>(statement: &'v Value, sink: &str) -> &'v Value {
    let parts = statement["sinks"].as_array().unwrap();
    parts.iter().find(|part| part["sink"] == sink).unwrap_or_else(|| panic!("no part of {sink}: {statement}"))
}

fn payments(lines: &Value) -> Vec<(&str, i64)> {
    let lines = lines.as_array().unwrap().iter();
    lines
        .map(|line| (line["payment_id"].as_str().unwrap_or_default(), line["amount_cents"].as_i64().unwrap()))
        .collect()
}

async fn a_month_has_its_payments_to_the_cent(backend: Backend) {
    let (_home, relay) = scene(backend).await;
    let october = statement(&relay, "month=2026-10").await;
    let names: Vec<&str> =
        october["sinks"].as_array().unwrap().iter().map(|part| part["sink"].as_str().unwrap()).collect();
    assert_eq!(names, ["compta", "compta-beta", "erp", "tiime"], "who only tells people keeps no books");
    let compta = part(&october, "compta");
    // By the day of the payment; on one day by the time of the booking.
    assert_eq!(payments(&compta["bookings"]), [("p4", 30_000), ("p5", 5_000), ("p1", 150_000), ("p3", 999)]);
    let sums = json!([
        {"currency": "EUR", "count": 3, "amount_cents": 185_000},
        {"currency": "USD", "count": 1, "amount_cents": 999},
    ]);
    assert_eq!(compta["sums"], sums, "currencies are never added up");
    let first = &compta["bookings"][2];
    for (field, value) in [
        ("invoice_number", "F-p1"),
        ("debtor", "Durand SARL"),
        ("method", "card"),
        ("paid_on", "2026-10-31"),
        ("target_id", "there-p1"),
        ("state", "booked"),
        ("endpoint", "production"),
    ] {
        assert_eq!(first[field], value, "{first}");
    }
    assert_eq!(compta["bookings"][1]["state"], "seen");
    assert_eq!(payments(&compta["open"]), [("p7", 70_000), ("h1", 8_000)]);
    assert_eq!((&compta["open"][0]["state"], &compta["open"][1]["state"]), (&json!("written"), &json!("held")));
    assert_eq!(compta["open"][1]["reason"], "Compare; then retry");
    assert_eq!(compta["open_sums"], json!([{"currency": "EUR", "count": 2, "amount_cents": 78_000}]));
    let dead = &part(&october, "erp")["open"][0];
    assert_eq!((&dead["state"], &dead["reason"]), (&json!("dead"), &json!("the target answered 422")));
    assert_eq!((&dead["amount_cents"], &dead["since"]), (&json!(4_200), &json!("2026-10-12")), "what the event says");
    assert_eq!(payments(&part(&october, "compta-beta")["bookings"]), [("b1", 11_111)]);
    assert_eq!(payments(&part(&october, "tiime")["bookings"]), [("p1", 150_000)]);
    let who = ["compta", "tiime", "erp"].map(|sink| part(&october, sink)["reports_212"].as_str().unwrap());
    assert_eq!(who, ["system", "person", "unknown"]);

    assert_eq!(
        payments(&part(&statement(&relay, "month=2026-11&endpoint=production").await, "compta")["bookings"])[0],
        ("p2", 20_000)
    );
    let november = statement(&relay, "month=2026-11&endpoint=beta").await;
    assert_eq!(payments(&part(&november, "compta-beta")["bookings"]), []);
    assert_eq!(payments(&part(&statement(&relay, "month=2026-09").await, "compta")["bookings"]), []);
    // Where it is not known when it was paid, the booking decides.
    let today = clock::now().to_zoned(TimeZone::get("Europe/Paris").unwrap());
    let now = statement(&relay, &format!("month={}&sink=compta", today.strftime("%Y-%m"))).await;
    let bookings = &part(&now, "compta")["bookings"];
    let undated = bookings.as_array().unwrap().iter().find(|line| line["payment_id"] == "p6").unwrap();
    assert_eq!((&undated["paid_on"], &undated["debtor"]), (&Value::Null, &Value::Null), "unknown is not invented");

    let one = statement(&relay, "month=2026-10&sink=equipe").await;
    assert_eq!(part(&one, "equipe")["open"][0]["reason"], "nobody was told", "if it is asked for");
    assert_eq!(one["sinks"].as_array().unwrap().len(), 1);
    let of_beta = statement(&relay, "month=2026-10&endpoint=beta").await;
    assert!(!of_beta.to_string().contains("Durand"), "{of_beta}");

    for query in ["month=2026-10", "month=2026-10&format=csv", "month=2026-10&format=fec&endpoint=production"] {
        let first = text(&relay, TOKEN, query).await;
        assert_eq!(first, text(&relay, TOKEN, query).await, "the same month, the same bytes");
        assert_eq!(first.0, 200);
    }
}

async fn what_is_in_the_books_can_be_had_alone(backend: Backend) {
    let (_home, relay) = scene(backend).await;
    let (all, booked) =
        (statement(&relay, "month=2026-10").await, statement(&relay, "month=2026-10&part=booked").await);
    let parts = |of: &Value| of["sinks"].as_array().unwrap().clone();
    let open = |of: &Value| parts(of).iter().map(|part| part["open"].as_array().unwrap().len()).sum::<usize>();
    assert!(open(&all) > 0 && open(&booked) == 0, "{booked}");
    let bookings = |of: &Value| -> Vec<Value> {
        parts(of)
            .iter()
            .filter(|part| part["sums"] != serde_json::json!([]))
            .map(|part| part["bookings"].clone())
            .collect()
    };
    assert!(!bookings(&all).is_empty());
    assert_eq!(bookings(&all), bookings(&booked));
    assert_eq!(text(&relay, TOKEN, "month=2026-10&part=open").await.0, 400);
}

async fn a_spreadsheet_reads_it(backend: Backend) {
    let (home, relay) = scene(backend).await;
    let (status, kind, csv) = text(&relay, TOKEN, "month=2026-10&format=csv").await;
    assert_eq!((status, kind.as_str()), (200, "text/csv; charset=utf-8"));
    let plain = csv.strip_prefix('\u{feff}').expect("a byte order mark, or a spreadsheet reads another encoding");
    assert!(plain.split_terminator("\r\n").all(|line| !line.contains(['\r', '\n'])) && plain.ends_with("\r\n"));
    let mut reader = csv::ReaderBuilder::new().delimiter(b';').from_reader(plain.as_bytes());
    let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(
        head[..8],
        ["Destination", "État", "Date de paiement", "Facture", "Débiteur", "Montant", "Devise", "Moyen de paiement"]
    );
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().map(Result::unwrap).collect();
    let row = |payment: &str, sink: &str| {
        rows.iter().find(|row| row["Paiement Finkare"] == payment && row["Destination"] == sink).unwrap()
    };
    let first = row("p1", "compta");
    assert_eq!((first["Montant"].as_str(), first["Devise"].as_str()), ("1500,00", "EUR"));
    assert_eq!((first["Date de paiement"].as_str(), first["Moyen de paiement"].as_str()), ("31/10/2026", "carte"));
    assert_eq!(row("p3", "compta")["Débiteur"], "Été; \"Fils\"");
    assert_eq!(row("p5", "compta")["Débiteur"], "'=cmd|' /C calc'!A0", "a text, and no formula");
    assert_eq!(row("h1", "compta")["Motif"], "Compare; then retry");
    // The column adds up to what was paid, without the totals.
    let cents = |text: &str| text.replace(',', "").parse::<i64>().unwrap_or(0);
    let of = |sink: &str, currency: &str, column: &str, state: &[&str]| {
        let is_it = |row: &&BTreeMap<String, String>| {
            row["Destination"] == sink && row["Devise"] == currency && state.contains(&row["État"].as_str())
        };
        rows.iter().filter(is_it).map(|row| cents(&row[column])).sum::<i64>()
    };
    assert_eq!(of("compta", "EUR", "Montant", &["inscrit", "déjà inscrit"]), 185_000);
    assert_eq!(of("compta", "EUR", "Total", &["total inscrit"]), 185_000);
    assert_eq!(of("compta", "USD", "Total", &["total inscrit"]), 999);
    assert_eq!(of("compta", "EUR", "Total", &["total non inscrit"]), 78_000);
    assert_eq!(of("compta", "EUR", "Montant", &["total inscrit", "total non inscrit"]), 0);

    let (_, _, english) = text(&relay, TOKEN, "month=2026-10&format=csv&language=en&sink=compta").await;
    assert!(english.starts_with("\u{feff}Sink;State;Date paid;Invoice;"), "{english}");
    assert!(english.contains("compta;booked;2026-10-31;F-p1;Durand SARL;1500,00;EUR;card;"), "{english}");

    // The command prints the same bytes, and a text for people.
    let run = async |arguments: &[&str]| {
        let mut command = home.command();
        command.args(["statement", "--month", "2026-10"]).args(arguments);
        command.args(["--admin-url", &format!("http://{}", relay.admin)]).env("RELAY_ADMIN_TOKEN", TOKEN);
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run(&["--format", "csv"]).await, csv);
    assert_eq!(run(&["-o", "csv"]).await, csv);
    let french = run(&["--sink", "compta"]).await;
    assert!(french.starts_with("Relevé des paiements Finkare, octobre 2026, destination compta\n"), "{french}");
    assert!(french.contains("Total inscrit\u{a0}: 1\u{202f}850,00\u{a0}€ (3 paiements)"), "{french}");
    assert!(
        french.contains("Total inscrit\u{a0}: 9,99\u{a0}USD (1 paiement)") && french.contains("« encaissée » (212)")
    );
    let english = run(&["--sink", "tiime", "--language", "en"]).await;
    assert!(
        english.contains("October 2026") && english.contains("The person who marks the invoice as paid"),
        "{english}"
    );
}

async fn accounting_entries_balance(backend: Backend) {
    let (_home, relay) = scene(backend).await;
    let (status, kind, fec) = text(&relay, TOKEN, "month=2026-10&format=fec&endpoint=production").await;
    assert_eq!((status, kind.as_str()), (200, "text/plain; charset=utf-8"));
    assert!(fec.ends_with("\r\n") && !fec.starts_with('\u{feff}'));
    // A strict reader: no quotes, and every line has 18 fields.
    let mut reader = csv::ReaderBuilder::new().delimiter(b'\t').quoting(false).from_reader(fec.as_bytes());
    let head: Vec<String> = reader.headers().unwrap().iter().map(str::to_owned).collect();
    assert_eq!(
        head,
        [
            "JournalCode",
            "JournalLib",
            "EcritureNum",
            "EcritureDate",
            "CompteNum",
            "CompteLib",
            "CompAuxNum",
            "CompAuxLib",
            "PieceRef",
            "PieceDate",
            "EcritureLib",
            "Debit",
            "Credit",
            "EcritureLet",
            "DateLet",
            "ValidDate",
            "Montantdevise",
            "Idevise"
        ]
    );
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().map(Result::unwrap).collect();
    let cents = |text: &str| {
        let (whole, decimals) = text.split_once(',').expect("a comma");
        assert!(decimals.len() == 2 && !whole.contains([' ', '.']), "{text}");
        let sign = if whole.starts_with('-') { -1 } else { 1 };
        whole.parse::<i64>().unwrap() * 100 + sign * decimals.parse::<i64>().unwrap()
    };
    let mut entries: BTreeMap<&str, Vec<&BTreeMap<String, String>>> = BTreeMap::new();
    for row in &rows {
        entries.entry(&row["EcritureNum"]).or_default().push(row);
        for required in &head[..13] {
            assert!(!row[required].is_empty() || required.starts_with("CompAux"), "{required}: {row:?}");
        }
        for date in ["EcritureDate", "PieceDate", "ValidDate"] {
            assert!(row[date].len() == 8 && row[date].bytes().all(|byte| byte.is_ascii_digit()), "{row:?}");
        }
    }
    let numbers: Vec<&str> = entries.keys().copied().collect();
    assert_eq!(
        numbers,
        ["20261000001", "20261000002", "20261000003", "20261000004"],
        "one sequence, each payment once"
    );
    let mut euros = 0;
    for lines in entries.values() {
        let [money, customer] = lines[..] else { panic!("{lines:?}") };
        assert_eq!(money["Debit"], customer["Credit"]);
        assert_eq!((cents(&money["Credit"]), cents(&customer["Debit"])), (0, 0));
        assert_eq!(customer["CompteNum"], "411000");
        euros += cents(&money["Debit"]);
    }
    assert_eq!(euros, 185_000);
    let of = |piece: &str| rows.iter().filter(|row| row["PieceRef"] == piece).collect::<Vec<_>>();
    assert_eq!(of("F-p1").len(), 2, "it is in two systems, and one payment");
    assert_eq!((of("F-p1")[0]["CompteNum"].as_str(), of("F-p1")[0]["EcritureDate"].as_str()), ("511000", "20261031"));
    assert_eq!(of("F-p4")[0]["CompteNum"], "512000", "a transfer arrives at the bank");
    assert_eq!(of("F-p1")[0]["EcritureLib"], "Règlement F-p1 Durand SARL carte Finkare p1");
    let dollars = of("F-p3");
    assert_eq!(
        (dollars[0]["Debit"].as_str(), dollars[0]["Idevise"].as_str()),
        ("0,00", "USD"),
        "its euros are unknown"
    );
    assert_eq!((dollars[0]["Montantdevise"].as_str(), dollars[1]["Montantdevise"].as_str()), ("9,99", "-9,99"));
    assert_eq!((of("F-p7"), of("F-h1")), (vec![], vec![]), "what is not certain is no entry");
    let (_, _, empty) = text(&relay, TOKEN, "month=2026-01&format=fec&endpoint=production").await;
    assert_eq!(empty, format!("{}\r\n", head.join("\t")));
}

async fn a_token_of_another_endpoint_sees_nothing(backend: Backend) {
    let (_home, relay) = scene(backend).await;
    for format in ["json", "csv", "fec"] {
        let (status, _, answer) = text(&relay, BETA, &format!("month=2026-10&format={format}")).await;
        assert_eq!(status, 200, "it has one endpoint: {answer}");
        assert!(answer.contains("b1") && answer.contains("Secret de Beta"), "{answer}");
        for word in ["production", "Durand", "F-p1", "tiime", "F-h1", "d1"] {
            assert!(!answer.contains(word), "{format} tells of {word}: {answer}");
        }
    }
    for query in ["endpoint=production", "sink=compta", "sink=tiime", "sink=nobody", "endpoint=nobody"] {
        let (status, _, answer) = text(&relay, BETA, &format!("month=2026-10&{query}")).await;
        assert_eq!(status, 404, "{query}: {answer}");
    }
    let (status, _, shared) = text(&relay, BETA, "month=2026-10&sink=erp").await;
    assert_eq!(status, 200);
    assert!(!shared.contains("422"), "another's event for a sink that both have: {shared}");
}

async fn what_cannot_be_drawn_up_is_refused(backend: Backend) {
    let (_home, relay) = scene(backend).await;
    for (query, status, says) in [
        ("month=2026-13", 400, "`2026-10`"),
        ("month=2026-1", 400, "`2026-10`"),
        ("month=+026-10", 400, "`2026-10`"),
        ("", 400, "month"),
        ("month=2026-10&format=pdf", 400, "`fec`"),
        ("month=2026-10&language=de", 400, "`fr`"),
        ("month=2026-10&format=fec", 400, "give `endpoint`"),
        ("month=2026-10&endpoint=nobody", 404, "endpoint"),
        ("month=2026-10&sink=nobody", 404, "sink"),
    ] {
        let (given, _, answer) = text(&relay, TOKEN, query).await;
        assert!(given == status && answer.contains(says), "{query}: {given} {answer}");
    }
}

async fn what_was_learned_is_shown_until_it_is_erased(backend: Backend) {
    let fake = FakeFinkare::start().await;
    let books = FacturationPro::start().await;
    let home = Home::new(backend).await;
    let endpoint = format!(
        "secret = \"{SECRET}\"\napi_key = \"{API_KEY}\"\napi_url = \"{}\"\napi_rate_limit = {{ requests = 1000, per_secs = 1 }}",
        fake.api_url()
    );
    let sinks = format!(
        "[[sinks]]\nname = \"compta\"\ntype = \"facturation_pro\"\nbase_url = \"{}\"\nfirm_id = \"{}\"\napi_id = \"{}\"\n\
         api_key = \"{}\"\ncontact = \"ops@example.test\"\nsettle_secs = 1\nnot_found_secs = 0\n",
        books.url(),
        facturation_pro::FIRM,
        facturation_pro::API_ID,
        facturation_pro::API_KEY,
    );
    home.configure("", &endpoint, &sinks);
    let relay = home.start().await;
    let invoice = |number: &str| {
        let invoice = fake.add_invoice(number, 120_000, "EUR");
        fake.change_invoice(&invoice, |invoice| {
            invoice.spoilt.push(("debtor", Some(json!({"name": "Menuiserie Lefèvre"}))));
        });
        invoice
    };
    let (booked, unknown) = (invoice("F-1"), invoice("F-2"));
    books.add(NewInvoice::of("F-1", 120_000));
    let finkare = Finkare::of(&relay);
    let mut events = Vec::new();
    for invoice in [&booked, &unknown] {
        let payment = fake.add_payment(invoice, 45_050);
        fake.change_payment(&payment, |payment| payment.paid_at = at("2026-10-31T22:30:00Z"));
        events.push(finkare.deliver(&fake.delivery(&payment, Says::All)).await.id());
    }
    // The books have the first invoice alone.
    eventually("one is booked, and one waits for a person", async || {
        let held = relay.all("/dispatches?state=held").await.len();
        (relay.all("/bookings?state=booked").await.len(), held) == (1, 1)
    })
    .await;

    let calls = fake.reads("/");
    let booking = relay.all("/bookings").await.into_iter().find(|row| row["state"] == "booked").unwrap();
    let event = relay.get(&format!("/events/{}", events[0])).await;
    for row in [&booking, &event, &event["dispatches"][0]] {
        assert_eq!((&row["debtor"], &row["method"]), (&json!("Menuiserie Lefèvre"), &json!("sepa_debit")), "{row}");
        assert_eq!(row["paid_at"], "2026-10-31T22:30:00Z");
    }
    assert_eq!(relay.all("/events?q=lef%C3%A8vre").await.len(), 2, "the name is found");
    assert_eq!(relay.all("/dispatches?q=Menuiserie&state=held").await.len(), 1);
    let october = statement(&relay, "month=2026-10").await;
    let part = part(&october, "compta");
    assert_eq!(
        (&part["bookings"][0]["debtor"], &part["open"][0]["debtor"]),
        (&json!("Menuiserie Lefèvre"), &json!("Menuiserie Lefèvre"))
    );
    assert_eq!(
        (&part["bookings"][0]["invoice_number"], &part["open"][0]["invoice_number"]),
        (&json!("F-1"), &json!("F-2"))
    );
    assert!(part["open"][0]["reason"].as_str().unwrap().contains("F-2"), "{part}");
    assert_eq!(fake.reads("/"), calls, "nothing was asked for it");

    for invoice in [&booked, &unknown] {
        let erased = relay.post(&format!("/invoices/{invoice}/erase")).await;
        assert_eq!(erased["events"], 1);
    }
    let after = statement(&relay, "month=2026-10").await;
    let line = &after["sinks"][0]["bookings"][0];
    assert_eq!(
        (&line["amount_cents"], &line["debtor"], &line["paid_on"]),
        (&json!(45_050), &Value::Null, &json!("2026-10-31"))
    );
    for query in ["month=2026-10", "month=2026-10&format=csv", "month=2026-10&format=fec"] {
        assert!(!text(&relay, TOKEN, query).await.2.contains("Lef"), "{query}");
    }
    assert_eq!(relay.all("/events?q=Menuiserie").await.len(), 0);
    for path in ["/bookings", "/events", "/dispatches"] {
        assert!(!relay.get(path).await.to_string().contains("Lef"), "{path}");
    }
    let complaints = [books.complaints(), fake.complaints()].concat();
    assert!(complaints.is_empty(), "{complaints:?}");
}
