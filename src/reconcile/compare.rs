//! Compares the payments of one invoice with its events, the ledger and the dispatches. A pure function.
//!
//! Whole cents, one currency at a time. What is not known is left out: a payment without a currency is added to no sum of a
//! currency, and an event whose body is gone announces nothing, but keeps its invoice from being filled.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt::Write as _,
};

use finkare::{PaidAt, Payment, UnreadableItem};
use jiff::{SignedDuration, Timestamp, civil::Date, tz::TimeZone};

use crate::{
    model::{
        booking::BookingState,
        dispatch::State,
        id::EventId,
        money::Cents,
        reconciliation::{Difference, DifferenceKind, SumsByCurrency, Taker},
    },
    resolve::matching::{Announcement, Announces, Matched, announced, time},
    store::reconciliations::{Belongs, Evidence, Line, Sent},
};

/// The status of a payment that has arrived, and those of one that has gone
/// (<https://docs.finkare.io/api-reference/payments>).
const COMPLETED: &str = "completed";
const GONE: [&str; 2] = ["refunded", "failed"];

/// Which days are compared, and how.
#[derive(Debug, Clone)]
pub struct Period {
    /// The first day.
    pub since: Date,
    /// The last day.
    pub until: Date,
    /// Where days begin.
    pub zone: TimeZone,
    /// How far a payment may be dated from an event that does not name it.
    pub window: SignedDuration,
    /// What was paid or received after this time is left to the next pass, as its other half may be on its way.
    pub not_after: Option<Timestamp>,
}

impl Period {
    pub(super) fn has(&self, at: PaidAt) -> bool {
        let day = at.date(&self.zone);
        self.since <= day && day <= self.until
    }

    fn is_young(&self, at: PaidAt) -> bool {
        matches!((at, self.not_after), (PaidAt::At(at), Some(not_after)) if at > not_after)
    }
}

/// What is compared: one invoice of one endpoint.
pub struct Case<'a> {
    /// The endpoint, for the words.
    pub endpoint: &'a str,
    /// The invoice.
    pub invoice_id: &'a str,
    /// The invoice's payments at Finkare.
    pub payments: &'a [Payment],
    /// The invoice's payments that cannot be read.
    pub unreadable: &'a [UnreadableItem],
    /// What the store knows of this invoice, and perhaps of others.
    pub evidence: &'a Evidence,
    /// Which days.
    pub period: &'a Period,
    /// The sinks that take an event with this body; `None`: those that take every event, as the body is gone.
    pub takers: &'a (dyn Fn(Option<&[u8]>) -> Vec<Taker> + Send + Sync),
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// The differences, in the order of the payments.
    pub differences: Vec<Difference>,
    /// The sums.
    pub sums: SumsByCurrency,
    /// True if an event has no payment among these: whoever has not read all payments of the invoice has to read them first.
    pub is_open: bool,
    /// The payments that were never announced and can be made into events, by id.
    pub fillable: BTreeSet<String>,
}

/// An event that announces a payment.
struct Announcer {
    event_id: EventId,
    amount_cents: i64,
}

/// Everything about the invoice, sorted.
struct Table<'a> {
    case: &'a Case<'a>,
    belongs: Vec<&'a Belongs>,
    /// The events that no payment belongs to yet.
    matched: Vec<Matched>,
    /// Events whose body is gone, and whose payment is not known.
    mute: usize,
    announcers: HashMap<String, Vec<Announcer>>,
    found: Compared,
}

/// Compares.
pub fn compare(case: &Case<'_>) -> Compared {
    let mut table = Table::set(case);
    table.payments();
    table.events();
    #[cfg(test)]
    for one in &table.found.differences {
        crate::french::expect(&one.detail);
    }
    table.found
}

