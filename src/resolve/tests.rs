//! The resolver with a Finkare and a store in memory.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use bytes::Bytes;
use finkare::PaidAt;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::{case::FIRST_WAIT, source::Api, *};
use crate::{
    model::{
        audit::NewAudit,
        booking::{Announced, Booking, BookingToken, Learned, NewBooking},
        clock,
        dispatch::Trigger,
        id::{DispatchId, EventId, SinkName},
    },
    store::{
        Page,
        ledger::{Advance, BookingBegun, BookingFilter, Search, Settled, Unassigned, Word},
    },
};

mod properties;

const MINUTE: Duration = Duration::from_mins(1);

/// The store's part of assigning, as its trait promises.
#[derive(Default)]
struct Memory {
    assignments: Mutex<Vec<Assignment>>,
    /// The assignments that another replica makes just before the next ones.
    before: Mutex<VecDeque<Assignment>>,
    /// The stored events, each with an unfinished dispatch.
    events: Mutex<Vec<Message>>,
    announced: Mutex<BTreeMap<EventId, Announced>>,
    fails: Mutex<bool>,
}

impl Memory {
    fn given(&self) -> BTreeMap<EventId, String> {
        let assignments = self.assignments.lock().unwrap();
        assignments.iter().map(|assignment| (assignment.event_id, assignment.payment_id.clone())).collect()
    }

