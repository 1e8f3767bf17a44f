//! The final check of the books: regardless of what happens on the way, every payment that Finkare collected is in each
//! company's books exactly once, to the cent, or its dispatch is held with a reason.
//!
//! Everything is real except the other services: the binary runs as one process on SQLite and as two on Postgres, and
//! is killed and restarted. The stand-ins of Finkare and of the invoicing systems share no code with the service. They
//! answer late, wrongly or not at all, do what they deny to have done, and keep books. The test compares books, not
//! calls.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use jiff::Timestamp;
use rand::{Rng, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::{Value, json};

use crate::support::{
    as_long_as_it_moves,
    books::{
        Books, NewInvoice,
        desk::{Fault, On, Then as Ends},
        efactori::{self, Efactori, Query},
        facturation_pro::{self, FacturationPro},
    },
    eventually,
    fake_finkare::{API_KEY, FakeFinkare, Then, Turn, books::Says},
    finkare::Finkare,
    relay::{Backend, Home, Relay, SECRET, on_both_stores},
};

on_both_stores!(every_payment_is_booked_once_or_held);

/// The situation of an invoice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Story {
    /// One payment of the whole amount.
    Whole,
    /// Several payments that together do not exceed the invoice.
    Parts,
    /// Several payments of the same amount.
    Equal,
    /// The last payment is more than what remains due.
    TooMuch,
    /// The books do not contain the invoice.
    NotThere,
    /// The invoice is a draft in the books.
    Draft,
    /// A person has marked the invoice as paid in the books.
    Paid,
    /// The invoice is in francs in the books.
    OtherCurrency,
    /// Its payment is refunded before it is booked.
    Refunded,
    /// Its payment is pending at first.
    Slow,
}

impl Story {
    /// True if nothing prevents any of its payments from being booked.
    fn is_plain(self) -> bool {
        matches!(self, Story::Whole | Story::Parts | Story::Equal | Story::Slow)
    }

    /// True if none of its payments may be booked.
    fn is_barred(self) -> bool {
        matches!(self, Story::NotThere | Story::Draft | Story::Paid | Story::OtherCurrency | Story::Refunded)
    }
}

struct Payment {
    id: String,
    story: Story,
    cents: i64,
    number: String,
}

/// The entries in a company's books, by the payment's id: how many times, how many cents, and on which invoice.
type Found = HashMap<String, Vec<(i64, String)>>;

/// The other services.
struct World {
    finkare: FakeFinkare,
    facturation: FacturationPro,
    efactori: Efactori,
    payments: Vec<Payment>,
}

impl World {
    async fn with(invoices: usize, rng: &mut StdRng) -> Self {
        let mut world = World {
            finkare: FakeFinkare::start().await,
            facturation: FacturationPro::start().await,
            efactori: Efactori::start().await,
            payments: vec![],
        };
        // Rate limits have tests of their own.
        world.facturation.desk().limit([]);
        world.efactori.desk().limit([]);
        world.efactori.vary(|variant| variant.query = Query::Works);
        for index in 0..invoices {
            let story = match rng.random_range(0..100) {
                0..30 => Story::Whole,
                30..55 => Story::Parts,
                55..76 => Story::Equal,
                76..82 => Story::TooMuch,
                82..84 => Story::NotThere,
                84..86 => Story::Draft,
                86..88 => Story::Paid,
                88..90 => Story::OtherCurrency,
                90..93 => Story::Refunded,
                _ => Story::Slow,
            };
            world.invoice(&format!("F-{index:05}"), story, rng);
        }
        world
    }