impl<'a> Table<'a> {
    fn set(case: &'a Case<'a>) -> Self {
        let Evidence { events, belongs, .. } = case.evidence;
        let belongs: Vec<&Belongs> = belongs.iter().filter(|one| one.invoice_id == case.invoice_id).collect();
        let settled: HashSet<EventId> = belongs.iter().map(|one| one.event_id).collect();
        let late: HashSet<&str> = belongs.iter().filter(|one| one.is_late).map(|one| one.payment_id.as_str()).collect();
        // A payment whose event a reconciliation has made may still be announced by Finkare, once.
        let is_open = |one: &Belongs| one.event_id.is_of_payment() && !late.contains(one.payment_id.as_str());
        let taken: HashSet<String> =
            belongs.iter().filter(|one| !is_open(one)).map(|one| one.payment_id.clone()).collect();
        let open =
            events.iter().filter(|event| event.invoice_id == case.invoice_id && !settled.contains(&event.event_id));
        let (mut announcements, mut mute) = (Vec::new(), 0);
        for event in open {
            match &event.payload {
                Some(payload) => announcements.push(Announcement {
                    event_id: event.event_id,
                    received_at: event.received_at,
                    payload: payload.clone(),
                }),
                None => mute += 1,
            }
        }
        let matched = announced(case.payments, case.unreadable, &taken, case.period.window, &announcements);
        let mut announcers: HashMap<String, Vec<Announcer>> = HashMap::new();
        for Belongs { event_id, payment_id, amount_cents, .. } in belongs.iter().copied() {
            let announcer = Announcer { event_id: *event_id, amount_cents: *amount_cents };
            announcers.entry(payment_id.clone()).or_default().push(announcer);
        }
        for one in &matched {
            if let (Announces::Payment(payment), Some(amount_cents)) = (&one.announces, one.amount_cents) {
                let announcer = Announcer { event_id: one.event_id, amount_cents };
                announcers.entry(payment.clone()).or_default().push(announcer);
            }
        }
        Self { case, belongs, matched, mute, announcers, found: Compared::default() }
    }

    fn payments(&mut self) {
        let case = self.case;
        let mut payments: Vec<&Payment> =
            case.payments.iter().filter(|one| one.invoice_id == case.invoice_id).collect();
        payments.sort_by_key(|payment| (payment.paid_at.map(|at| at.to_string()), payment.id.clone()));
        for payment in payments {
            // Whether a payment without a date belongs to these days is not known: Finkare has listed it for them.
            if payment.paid_at.is_none_or(|at| case.period.has(at)) {
                self.payment(payment);
            }
        }
    }

    fn payment(&mut self, payment: &Payment) {
        let is_completed = payment.status == COMPLETED;
        let announcers: Vec<(EventId, i64)> = self
            .announcers
            .get(payment.id.as_str())
            .into_iter()
            .flatten()
            .map(|announcer| (announcer.event_id, announcer.amount_cents))
            .collect();
        let contradicting: Vec<(EventId, Option<i64>, String)> = self
            .matched
            .iter()
            .filter_map(|one| match &one.announces {
                Announces::Contradicts { payment_id, how } if *payment_id == payment.id => {
                    Some((one.event_id, one.amount_cents, how.clone()))
                }
                _ => None,
            })
            .collect();
        // What the ledger has was announced once, even if the event is no longer known.
        let in_ledger = self.case.evidence.lines.iter().find(|line| line.payment_id == payment.id);
        let in_ledger = in_ledger.map(|line| line.amount_cents);
        if is_completed && announcers.is_empty() && contradicting.is_empty() && in_ledger.is_none() {
            if payment.paid_at.is_some_and(|at| self.case.period.is_young(at)) {
                return;
            }
            self.sums(payment).finkare.add(payment.amount_cents);
            return self.never_announced(payment);
        }
        if is_completed {
            self.sums(payment).finkare.add(payment.amount_cents);
            let said = announcers
                .first()
                .map(|(_, cents)| *cents)
                .or(contradicting.first().and_then(|one| one.1))
                .or(in_ledger);
            if let Some(cents) = said {
                self.sums(payment).events.add(cents);
            }
        }
        for (event, cents) in announcers.iter().filter(|(_, cents)| *cents != payment.amount_cents) {
            let detail = format!(
                "Finkare has {} for payment {}, and event {event} announced {}: find out which is right, and correct what \
                 was booked.",
                amount(payment),
                payment.id,
                Cents(*cents)
            );
            self.tell(DifferenceKind::AmountDiffers, payment, None, Some(*event), detail);
        }
        for (event, _, how) in contradicting {
            let detail = format!(
                "Finkare and event {event} do not agree: {how}. Find out which is right, book the payment by hand, and cancel \
                 what is held of this event."
            );
            self.tell(DifferenceKind::AmountDiffers, payment, None, Some(event), detail);
        }
        self.books(payment, &announcers);
    }

