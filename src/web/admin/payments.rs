//! `GET /payments` and `GET /payments/{payment_id}`: one payment with everything that the relay knows of it. Which event
//! announced it, in which books it is, what its dispatches say, and what is still to be done, by whom.
//!
//! A payment is listed under the event that announced it, so one that is not decided yet, or that nobody has looked up, is
//! listed as well: that is what a held one usually is. What is to be done is worked out here ([`Next`]) from the ledger's
//! booking and the newest dispatch; nothing is asked of Finkare or of the books.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use axum::{Extension, Json, extract::State};
use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    super::error::Problem,
    Admin, Params, Segment,
    announced::{self, AnnouncedPayment, Known},
    auth::Caller,
    bookings::QUIET_FOR,
    dispatches::DispatchRow,
    events::Origin,
    limit, look_at, not_found, parse,
    sinks::{SinkState, Standings},
    store_problem, time,
};
use crate::{
    model::{
        booking::{Announced, Booking, BookingState},
        dispatch::{Dispatch, State as DispatchState},
        event::{Event, PAYMENT_RECEIVED},
        id::EventId,
        money::Total,
    },
    statement::Role,
    store::payments::{Among, PaymentFacts, PaymentFilter},
};

/// What one round counts for, where a caller says how much to look at: payments are read with all that belongs to them.
const ROUND: u32 = 4000;

/// How many times one call reads more payments because those before did not fit `state`.
const MOST_ROUNDS: u32 = 20;

/// What is still to be done about a payment in one sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PaymentNext)]
pub enum Next {
    /// It is in the books, or the sink has accepted it.
    Done,
    /// The relay tries it by itself, at `next_at` if that is known.
    Waits,
    /// The sink is paused, or is no longer configured: it waits until a person changes that.
    Paused,
    /// A person has to decide; `dispatch.last_error` says what.
    Held,
    /// It was given up. A person may have it tried again.
    Dead,
    /// It is not known whether the payment is in the books: a write was begun, nobody is working on it any more, and the relay
    /// does not look by itself. A person looks into the books and settles the booking.
    InDoubt,
    /// Nothing: the dispatch was cancelled, or is no longer stored.
    Nothing,
}

impl Next {
    /// True if something is still to be done.
    const fn is_open(self) -> bool {
        !matches!(self, Self::Done | Self::Nothing)
    }
}

/// Which payments a list shows, by what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case", as = PaymentState)]
pub enum Shown {
    /// Something is still to be done.
    Open,
    /// Nothing is to be done any more.
    Done,
    /// In a sink the next is `waits`.
    Waits,
    /// In a sink the next is `paused`.
    Paused,
    /// In a sink the next is `held`.
    Held,
    /// In a sink the next is `dead`.
    Dead,
    /// In a sink the next is `in_doubt`.
    InDoubt,
}

/// A word that is none of [`Shown`].
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not one of `open`, `done`, `waits`, `paused`, `held`, `dead`, `in_doubt`")]
pub struct UnknownState(String);

impl FromStr for Shown {
    type Err = UnknownState;
    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Ok(match text {
            "open" => Self::Open,
            "done" => Self::Done,
            "waits" => Self::Waits,
            "paused" => Self::Paused,
            "held" => Self::Held,
            "dead" => Self::Dead,
            "in_doubt" => Self::InDoubt,
            _ => return Err(UnknownState(text.to_owned())),
        })
    }
}

impl Shown {
    /// Among which payments they are all found.
    fn among(self) -> Among {
        let (states, begun) = match self {
            Self::Done => return Among::All,
            Self::Open => {
                (vec![DispatchState::Pending, DispatchState::Leased, DispatchState::Held, DispatchState::Dead], true)
            }
            Self::Waits | Self::Paused => (vec![DispatchState::Pending, DispatchState::Leased], true),
            Self::Held => (vec![DispatchState::Held], false),
            Self::Dead => (vec![DispatchState::Dead], false),
            Self::InDoubt => (Vec::new(), true),
        };
        Among::Unfinished { states, begun }
    }

    fn fits(self, row: &PaymentRow) -> bool {
        let has = |next: Next| row.counted().any(|sink| sink.next == next);
        match self {
            Self::Open => row.open,
            Self::Done => !row.open,
            Self::Waits => has(Next::Waits),
            Self::Paused => has(Next::Paused),
            Self::Held => has(Next::Held),
            Self::Dead => has(Next::Dead),
            Self::InDoubt => has(Next::InDoubt),
        }
    }
}