    fn invoice(&mut self, number: &str, story: Story, rng: &mut StdRng) {
        let amounts: Vec<i64> = match story {
            Story::Parts | Story::TooMuch => (0..rng.random_range(2..4)).map(|_| rng.random_range(1..99_999)).collect(),
            Story::Equal => vec![rng.random_range(1..99_999); rng.random_range(2..4)],
            _ => vec![rng.random_range(1..9_999_999)],
        };
        let paid: i64 = amounts.iter().sum();
        let total = match story {
            // So that even the smallest payment is more than the others leave due.
            Story::TooMuch => paid - 1,
            Story::Whole | Story::Slow => paid,
            _ => paid + rng.random_range(0..5_000),
        };
        let invoice = self.finkare.add_invoice(number, total, "EUR");
        let new = || NewInvoice::of(number, total);
        let new = match story {
            Story::NotThere => None,
            Story::Draft => Some(new().draft()),
            Story::Paid => Some(new().paid()),
            Story::OtherCurrency => Some(new().currency("CHF")),
            _ => Some(new()),
        };
        if let Some(invoice) = new {
            self.facturation.add(invoice.clone());
            self.efactori.add(invoice);
        }
        for cents in amounts {
            let id = self.finkare.add_payment(&invoice, cents);
            let method = ["card", "bank_transfer", "sepa_debit", "payment_link"][rng.random_range(0..4)];
            let status = match story {
                Story::Refunded => "refunded",
                Story::Slow => "pending",
                _ => "completed",
            };
            self.finkare.change_payment(&id, |payment| {
                method.clone_into(&mut payment.method);
                status.clone_into(&mut payment.status);
            });
            self.payments.push(Payment { id, story, cents, number: number.to_owned() });
            if story == Story::Slow {
                // A payment of the previous month that no event announces: it is never taken instead of the pending
                // one.
                let earlier = self.finkare.add_payment(&invoice, cents);
                self.finkare.change_payment(&earlier, |payment| payment.paid_at -= Duration::from_hours(31 * 24));
            }
        }
    }

    /// Makes every kind of call fail from time to time.
    fn trouble(&self, seed: u64) {
        use Ends::{Cut, CutAmid, Garbage, Html, Limited, Silence, Slow, Status, WrongShape};
        let ill = || vec![Status(500), Status(502), Status(503), Status(504), Cut, CutAmid, Garbage, Html, WrongShape];
        for (desk, seed) in [(self.facturation.desk(), seed), (self.efactori.desk(), seed + 1)] {
            // Before and after the write, and long after the relay has stopped waiting for it.
            let mut writes: Vec<Fault> =
                ill().into_iter().flat_map(|end| [Fault::before(end.clone()), Fault::after(end)]).collect();
            writes.extend([
                Fault::before(Silence),
                Fault::after(Silence),
                Fault::late(LATE),
                Fault::late(LATE / 2),
                Fault::late(LATE / 4),
            ]);
            desk.at_random(On("POST", ""), 120, seed, writes);
            // An invalid answer to a read stops the sink, which has tests of its own.
            let passes = |end: &Ends| !matches!(end, Garbage | WrongShape);
            let mut reads: Vec<Fault> = ill().into_iter().filter(passes).map(Fault::before).collect();
            reads.push(Fault::before(Slow(Duration::from_millis(50))));
            desk.at_random(On("GET", ""), 25, seed + 2, reads);
            desk.at_random(On::ANY, 2, seed + 3, vec![Fault::before(Limited(Some(1))), Fault::before(Silence)]);
        }
        let turns = [Then::Status(500), Then::Status(503), Then::Limited(Some(0)), Then::Cut, Then::Garbage]
            .map(Turn::changing);
        self.finkare.trouble_reads(seed + 4, 20, &turns);
    }

    fn calm(&self) {
        self.facturation.desk().calm();
        self.efactori.desk().calm();
        self.finkare.trouble_reads(0, 0, &[]);
    }

    fn sinks(&self) -> String {
        let common = "timeout_secs = 2\nsettle_secs = 6\nnot_found_secs = 1\nconcurrency = 8\n\
             retry = { initial_secs = 0.05, max_secs = 1, give_up_after_secs = 3600 }\n\
             breaker = { failures = 1000000, probe_secs = 1 }\n\
             api_limits = [{ requests = 100000, per_secs = 1 }]";
        format!(
            "[[sinks]]\nname = \"compta\"\ntype = \"facturation_pro\"\nbase_url = \"{}\"\nfirm_id = \"{}\"\n\
             api_id = \"{}\"\napi_key = \"{}\"\ncontact = \"ops@example.test\"\n{common}\n\
             [[sinks]]\nname = \"onfact\"\ntype = \"efactori\"\nbase_url = \"{}\"\nsession_key = \"{}\"\n\
             company_uuid = \"{}\"\naccounts = {{ other = \"4\" }}\nlookup = \"query_then_scan\"\n{common}\n",
            self.facturation.url(),
            facturation_pro::FIRM,
            facturation_pro::API_ID,
            facturation_pro::API_KEY,
            self.efactori.url(),
            efactori::SESSION_KEY,
            efactori::COMPANY_UUID,
        )
    }

