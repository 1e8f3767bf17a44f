//! Bulk operations: replaying a selection of events, retrying and cancelling many dispatches, erasing an invoice.
//!
//! The admin API translates requests into these calls. Each call writes one log line and one audit entry, both with the
//! name of the caller, and answers its result.
//!
//! # To the end
//!
//! An operation runs to its end even if the caller hangs up: it would be hard to find out afterwards which part of it was
//! done. Only one operation runs at a time in a process; a second one is rejected with [`BulkError::Busy`].
//!
//! # In which order
//!
//! Retries go from the oldest dispatch to the newest: as soon as the earlier one of an invoice is pending again, the
//! later one waits for it. Cancelling goes from the newest to the oldest, so that cancelling one dispatch never releases
//! another that is about to be cancelled.
//!
//! # How many
//!
//! One call changes at most [`MOST`] dispatches. It selects all of them before it changes the first one, and changes them
//! in pages, each in one transaction. If the store fails on the way, the earlier pages stay changed, and the audit entry
//! counts them.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::{
    model::{audit::NewAudit, chain::Chain, dispatch::State, id::DispatchId},
    replay::{ReplayError, Replayer, Summary},
    store::{DispatchFilter, Erased, EventFilter, SinkStatus, Store, StoreError},
};

/// The most dispatches that one call changes. Their numbers take 8 MB of memory.
pub const MOST: usize = 1_000_000;

/// Dispatches in one transaction.
const PAGE: usize = 500;

/// Why an operation was not carried out, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum BulkError {
    /// Another operation is running.
    #[error("Another bulk operation is running. Please try again when it has finished.")]
    Busy,
    /// Dispatches in this state cannot be changed in this way.
    #[error("Dispatches that are {state} cannot be {}; these states can: {}.", decision.done(), words(Decision::STATES))]
    WrongState {
        /// The state that was asked for.
        state: State,
        /// What was to be done.
        decision: Decision,
    },
    /// The events could not be replayed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The store failed; what was done before that stays done.
    #[error("the store failed a bulk operation")]
    Store(#[from] StoreError),
    /// The operation has panicked, which is a bug; the log has the details.
    #[error("a bulk operation panicked")]
    Panicked,
}

/// What to do with dispatches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Put them back to `pending`, due at once.
    Retry,
    /// Cancel them.
    Cancel,
}

impl Decision {
    /// The states in which dispatches can be retried and cancelled in bulk.
    const STATES: &'static [State] = &[State::Dead, State::Held, State::Pending];

    /// The states that are selected if none is named. Pending dispatches are retried by the service in any case, so a
    /// retry has to name that state: it skips their waits once a target works again.
    const fn usual_states(self) -> &'static [State] {
        match self {
            Decision::Retry => &[State::Dead, State::Held],
            Decision::Cancel => Self::STATES,
        }
    }

    /// The states of the selected dispatches.
    ///
    /// # Errors
    /// [`BulkError::WrongState`].
    pub fn states(self, asked: Option<State>) -> Result<Vec<State>, BulkError> {
        match asked {
            None => Ok(self.usual_states().to_vec()),
            Some(state) if Self::STATES.contains(&state) => Ok(vec![state]),
            Some(state) => Err(BulkError::WrongState { state, decision: self }),
        }
    }

    /// `retried` or `cancelled`.
    const fn done(self) -> &'static str {
        match self {
            Decision::Retry => "retried",
            Decision::Cancel => "cancelled",
        }
    }

    /// The word for the audit trail.
    const fn action(self) -> &'static str {
        match self {
            Decision::Retry => "dispatches.retried",
            Decision::Cancel => "dispatches.cancelled",
        }
    }
}

fn words(states: &[State]) -> String {
    let words: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    words.join(", ")
}

/// Which dispatches are selected.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only of this sink.
    pub sink: Option<String>,
    /// Only in this state; `None` selects the usual states of the decision.
    pub state: Option<State>,
    /// Only of this invoice.
    pub invoice_id: Option<String>,
    /// Only of events of these endpoints: what exists for the caller.
    pub endpoints: Option<Vec<String>>,
    /// Only of events of this endpoint.
    pub endpoint: Option<String>,
    /// Only with this reason, see [`DispatchFilter::reason`].
    pub reason: Option<String>,
    /// Only created at this time or later.
    pub since: Option<Timestamp>,
    /// Only created before this time.
    pub until: Option<Timestamp>,
    /// How many dispatches of each state a dry run looks at; `None` counts all, however long it takes.
    pub look_at: Option<u32>,
}

impl Selection {
    /// True if it selects by sink and state alone: the store keeps these counts, so a million dispatches are counted without
    /// reading one.
    const fn is_counted(&self) -> bool {
        let Self { sink: _, state: _, invoice_id, endpoints, endpoint, reason, since, until, look_at: _ } = self;
        invoice_id.is_none()
            && endpoints.is_none()
            && endpoint.is_none()
            && reason.is_none()
            && since.is_none()
            && until.is_none()
    }
}

