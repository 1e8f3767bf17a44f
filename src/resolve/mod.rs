//! Which payment an event announces, and of which invoice: found out at Finkare, decided once, kept.
//!
//! ```text
//! payment.received ─▶ asked ──▶ assigned already? ── yes ─▶ still completed at Finkare? ─▶ payment
//! (invoice, amount)             │ no                                                        ▲
//!                               ▼                                                           │
//!                     payments of the invoice ─▶ choice ─▶ complete for a bookkeeper? ─▶ assign
//!                                                  │                                        │
//!                              wait, hold ◀────────┘          again ◀── another was faster ─┘
//! ```
//!
//! The body names an invoice and an amount, rarely a payment. So the payments of the invoice are asked for, and the
//! one is taken that is completed, has this amount and no other event (`choice`). The store decides between two
//! that want the same one; an event keeps what it was given, whatever sink asks and however often it is replayed.
//!
//! What is not decided is said with the reason ([`Unresolved`]): *wait* for what will come by itself (a pending
//! payment, one that is not visible yet), *hold* for what a person must look at, *retry* while Finkare or the store
//! does not work, *stop* when Finkare refuses the key. Never "there is nothing to do": a payment that is lost is as bad
//! as one that is booked twice.
//!
//! - `asked`: what the body says.
//! - `choice`: which payment it is; pure.
//! - `source`: Finkare's answers, kept for a while and shared.
//!
//! Sources: <https://docs.finkare.io/api-reference/payments>, <https://docs.finkare.io/guides/webhook-setup>,
//! <https://docs.finkare.io/guides/sdk-typescript>. Neither says whether a payment is visible and completed when its
//! event arrives.

mod asked;
mod choice;
mod source;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use jiff::Timestamp;

use self::{
    asked::Asked,
    choice::{Choice, Standing, choose},
    source::{Failure, Source},
};
use crate::{
    finkare::client::{self, Client},
    model::{
        booking::{Assignment, Invoice, Payment},
        chain::Chain,
        clock,
        event::{MAX_TEXT, PAYMENT_RECEIVED},
        id::EndpointName,
        money::Cents,
    },
    sinks::{
        Message,
        invoicing::{Resolve, Unresolved},
    },
    store::{
        StoreError,
        ledger::{Assigned, LedgerStore},
    },
};

/// How long after its event a payment may become visible, unless told otherwise: nobody documents it.
pub const DEFAULT_PATIENCE: Duration = Duration::from_mins(15);

/// The first wait; doubled with every attempt.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait for what comes by itself: a SEPA debit is pending for days.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// The longest wait for our own limit: it passes as fast as calls are allowed.
const LONGEST_TURN: Duration = Duration::from_mins(5);
/// The shortest wait at the end of the patience.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// What is held is looked at again so often.
const RECHECK: Duration = Duration::from_hours(1);
/// How often an event may lose its payment to a faster one within one attempt.
const ROUNDS: usize = 8;
/// Characters of an outside text that a reason repeats.
const SHOWN: usize = 64;

/// How one endpoint's payments are found.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its name.
    pub name: EndpointName,
    /// For Finkare's API: the one that the endpoint's link uses too, so that both keep one limit. `None` without an
    /// API key.
    pub client: Option<Arc<Client>>,
    /// At most so many calls in such a time, as the client was told.
    pub rate: (NonZeroU32, Duration),
    /// How long after its event a payment may become visible before a person is asked.
    pub patience: Duration,
}

/// Finds payments and invoices at Finkare, and decides with the store which event has which payment.
pub struct Resolver {
    store: Arc<dyn LedgerStore>,
    sources: HashMap<String, Option<Source>>,
    decides: bool,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { store: _, sources, decides } = self;
        f.debug_struct("Resolver").field("sources", sources).field("decides", decides).finish()
    }
}

impl Resolver {
    /// A resolver that writes its decisions down.
    pub fn new(store: Arc<dyn LedgerStore>, endpoints: &[Endpoint]) -> Self {
        let source = |endpoint: &Endpoint| {
            let source = endpoint.client.clone().map(|client| Source::new(client, endpoint));
            (endpoint.name.as_str().to_owned(), source)
        };
        Self { store, sources: endpoints.iter().map(source).collect(), decides: true }
    }

    /// A resolver that answers as [`Resolver::new`] would and writes nothing: what it answers for an event without a
    /// payment may be another's a moment later.
    pub fn looking(store: Arc<dyn LedgerStore>, endpoints: &[Endpoint]) -> Self {
        Self { decides: false, ..Self::new(store, endpoints) }
    }