/// A payment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PaymentRow {
    #[serde(flatten)]
    pub(crate) payment: AnnouncedPayment,
    /// True once it is decided which payment the event announces. While it is false, `payment_id` is the probable payment, or
    /// null.
    pub(crate) decided: bool,
    /// The endpoint that the payment came through.
    #[schema(required)]
    pub(crate) endpoint: Option<String>,
    /// The id of the payment's invoice at Finkare.
    #[schema(required)]
    pub(crate) invoice_id: Option<String>,
    /// The event that announced the payment.
    pub(crate) event: PaymentEvent,
    /// The event by which Finkare announced the payment after a reconciliation had made one for it; null if there is none.
    #[schema(required)]
    pub(crate) late: Option<PaymentEvent>,
    /// The sinks that get it, by name. A sink is listed if it has a booking of the payment, or a dispatch of its event.
    pub(crate) sinks: Vec<PaymentInSink>,
    /// True if something is still to be done in a sink, other than one that only tells people (`role` is `tells`).
    pub(crate) open: bool,
}

impl PaymentRow {
    /// The sinks that decide whether it is open.
    fn counted(&self) -> impl Iterator<Item = &PaymentInSink> {
        self.sinks.iter().filter(|sink| sink.role != Some(Role::Tells))
    }
}

/// The event that announced a payment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PaymentEvent {
    /// The id of the event.
    pub(crate) id: EventId,
    /// The event's type.
    pub(crate) r#type: String,
    /// When the event was received.
    pub(crate) received_at: Timestamp,
    /// How many times Finkare delivered the event; null if the event is no longer stored.
    #[schema(required)]
    pub(crate) deliveries: Option<u32>,
    /// `reconciliation` for an event that a reconciliation has made, because Finkare never announced its payment. Absent for
    /// events that Finkare delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) origin: Option<Origin>,
    /// False if the event is no longer stored.
    pub(crate) stored: bool,
}

impl PaymentEvent {
    /// `noted_at` counts where the event and the time in its id are gone.
    fn new(id: EventId, event: Option<&Event>, noted_at: Timestamp) -> Self {
        Self {
            id,
            r#type: event.map_or(PAYMENT_RECEIVED, |event| event.event_type.as_str()).to_owned(),
            received_at: event.map_or_else(|| id.made_at().unwrap_or(noted_at), |event| event.received_at),
            deliveries: event.map(|event| event.deliveries),
            origin: id.is_of_payment().then_some(Origin::Reconciliation),
            stored: event.is_some(),
        }
    }
}

/// What became of a payment in one sink.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PaymentInSink {
    /// The name of the sink.
    pub(crate) sink: String,
    /// The type of the sink; null if it is no longer configured.
    #[schema(required)]
    pub(crate) r#type: Option<String>,
    /// What the sink means for the books: `books`, `watched`, `carries` or `tells`; null if it is no longer configured.
    #[schema(required)]
    pub(crate) role: Option<Role>,
    /// What is still to be done.
    pub(crate) next: Next,
    /// When the relay tries it next by itself, or, of one that is `held`, looks at it again; null if it is at it now, if
    /// another payment goes first, or if it does nothing by itself.
    #[schema(required)]
    pub(crate) next_at: Option<Timestamp>,
    /// What the ledger says of the payment in this sink; null if nothing was written there.
    #[schema(required)]
    pub(crate) booking: Option<PaymentBooking>,
    /// The newest dispatch of the event for this sink; null if there is none, or if it is no longer stored.
    #[schema(required)]
    pub(crate) dispatch: Option<DispatchRow>,
}

/// A payment in the books of one sink, as the ledger knows it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PaymentBooking {
    /// The state of the booking.
    pub(crate) state: BookingState,
    /// The id of the record in the books, as soon as it is known.
    #[schema(required)]
    pub(crate) target_id: Option<String>,
    /// A note for people.
    #[schema(required)]
    pub(crate) note: Option<String>,
    /// The amount, in cents.
    pub(crate) amount_cents: i64,
    /// The amount's currency, such as `EUR`.
    pub(crate) currency: String,
    /// The number of the invoice in the books.
    pub(crate) invoice_number: String,
    /// When the booking was begun, or begun again after its outcome was unknown.
    pub(crate) began_at: Timestamp,
    /// When the booking got its current state.
    pub(crate) changed_at: Timestamp,
}