/// The result of an operation on dispatches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// How many dispatches were changed, or would be.
    pub count: u64,
    /// True if there are more than [`MOST`], and the call has to be repeated; or if a dry run has not looked at all.
    pub more: bool,
}

/// Carries out bulk operations, one at a time.
#[derive(Debug)]
pub struct Bulk {
    store: Arc<dyn Store>,
    replayer: Arc<Replayer>,
    /// Held by the running operation.
    turn: Arc<Mutex<()>>,
}

impl Bulk {
    /// Operations on this store; `replayer` knows the routes of one configuration.
    pub fn new(store: Arc<dyn Store>, replayer: Arc<Replayer>) -> Self {
        Self { store, replayer, turn: Arc::default() }
    }

    /// Retries or cancels the selected dispatches. With `dry_run` it only counts them.
    ///
    /// `by` names the caller. Dropping the future does not stop the operation.
    ///
    /// # Errors
    /// [`BulkError::WrongState`], [`BulkError::Busy`]: nothing was changed. After [`BulkError::Store`] a part may have
    /// been; the log and the audit trail say how many.
    pub async fn decide(
        &self,
        decision: Decision,
        selection: Selection,
        dry_run: bool,
        by: Arc<str>,
    ) -> Result<Decided, BulkError> {
        let states = decision.states(selection.state)?;
        let store = self.store.clone();
        if dry_run && selection.is_counted() {
            return Ok(counted(&*store, &selection, &states).await?);
        }
        if dry_run && selection.look_at.is_some() {
            return Ok(glanced(&*store, &selection, &states).await?);
        }
        self.in_turn(async move {
            let (ids, more) = find(&*store, &selection, &states).await?;
            if dry_run {
                return Ok(Decided { count: ids.len() as u64, more });
            }
            let (count, outcome) = carry_out(&*store, &ids, decision).await;
            let state = selection.state.map(State::as_str);
            tracing::info!(
                dispatches = count, sink.name = selection.sink, state, by = %by,
                "dispatches were {}", decision.done()
            );
            let sink = selection.sink.as_ref();
            let subject = sink.map_or_else(|| "dispatches".to_owned(), |sink| format!("sink/{sink}"));
            let entry = NewAudit::new(&by, decision.action(), subject)
                .with("state", state)
                .with("invoice_id", selection.invoice_id)
                .with("endpoint", selection.endpoint)
                .with("reason", selection.reason)
                .with("dispatches", count);
            write_down(&*store, entry).await;
            outcome.map(|()| Decided { count, more }).map_err(BulkError::Store)
        })
        .await
    }

    /// Replays the selected events, see [`Replayer::many`]. With `dry_run` it only counts what it would write.
    ///
    /// `told` is the selection as the caller wrote it, for the audit trail; `by` names the caller. Dropping the future
    /// does not stop the replay.
    ///
    /// # Errors
    /// [`BulkError::Replay`], [`BulkError::Busy`].
    pub async fn replay(
        &self,
        filter: EventFilter,
        sinks: Option<Vec<String>>,
        dry_run: bool,
        told: Value,
        by: Arc<str>,
    ) -> Result<Summary, BulkError> {
        if dry_run && filter.look_at.is_some() {
            return Ok(self.replayer.glance(&filter, sinks.as_deref()).await?);
        }
        let (store, replayer) = (self.store.clone(), self.replayer.clone());
        self.in_turn(async move {
            let summary = replayer.many(&filter, sinks.as_deref(), dry_run).await?;
            if !dry_run {
                let Summary { events, dispatches, skipped, .. } = summary;
                tracing::info!(events, dispatches, skipped, by = %by, "events were replayed");
                let entry = NewAudit::new(&by, "events.replayed", "events")
                    .with("selection", told)
                    .with("events", events)
                    .with("dispatches", dispatches)
                    .with("skipped", skipped);
                write_down(&*store, entry).await;
            }
            Ok(summary)
        })
        .await
    }

    /// Permanently removes the payloads of an invoice and cancels its unfinished dispatches. [`Erased::is_nothing`] says
    /// that nothing of this invoice is stored.
    ///
    /// `by` names the caller. Dropping the future does not stop the erasure.
    ///
    /// # Errors
    /// [`BulkError::Store`], [`BulkError::Busy`]: nothing was removed.
    pub async fn erase(&self, invoice_id: String, by: Arc<str>) -> Result<Erased, BulkError> {
        let store = self.store.clone();
        self.in_turn(async move {
            let audit = NewAudit::new(&by, "invoice.erased", format!("invoice/{invoice_id}"));
            let erased = store.erase_invoice(&invoice_id, audit).await?;
            if !erased.is_nothing() {
                let Erased { events, payloads, cancelled, names } = erased;
                tracing::info!(events, payloads, cancelled, names, by = %by, "an invoice was erased");
            }
            Ok(erased)
        })
        .await
    }