    fn source(&self, endpoint: &str) -> Result<&Source, Unresolved> {
        let held = |reason| hold(reason, RECHECK);
        match self.sources.get(endpoint) {
            Some(Some(source)) => Ok(source),
            Some(None) => Err(held(format!(
                "Finkare cannot be asked for the payment: set `api_key` of endpoint `{endpoint}`, with the scopes \
                 `invoices:read` and `payments:read`, and reload; or cancel this dispatch"
            ))),
            None => Err(held(format!(
                "Finkare cannot be asked for the payment: endpoint `{endpoint}` is no longer configured. Configure it, \
                 with its `api_key`, and reload; or cancel this dispatch"
            ))),
        }
    }

    /// One try; `None` if another event was faster and has what was chosen, which is `lost` then.
    async fn round(
        &self,
        case: &Case<'_>,
        source: &Source,
        lost: &mut HashSet<String>,
    ) -> Result<Option<Payment>, Unresolved> {
        let assignment = self.store.assignment(case.message.event_id).await.map_err(|error| store(&error))?;
        let begun = Instant::now();
        let theirs = self.find(case, source, assignment.as_ref(), lost, None).await?;
        let payment = match self.complete(case, source, &theirs, None).await {
            // What is lacking may have been added since the answers that were kept.
            Err(_) => {
                let theirs = self.find(case, source, assignment.as_ref(), lost, Some(begun)).await?;
                self.complete(case, source, &theirs, Some(begun)).await?
            }
            Ok(payment) => payment,
        };
        if assignment.is_some() || !self.decides {
            return Ok(Some(payment));
        }
        let new = Assignment {
            event_id: case.message.event_id,
            endpoint: case.message.endpoint.clone(),
            payment_id: payment.id.clone(),
            invoice_id: case.asked.invoice_id.clone(),
            amount_cents: case.asked.amount,
        };
        match self.store.assign(&new).await.map_err(|error| store(&error))? {
            Assigned::Ours => {
                tracing::info!(
                    event.id = %case.message.event_id,
                    endpoint.name = case.message.endpoint,
                    payment.id = payment.id,
                    invoice.number = payment.invoice.number,
                    amount = payment.amount_cents.of(&payment.currency),
                    "the event announces this payment"
                );
                Ok(Some(payment))
            }
            // It is looked at as any that an event has already.
            Assigned::Another(_) => Ok(None),
            Assigned::Taken => {
                lost.insert(payment.id);
                Ok(None)
            }
        }
    }

    /// The payment as Finkare shows it. An answer that was kept is good enough to find it in, and no ground to say
    /// that it is not there. With `since`, no answer from before that time is.
    async fn find(
        &self,
        case: &Case<'_>,
        source: &Source,
        assignment: Option<&Assignment>,
        lost: &HashSet<String>,
        mut since: Option<Instant>,
    ) -> Result<client::Payment, Unresolved> {
        let begun = since.unwrap_or_else(Instant::now);
        loop {
            let seen = match source.payments(&case.asked.invoice_id, since).await {
                Ok(seen) => Some(seen),
                Err(failure) if is_not_found(&failure) => None,
                Err(failure) => return Err(case.failed(&failure)),
            };
            let payments: &[client::Payment] = seen.as_ref().map_or(&[], |seen| &seen.value);
            let choice = if let Some(assignment) = assignment {
                kept(assignment, payments)
            } else {
                let mut taken = self.taken(case).await?;
                taken.extend(lost.iter().cloned());
                choose(&case.asked, case.message.received_at, payments, &taken)
            };
            if let Choice::Take(payment) = choice {
                return Ok(payment.clone());
            }
            if seen.as_ref().is_none_or(|seen| seen.asked >= begun) {
                return Err(case.unresolved(&choice, assignment.is_some()));
            }
            since = Some(begun);
        }
    }

    /// The invoice's payments that other events have.
    async fn taken(&self, case: &Case<'_>) -> Result<HashSet<String>, Unresolved> {
        let assignments = self.store.assignments(&case.message.endpoint, &case.asked.invoice_id).await;
        let assignments = assignments.map_err(|error| store(&error))?;
        let of_others = assignments.into_iter().filter(|assignment| assignment.event_id != case.message.event_id);
        Ok(of_others.map(|assignment| assignment.payment_id).collect())
    }