    /// What became of the payment in each sink.
    fn books(&mut self, payment: &Payment, announcers: &[(EventId, i64)]) {
        let case = self.case;
        let event = announcers.first().map(|(event, _)| *event);
        let lines: Vec<&Line> = case.evidence.lines.iter().filter(|line| line.payment_id == payment.id).collect();
        let mut done = HashSet::new();
        for line in lines.iter().filter(|line| is_written(line.state)) {
            done.insert(line.sink.as_str());
            let sums = self.found.sums.entry(line.currency.clone()).or_default();
            sums.sinks.entry(line.sink.clone()).or_default().booked.add(line.amount_cents);
            let booked = Cents(line.amount_cents).of(&line.currency);
            if GONE.contains(&payment.status.as_str()) {
                let detail = format!(
                    "Payment {} of {booked} is in the books of {}, and is `{}` at Finkare now: undo it there by hand. The \
                     relay undoes nothing by itself.",
                    payment.id, line.sink, payment.status
                );
                self.tell(DifferenceKind::RefundedAfterBooking, payment, Some(&line.sink), event, detail);
            } else if line.amount_cents != payment.amount_cents
                || payment.currency.as_deref().is_some_and(|currency| !currency.eq_ignore_ascii_case(&line.currency))
            {
                let detail = format!(
                    "Finkare has {} for payment {}, and {booked} is in the books of {}: find out which is right, and correct \
                     the other one.",
                    amount(payment),
                    payment.id,
                    line.sink
                );
                self.tell(DifferenceKind::AmountDiffers, payment, Some(&line.sink), event, detail);
            }
        }
        if payment.status != COMPLETED || announcers.is_empty() {
            return;
        }
        let events: Vec<EventId> = announcers.iter().map(|(event, _)| *event).collect();
        let payload = case.evidence.events.iter().find(|one| events.contains(&one.event_id)).map(|one| &one.payload);
        let takers = (case.takers)(payload.and_then(|payload| payload.as_deref()));
        let sent: Vec<&Sent> = case.evidence.sent.iter().filter(|sent| events.contains(&sent.event_id)).collect();
        // A sink that no longer takes such events may still hold one.
        let others = sent.iter().filter(|sent| matches!(sent.state, State::Held | State::Dead));
        let mut names: Vec<(String, bool)> =
            takers.iter().map(|taker| (taker.name.as_str().to_owned(), taker.keeps_books)).collect();
        for one in others {
            if names.iter().all(|(name, _)| *name != one.sink)
                && (case.takers)(None).iter().any(|taker| taker.name.as_str() == one.sink)
            {
                names.push((one.sink.clone(), false));
            }
        }
        for (sink, keeps_books) in names {
            if keeps_books {
                self.sums(payment).sinks.entry(sink.clone()).or_default();
            }
            if !done.contains(sink.as_str()) {
                self.in_sink(payment, &sink, keeps_books, &sent, event);
            }
        }
    }

    fn in_sink(&mut self, payment: &Payment, sink: &str, keeps_books: bool, sent: &[&Sent], event: Option<EventId>) {
        let of_sink: Vec<&Sent> = sent.iter().copied().filter(|sent| sent.sink == sink).collect();
        let last_of = |state: State| of_sink.iter().rev().find(|sent| sent.state == state);
        let is_open = of_sink.iter().any(|sent| matches!(sent.state, State::Pending | State::Leased));
        // A sink that keeps no books is done with what it has got.
        let has_it = !keeps_books && last_of(State::Delivered).is_some();
        if has_it {
            return;
        }
        let reason = |sent: &Sent| sent.reason.clone().unwrap_or_else(|| "no reason was stored".to_owned());
        if is_open {
            let sums = self.sums(payment);
            sums.sinks.entry(sink.to_owned()).or_default().open += 1;
        } else if let Some(held) = last_of(State::Held) {
            self.sums(payment).sinks.entry(sink.to_owned()).or_default().held += 1;
            let detail = format!(
                "It waits for a person in {sink} (dispatch {}): {}. Decide with `dispatches retry {}` or `dispatches cancel {}`.",
                held.id,
                trimmed(&reason(held)),
                held.id,
                held.id
            );
            self.tell(DifferenceKind::Held, payment, Some(sink), Some(held.event_id), detail);
        } else if let Some(dead) = last_of(State::Dead) {
            self.sums(payment).sinks.entry(sink.to_owned()).or_default().dead += 1;
            let detail = format!(
                "It was given up in {sink} (dispatch {}): {}. Remove the cause, then `dispatches retry {}`.",
                dead.id,
                trimmed(&reason(dead)),
                dead.id
            );
            self.tell(DifferenceKind::Dead, payment, Some(sink), Some(dead.event_id), detail);
        } else if keeps_books {
            let why = if last_of(State::Cancelled).is_some() {
                "its dispatch was cancelled: if a person has booked it by hand, nothing is to be done; else replay its event"
            } else if of_sink.is_empty() {
                "its event was never sent there, perhaps because it is older than the sink: replay its event"
            } else {
                "the ledger has no line of it: look whether it is there, then replay its event"
            };
            let detail = format!(
                "Payment {} of {} is not in the books of {sink}, as far as the ledger knows; {why} (`events replay {} --sink \
                 {sink}`).",
                payment.id,
                amount(payment),
                event.map_or_else(|| "ID".to_owned(), |event| event.to_string())
            );
            self.tell(DifferenceKind::NotBooked, payment, Some(sink), event, detail);
        }
    }

