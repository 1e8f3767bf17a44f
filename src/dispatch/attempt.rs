//! One attempt: delivers within a time limit and decides what comes next.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::Instant;

use super::Feeding;
use crate::{
    handover::Queued,
    model::{
        clock,
        dispatch::{FinishedAttempt, LeasedDispatch, Outcome, after_attempt},
        id::SinkName,
        trace::TraceId,
    },
    sinks::{Message, Sink},
    telemetry::traces::{self, Attempt},
};

/// Tries a dispatch once.
///
/// Never fails: a time-out and a panic in the sink's code are outcomes as well. Dropping the future drops the attempt; the
/// lease must then be returned.
pub async fn run(sink: &Arc<dyn Sink>, feeding: &Feeding, queued: &Queued) -> FinishedAttempt {
    let (dispatch, name, timeout) = (&queued.dispatch, &feeding.name, feeding.timeout);
    let traced = traces::current().map(|traces| (traces, traces.attempt_begins(dispatch.event_id)));
    let message = Message { trace: traced.map(|(_, context)| context), ..Message::from(dispatch) };
    let started_at = clock::now();
    let begun = Instant::now();
    let delivering = AssertUnwindSafe(sink.deliver(&message)).catch_unwind();
    let outcome = match tokio::time::timeout(timeout, delivering).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_panic)) => Outcome::Retry {
            reason: "this sink's code panicked; the service's log has the details".into(),
            after: None,
        },
        Err(_) => Outcome::Retry { reason: format!("no answer within {timeout:?}"), after: None },
    };
    let duration = begun.elapsed();
    let attempt = dispatch.attempts + 1;
    let age = dispatch.age + queued.at.elapsed();
    let next = after_attempt(&outcome, attempt, age, &feeding.retry, rand::random());
    log(name, dispatch, attempt, duration, &outcome, &next);
    if let Some((traces, context)) = traced {
        traces.attempt(&Attempt {
            context,
            event: dispatch.event_id,
            sink: name.as_str(),
            kind: feeding.kind,
            dispatch: dispatch.id.0,
            number: attempt,
            trigger: dispatch.trigger.as_str(),
            outcome: outcome.as_str(),
            is_delivered: matches!(outcome, Outcome::Delivered | Outcome::Partly { .. }),
            started_at,
            duration,
        });
    }
    FinishedAttempt { id: dispatch.id, token: dispatch.token, sink: name.clone(), started_at, duration, outcome, next }
}

/// Writes one log line for each attempt: successes at `debug`, retries at `warn`, and what needs a person at `error`.
fn log(
    name: &SinkName,
    dispatch: &LeasedDispatch,
    attempt: u32,
    duration: Duration,
    outcome: &Outcome,
    next: &crate::model::dispatch::Next,
) {
    use crate::model::dispatch::Next;
    let trace = traces::current().map(|_| tracing::field::display(TraceId::from(dispatch.event_id)));
    macro_rules! line {
        ($level:ident, $message:literal $(, $field:ident = $value:expr)*) => {
            tracing::$level!(
                sink.name = %name, dispatch.id = %dispatch.id, event.id = %dispatch.event_id,
                attempt.number = attempt, duration_ms = clock::fractional_millis(duration),
                outcome = outcome.as_str(), trace.id = trace, $($field = $value,)* $message
            )
        };
    }
    let reason = outcome.reason().unwrap_or_default();
    match next {
        Next::Delivered if outcome.reason().is_some() => {
            line!(warn, "delivered, but not to every recipient", reason = reason);
        }
        Next::Delivered => line!(debug, "delivered"),
        Next::Pending { .. } if matches!(outcome, Outcome::Stop { .. }) => {
            line!(error, "the sink is paused until a person resumes it: its events wait", reason = reason);
        }
        Next::Pending { after } if matches!(outcome, Outcome::Wait { .. }) => {
            line!(info, "too early: will be retried", reason = reason, retry_in_ms = clock::millis(*after));
        }
        Next::Pending { after } => {
            line!(warn, "not delivered: will be retried", reason = reason, retry_in_ms = clock::millis(*after));
        }
        Next::Held { .. } => line!(error, "held: a person has to look at it", reason = reason),
        Next::Dead => line!(error, "given up: a person has to look at it", reason = reason),
    }
}
