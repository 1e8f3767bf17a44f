//! Finds the payment that an event announces, and its invoice: looked up at Finkare, decided once, and stored.
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
//! The body names an invoice and an amount, rarely a payment. The payments of the invoice are therefore read from Finkare.
//! The event gets the payment that has this amount, belongs to no other event, and is nearest to the event in time, within
//! the endpoint's window. If that payment is not completed, no other one is taken instead (`choice`). A payment that is
//! nearer to another event without a payment belongs to that event (`rivals`). If two events want the same payment, the
//! store decides. An event keeps its payment, for every sink and every replay.
//!
//! If no payment is decided, the reason is given ([`Unresolved`]): *wait* for something that will happen without a person (a
//! pending payment, a payment that is not visible yet), *hold* for a person, *retry* while Finkare or the store fails,
//! *stop* if Finkare rejects the key. The answer is never that there is nothing to do: a lost payment is as bad as one that
//! is booked twice.
//!
//! - `asked`: reads the body.
//! - `case`: an event, and the reasons in words if no payment is decided.
//! - `choice`: chooses the payment; pure.
//! - `matching`: the events of an invoice all at once, for a reconciliation.
//! - `rivals`: the other events of the invoice.
//! - `told`: stores what is known, so that people can search for it even while nothing is decided.
//! - `source`: Finkare's answers, cached for a while and shared.
//!
//! Sources: <https://docs.finkare.io/api-reference/payments>, <https://docs.finkare.io/guides/webhook-setup>,
//! <https://docs.finkare.io/guides/sdk-typescript>. Neither says whether a payment is visible and completed when its
//! event arrives.

mod asked;
mod case;
mod choice;
pub mod matching;
mod rivals;
mod source;
#[cfg(test)]
mod tests;
mod told;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use finkare::Client;