    fn never_announced(&mut self, payment: &Payment) {
        let case = self.case;
        let mut detail =
            format!("Finkare has payment {} of {}, completed, and no event announced it", payment.id, amount(payment));
        let stray = self.matched.iter().find(|one| matches!(one.announces, Announces::Nothing));
        if let Some(stray) = stray {
            let said = stray.amount_cents.map_or_else(String::new, |cents| format!(" of {}", Cents(cents)));
            let _ = write!(detail, "; event {}{said} on the same invoice has no payment", stray.event_id);
        }
        let hindrance = if self.mute > 0 {
            Some(
                "an older event of this invoice may have announced it, whose payload has been removed, so it is not filled: \
                 look into the books, and book it by hand if it is missing",
            )
        } else if payment.paid_at.is_none() {
            Some("it has no date at Finkare, so it is not filled: book it by hand")
        } else if payment.amount_cents <= 0 {
            Some("its amount is not above zero, so it is not filled: check it at Finkare")
        } else {
            None
        };
        if let Some(hindrance) = hindrance {
            let _ = write!(detail, ": {hindrance}.");
        } else {
            self.found.fillable.insert(payment.id.to_string());
            let day = payment.paid_at.map(|at| at.date(&case.period.zone).to_string()).unwrap_or_default();
            let _ = write!(
                detail,
                ": make its event with `reconcile --endpoint {} --since {day} --until {day} --fill`, or book it by hand.",
                case.endpoint
            );
        }
        self.tell(DifferenceKind::NeverAnnounced, payment, None, None, detail);
    }

    /// The events that have no payment.
    fn events(&mut self) {
        let case = self.case;
        for one in std::mem::take(&mut self.matched) {
            let is_stray =
                matches!(one.announces, Announces::Nothing | Announces::Repeated(_) | Announces::Unreadable(_));
            if !is_stray || !case.period.has(one.at) || self.is_young(one.event_id) {
                continue;
            }
            self.found.is_open |= !matches!(one.announces, Announces::Unreadable(_));
            let said = one.amount_cents.map_or_else(String::new, |cents| format!(" of {}", Cents(cents)));
            let detail = match &one.announces {
                Announces::Repeated(payment) => format!(
                    "Event {} announces a payment{said}, and other events have already announced every such payment (for \
                     example {payment}): Finkare sent it twice, or does not show a payment. Compare with Finkare, then cancel \
                     what is held of this event.",
                    one.event_id
                ),
                Announces::Unreadable(problem) => format!(
                    "Which payment event {} announces cannot be read: {problem}. Look at the event, and book the payment by \
                     hand.",
                    one.event_id
                ),
                _ => format!(
                    "Event {} announces a payment{said} that Finkare does not have: compare with Finkare. If there is no such \
                     payment, take it out of the books where it was booked, and cancel what is held of this event.",
                    one.event_id
                ),
            };
            if let Some(cents) = one.amount_cents {
                let currency = one.currency.as_deref().map(str::to_ascii_uppercase).unwrap_or_default();
                self.found.sums.entry(currency).or_default().events.add(cents);
            }
            self.found.differences.push(Difference {
                kind: DifferenceKind::UnknownPayment,
                payment_id: one.names,
                invoice_id: Some(case.invoice_id.to_owned()),
                amount_cents: one.amount_cents,
                currency: one.currency.map(|currency| currency.to_ascii_uppercase()),
                paid_at: None,
                sink: None,
                detail,
                event_id: Some(one.event_id),
            });
        }
        // An event whose payment has gone from Finkare.
        for one in std::mem::take(&mut self.belongs) {
            let is_there = case.payments.iter().any(|payment| payment.id == one.payment_id)
                || case.unreadable.iter().any(|payment| payment.id.as_deref().is_none_or(|id| id == one.payment_id));
            let received = case.evidence.events.iter().find(|event| event.event_id == one.event_id);
            let Some(received) = received.filter(|_| !is_there) else { continue };
            let at = time(&Announcement {
                event_id: received.event_id,
                received_at: received.received_at,
                payload: received.payload.clone().unwrap_or_default(),
            });
            if !case.period.has(at) || self.is_young(received.event_id) {
                continue;
            }
            self.found.is_open = true;
            self.found.sums.entry(String::new()).or_default().events.add(one.amount_cents);
            self.found.differences.push(Difference {
                kind: DifferenceKind::UnknownPayment,
                payment_id: Some(one.payment_id.clone()),
                invoice_id: Some(case.invoice_id.to_owned()),
                amount_cents: Some(one.amount_cents),
                currency: None,
                paid_at: None,
                sink: None,
                detail: format!(
                    "Event {} announced payment {} of {}, which Finkare no longer has: check this at Finkare, and take it out \
                     of the books where it was booked.",
                    one.event_id,
                    one.payment_id,
                    Cents(one.amount_cents)
                ),
                event_id: Some(one.event_id),
            });
        }
    }