    /// With all that a bookkeeper needs.
    async fn complete(
        &self,
        case: &Case<'_>,
        source: &Source,
        theirs: &client::Payment,
        since: Option<Instant>,
    ) -> Result<Payment, Unresolved> {
        let Case { message, asked, .. } = case;
        let invoice = invoice(source, message, &asked.invoice_id, since).await?;
        let incomplete = |what: String| {
            hold(
                format!("payment {} cannot be passed on: {what}. It is looked at again each hour", shown(&theirs.id)),
                RECHECK,
            )
        };
        if !is_plain(&theirs.id) {
            return Err(incomplete("its id at Finkare is no id that can be stored".to_owned()));
        }
        let currency = currency([
            ("the payment", theirs.currency.as_deref()),
            ("the invoice", invoice.currency.as_deref()),
            ("the event", asked.currency.as_deref()),
        ])
        .map_err(incomplete)?;
        let paid_at = theirs.paid_at.or(asked.paid_at);
        let paid_at =
            paid_at.ok_or_else(|| incomplete("neither Finkare nor the event says when it was paid".into()))?;
        Ok(Payment {
            id: theirs.id.clone(),
            endpoint: message.endpoint.clone(),
            invoice,
            amount_cents: Cents(theirs.amount_cents),
            currency,
            method: theirs.method.clone().or_else(|| asked.method.clone()),
            paid_at,
        })
    }
}

#[async_trait]
impl Resolve for Resolver {
    async fn payment(&self, message: &Message) -> Result<Payment, Unresolved> {
        if message.event_type != PAYMENT_RECEIVED {
            let what = format!("an event of type `{}` announces no payment: cancel this dispatch", message.event_type);
            return Err(Unresolved::Hold { reason: what, recheck_after: None });
        }
        let asked = Asked::read(&message.payload).map_err(|what| Unresolved::Hold {
            reason: format!(
                "which payment the event announces cannot be read: {what}. Look at the event, book the payment by hand, \
                 and cancel this dispatch"
            ),
            recheck_after: None,
        })?;
        let source = self.source(&message.endpoint)?;
        let case = Case { message, asked, patience: source.patience };
        let mut lost = HashSet::new();
        for _ in 0..ROUNDS {
            if let Some(payment) = self.round(&case, source, &mut lost).await? {
                return Ok(payment);
            }
        }
        let reason = "other events were faster with every payment that would have fitted".to_owned();
        Err(Unresolved::Retry { reason, after: None })
    }

    async fn invoice(&self, message: &Message) -> Result<Invoice, Unresolved> {
        let Some(id) = &message.invoice_id else {
            let reason = "the event names no invoice (`data.invoiceId`): cancel this dispatch".to_owned();
            return Err(Unresolved::Hold { reason, recheck_after: None });
        };
        invoice(self.source(&message.endpoint)?, message, id, None).await
    }
}

/// An event and what it asks for.
struct Case<'a> {
    message: &'a Message,
    asked: Asked,
    patience: Duration,
}