impl From<&Booking> for PaymentBooking {
    fn from(booking: &Booking) -> Self {
        Self {
            state: booking.state,
            target_id: booking.target_id.clone(),
            note: booking.note.clone(),
            amount_cents: booking.amount_cents.0,
            currency: booking.currency.clone(),
            invoice_number: booking.invoice_number.clone(),
            began_at: booking.began_at,
            changed_at: booking.changed_at,
        }
    }
}

/// A page of payments.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PaymentList {
    /// The rows, newest first.
    pub(crate) data: Vec<PaymentRow>,
    /// Pass this as `cursor` to get the next rows; null if there are no more.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
    /// Present if the call stopped before it had found enough payments: it has looked at those received since this time.
    /// `next_cursor` continues the search. Such a page may have fewer rows than requested, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) searched_until: Option<Timestamp>,
}

/// What is to be done about a payment in one sink, and when the relay does it by itself. A booking that is finished decides;
/// then a doubt; then the newest dispatch.
fn next(
    booking: Option<&Booking>,
    dispatch: Option<&Dispatch>,
    (sink_state, probe_at): (SinkState, Option<Timestamp>),
) -> (Next, Option<Timestamp>) {
    let is_worked_on =
        dispatch.is_some_and(|dispatch| matches!(dispatch.state, DispatchState::Pending | DispatchState::Leased));
    let doubt = match booking.map(|booking| booking.state) {
        Some(BookingState::Booked | BookingState::Seen) => return (Next::Done, None),
        // What is only reserved was never sent, so there is nothing to look for in the books.
        Some(BookingState::Sending | BookingState::Written) => !is_worked_on,
        Some(BookingState::Reserved) | None => false,
    };
    if doubt && booking.is_some_and(|booking| booking.began_ago >= QUIET_FOR) {
        return (Next::InDoubt, None);
    }
    let Some(dispatch) = dispatch else {
        // Too fresh to be in doubt: its worker may still be at it.
        let is_fresh = booking.is_some_and(|booking| booking.began_ago < QUIET_FOR);
        return (if is_fresh { Next::Waits } else { Next::Nothing }, None);
    };
    match dispatch.state {
        DispatchState::Delivered => (Next::Done, None),
        DispatchState::Held => (Next::Held, dispatch.next_attempt_at),
        DispatchState::Dead => (Next::Dead, None),
        DispatchState::Cancelled => (Next::Nothing, None),
        DispatchState::Leased => (Next::Waits, None),
        DispatchState::Pending => match sink_state {
            SinkState::Active => (Next::Waits, dispatch.next_attempt_at.filter(|_| dispatch.waits_for.is_none())),
            SinkState::Tripped => (Next::Waits, probe_at),
            SinkState::Paused | SinkState::NotConfigured => (Next::Paused, None),
        },
    }
}

/// What is known of the payment: what was decided counts more than what was announced, and that more than the message.
fn known(facts: &PaymentFacts) -> AnnouncedPayment {
    let (assignment, learned, announced) =
        (facts.assignment.as_ref(), facts.learned.as_ref(), facts.announced.as_ref());
    let booking = facts.bookings.first();
    let mut said = Total::default();
    if let Some(payload) = &facts.payload {
        said.add(Some(payload));
    }
    let (said_cents, said_currency) = said.known().unzip();
    let cents = assignment.map(|assignment| assignment.amount_cents);
    let cents = cents.or(announced.map(|known| known.amount_cents)).or(said_cents);
    let currency = announced.and_then(|known| known.currency.clone());
    let currency = currency.or_else(|| booking.map(|booking| booking.currency.clone()));
    let number = announced.and_then(|known| known.invoice_number.clone());
    let paid_at = learned.and_then(|known| known.paid_at).or(announced.and_then(|known| known.paid_at));
    AnnouncedPayment {
        payment_id: assignment
            .map(|assignment| assignment.payment_id.clone())
            .or_else(|| announced.and_then(|known| known.payment_id.clone())),
        amount_cents: cents.map(|cents| cents.0),
        currency: currency.or_else(|| said_currency.flatten().map(str::to_owned)),
        invoice_number: number.or_else(|| booking.map(|booking| booking.invoice_number.clone())),
        debtor: learned
            .and_then(|known| known.debtor.clone())
            .or_else(|| announced.and_then(|known| known.debtor.clone())),
        method: learned
            .and_then(|known| known.method.clone())
            .or_else(|| announced.and_then(|known| known.method.clone())),
        paid_at: paid_at.map(|paid_at| paid_at.to_string()),
    }
}