    /// Runs an operation to its end, even if the caller is dropped; one at a time.
    async fn in_turn<T: Send + 'static>(
        &self,
        decision: impl Future<Output = Result<T, BulkError>> + Send + 'static,
    ) -> Result<T, BulkError> {
        let turn = self.turn.clone().try_lock_owned().map_err(|_| BulkError::Busy)?;
        let task = tokio::spawn(async move {
            let _turn = turn;
            decision.await
        });
        task.await.map_err(|_| BulkError::Panicked)?
    }
}

/// Writes an entry about something that has been done into the audit trail. If the store fails, the entry goes to the log
/// and the caller gets no error, since it must not repeat what was done.
pub(crate) async fn write_down(store: &dyn Store, entry: NewAudit) {
    let (actor, action, subject) = (entry.actor.clone(), entry.action, entry.subject.clone());
    if let Err(error) = store.audit(entry).await {
        tracing::error!(
            actor, action, subject, error = %Chain(&error),
            "an action was carried out but could not be written into the audit trail"
        );
    }
}

/// How many dispatches would be changed, by the counts that the store keeps.
async fn counted(store: &dyn Store, selection: &Selection, states: &[State]) -> Result<Decided, StoreError> {
    let sinks = store.sink_statuses().await?;
    let of_state = |sink: &SinkStatus, state: State| match state {
        State::Pending => sink.pending,
        State::Held => sink.held,
        State::Dead => sink.dead,
        State::Leased | State::Delivered | State::Cancelled => 0,
    };
    let selected = sinks.iter().filter(|sink| selection.sink.as_ref().is_none_or(|name| *name == sink.name));
    let all: u64 = selected.map(|sink| states.iter().map(|state| of_state(sink, *state)).sum::<u64>()).sum();
    let most = MOST as u64;
    Ok(Decided { count: all.min(most), more: all > most })
}

/// How many dispatches would be changed, among those that the selection looks at.
async fn glanced(store: &dyn Store, selection: &Selection, states: &[State]) -> Result<Decided, StoreError> {
    let mut decided = Decided { count: 0, more: false };
    for state in states {
        let (count, are_all) = store.count_dispatches(&filter(selection, *state)).await?;
        decided.count += count;
        decided.more |= !are_all;
    }
    Ok(decided)
}

fn filter(selection: &Selection, state: State) -> DispatchFilter {
    DispatchFilter {
        state: Some(state),
        sink: selection.sink.clone(),
        invoice_id: selection.invoice_id.clone(),
        endpoints: selection.endpoints.clone(),
        endpoint: selection.endpoint.clone(),
        reason: selection.reason.clone(),
        since: selection.since,
        until: selection.until,
        look_at: selection.look_at,
        ..DispatchFilter::default()
    }
}

/// The numbers of the selected dispatches, oldest first, and whether there are more. Each state is read once: what
/// workers add meanwhile is not part of the selection.
async fn find(
    store: &dyn Store,
    selection: &Selection,
    states: &[State],
) -> Result<(Vec<DispatchId>, bool), StoreError> {
    let mut ids: Vec<DispatchId> = Vec::new();
    for state in states {
        let left = MOST.saturating_sub(ids.len()).saturating_add(1);
        ids.extend(store.dispatch_ids(&filter(selection, *state), u32::try_from(left).unwrap_or(u32::MAX)).await?);
    }
    let more = ids.len() > MOST;
    ids.truncate(MOST);
    ids.sort_unstable();
    Ok((ids, more))
}

/// Changes the dispatches page by page, in the order that the module describes. Answers how many were changed, also if
/// the store failed after some of them.
async fn carry_out(store: &dyn Store, ids: &[DispatchId], decision: Decision) -> (u64, Result<(), StoreError>) {
    let mut done = 0;
    for page in in_pages(ids, decision) {
        let changed = match decision {
            Decision::Retry => store.retry_dispatches(page).await,
            Decision::Cancel => store.cancel_dispatches(page).await,
        };
        match changed {
            Ok(changed) => done += changed,
            Err(error) => return (done, Err(error)),
        }
    }
    (done, Ok(()))
}

/// The pages of these dispatches, which are sorted oldest first, in the order in which they are changed.
fn in_pages(ids: &[DispatchId], decision: Decision) -> Vec<&[DispatchId]> {
    let mut pages: Vec<_> = ids.chunks(PAGE).collect();
    if decision == Decision::Cancel {
        pages.reverse();
    }
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_begin_with_the_oldest_and_cancelling_with_the_newest() {
        let ids: Vec<DispatchId> = (0..1001).map(DispatchId).collect();
        let ends = |decision| -> Vec<(i64, i64)> {
            let pages = in_pages(&ids, decision);
            pages.iter().map(|page| (page[0].0, page[page.len() - 1].0)).collect()
        };
        assert_eq!(ends(Decision::Retry), [(0, 499), (500, 999), (1000, 1000)]);
        assert_eq!(ends(Decision::Cancel), [(1000, 1000), (500, 999), (0, 499)]);
    }
}