use self::{
    asked::Asked,
    case::{Case, early, growing},
    choice::{Choice, Field, Standing},
    rivals::{Rivals, too_fresh},
    source::{Failure, Source},
};
use crate::{
    model::{
        booking::{Assignment, Invoice, Payment},
        chain::Chain,
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

/// The default of how long after its event a payment may become visible; Finkare does not document it.
pub const DEFAULT_PATIENCE: Duration = Duration::from_mins(15);

/// The default of how many days a payment may be dated from its event. Instalments are weeks apart, and the meaning of
/// `timestamp` is not documented.
pub const DEFAULT_WINDOW_DAYS: u64 = 7;

/// The longest wait for the relay's own rate limit.
const LONGEST_TURN: Duration = Duration::from_mins(5);
/// How often a held event is checked again.
const RECHECK: Duration = Duration::from_hours(1);
/// How many times an event may lose its chosen payment to another event within one attempt.
const ROUNDS: usize = 8;
/// How many characters of a foreign text a reason repeats.
const SHOWN: usize = 64;

/// How one endpoint's payments are found.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its name.
    pub name: EndpointName,
    /// The client for Finkare's API, which the endpoint's link uses as well, so that both share one rate limit. `None`
    /// without an API key.
    pub client: Option<Arc<Client>>,
    /// The client's rate limit: the number of calls and the period.
    pub rate: (NonZeroU32, Duration),
    /// How long after its event a payment may become visible before a person has to look.
    pub patience: Duration,
    /// How far a payment may be dated from its event. A payment further away is not the event's, unless the event names it.
    pub window: Duration,
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
    /// A resolver that stores its decisions.
    pub fn new(store: Arc<dyn LedgerStore>, endpoints: &[Endpoint]) -> Self {
        let source = |endpoint: &Endpoint| {
            let source = endpoint.client.clone().map(|client| Source::new(client, endpoint));
            (endpoint.name.as_str().to_owned(), source)
        };
        Self { store, sources: endpoints.iter().map(source).collect(), decides: true }
    }

    /// A resolver that answers like one from [`Resolver::new`] but stores nothing: a payment that it answers for an
    /// undecided event may belong to another event a moment later.
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

    /// Tries until no other event takes the chosen payment first.
    async fn rounds(&self, case: &Case<'_>, source: &Source) -> Result<Payment, Unresolved> {
        let mut lost = HashSet::new();
        for _ in 0..ROUNDS {
            if let Some(payment) = self.round(case, source, &mut lost).await? {
                return Ok(payment);
            }
        }
        let reason = "other events took every payment that fits first".to_owned();
        Err(Unresolved::Retry { reason, after: None })
    }

    /// One try; `None` if another event has taken the chosen payment first, which is then in `lost`.
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
            // The missing details may have been added since the cached answers.
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
            Assigned::Late => {
                tracing::info!(
                    event.id = %case.message.event_id,
                    endpoint.name = case.message.endpoint,
                    payment.id = payment.id,
                    "the event announces a payment whose event a reconciliation has made before"
                );
                Ok(Some(payment))
            }
            // It is checked like any payment that an event already has.
            Assigned::Another(_) => Ok(None),
            Assigned::Taken => {
                lost.insert(payment.id);
                Ok(None)
            }
        }
    }

    /// The payment as Finkare shows it. A cached answer is good enough to find it, but not to conclude that it does not
    /// exist. With `since`, answers from before that time are not used.
    async fn find(
        &self,
        case: &Case<'_>,
        source: &Source,
        assignment: Option<&Assignment>,
        lost: &HashSet<String>,
        mut since: Option<Instant>,
    ) -> Result<finkare::Payment, Unresolved> {
        let begun = since.unwrap_or_else(Instant::now);
        loop {
            let seen = match source.payments(&case.asked.invoice_id, since).await {
                Ok(seen) => Some(seen),
                Err(failure) if is_not_found(&failure) => None,
                Err(failure) => return Err(case.failed(&failure)),
            };
            let none = finkare::PaymentsOfInvoice::default();
            let found = seen.as_ref().map_or(&none, |seen| &seen.value);
            let choice = if let Some(assignment) = assignment {
                kept(assignment, &found.payments)
            } else {
                let rivals = Rivals::read(&*self.store, case).await.map_err(|error| store(&error))?;
                let mut taken = self.taken(case).await?;
                taken.extend(lost.iter().cloned());
                taken.extend(rivals.named());
                let field = Field {
                    payments: &found.payments,
                    unreadable: &found.unreadable,
                    taken: &taken,
                    window: source.window,
                };
                let choice = rivals.choose(case, field, source.patience);
                if let Choice::Take(payment) = choice
                    && let Some(wait) = too_fresh(case, payment, source.patience)
                {
                    return Err(wait);
                }
                choice
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

    /// The invoice's payments that belong to other events.
    async fn taken(&self, case: &Case<'_>) -> Result<HashSet<String>, Unresolved> {
        let taken = self.store.taken(&case.message.endpoint, &case.asked.invoice_id, case.message.event_id).await;
        taken.map_err(|error| store(&error))
    }

    /// The payment with everything that a bookkeeper needs.
    async fn complete(
        &self,
        case: &Case<'_>,
        source: &Source,
        theirs: &finkare::Payment,
        since: Option<Instant>,
    ) -> Result<Payment, Unresolved> {
        let Case { message, asked, .. } = case;
        let invoice = invoice(source, message, &asked.invoice_id, since).await?;
        let incomplete = |what: String| {
            hold(
                format!(
                    "payment {} cannot be passed on: {what}. The relay checks it again every hour",
                    shown(&theirs.id)
                ),
                RECHECK,
            )
        };
        if !is_plain(&theirs.id) {
            return Err(incomplete("its id at Finkare cannot be stored".to_owned()));
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
            id: theirs.id.to_string(),
            endpoint: message.endpoint.clone(),
            invoice,
            amount_cents: Cents(theirs.amount_cents),
            currency,
            method: theirs.method.clone().map(String::from).or_else(|| asked.method.clone()),
            paid_at,
        })
    }
}

#[async_trait]
impl Resolve for Resolver {
    async fn payment(&self, message: &Message) -> Result<Payment, Unresolved> {
        let result = self.payment_of(message).await;
        #[cfg(test)]
        known_in_french(&result);
        result
    }

    async fn invoice(&self, message: &Message) -> Result<Invoice, Unresolved> {
        let result = self.invoice_of(message).await;
        #[cfg(test)]
        known_in_french(&result);
        result
    }
}

impl Resolver {
    async fn payment_of(&self, message: &Message) -> Result<Payment, Unresolved> {
        if message.event_type != PAYMENT_RECEIVED {
            let what = format!("an event of type `{}` announces no payment: cancel this dispatch", message.event_type);
            return Err(Unresolved::Hold { reason: what, recheck_after: None });
        }
        let asked = Asked::read(&message.payload).map_err(|what| Unresolved::Hold {
            reason: format!(
                "the relay cannot read which payment the event announces: {what}. Look at the event, book the payment \
                 by hand, and cancel this dispatch"
            ),
            recheck_after: None,
        })?;
        let case = Case::new(message, asked, self.sources.get(&message.endpoint).and_then(Option::as_ref));
        let result = match self.source(&message.endpoint) {
            Ok(source) => self.rounds(&case, source).await,
            Err(unresolved) => Err(unresolved),
        };
        if self.decides {
            self.tell(&case, &result).await;
        }
        result
    }

    async fn invoice_of(&self, message: &Message) -> Result<Invoice, Unresolved> {
        let Some(id) = &message.invoice_id else {
            let reason = "the event names no invoice (`data.invoiceId`): cancel this dispatch".to_owned();
            return Err(Unresolved::Hold { reason, recheck_after: None });
        };
        invoice(self.source(&message.endpoint)?, message, id, None).await
    }
}

/// Every reason that a test makes has its French.
#[cfg(test)]
fn known_in_french<T>(result: &Result<T, Unresolved>) {
    if let Err(unresolved) = result {
        crate::french::expect(unresolved.reason());
    }
}

/// The payment that an event has already, in its current state.
fn kept<'a>(assignment: &Assignment, payments: &'a [finkare::Payment]) -> Choice<'a> {
    let Some(payment) = payments.iter().find(|payment| payment.id == assignment.payment_id) else {
        return Choice::Nothing;
    };
    if payment.invoice_id != assignment.invoice_id || payment.amount_cents != assignment.amount_cents.0 {
        return Choice::Contradicts(format!(
            "payment {} was {} of invoice {} when the event was read, and is now {} of invoice {}",
            shown(&payment.id),
            assignment.amount_cents,
            shown(&assignment.invoice_id),
            Cents(payment.amount_cents),
            shown(&payment.invoice_id)
        ));
    }
    match Standing::of(payment) {
        Standing::Completed => Choice::Take(payment),
        Standing::Pending => Choice::Pending { payment, other: None },
        Standing::Unknown => Choice::Unknown { payment, other: None },
        Standing::Lost => Choice::Lost { payment, other: None },
    }
}