impl PaymentRow {
    fn new(facts: PaymentFacts, admin: &Admin, caller: &Caller, standings: &Standings<'_>) -> Self {
        let payment = known(&facts);
        let decided = facts.assignment.is_some();
        let endpoint = facts.endpoint().map(str::to_owned);
        let invoice_id = facts
            .assignment
            .as_ref()
            .map(|assignment| assignment.invoice_id.clone())
            .or_else(|| facts.event.as_ref().and_then(|event| event.invoice_id.clone()));
        let event = PaymentEvent::new(facts.event_id, facts.event.as_ref(), Timestamp::UNIX_EPOCH);
        let late = facts.late.map(|(id, noted_at)| PaymentEvent::new(id, facts.late_event.as_ref(), noted_at));

        let mut of_sink: BTreeMap<String, (Option<Booking>, Option<Dispatch>)> = BTreeMap::new();
        for booking in facts.bookings {
            // The books of a sink that several companies share are not the token's.
            if admin.reach.shows(&caller.scope, &booking.sink) {
                let (of_sink, _) = of_sink.entry(booking.sink.clone()).or_default();
                *of_sink = Some(booking);
            }
        }
        for dispatch in facts.dispatches {
            let newest = &mut of_sink.entry(dispatch.sink.clone()).or_default().1;
            // They come oldest first. One that was cancelled says less than an earlier one.
            if newest.is_none() || dispatch.state != DispatchState::Cancelled {
                *newest = Some(dispatch);
            }
        }
        // The dispatches of a late announcement are about the same payment.
        let of_late = facts.announced.clone().zip(facts.late);
        let of_late = of_late.map(|(known, (event_id, _))| Announced { event_id, ..known });
        let known = Known::already(facts.announced.into_iter().chain(of_late));
        let sinks: Vec<PaymentInSink> = of_sink
            .into_iter()
            .map(|(sink, (booking, dispatch))| {
                let configured = admin.statement.sinks.iter().find(|known| known.name == sink);
                let (next, next_at) = next(booking.as_ref(), dispatch.as_ref(), standings.of(&sink));
                PaymentInSink {
                    r#type: configured.map(|sink| sink.kind.to_owned()),
                    role: configured.map(|sink| sink.role),
                    next,
                    next_at,
                    booking: booking.as_ref().map(PaymentBooking::from),
                    dispatch: dispatch.map(|dispatch| DispatchRow::new(dispatch, &known, standings)),
                    sink,
                }
            })
            .collect();
        let mut row = Self { payment, decided, endpoint, invoice_id, event, late, sinks, open: false };
        let open = row.counted().any(|sink| sink.next.is_open());
        row.open = open;
        row
    }
}

/// The filters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PaymentQuery {
    /// Only the payment with this id, payments of this amount (`1500`, `1500.00`, `1 500,00`), or those whose invoice number or
    /// debtor is or contains this text, ignoring case. The search considers at most the newest 2000 such events, and looks for
    /// parts in the latest 20,000 announcements. Payments whose events are no longer stored are found by their id, or by the
    /// exact number of the invoice in the books.
    q: Option<String>,
    /// Only payments of this endpoint.
    endpoint: Option<String>,
    /// Only payments about which this is to be done: `open` for anything, `done` for nothing any more. Sinks that only tell
    /// people do not count.
    #[param(value_type = Option<Shown>, inline)]
    state: Option<String>,
    /// Only payments whose event was received at this time or later.
    #[param(value_type = Option<Timestamp>)]
    since: Option<String>,
    /// Only payments whose event was received before this time.
    #[param(value_type = Option<Timestamp>)]
    until: Option<String>,
    /// How many rows a page has, by default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// How many events or dispatches a search looks at before it says how far it got, if fewer than usual.
    #[param(minimum = 1, maximum = 100_000)]
    look_at: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[param(value_type = Option<EventId>)]
    cursor: Option<String>,
}