impl Case<'_> {
    /// What the event says, as a phrase: "a payment of 1500.00 of invoice c3d4".
    fn wanted(&self) -> String {
        let Asked { invoice_id, amount, payment_id, currency, .. } = &self.asked;
        let amount = currency.as_deref().map_or_else(|| amount.to_string(), |currency| amount.of(currency));
        match payment_id {
            Some(id) => format!("payment {} of {amount} of invoice {}", shown(id), shown(invoice_id)),
            None => format!("a payment of {amount} of invoice {}", shown(invoice_id)),
        }
    }

    fn failed(&self, failure: &Failure) -> Unresolved {
        failed(failure, self.message)
    }

    /// Says of everything but a payment that was found what it means for the event.
    fn unresolved(&self, choice: &Choice<'_>, is_kept: bool) -> Unresolved {
        let wanted = self.wanted();
        match choice {
            // Not asked for: it is what was found.
            Choice::Take(_) => Unresolved::Retry { reason: "the payment is to be looked at again".into(), after: None },
            Choice::Pending(payment) => Unresolved::Wait {
                reason: format!("payment {} of the event is still pending at Finkare", shown(&payment.id)),
                after: growing(self.message.attempt, LONGEST_WAIT),
            },
            Choice::Unknown(payment) => self.early(
                &format!(
                    "payment {} has the status `{}` at Finkare, which is not known to mean that it has arrived",
                    shown(&payment.id),
                    shown(&payment.status)
                ),
                "look at Finkare: it goes on by itself once the payment is `completed`; if it has arrived, book it by \
                 hand and cancel this dispatch",
            ),
            Choice::Lost(payment) => hold(
                format!(
                    "payment {}, which the event announces, is `{}` at Finkare: it is not passed on. Look at Finkare; \
                     if that is right, cancel this dispatch",
                    shown(&payment.id),
                    shown(&payment.status)
                ),
                // The one that is meant may come into sight beside a failed one.
                if is_kept { RECHECK } else { self.recheck() },
            ),
            Choice::Contradicts(what) => hold(
                format!(
                    "Finkare and the event do not agree: {what}. Find out which is right, book the payment by hand, and \
                     cancel this dispatch"
                ),
                RECHECK,
            ),
            Choice::Ambiguous(one, other) => hold(
                format!(
                    "{wanted} may be {} as well as {}, which differ in time, method or currency: it is not guessed. Book \
                     the right one by hand, and cancel this dispatch",
                    described(one),
                    described(other)
                ),
                RECHECK,
            ),
            Choice::Taken(payment) => self.early(
                &format!(
                    "for {wanted} Finkare shows only what other events have announced already (such as payment {})",
                    shown(&payment.id)
                ),
                "either Finkare repeated its delivery, or a payment is not visible: compare, then cancel this dispatch \
                 or retry it",
            ),
            Choice::Nothing if is_kept => hold(
                format!(
                    "the payment that the event was found to announce is gone from Finkare ({wanted}): it is not passed \
                     on. Look at Finkare, and cancel this dispatch if that is right"
                ),
                RECHECK,
            ),
            Choice::Nothing => self.early(
                &format!("Finkare does not show {wanted}"),
                "compare with Finkare: it goes on by itself once the payment is there; if there is none, cancel this \
                 dispatch",
            ),
        }
    }

    /// Waits for what may come by itself as long as the event is young; then a person has to look.
    fn early(&self, what: &str, advice: &str) -> Unresolved {
        early(self.message, self.patience, what, advice)
    }

    /// When to look again at what may be set right at any moment while the event is young.
    fn recheck(&self) -> Duration {
        patience_left(self.message, self.patience).map_or(RECHECK, |left| growing(self.message.attempt, left))
    }
}

/// The payment that an event was given earlier, as it stands now.
fn kept<'a>(assignment: &Assignment, payments: &'a [client::Payment]) -> Choice<'a> {
    let Some(payment) = payments.iter().find(|payment| payment.id == assignment.payment_id) else {
        return Choice::Nothing;
    };
    if payment.invoice_id != assignment.invoice_id || payment.amount_cents != assignment.amount_cents.0 {
        return Choice::Contradicts(format!(
            "payment {} had {} of invoice {} when the event was read, and has {} of invoice {} now",
            shown(&payment.id),
            assignment.amount_cents,
            shown(&assignment.invoice_id),
            Cents(payment.amount_cents),
            shown(&payment.invoice_id)
        ));
    }
    match Standing::of(payment) {
        Standing::Completed => Choice::Take(payment),
        Standing::Pending => Choice::Pending(payment),
        Standing::Unknown => Choice::Unknown(payment),
        Standing::Lost => Choice::Lost(payment),
    }
}

/// An invoice whose number can be used. With `since`, no answer from before that time is good enough.
async fn invoice(
    source: &Source,
    message: &Message,
    id: &str,
    mut since: Option<Instant>,
) -> Result<Invoice, Unresolved> {
    let begun = since.unwrap_or_else(Instant::now);
    loop {
        let seen = match source.invoice(id, message.received_at, since).await {
            Ok(seen) => seen,
            Err(failure) if is_not_found(&failure) => {
                return Err(early(
                    message,
                    source.patience,
                    &format!("Finkare does not show invoice {}", shown(id)),
                    "compare with Finkare: it goes on by itself once the invoice is there; if there is none, cancel this \
                     dispatch",
                ));
            }
            Err(failure) => return Err(failed(&failure, message)),
        };
        let theirs = &seen.value;
        let problem = if theirs.id != id {
            format!("it is shown as invoice {}", shown(&theirs.id))
        } else if !is_plain(&theirs.invoice_number) {
            "its number is none that a bookkeeper could find it by".to_owned()
        } else {
            return Ok(Invoice {
                id: theirs.id.clone(),
                number: theirs.invoice_number.clone(),
                amount_cents: theirs.amount_cents.map(Cents),
                currency: theirs.currency.clone(),
                status: theirs.status.clone(),
            });
        };
        if seen.asked >= begun {
            let what =
                format!("what Finkare shows of invoice {} cannot be used: {problem}. Look at Finkare", shown(id));
            return Err(hold(what, RECHECK));
        }
        since = Some(begun);
    }
}