    fn works(&self) -> Result<(), StoreError> {
        if *self.fails.lock().unwrap() {
            Err(StoreError::Open("there is no booking of payment p in sink books to go on with".into()))
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl LedgerStore for Memory {
    async fn assignment(&self, event: EventId) -> Result<Option<Assignment>, StoreError> {
        self.works()?;
        Ok(self.assignments.lock().unwrap().iter().find(|assignment| assignment.event_id == event).cloned())
    }

    async fn assignments(&self, endpoint: &str, invoice_id: &str) -> Result<Vec<Assignment>, StoreError> {
        let all = self.assignments.lock().unwrap();
        let of = |assignment: &&Assignment| assignment.endpoint == endpoint && assignment.invoice_id == invoice_id;
        Ok(all.iter().filter(of).cloned().collect())
    }

    async fn assign(&self, new: &Assignment) -> Result<Assigned, StoreError> {
        let mut all = self.assignments.lock().unwrap();
        all.extend(self.before.lock().unwrap().pop_front());
        if let Some(had) = all.iter().find(|assignment| assignment.event_id == new.event_id) {
            return Ok(if had == new { Assigned::Ours } else { Assigned::Another(had.clone()) });
        }
        if all.iter().any(|other| other.endpoint == new.endpoint && other.payment_id == new.payment_id) {
            return Ok(Assigned::Taken);
        }
        all.push(new.clone());
        Ok(Assigned::Ours)
    }

    async fn unassigned(&self, endpoint: &str, invoice_id: &str, _: u32) -> Result<Vec<Unassigned>, StoreError> {
        let given = self.given();
        let events = self.events.lock().unwrap();
        let fits = |event: &&Message| {
            event.endpoint == endpoint
                && event.invoice_id.as_deref() == Some(invoice_id)
                && !given.contains_key(&event.event_id)
        };
        let told = |event: &Message| Unassigned {
            event_id: event.event_id,
            received_at: event.received_at,
            payload: event.payload.to_vec(),
            is_open: true,
        };
        Ok(events.iter().filter(fits).map(told).collect())
    }

    async fn note_announced(&self, known: &Announced) -> Result<(), StoreError> {
        self.announced.lock().unwrap().insert(known.event_id, known.clone());
        Ok(())
    }

    async fn announced(&self, events: &[EventId]) -> Result<Vec<Announced>, StoreError> {
        let all = self.announced.lock().unwrap();
        Ok(events.iter().filter_map(|event| all.get(event).cloned()).collect())
    }

    async fn learned(&self, _: &[EventId]) -> Result<Vec<Learned>, StoreError> {
        unreachable!("the resolver shows nothing")
    }

    async fn find_announced(&self, _: &Search, _: u32) -> Result<Vec<EventId>, StoreError> {
        unreachable!("the resolver searches for nothing")
    }

    async fn booking(&self, _: &SinkName, _: &str) -> Result<Option<Booking>, StoreError> {
        unreachable!("the resolver books nothing")
    }

    async fn begin_booking(&self, _: &NewBooking, _: Option<BookingToken>) -> Result<BookingBegun, StoreError> {
        unreachable!("the resolver books nothing")
    }

    async fn send_booking(&self, _: &SinkName, _: &str, _: BookingToken, _: Duration) -> Result<bool, StoreError> {
        unreachable!("the resolver books nothing")
    }

    async fn withdraw_booking(&self, _: &SinkName, _: &str, _: BookingToken) -> Result<bool, StoreError> {
        unreachable!("the resolver books nothing")
    }

    async fn settle_booking(
        &self,
        _: &SinkName,
        _: &str,
        _: &Word,
        _: Duration,
        _: NewAudit,
    ) -> Result<Settled, StoreError> {
        unreachable!("the resolver books nothing")
    }

    async fn advance_booking(
        &self,
        _: &SinkName,
        _: &str,
        _: BookingToken,
        _: &Advance,
    ) -> Result<Option<Booking>, StoreError> {
        unreachable!("the resolver books nothing")
    }

    async fn booked_cents(&self, _: &SinkName, _: &str) -> Result<Cents, StoreError> {
        unreachable!("the resolver books nothing")
    }

    async fn bookings(&self, _: &BookingFilter, _: u32) -> Result<Page<(i64, Booking)>, StoreError> {
        unreachable!("the resolver books nothing")
    }

    async fn purge_bookings(&self, _: Duration, _: u32) -> Result<u64, StoreError> {
        unreachable!("the resolver books nothing")
    }
}

/// The part of Finkare that is called.
struct Books {
    payments: Mutex<Vec<finkare::Payment>>,
    unreadable: Mutex<Vec<finkare::UnreadableItem>>,
    /// `None`: the invoice is not visible.
    invoice: Mutex<Option<finkare::Invoice>>,
    /// The failure of the next calls.
    fails: Mutex<VecDeque<finkare::Error>>,
    calls: AtomicUsize,
    /// Each call takes one permit.
    gate: Semaphore,
}

impl Books {
    fn admit(&self) -> Result<(), finkare::Error> {
        self.calls.fetch_add(1, Relaxed);
        self.fails.lock().unwrap().pop_front().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Api for Books {
    async fn invoice(&self, _: &str) -> Result<finkare::Invoice, finkare::Error> {
        self.gate.acquire().await.unwrap().forget();
        self.admit()?;
        self.invoice.lock().unwrap().clone().ok_or_else(|| refusal(404))
    }

    async fn payments(&self, _: &str) -> Result<finkare::PaymentsOfInvoice, finkare::Error> {
        self.gate.acquire().await.unwrap().forget();
        self.admit()?;
        let (payments, unreadable) = (self.payments.lock().unwrap().clone(), self.unreadable.lock().unwrap().clone());
        Ok(finkare::PaymentsOfInvoice { payments, unreadable })
    }
}

fn refusal(status: u16) -> finkare::Error {
    finkare::Error::Api {
        call: "reading invoice i".into(),
        status,
        code: None,
        message: "no".into(),
        request_id: None,
        retry_after: Some(Duration::from_secs(7)),
    }
}

struct World {
    memory: Arc<Memory>,
    books: Arc<Books>,
    resolver: Resolver,
}

const ENDPOINT: &str = "production";

fn endpoint() -> Endpoint {
    Endpoint {
        name: EndpointName::new(ENDPOINT).unwrap(),
        client: None,
        rate: (NonZeroU32::new(1000).unwrap(), Duration::from_secs(1)),
        patience: DEFAULT_PATIENCE,
        window: Duration::from_hours(24 * DEFAULT_WINDOW_DAYS),
    }
}

/// A world in which Finkare shows the invoice `i` with these payments.
fn world(payments: Vec<finkare::Payment>) -> World {
    let invoice = finkare::Invoice {
        id: "i".into(),
        invoice_number: "F-1".into(),
        amount_cents: Some(300),
        currency: Some("eur".into()),
        status: None,
        issue_date: None,
        due_date: None,
        debtor: None,
        other: serde_json::Map::new(),
    };
    let books = Arc::new(Books {
        payments: Mutex::new(payments),
        unreadable: Mutex::default(),
        invoice: Mutex::new(Some(invoice)),
        fails: Mutex::default(),
        calls: AtomicUsize::new(0),
        gate: Semaphore::new(Semaphore::MAX_PERMITS),
    });
    let memory = Arc::new(Memory::default());
    let resolver = resolver(&memory, &books);
    World { memory, books, resolver }
}

/// Another process, with its own cache of Finkare's answers.
fn resolver(memory: &Arc<Memory>, books: &Arc<Books>) -> Resolver {
    let source = Source::new(books.clone(), &endpoint());
    let sources = HashMap::from([(ENDPOINT.to_owned(), Some(source)), ("keyless".to_owned(), None)]);
    Resolver { store: memory.clone(), sources, decides: true }
}

fn at(minute: u64) -> Timestamp {
    "2026-03-15T10:00:00Z".parse::<Timestamp>().unwrap() + MINUTE * u32::try_from(minute).unwrap()
}

fn payment(id: &str, minute: u64, status: &str) -> finkare::Payment {
    finkare::Payment {
        id: id.into(),
        invoice_id: "i".into(),
        amount_cents: 100,
        currency: Some("EUR".into()),
        status: status.into(),
        method: Some("card".into()),
        paid_at: Some(PaidAt::At(at(minute))),
        other: serde_json::Map::new(),
    }
}

/// An event that was just received, of a payment at this minute.
fn event(minute: u64) -> Message {
    with_body(&format!(r#"{{"invoiceId":"i","amountCents":100}},"timestamp":"{}""#, at(minute)))
}

/// `data`, and the text that follows it.
fn with_body(data: &str) -> Message {
    Message {
        event_id: EventId::generate(),
        dispatch_id: DispatchId(1),
        endpoint: ENDPOINT.into(),
        event_type: PAYMENT_RECEIVED.into(),
        invoice_id: Some("i".into()),
        received_at: clock::now(),
        content_type: None,
        payload: Bytes::from(format!(r#"{{"event":"payment.received","data":{data}}}"#)),
        attempt: 1,
        trigger: Trigger::Event,
        trace: None,
        resolved: None,
    }
}

/// The same event after the patience has ended.
fn old(message: &Message) -> Message {
    Message { received_at: clock::now() - DEFAULT_PATIENCE - MINUTE, ..message.clone() }
}

/// Asserts a hold that is checked again every hour; answers its reason.
#[track_caller]
fn held(result: Result<Payment, Unresolved>) -> String {
    match result {
        Err(Unresolved::Hold { reason, recheck_after: Some(RECHECK) }) => reason,
        other => panic!("not held and looked at again each hour: {other:?}"),
    }
}

#[track_caller]
fn waits(result: Result<Payment, Unresolved>) -> (String, Duration) {
    match result {
        Err(Unresolved::Wait { reason, after }) => (reason, after),
        other => panic!("does not wait: {other:?}"),
    }
}

#[tokio::test]
async fn an_event_gets_its_payment_and_keeps_it() {
    let world = world(vec![payment("far", 50, "completed"), payment("near", 11, "completed")]);
    let event = event(10);
    let found = world.resolver.payment(&event).await.unwrap();
    assert_eq!((found.id.as_str(), found.amount_cents, found.currency.as_str()), ("near", Cents(100), "EUR"));
    assert_eq!(
        (found.invoice.number.as_str(), found.method.as_deref(), found.paid_at),
        ("F-1", Some("card"), PaidAt::At(at(11)))
    );
    // A nearer payment becomes visible: another process, long after, still answers the first payment.
    world.books.payments.lock().unwrap().push(payment("nearest", 10, "completed"));
    let again = resolver(&world.memory, &world.books).payment(&old(&event)).await.unwrap();
    assert_eq!(again, found);
    assert_eq!(world.memory.given().len(), 1);
}

#[tokio::test]
async fn what_an_event_has_must_still_be_completed() {
    let world = world(vec![payment("p", 10, "completed"), payment("other", 10, "completed")]);
    let event = event(10);
    let id = world.resolver.payment(&event).await.unwrap().id;
    assert_eq!(id, "other", "of two that are the same the smaller id");
    for (change, expected) in [
        (Some(("refunded", 100)), "`refunded`"),
        (Some(("failed", 100)), "`failed`"),
        (Some(("completed", 99)), "1.00 of invoice i when the event was read, and is now 0.99"),
        (None, "no longer at Finkare"),
    ] {
        {
            let mut payments = world.books.payments.lock().unwrap();
            payments.retain(|payment| payment.id != id);
            payments.extend(
                change.map(|(status, amount_cents)| finkare::Payment { amount_cents, ..payment(&id, 10, status) }),
            );
        }
        let reason = held(resolver(&world.memory, &world.books).payment(&event).await);
        assert!(reason.contains(expected), "{reason}");
    }
    world.books.payments.lock().unwrap().push(payment(&id, 10, "completed"));
    assert_eq!(world.resolver.payment(&event).await.unwrap().id, id, "and goes on when it is there again");
}

#[tokio::test]
async fn two_events_never_have_one_payment() {
    let world = world(vec![payment("a", 10, "completed"), payment("b", 10, "completed")]);
    let events = [event(10), event(10), event(10)];
    let mut found = Vec::new();
    for event in &events[..2] {
        found.push(world.resolver.payment(event).await.unwrap().id);
    }
    assert_eq!(found, ["a", "b"]);
    let (reason, after) = waits(world.resolver.payment(&events[2]).await);
    assert!(reason.contains("other events have already announced") && after >= FIRST_WAIT, "{reason}");
    let reason = held(world.resolver.payment(&old(&events[2])).await);
    assert!(reason.contains("either Finkare sent the event twice, or a payment is not visible"), "{reason}");
    world.books.payments.lock().unwrap().push(payment("c", 10, "completed"));
    assert_eq!(world.resolver.payment(&old(&events[2])).await.unwrap().id, "c", "what was kept is no ground for a no");
}

#[tokio::test]
async fn whoever_is_slower_takes_the_next_one() {
    let world = world(vec![payment("a", 10, "completed"), payment("b", 12, "completed")]);
    let event = event(10);
    let taken = |event_id, payment: &str| Assignment {
        event_id,
        endpoint: ENDPOINT.into(),
        payment_id: payment.into(),
        invoice_id: "spelled otherwise".into(),
        amount_cents: Cents(100),
    };
    world.memory.before.lock().unwrap().push_back(taken(EventId::generate(), "a"));
    assert_eq!(world.resolver.payment(&event).await.unwrap().id, "b");
    // The same event, decided by another process at the same moment.
    let twin = self::event(10);
    world.books.payments.lock().unwrap().extend([payment("c", 10, "completed"), payment("d", 30, "completed")]);
    let elsewhere = Assignment { invoice_id: "i".into(), ..taken(twin.event_id, "d") };
    world.memory.before.lock().unwrap().push_back(elsewhere);
    assert_eq!(world.resolver.payment(&twin).await.unwrap().id, "d");
}

#[tokio::test]
async fn looking_writes_nothing() {
    let world = world(vec![payment("a", 10, "completed")]);
    let looking = Resolver { decides: false, ..resolver(&world.memory, &world.books) };
    for _ in 0..2 {
        assert_eq!(looking.payment(&event(10)).await.unwrap().id, "a");
    }
    assert!(world.memory.given().is_empty());
}

#[tokio::test]
async fn pending_waits_longer_and_longer_and_is_never_given_up() {
    let world = world(vec![payment("p", 10, "pending")]);
    let event = event(10);
    let mut waits_of = Vec::new();
    for attempt in [1, 2, 3, 9, 10, 11, 40, u32::MAX] {
        let (reason, after) = waits(world.resolver.payment(&Message { attempt, ..old(&event) }).await);
        assert!(reason.contains("payment p") && reason.contains("pending"), "{reason}");
        waits_of.push(after.as_secs());
    }
    let expected = [5, 10, 20, 1280, 2560, 3600, 3600, 3600];
    for (wait, least) in waits_of.iter().zip(expected) {
        assert!((least..=least + least / 10).contains(wait), "{waits_of:?}");
    }
    world.books.payments.lock().unwrap()[0].status = "completed".into();
    assert_eq!(world.resolver.payment(&event).await.unwrap().id, "p");
}

/// Monthly instalments; October was booked by hand before the relay was installed. November is announced while it is
/// pending, not visible, or refunded: October is never taken instead, and the reason names both once the patience has
/// ended.
#[tokio::test]
async fn an_earlier_payment_that_nobody_announced_is_never_taken() {
    const MONTH: u64 = 31 * 24 * 60;
    let november = event(MONTH);
    let october = || payment("october", 0, "completed");
    for (own, words) in [
        (Some(payment("november", MONTH, "pending")), vec!["payment november", "pending", "payment october"]),
        (Some(payment("november", MONTH, "settled?")), vec!["payment november", "`settled?`", "payment october"]),
        (None, vec!["within 7 days", "payment october", "`payment_window_days`"]),
    ] {
        let world = world(own.into_iter().chain([october()]).collect());
        waits(world.resolver.payment(&november).await);
        let reason = held(world.resolver.payment(&old(&november)).await);
        for word in words {
            assert!(reason.contains(word), "`{word}` is not in: {reason}");
        }
        assert!(world.memory.given().is_empty());
        *world.books.payments.lock().unwrap() = vec![october(), payment("november", MONTH, "completed")];
        assert_eq!(world.resolver.payment(&old(&november)).await.unwrap().id, "november");
        // A repetition of November, and any other event of this amount, is not October either.
        let again = event(MONTH + 3);
        waits(world.resolver.payment(&again).await);
        let reason = held(world.resolver.payment(&old(&again)).await);
        assert!(reason.contains("payment november") && reason.contains("payment october"), "{reason}");
    }
    let world = world(vec![october(), payment("november", MONTH, "refunded")]);
    let reason = held(world.resolver.payment(&old(&november)).await);
    assert!(reason.contains("payment november") && reason.contains("payment october"), "{reason}");
    // An event that names October gets it, regardless of the dates; and an event keeps its payment, however old the
    // event is.
    let named = format!(r#"{{"invoiceId":"i","amountCents":100,"paymentId":"october"}},"timestamp":"{}""#, at(MONTH));
    let named = with_body(&named);
    assert_eq!(world.resolver.payment(&named).await.unwrap().id, "october");
    let years_later = Message { received_at: clock::now() - Duration::from_hours(24 * 1500), ..named };
    assert_eq!(world.resolver.payment(&years_later).await.unwrap().id, "october");
}

/// Each of two events gets its own payment, also if the other event's payment becomes visible first.
#[tokio::test]
async fn a_payment_is_left_to_the_event_that_lies_nearer() {
    let world = world(vec![payment("late", 3000, "completed")]);
    let (early, late) = (event(10), event(3001));
    world.memory.events.lock().unwrap().extend([early.clone(), late.clone()]);
    let (reason, after) = waits(world.resolver.payment(&early).await);
    assert!(reason.contains("payment late") && reason.contains("other events"), "{reason}");
    assert!(after < MINUTE, "{after:?}");
    assert_eq!(world.resolver.payment(&late).await.unwrap().id, "late");
    world.books.payments.lock().unwrap().push(payment("early", 9, "completed"));
    assert_eq!(resolver(&world.memory, &world.books).payment(&early).await.unwrap().id, "early");

    // In any order of the attempts, also while the nearer event is not attempted at all.
    let world = self::world(vec![payment("late", 3000, "completed"), payment("early", 1000, "completed")]);
    world.memory.events.lock().unwrap().extend([early.clone(), late.clone()]);
    let between = event(2900);
    world.memory.events.lock().unwrap().push(between.clone());
    waits(world.resolver.payment(&between).await);
    assert_eq!(world.resolver.payment(&early).await.unwrap().id, "early");
    assert_eq!(world.resolver.payment(&late).await.unwrap().id, "late");
    waits(world.resolver.payment(&between).await);

    // An event that stays undecided for long delays no other event.
    let world = self::world(vec![payment("late", 3000, "completed")]);
    world.memory.events.lock().unwrap().extend([early.clone(), old(&late)]);
    assert_eq!(world.resolver.payment(&early).await.unwrap().id, "late");

    // An event that names its payment keeps it reserved.
    let world = self::world(vec![payment("late", 3000, "completed")]);
    let named = with_body(r#"{"invoiceId":"i","amountCents":100,"paymentId":"late"}"#);
    world.memory.events.lock().unwrap().extend([early.clone(), old(&named)]);
    assert!(waits(world.resolver.payment(&early).await).0.contains("payment late"));
    assert_eq!(world.resolver.payment(&old(&named)).await.unwrap().id, "late");

    // A payment that was made only now, long after the event, is left for an event of its own for a while.
    let now = clock::now();
    let fresh = finkare::Payment { paid_at: Some(PaidAt::At(now - MINUTE)), ..payment("fresh", 0, "completed") };
    let world = self::world(vec![fresh]);
    let days_ago = now - Duration::from_hours(3 * 24);
    let held_for_long = Message {
        received_at: days_ago,
        ..with_body(&format!(r#"{{"invoiceId":"i","amountCents":100}},"timestamp":"{days_ago}""#))
    };
    assert!(waits(world.resolver.payment(&held_for_long).await).0.contains("its own event"));
    world.books.payments.lock().unwrap()[0].paid_at = Some(PaidAt::At(now - DEFAULT_PATIENCE - MINUTE));
    let other = resolver(&world.memory, &world.books);
    assert_eq!(other.payment(&held_for_long).await.unwrap().id, "fresh");
}

#[tokio::test]
async fn one_payment_that_cannot_be_read_is_one_payments_problem() {
    let world = world(vec![payment("own", 11, "completed")]);
    let odd = finkare::UnreadableItem { id: Some("odd".into()), problem: "`status` is missing".into() };
    world.books.unreadable.lock().unwrap().push(odd);
    assert_eq!(world.resolver.payment(&event(10)).await.unwrap().id, "own");
    let other = event(11);
    waits(world.resolver.payment(&other).await);
    let reason = held(world.resolver.payment(&old(&other)).await);
    assert!(reason.contains("payment odd") && reason.contains("`status` is missing"), "{reason}");
}

#[tokio::test]
async fn a_bare_date_is_the_day_of_the_booking() {
    let on = |date: &str| finkare::Payment { paid_at: Some(date.parse().unwrap()), ..payment("p", 0, "completed") };
    let world = world(vec![on("2026-03-15")]);
    let found = world.resolver.payment(&event(10)).await.unwrap();
    assert_eq!(found.paid_at, PaidAt::On(jiff::civil::date(2026, 3, 15)));
    // The date from the event is used if Finkare's payment has none.
    let world = self::world(vec![finkare::Payment { paid_at: None, ..payment("p", 0, "completed") }]);
    let said = with_body(r#"{"invoiceId":"i","amountCents":100,"paymentId":"p","paidAt":"2026-03-14"}"#);
    assert_eq!(world.resolver.payment(&said).await.unwrap().paid_at, PaidAt::On(jiff::civil::date(2026, 3, 14)));
}

/// The data that people search for is stored as soon as it is known, and Finkare is not called for it again and again.
#[tokio::test]
async fn what_is_known_is_told_while_it_is_pending() {
    let world = world(vec![payment("p", 10, "pending")]);
    let event = event(10);
    let told = || world.memory.announced.lock().unwrap().get(&event.event_id).cloned();
    waits(world.resolver.payment(&event).await);
    let pending = told().expect("it is told");
    assert_eq!((pending.invoice_number.as_deref(), pending.payment_id.as_deref()), (Some("F-1"), Some("p")));
    assert_eq!((pending.amount_cents, pending.currency), (Cents(100), None));
    let calls = world.books.calls.load(Relaxed);
    waits(resolver(&world.memory, &world.books).payment(&event).await);
    assert_eq!(world.books.calls.load(Relaxed), calls + 1, "the payments alone");
    world.books.payments.lock().unwrap()[0].status = "completed".into();
    resolver(&world.memory, &world.books).payment(&event).await.unwrap();
    assert_eq!(told().unwrap().currency.as_deref(), Some("EUR"));

    let keyless = Message { endpoint: "keyless".into(), ..self::event(1) };
    world.resolver.payment(&keyless).await.unwrap_err();
    let known = world.memory.announced.lock().unwrap()[&keyless.event_id].clone();
    assert_eq!((known.amount_cents, known.invoice_number), (Cents(100), None), "what the event says");
    let looking = Resolver { decides: false, ..resolver(&world.memory, &world.books) };
    let looked_at = self::event(10);
    waits(looking.payment(&looked_at).await);
    assert!(!world.memory.announced.lock().unwrap().contains_key(&looked_at.event_id), "a look writes nothing");
}

#[tokio::test]
async fn what_is_not_visible_has_time_and_is_then_held() {
    let world = world(vec![]);
    let event = event(10);
    let (reason, _) = waits(world.resolver.payment(&event).await);
    assert!(reason.contains("a payment of 1.00 of invoice i"), "{reason}");
    let nearly =
        Message { received_at: clock::now() - DEFAULT_PATIENCE + Duration::from_mins(1), attempt: 12, ..event.clone() };
    let (_, after) = waits(world.resolver.payment(&nearly).await);
    assert!(after <= MINUTE, "not beyond the patience: {after:?}");
    assert!(held(world.resolver.payment(&old(&event)).await).contains("every hour"));

    *world.books.invoice.lock().unwrap() = None;
    world.books.payments.lock().unwrap().push(payment("p", 10, "completed"));
    // Finkare's earlier answer about the invoice is cached for a while.
    let forgetful = resolver(&world.memory, &world.books);
    assert!(waits(forgetful.payment(&event).await).0.contains("invoice i"));
    assert!(held(forgetful.payment(&old(&event)).await).contains("Finkare does not show invoice i"));
    assert!(world.memory.given().is_empty(), "nothing is decided before all is known");
    let Err(Unresolved::Wait { .. }) = forgetful.invoice(&event).await else { panic!("an invoice may come") };

    // A 404 for the payments means that there is no payment yet.
    world.books.fails.lock().unwrap().extend([refusal(404), refusal(404)]);
    let fresh = resolver(&world.memory, &world.books);
    waits(fresh.payment(&event).await);
}

#[tokio::test]
async fn odd_and_lost_payments_are_held_with_their_word() {
    let world = world(vec![payment("p", 10, "settled?")]);
    let event = event(10);
    assert!(waits(world.resolver.payment(&event).await).0.contains("`settled?`"));
    assert!(held(world.resolver.payment(&old(&event)).await).contains("`settled?`"));
    for word in ["failed", "refunded"] {
        world.books.payments.lock().unwrap()[0].status = word.into();
        assert!(held(world.resolver.payment(&old(&event)).await).contains(word));
        let young = world.resolver.payment(&event).await;
        let Err(Unresolved::Hold { reason, recheck_after: Some(soon) }) = young else { panic!("{young:?}") };
        assert!(reason.contains(word) && soon < MINUTE, "held at once, looked at soon: {soon:?} {reason}");
    }
    assert!(world.memory.given().is_empty());
}

#[tokio::test]
async fn what_fits_equally_well_is_not_guessed() {
    let world = world(vec![payment("early", 9, "completed"), payment("late", 11, "completed")]);
    let reason = held(world.resolver.payment(&event(10)).await);
    assert!(reason.contains("payment early") && reason.contains("payment late"), "{reason}");
    assert!(world.memory.given().is_empty());
}

#[tokio::test]
async fn a_payment_that_the_body_names_must_agree() {
    let world = world(vec![payment("p", 10, "completed"), payment("q", 10, "completed")]);
    let body = |more: &str| with_body(&format!(r#"{{"invoiceId":"i","paymentId":"q",{more}}}"#));
    assert_eq!(world.resolver.payment(&body(r#""amountCents":100"#)).await.unwrap().id, "q");
    let reason = held(world.resolver.payment(&body(r#""amountCents":99"#)).await);
    assert!(reason.contains("100 cents") && reason.contains("99 cents"), "{reason}");
    let reason = held(world.resolver.payment(&body(r#""amountCents":100,"currency":"CHF""#)).await);
    assert!(reason.contains("EUR") && reason.contains("CHF"), "{reason}");
    let unseen = with_body(r#"{"invoiceId":"i","paymentId":"z","amountCents":100}"#);
    assert!(waits(world.resolver.payment(&unseen).await).0.contains("payment z"));
    assert!(held(world.resolver.payment(&old(&unseen)).await).contains("payment z"));
}

#[tokio::test]
async fn a_bookkeeper_gets_all_or_nothing() {
    let change = |change: fn(&mut finkare::Payment, &mut finkare::Invoice)| {
        let world = world(vec![payment("p", 10, "completed")]);
        let mut payments = world.books.payments.lock().unwrap();
        let mut invoice = world.books.invoice.lock().unwrap();
        change(&mut payments[0], invoice.as_mut().unwrap());
        drop((payments, invoice));
        world
    };
    for (world, expected) in [
        (change(|payment, _| payment.paid_at = None), "has no payment date"),
        (change(|payment, invoice| (payment.currency, invoice.currency) = (None, None)), "gives a currency"),
        (change(|payment, _| payment.currency = Some("CHF".into())), "the payment is in CHF, and the invoice in eur"),
        (
            change(|payment, invoice| (payment.currency, invoice.currency) = (Some("EURO".into()), None)),
            "three letters",
        ),
        (change(|payment, _| payment.id = "a\0b".into()), "its id at Finkare"),
        (change(|_, invoice| invoice.id = "j".into()), "it is about invoice j"),
        (change(|_, invoice| invoice.invoice_number = " ".into()), "its number"),
    ] {
        let reason = held(world.resolver.payment(&old(&event(10))).await);
        assert!(reason.contains(expected) && !reason.contains('\0'), "{reason}");
        assert!(world.memory.given().is_empty(), "{expected}: nothing is decided");
    }
    // A cached answer is no reason to hold: as soon as the data is right at Finkare, the event continues.
    let world = change(|payment, invoice| {
        (payment.paid_at, payment.currency, invoice.currency) = (None, None, None);
        invoice.invoice_number = " ".into();
    });
    let event = old(&event(10));
    assert!(held(world.resolver.payment(&event).await).contains("has no payment date"));
    world.books.payments.lock().unwrap()[0].paid_at = Some(PaidAt::At(at(10)));
    assert!(held(world.resolver.payment(&event).await).contains("its number"));
    world.books.invoice.lock().unwrap().as_mut().unwrap().invoice_number = "F-1".into();
    assert!(held(world.resolver.payment(&event).await).contains("gives a currency"));
    world.books.invoice.lock().unwrap().as_mut().unwrap().currency = Some("EUR".into());
    assert_eq!(world.resolver.payment(&event).await.unwrap().currency, "EUR");

    // A payment without a date at Finkare can only be taken by an event that names it.
    let said = r#"{"invoiceId":"i","amountCents":100,"paymentId":"p","currency":"eur","method":"sepa_debit","paidAt":"2026-03-15T10:07:00Z"}"#;
    let world = change(|payment, invoice| {
        (payment.paid_at, payment.currency, payment.method, invoice.currency) = (None, None, None, None);
    });
    let found = world.resolver.payment(&with_body(said)).await.unwrap();
    assert_eq!(
        (found.currency.as_str(), found.method.as_deref(), found.paid_at),
        ("EUR", Some("sepa_debit"), PaidAt::At(at(7)))
    );
}

#[tokio::test]
async fn what_cannot_be_read_or_asked_is_for_a_person() {
    let world = world(vec![]);
    let reason = |result: Result<Payment, Unresolved>| match result {
        Err(Unresolved::Hold { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let float = with_body(r#"{"invoiceId":"i","amountCents":1.0}"#);
    assert!(reason(world.resolver.payment(&float).await).contains("`data.amountCents`"));
    let other = Message { event_type: "ping".into(), ..event(1) };
    assert!(reason(world.resolver.payment(&other).await).contains("`ping`"));
    let keyless = Message { endpoint: "keyless".into(), ..event(1) };
    assert!(reason(world.resolver.payment(&keyless).await).contains("set `api_key` of endpoint `keyless`"));
    let gone = Message { endpoint: "gone".into(), ..event(1) };
    assert!(reason(world.resolver.payment(&gone).await).contains("`gone` is no longer configured"));
    let none = Message { invoice_id: None, ..event(1) };
    let Err(Unresolved::Hold { .. }) = world.resolver.invoice(&none).await else { panic!("there is none") };
    assert_eq!(world.books.calls.load(Relaxed), 0, "and nobody was asked");
}

#[tokio::test]
async fn failures_of_finkare_and_of_the_store_are_told_apart() {
    let world = world(vec![payment("p", 10, "completed")]);
    let event = event(10);
    let answer = async |error| {
        world.books.fails.lock().unwrap().push_back(error);
        world.resolver.payment(&event).await.unwrap_err()
    };
    for status in [401, 403] {
        let Unresolved::Stop { reason } = answer(refusal(status)).await else { panic!("{status}") };
        assert!(reason.contains("`invoices:read`") && reason.contains("`payments:read`"), "{reason}");
    }
    for status in [429, 500, 503, 408] {
        let Unresolved::Retry { after, .. } = answer(refusal(status)).await else { panic!("{status}") };
        assert_eq!(after, Some(Duration::from_secs(7)));
    }
    for status in [400, 302, 410] {
        let Unresolved::Hold { recheck_after: Some(RECHECK), .. } = answer(refusal(status)).await else {
            panic!("{status}")
        };
    }
    let unreadable = finkare::Error::Unreadable {
        call: "reading invoice i".into(),
        status: 200,
        problem: "`id` is missing".into(),
        request_id: None,
    };
    assert!(matches!(answer(unreadable).await, Unresolved::Retry { .. }));
    let unusable = finkare::Error::Unusable { call: "reading invoice ..".into(), problem: "the id is empty".into() };
    assert!(matches!(answer(unusable).await, Unresolved::Hold { recheck_after: None, .. }));
    *world.memory.fails.lock().unwrap() = true;
    let Err(Unresolved::Retry { reason, .. }) = world.resolver.payment(&event).await else { panic!("the store fails") };
    assert!(reason.contains("there is no booking of payment p"), "{reason}");
    *world.memory.fails.lock().unwrap() = false;
    assert_eq!(world.resolver.payment(&event).await.unwrap().id, "p", "no failure is kept");
}

/// Several sinks need the same event at once: Finkare is called once for the payments and once for the invoice.
#[tokio::test]
async fn what_is_asked_at_the_same_moment_is_asked_once() {
    let world = world(vec![payment("p", 10, "completed")]);
    let event = event(10);
    let asking = futures_util::future::join_all((0..8).map(|_| world.resolver.payment(&event)));
    for found in asking.await {
        assert_eq!(found.unwrap().id, "p");
    }
    assert_eq!(world.books.calls.load(Relaxed), 2);
    world.resolver.payment(&event).await.unwrap();
    assert_eq!(world.books.calls.load(Relaxed), 2, "and kept for a moment");
    let later = Message { received_at: clock::now() + MINUTE, ..event.clone() };
    world.resolver.invoice(&later).await.unwrap();
    assert_eq!(world.books.calls.load(Relaxed), 3, "what an event may have changed is asked for anew");
}

#[tokio::test(start_paused = true)]
async fn who_would_wait_too_long_for_a_turn_comes_back_later() {
    let world = world(vec![payment("p", 10, "completed")]);
    world.books.gate.forget_permits(Semaphore::MAX_PERMITS);
    let invoices: Vec<Message> = (0..=MOST_TURNS_OF_TESTS)
        .map(|number| with_body(&format!(r#"{{"invoiceId":"i{number}","amountCents":100}}"#)))
        .collect();
    let mut asking: futures_util::stream::FuturesUnordered<_> =
        invoices.iter().map(|message| world.resolver.payment(message)).collect();
    let first = futures_util::StreamExt::next(&mut asking).await.unwrap();
    let (reason, after) = waits(first);
    assert!(reason.contains("`api_rate_limit`") && after <= LONGEST_TURN.mul_f64(1.1), "{reason}");
}

/// At the rate limit of these tests, no more calls run concurrently.
const MOST_TURNS_OF_TESTS: usize = 64;