/// Lists payments, newest first, with what is still to be done about each.
///
/// The order is that of the events that announced them. An event whose payment is not decided yet is listed as well, with
/// `decided` false. One call looks at a limited number of payments, and says how far it got.
#[utoipa::path(
    get,
    path = "/payments",
    operation_id = "list_payments",
    tag = "payments",
    params(PaymentQuery),
    responses((status = 200, description = "A page of payments", body = PaymentList))
)]
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<PaymentQuery>,
) -> Result<Json<PaymentList>, Problem> {
    let shown: Option<Shown> = query.state.as_deref().map(|state| parse("state", state)).transpose()?;
    let limit = limit(query.limit)? as usize;
    let endpoints = match query.endpoint {
        Some(endpoint) if caller.scope.has(&endpoint) => Some(vec![endpoint]),
        Some(_) => Some(Vec::new()),
        None => caller.scope.endpoints(),
    };
    let mut filter = PaymentFilter {
        among: shown.map_or(Among::All, Shown::among),
        endpoints,
        since: time("since", query.since.as_deref())?,
        until: time("until", query.until.as_deref())?,
        before: query.cursor.map(|cursor| parse("cursor", &cursor)).transpose()?,
        look_at: look_at(query.look_at)?,
    };
    let found = match query.q.as_deref().filter(|text| !text.trim().is_empty()) {
        Some(text) => Some(search(&admin, text).await?),
        None => None,
    };
    let standings = Standings::now(&admin).await?;
    let mut data: Vec<PaymentRow> = Vec::new();
    let mut rounds = 0;
    let most_rounds = filter.look_at.map_or(MOST_ROUNDS, |look_at| (look_at / ROUND).clamp(1, MOST_ROUNDS));
    let (next_cursor, searched_until) = loop {
        let wanted = limit - data.len();
        let (mut events, searched_until) = if let Some(found) = &found {
            (among(found, &filter, wanted + 1), None)
        } else {
            let most = u32::try_from(wanted + 1).unwrap_or(u32::MAX);
            let page = admin.store.payment_events(&filter, most).await.map_err(store_problem)?;
            (page.events, page.searched_until)
        };
        let more = events.len() > wanted;
        events.truncate(wanted);
        let last = events.last().copied();
        let facts = admin.store.payment_facts(&events).await.map_err(store_problem)?;
        let is_wanted = |facts: &PaymentFacts| {
            let endpoint = facts.endpoint().unwrap_or_default();
            let is_asked = filter.endpoints.as_ref().is_none_or(|asked| asked.iter().any(|name| name == endpoint));
            is_asked && caller.scope.has(endpoint)
        };
        let rows = facts.into_iter().filter(is_wanted).map(|facts| PaymentRow::new(facts, &admin, &caller, &standings));
        for row in rows.filter(|row| shown.is_none_or(|shown| shown.fits(row))) {
            // An unfinished late announcement comes beside the event that has the payment.
            if data.iter().all(|known| known.event.id != row.event.id) {
                data.push(row);
            }
        }
        rounds += 1;
        if searched_until.is_some() {
            break (searched_until, searched_until);
        }
        let Some(last) = last.filter(|_| more) else { break (None, None) };
        if data.len() >= limit {
            break (Some(last), None);
        }
        if rounds >= most_rounds {
            break (Some(last), Some(last));
        }
        filter.before = Some(last);
    };
    Ok(Json(PaymentList {
        data,
        next_cursor: next_cursor.map(|event| event.to_string()),
        searched_until: searched_until.and_then(EventId::made_at),
    }))
}

/// The events that a text finds, newest first.
async fn search(admin: &Admin, text: &str) -> Result<Vec<EventId>, Problem> {
    let mut found = announced::find(&*admin.store, text).await?;
    let text = text.trim();
    found.extend(admin.store.find_payments(text, Some(text), &endpoints(admin)).await.map_err(store_problem)?);
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.dedup();
    Ok(found)
}

/// The next of what was found; both are newest first.
fn among(found: &[EventId], filter: &PaymentFilter, most: usize) -> Vec<EventId> {
    let (since, before) = filter.ids();
    let is_in = |event: &&EventId| since.is_none_or(|since| **event >= since) && before.is_none_or(|end| **event < end);
    found.iter().filter(is_in).take(most).copied().collect()
}