    fn endpoint(&self) -> String {
        format!(
            "secret = \"{SECRET}\"\napi_key = \"{API_KEY}\"\napi_url = \"{}\"\npayment_patience_secs = 1\n\
             api_rate_limit = {{ requests = 100000, per_secs = 1 }}",
            self.finkare.api_url()
        )
    }

    /// The entries in each company's books that carry the relay's marker.
    fn books(&self) -> [(&'static str, Found); 2] {
        let read = |books: &dyn Books, prefix: &str| {
            let mut found = Found::new();
            for entry in books.entries() {
                let marker = entry.marker.clone().expect("everything in the books was written by the relay");
                let id = marker.strip_prefix(prefix).unwrap_or_else(|| panic!("a marker of nobody's: {marker}"));
                found.entry(id.to_owned()).or_default().push((entry.cents(), entry.invoice_number.clone()));
            }
            found
        };
        [("compta", read(&self.facturation, "finkare:")), ("onfact", read(&self.efactori, "Finkare "))]
    }
}

/// The latest delay of a write that the relay no longer waits for: a little less than the attempt's time-out and
/// `settle_secs` together, and long after the next attempt.
const LATE: Duration = Duration::from_secs(7);

/// Sends all deliveries in random order, some of them twice. A replica that is down is retried.
async fn deliver_all(hook: &Finkare, bodies: &[Vec<u8>]) {
    let each = stream::iter(bodies).map(|body| async move {
        eventually("the delivery is taken", async || {
            hook.try_deliver(body).await.is_ok_and(|answer| answer.status == 200)
        })
        .await;
    });
    each.buffer_unordered(16).collect::<Vec<()>>().await;
}

/// Waits until nothing more happens by itself: the remaining dispatches are held, or wait behind held ones. An invalid
/// answer of the books stops a sink, and a person resumes it; nothing else does.
async fn settled(relay: &Relay) {
    as_long_as_it_moves("everything is booked or held", async || {
        resume(relay).await;
        relay.has_settled(0).await
    })
    .await;
}

/// Resumes the sinks that an invalid answer has stopped, like a person who has checked the books.
async fn resume(relay: &Relay) {
    for sink in relay.get("/sinks").await["data"].as_array().expect("a list") {
        if sink["state"] == "paused" {
            assert!(sink.to_string().contains("cannot be read"), "a sink has stopped: {sink}");
            relay.try_post(&format!("/sinks/{}/resume", sink["name"].as_str().expect("a name"))).await;
        }
    }
}

/// Cancels held dispatches until none are left, like a person who has booked the payments by hand or knows better.
/// Answers the reasons by sink and event.
async fn decide(relay: &Relay) -> BTreeMap<(String, String), String> {
    let mut reasons = BTreeMap::new();
    loop {
        settled(relay).await;
        let held = relay.all("/dispatches?state=held").await;
        if held.is_empty() {
            return reasons;
        }
        for dispatch in held {
            let text =
                |name: &str| dispatch[name].as_str().unwrap_or_else(|| panic!("{name} of {dispatch}")).to_owned();
            let reason = text("last_error");
            assert!(finkare_relay::french::said(&reason).is_some(), "there is no French for: {reason}");
            reasons.insert((text("sink"), text("event_id")), reason);
            let (status, answer) = relay.try_post(&format!("/dispatches/{}/cancel", dispatch["id"])).await;
            // A dispatch that is being checked again at this moment is decided in the next round.
            assert!(matches!(status, 200 | 409), "{status} {answer}");
        }
    }
}

/// Compares the books with Finkare's payments.
fn judge(world: &World, reasons: &BTreeMap<(String, String), String>, events: &HashMap<String, BTreeSet<String>>) {
    for (sink, books) in world.books() {
        for payment in &world.payments {
            let found = books.get(&payment.id).cloned().unwrap_or_default();
            let what =
                format!("{sink}: {:?} {} of {} cents on {}", payment.story, payment.id, payment.cents, payment.number);
            assert!(found.len() <= 1, "DOUBLED {what}: {found:?}");
            for (cents, number) in &found {
                assert_eq!((*cents, number), (payment.cents, &payment.number), "{what}");
            }
            let held = events[&payment.id].iter().find_map(|event| reasons.get(&(sink.to_owned(), event.clone())));
            if payment.story.is_plain() {
                assert_eq!(found.len(), 1, "LOST {what}: {held:?}");
            } else if payment.story.is_barred() {
                assert!(found.is_empty(), "booked in spite of everything: {what}");
            }
            if found.is_empty() {
                let reason = held.unwrap_or_else(|| panic!("LOST without a word: {what}"));
                assert!(reason.len() > 30, "{what}: a reason that helps nobody: {reason}");
            }
        }
        assert_eq!(
            books.len(),
            world.payments.iter().filter(|payment| books.contains_key(&payment.id)).count(),
            "nothing else stands in the books of {sink}"
        );
    }
    for (name, books) in [("compta", &world.facturation as &dyn Books), ("onfact", &world.efactori)] {
        assert_eq!(books.doubled(), vec![], "{name}");
        assert_eq!(books.overpaid(), Vec::<String>::new(), "{name}");
        assert_eq!(books.complaints(), Vec::<String>::new(), "{name}");
    }
}

async fn every_payment_is_booked_once_or_held(backend: Backend) {
    let seed = 20_261_121;
    let mut rng = StdRng::seed_from_u64(seed);
    let invoices = if backend == Backend::Sqlite { 400 } else { 280 };
    let world = World::with(invoices, &mut rng).await;
    let home = Home::new(backend).await;
    home.configure("", &world.endpoint(), &world.sinks());

    // Every payment is announced, a third of them twice, all in random order.
    let mut bodies = Vec::new();
    for payment in &world.payments {
        // All events of an invoice have the same form: an event that names its payment could otherwise find it taken by
        // one that does not.
        let says = if payment.number.ends_with('7') { Says::All } else { Says::Little };
        let body = world.finkare.delivery(&payment.id, says);
        bodies.extend(std::iter::repeat_n(body, if rng.random_bool(0.33) { 2 } else { 1 }));
    }
    bodies.shuffle(&mut rng);

    world.trouble(seed);
    // The service is killed repeatedly in the middle of the work.
    let parts = 6;
    for part in bodies.chunks(bodies.len().div_ceil(parts)) {
        let relays = replicas(&home, backend).await;
        let relay = &relays[0];
        let before = world.facturation.entries().len();
        deliver_all(&Finkare::of(&relays[relays.len() - 1]), part).await;
        as_long_as_it_moves("some of it is booked", async || {
            resume(relay).await;
            let booked = world.facturation.entries().len();
            (booked > before + part.len() / 8 || idle(relay).await, booked)
        })
        .await;
        for relay in relays {
            relay.kill();
        }
    }
    let mut relays = replicas(&home, backend).await;
    let relay = relays.remove(0);
    for payment in world.payments.iter().filter(|payment| payment.story == Story::Slow) {
        world.finkare.set_payment_status(&payment.id, "completed");
    }
    // A dispatch that waits for a pending payment is checked rarely: a person may retry it earlier.
    hurry(&relay).await;
    as_long_as_it_moves("most of it is done in spite of all", async || {
        resume(&relay).await;
        let booked = world.facturation.entries().len() + world.efactori.entries().len();
        (booked > world.payments.len(), booked)
    })
    .await;
    world.calm();
    hurry(&relay).await;
    let mut reasons = decide(&relay).await;

    // Which events announced which payment: from the ledger and its assignments; for payments that were never assigned,
    // from the events themselves.
    let events = announced(&relay, &world).await;
    judge(&world, &reasons, &events);
    let entries = |world: &World| (world.facturation.entries().len(), world.efactori.entries().len());
    let booked = entries(&world);

    // A person replays everything, and Finkare announces everything again: nothing is booked twice.
    let (status, answer) = relay.try_post_json("/events/replay", &json!({"since": "2000-01-01T00:00:00Z"})).await;
    assert_eq!(status, 200, "{answer}");
    let again: Vec<Vec<u8>> =
        world.payments.iter().take(60).map(|payment| world.finkare.redelivery(&payment.id, Says::Little)).collect();
    deliver_all(&Finkare::of(&relay), &again).await;
    reasons.extend(decide(&relay).await);
    // The cancelled dispatches are tried once more, and may be booked now unless other payments have taken their place.
    judge(&world, &reasons, &announced(&relay, &world).await);
    let now = entries(&world);
    assert!(now.0 >= booked.0 && now.1 >= booked.1);

    // The ledger and the books agree.
    let mut times = HashMap::new();
    for (sink, books) in world.books() {
        let lines = relay.all(&format!("/bookings?sink={sink}")).await;
        each_has_its_own(&relay, &world, &lines, &mut times).await;
        let told: BTreeMap<String, (i64, String)> = lines
            .iter()
            .map(|line| {
                let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                assert_eq!(line["state"], "booked", "{line}");
                (text("payment_id"), (line["amount_cents"].as_i64().unwrap_or_default(), text("invoice_number")))
            })
            .collect();
        let stand: BTreeMap<String, (i64, String)> =
            books.into_iter().map(|(id, mut found)| (id, found.remove(0))).collect();
        assert_eq!(told, stand, "{sink}");
    }
    relays.push(relay);
    for relay in relays {
        let (exit, log) = relay.terminate().await;
        assert!(exit.success());
        for secret in [facturation_pro::API_KEY, efactori::SESSION_KEY, API_KEY, SECRET] {
            assert!(!log.contains(secret), "a secret is in the log");
        }
    }
}

/// Makes all waiting and held dispatches due at once.
async fn hurry(relay: &Relay) {
    for state in ["pending", "held"] {
        let (status, answer) = relay.try_post_json("/dispatches/retry", &json!({"state": state})).await;
        assert_eq!(status, 200, "{answer}");
    }
}

/// Asserts that every row of a ledger belongs to the payment that its event announces: an event is dated two seconds
/// after its payment, or up to some minutes later if it was announced again, and equal payments of an invoice are
/// further apart.
async fn each_has_its_own(relay: &Relay, world: &World, lines: &[Value], times: &mut HashMap<String, Timestamp>) {
    let paid_at: HashMap<String, Timestamp> =
        world.finkare.payments().into_iter().map(|payment| (payment.id, payment.paid_at)).collect();
    for line in lines {
        let event = line["event_id"].as_str().unwrap_or_default();
        if !times.contains_key(event) {
            let detail = relay.get(&format!("/events/{event}")).await;
            let time = detail["payload"]["timestamp"].as_str().expect("a timestamp").parse().expect("a time");
            times.insert(event.to_owned(), time);
        }
        let apart = times[event].duration_since(paid_at[line["payment_id"].as_str().unwrap_or_default()]);
        assert!((0..120).contains(&apart.as_secs()), "{apart:#} between the event and its payment: {line}");
    }
}

/// As many processes as the store supports.
async fn replicas(home: &Home, backend: Backend) -> Vec<Relay> {
    let mut relays = vec![home.start().await];
    if backend == Backend::Postgres {
        relays.push(home.start().await);
    }
    relays
}

/// True if nothing happens any more except waiting.
async fn idle(relay: &Relay) -> bool {
    relay.unfinished().await.iter().all(|row| row["state"] == "pending" && !row["last_error"].is_null())
}

/// The events that announce each payment, by their content: invoice and amount. Equal instalments share their events.
async fn announced(relay: &Relay, world: &World) -> HashMap<String, BTreeSet<String>> {
    let mut by_content: HashMap<(String, i64), BTreeSet<String>> = HashMap::new();
    for event in relay.all("/events").await {
        let detail: Value = relay.get(&format!("/events/{}", event["id"].as_str().unwrap_or_default())).await;
        let data = &detail["payload"]["data"];
        let of = (
            data["invoiceId"].as_str().unwrap_or_default().to_owned(),
            data["amountCents"].as_i64().unwrap_or_default(),
        );
        by_content.entry(of).or_default().insert(detail["id"].as_str().unwrap_or_default().to_owned());
    }
    let at_finkare: HashMap<String, String> =
        world.finkare.payments().into_iter().map(|payment| (payment.id, payment.invoice)).collect();
    let of = |payment: &Payment| {
        by_content.get(&(at_finkare[&payment.id].clone(), payment.cents)).cloned().unwrap_or_default()
    };
    world.payments.iter().map(|payment| (payment.id.clone(), of(payment))).collect()
}