/// An invoice with a usable number. With `since`, answers from before that time are not used.
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
                    "compare with Finkare: the dispatch continues by itself once the invoice is visible; if there is \
                     no such invoice, cancel this dispatch",
                ));
            }
            Err(failure) => return Err(failed(&failure, message)),
        };
        let theirs = &seen.value;
        let problem = if theirs.id != id {
            format!("it is about invoice {}", shown(&theirs.id))
        } else if !is_plain(&theirs.invoice_number) {
            "its number cannot be used to find it in the books".to_owned()
        } else {
            return Ok(Invoice {
                id: theirs.id.to_string(),
                number: theirs.invoice_number.clone(),
                amount_cents: theirs.amount_cents.map(Cents),
                currency: theirs.currency.clone(),
                status: theirs.status.clone().map(String::from),
                debtor: theirs.debtor_name().map(str::to_owned),
            });
        };
        if seen.asked >= begun {
            let what = format!(
                "Finkare's answer about invoice {} cannot be used: {problem}. Check the invoice at Finkare",
                shown(id)
            );
            return Err(hold(what, RECHECK));
        }
        since = Some(begun);
    }
}

/// The currency on which all sources agree that name one, in three capital letters.
fn currency<const N: usize>(said: [(&str, Option<&str>); N]) -> Result<String, String> {
    let mut said = said.into_iter().filter_map(|(who, currency)| Some((who, currency?)));
    let (who, first) = said.next().ok_or("neither Finkare nor the event gives a currency")?;
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

fn is_not_found(failure: &Failure) -> bool {
    matches!(failure, Failure::Api(finkare::Error::Api { status: 404, .. }))
}

/// What a failed call to Finkare means for the event.
fn failed(failure: &Failure, message: &Message) -> Unresolved {
    let error = match failure {
        Failure::Busy => {
            return Unresolved::Wait {
                reason: "calls to Finkare's API have reached `api_rate_limit`: this event waits for its turn".into(),
                after: growing(message.attempt, LONGEST_TURN),
            };
        }
        Failure::Api(error) => error,
    };
    let reason = Chain(error).to_string();
    match error {
        finkare::Error::Unusable { .. } => Unresolved::Hold {
            reason: format!("{reason}. Look at the event, book its payment by hand, and cancel this dispatch"),
            recheck_after: None,
        },
        finkare::Error::Api { status: 401 | 403, .. } => Unresolved::Stop {
            reason: format!(
                "{reason}. Give endpoint `{}` an `api_key` with the scopes `invoices:read` and `payments:read`, reload, and \
                 resume the sink",
                message.endpoint
            ),
        },
        finkare::Error::Api { status: 408 | 425 | 429 | 500.., retry_after, .. } => {
            Unresolved::Retry { reason, after: *retry_after }
        }
        finkare::Error::Api { .. } => hold(
            format!(
                "{reason}. Check `api_url` and `api_paths` of endpoint `{}`; the relay asks again every hour",
                message.endpoint
            ),
            RECHECK,
        ),
        finkare::Error::Network { .. } | finkare::Error::Unreadable { .. } => Unresolved::Retry { reason, after: None },
    }
}

fn store(error: &StoreError) -> Unresolved {
    Unresolved::Retry {
        reason: format!("could not find out which payment the event announces: {}", Chain(error)),
        after: None,
    }
}

/// True if the store, a header and a ledger row can hold the text.
fn is_plain(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= MAX_TEXT && !text.chars().any(char::is_control)
}

/// A foreign text in the form that a reason repeats.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(SHOWN).collect()
}