fn endpoints(admin: &Admin) -> Vec<String> {
    admin.statement.zones.keys().cloned().collect()
}

/// Which of several payments with one id.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OnePaymentQuery {
    /// The endpoint of the payment. It is needed if payments of several endpoints have the id.
    endpoint: Option<String>,
}

/// Shows one payment.
///
/// A payment that is not decided yet is found by its probable id; if several events probably announce it, the newest one is
/// shown. Two companies may have payments with the same id: without `endpoint` that is answered 409, with their endpoints in
/// the member `endpoints`.
#[utoipa::path(
    get,
    path = "/payments/{payment_id}",
    operation_id = "show_payment",
    tag = "payments",
    params(("payment_id" = String, Path, description = "The payment's id at Finkare", min_length = 1), OnePaymentQuery),
    responses(
        (status = 200, description = "The payment", body = PaymentRow),
        (status = 404, description = "There is no payment with this id: `not_found`."),
        (status = 409, description = "Payments of several endpoints have this id: `ambiguous`. The member `endpoints` lists them."),
    )
)]
pub async fn show(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(payment_id): Segment,
    Params(query): Params<OnePaymentQuery>,
) -> Result<Json<PaymentRow>, Problem> {
    let unknown = || not_found("payment with this id");
    let events = admin.store.find_payments(&payment_id, None, &endpoints(&admin)).await.map_err(store_problem)?;
    let facts = admin.store.payment_facts(&events).await.map_err(store_problem)?;
    let is_it = |facts: &PaymentFacts| match (&facts.assignment, &facts.announced) {
        (Some(assignment), _) => assignment.payment_id == payment_id,
        (None, Some(announced)) => announced.payment_id.as_ref() == Some(&payment_id),
        (None, None) => false,
    };
    let mut of_endpoint: BTreeMap<String, PaymentFacts> = BTreeMap::new();
    for facts in facts.into_iter().filter(is_it) {
        let Some(endpoint) = facts.endpoint() else { continue };
        let is_asked = query.endpoint.as_deref().is_none_or(|asked| asked == endpoint);
        if !(is_asked && caller.scope.has(endpoint)) {
            continue;
        }
        // They come newest first; the one that has the payment counts.
        let endpoint = endpoint.to_owned();
        let is_better = |known: &PaymentFacts| facts.assignment.is_some() && known.assignment.is_none();
        if of_endpoint.get(&endpoint).is_none_or(is_better) {
            of_endpoint.insert(endpoint, facts);
        }
    }
    if of_endpoint.len() > 1 {
        let names: Vec<String> = of_endpoint.into_keys().collect();
        let detail = format!("Payments of the endpoints {} have this id: give `endpoint`.", names.join(", "));
        return Err(Problem::new(StatusCode::CONFLICT, "ambiguous", detail).with("endpoints", names));
    }
    let (_, facts) = of_endpoint.pop_first().ok_or_else(unknown)?;
    let standings = Standings::now(&admin).await?;
    Ok(Json(PaymentRow::new(facts, &admin, &caller, &standings)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{booking::BookingToken, dispatch::Trigger, id::DispatchId, money::Cents};

    fn dispatch(state: DispatchState) -> Dispatch {
        Dispatch {
            id: DispatchId(1),
            event_id: EventId::generate(),
            event_type: PAYMENT_RECEIVED.into(),
            invoice_id: None,
            sink: "books".into(),
            state,
            attempts: 1,
            trigger: Trigger::Event,
            created_at: Timestamp::UNIX_EPOCH,
            next_attempt_at: Some(Timestamp::MAX),
            finished_at: None,
            last_error: None,
            waits_for: None,
            fault: None,
        }
    }

    fn booking(state: BookingState, began_ago: Duration) -> Booking {
        Booking {
            sink: "books".into(),
            payment_id: "p".into(),
            event_id: EventId::generate(),
            invoice_id: "i".into(),
            invoice_number: "F".into(),
            amount_cents: Cents(1),
            currency: "EUR".into(),
            state,
            target_id: None,
            note: None,
            token: BookingToken::generate(),
            began_at: Timestamp::UNIX_EPOCH,
            began_ago,
            settles_in: None,
            changed_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_is_to_be_done_follows_from_booking_and_dispatch() {
        use BookingState as B;
        use DispatchState as D;
        let (old, fresh) = (QUIET_FOR, Duration::from_secs(1));
        let active = (SinkState::Active, None);
        let probe = Some(Timestamp::UNIX_EPOCH);
        for (state, dispatched, sink, expected) in [
            (None, None, active, (Next::Nothing, None)),
            (None, Some(D::Pending), active, (Next::Waits, Some(Timestamp::MAX))),
            (None, Some(D::Pending), (SinkState::Tripped, probe), (Next::Waits, probe)),
            (None, Some(D::Pending), (SinkState::Paused, None), (Next::Paused, None)),
            (None, Some(D::Pending), (SinkState::NotConfigured, None), (Next::Paused, None)),
            (None, Some(D::Leased), active, (Next::Waits, None)),
            (None, Some(D::Held), (SinkState::Paused, None), (Next::Held, Some(Timestamp::MAX))),
            (None, Some(D::Dead), active, (Next::Dead, None)),
            (None, Some(D::Delivered), active, (Next::Done, None)),
            (None, Some(D::Cancelled), active, (Next::Nothing, None)),
            (Some((B::Booked, old)), Some(D::Held), active, (Next::Done, None)),
            (Some((B::Seen, old)), None, active, (Next::Done, None)),
            (Some((B::Sending, old)), Some(D::Held), active, (Next::InDoubt, None)),
            (Some((B::Written, old)), None, active, (Next::InDoubt, None)),
            // It looks into the books by itself.
            (Some((B::Sending, old)), Some(D::Pending), active, (Next::Waits, Some(Timestamp::MAX))),
            // Its worker may still be at it.
            (Some((B::Sending, fresh)), Some(D::Held), active, (Next::Held, Some(Timestamp::MAX))),
            (Some((B::Written, fresh)), None, active, (Next::Waits, None)),
            (Some((B::Reserved, old)), Some(D::Dead), active, (Next::Dead, None)),
            (Some((B::Reserved, old)), None, active, (Next::Nothing, None)),
        ] {
            let booking = state.map(|(state, ago)| booking(state, ago));
            let dispatch = dispatched.map(dispatch);
            assert_eq!(next(booking.as_ref(), dispatch.as_ref(), sink), expected, "{state:?} {dispatched:?} {sink:?}");
        }
        let behind = Dispatch { waits_for: Some(DispatchId(7)), ..dispatch(D::Pending) };
        assert_eq!(next(None, Some(&behind), active), (Next::Waits, None), "another one goes first");
    }

    #[test]
    fn a_list_is_read_back_as_it_was_written() {
        let text = r#"{"data":[{"invoice_number":"F-12","payment_id":"p-1","amount_cents":150000,"currency":"EUR","debtor":null,"method":"card","paid_at":"2026-10-05","decided":true,"endpoint":"production","invoice_id":"i-1","event":{"id":"01900000-0000-7000-8000-000000000000","type":"payment.received","received_at":"2026-10-05T10:30:00Z","deliveries":null,"origin":"reconciliation","stored":false},"late":null,"sinks":[{"sink":"books","type":null,"role":"books","next":"in_doubt","next_at":null,"booking":{"state":"sending","target_id":null,"note":null,"amount_cents":150000,"currency":"EUR","invoice_number":"F-12","began_at":"2026-10-05T10:30:00Z","changed_at":"2026-10-05T10:30:00Z"},"dispatch":null}],"open":true}],"next_cursor":null}"#;
        let list: PaymentList = serde_json::from_str(text).unwrap();
        assert_eq!((list.data[0].sinks[0].next, list.data[0].open), (Next::InDoubt, true));
        assert_eq!(serde_json::to_string(&list).unwrap(), text);
    }

    #[test]
    fn a_page_of_what_was_found_keeps_to_its_bounds() {
        let mut found: Vec<EventId> = (0..4).map(|_| EventId::generate()).collect();
        found.reverse();
        let after = |before| PaymentFilter { before, ..PaymentFilter::default() };
        assert_eq!(among(&found, &after(None), 3), found[..3]);
        assert_eq!(among(&found, &after(Some(found[1])), 3), found[2..]);
        let future = PaymentFilter { since: Some(Timestamp::MAX), ..PaymentFilter::default() };
        assert_eq!(among(&found, &future, 3), []);
    }
}