    fn is_young(&self, event: EventId) -> bool {
        let received = self.case.evidence.events.iter().find(|one| one.event_id == event);
        received.is_some_and(|event| self.case.period.is_young(PaidAt::At(event.received_at)))
    }

    fn sums(&mut self, payment: &Payment) -> &mut crate::model::reconciliation::Sums {
        let currency = payment.currency.as_deref().map(str::to_ascii_uppercase).unwrap_or_default();
        self.found.sums.entry(currency).or_default()
    }

    fn tell(
        &mut self,
        kind: DifferenceKind,
        payment: &Payment,
        sink: Option<&str>,
        event_id: Option<EventId>,
        detail: String,
    ) {
        self.found.differences.push(Difference {
            kind,
            payment_id: Some(payment.id.to_string()),
            invoice_id: Some(payment.invoice_id.to_string()),
            amount_cents: Some(payment.amount_cents),
            currency: payment.currency.as_deref().map(str::to_ascii_uppercase),
            paid_at: payment.paid_at.map(|at| at.to_string()),
            sink: sink.map(str::to_owned),
            detail,
            event_id,
        });
    }
}

/// True if the payment is in the books, as far as the ledger knows.
const fn is_written(state: BookingState) -> bool {
    match state {
        BookingState::Written | BookingState::Booked | BookingState::Seen => true,
        BookingState::Reserved | BookingState::Sending => false,
    }
}

/// What is the matter with a payment that was never announced, once it has an event. Nobody is told any more to book it.
pub(super) fn filled(payment_id: &str, difference: &Difference, event: EventId) -> String {
    let cents = Cents(difference.amount_cents.unwrap_or_default());
    let amount = difference.currency.as_deref().map_or_else(|| cents.to_string(), |currency| cents.of(currency));
    format!(
        "Finkare has payment {payment_id} of {amount}, completed, which no event had announced. It was filled: event {event} goes to \
         the sinks like any other, so do not book it by hand."
    )
}

fn amount(payment: &Payment) -> String {
    let cents = Cents(payment.amount_cents);
    payment.currency.as_deref().map_or_else(|| cents.to_string(), |currency| cents.of(&currency.to_ascii_uppercase()))
}

/// A reason without its full stop: another sentence follows.
fn trimmed(reason: &str) -> &str {
    reason.trim().trim_end_matches('.')
}

#[cfg(test)]
mod tests;

/// Adds the sums of one invoice to those of a report.
pub fn add(all: &mut SumsByCurrency, more: SumsByCurrency) {
    for (currency, sums) in more {
        let into = all.entry(currency).or_default();
        for (sum, more) in [(&mut into.finkare, sums.finkare), (&mut into.events, sums.events)] {
            sum.payments += more.payments;
            sum.cents = sum.cents.saturating_add(more.cents);
        }
        for (sink, more) in sums.sinks {
            let sums = into.sinks.entry(sink).or_default();
            sums.booked.payments += more.booked.payments;
            sums.booked.cents = sums.booked.cents.saturating_add(more.booked.cents);
            sums.held += more.held;
            sums.open += more.open;
            sums.dead += more.dead;
        }
    }
}