/// The one currency that all agree on who say any; three letters, made capitals.
fn currency<const N: usize>(said: [(&str, Option<&str>); N]) -> Result<String, String> {
    let mut said = said.into_iter().filter_map(|(who, currency)| Some((who, currency?)));
    let (who, first) = said.next().ok_or("neither Finkare nor the event says in which currency")?;
    if let Some((other, second)) = said.find(|(_, currency)| !currency.eq_ignore_ascii_case(first)) {
        return Err(format!("{who} is in {}, and {other} in {}", shown(first), shown(second)));
    }
    if first.len() != 3 || !first.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(format!("its currency `{}` is not one of three letters", shown(first)));
    }
    Ok(first.to_ascii_uppercase())
}

fn hold(reason: String, recheck_after: Duration) -> Unresolved {
    Unresolved::Hold { reason, recheck_after: Some(recheck_after) }
}

/// How long the event is still young; `None` once it is not.
fn patience_left(message: &Message, patience: Duration) -> Option<Duration> {
    patience.checked_sub(clock::since(message.received_at, clock::now())).filter(|left| !left.is_zero())
}

/// Waits for what may come by itself as long as the event is young; then a person has to look.
fn early(message: &Message, patience: Duration, what: &str, advice: &str) -> Unresolved {
    match patience_left(message, patience) {
        Some(left) => Unresolved::Wait {
            reason: format!("{what}, which may be too early"),
            after: growing(message.attempt, LONGEST_WAIT).min(left.max(SHORTEST_WAIT)),
        },
        None => hold(format!("{what}: {advice}. It is looked at again each hour"), RECHECK),
    }
}

/// Twice as long with each attempt, and up to a tenth more, so that what came together does not come back together.
fn growing(attempt: u32, longest: Duration) -> Duration {
    let wait = FIRST_WAIT.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(longest).max(SHORTEST_WAIT);
    wait.mul_f64(1.0 + 0.1 * rand::random::<f64>())
}

fn is_not_found(failure: &Failure) -> bool {
    matches!(failure, Failure::Api(client::Error::Api { status: 404, .. }))
}

/// What a failed question to Finkare means for the event.
fn failed(failure: &Failure, message: &Message) -> Unresolved {
    let error = match failure {
        Failure::Busy => {
            return Unresolved::Wait {
                reason: "Finkare's API is asked as fast as `api_rate_limit` allows: this event's turn comes later"
                    .into(),
                after: growing(message.attempt, LONGEST_TURN),
            };
        }
        Failure::Api(error) => error,
    };
    let reason = Chain(error).to_string();
    match error {
        client::Error::Unusable { .. } => Unresolved::Hold {
            reason: format!("{reason}. Look at the event, book by hand what it says, and cancel this dispatch"),
            recheck_after: None,
        },
        client::Error::Api { status: 401 | 403, .. } => Unresolved::Stop {
            reason: format!(
                "{reason}. Give endpoint `{}` an `api_key` with the scopes `invoices:read` and `payments:read`, reload, and \
                 resume the sink",
                message.endpoint
            ),
        },
        client::Error::Api { status: 408 | 425 | 429 | 500.., retry_after, .. } => {
            Unresolved::Retry { reason, after: *retry_after }
        }
        client::Error::Api { .. } => hold(
            format!(
                "{reason}. Look whether `api_url` and `api_paths` of endpoint `{}` are right; it is asked again each hour",
                message.endpoint
            ),
            RECHECK,
        ),
        client::Error::Network { .. } | client::Error::Unreadable { .. } => Unresolved::Retry { reason, after: None },
    }
}

fn store(error: &StoreError) -> Unresolved {
    Unresolved::Retry { reason: format!("which payment the event announces: {}", Chain(error)), after: None }
}

/// True of a text that the store, a header and a line of a ledger can hold.
fn is_plain(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}

/// An outside text as a reason repeats it.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}

/// A payment as a person tells it from another.
fn described(payment: &client::Payment) -> String {
    let or_none = |text: Option<&str>| text.map_or_else(|| "not given".to_owned(), shown);
    format!(
        "payment {} (paid at {}, method {}, currency {})",
        shown(&payment.id),
        payment.paid_at.map_or_else(|| "a time not given".to_owned(), |time: Timestamp| time.to_string()),
        or_none(payment.method.as_deref()),
        or_none(payment.currency.as_deref())
    )
}
