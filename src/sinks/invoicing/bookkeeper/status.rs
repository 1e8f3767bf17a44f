//! Acts on Finkare's report that an invoice has reached a status.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::{
    super::{
        api::Trouble,
        books::{Books, StatusChange, StatusPlan},
    },
    Bookkeeper, Ends, hold,
};
use crate::{model::dispatch::Outcome, sinks::Message};

/// What a change of status leads to.
pub(super) enum StatusStep {
    /// Nothing has to be done. Says why.
    Nothing(String),
    /// The books' plan for it.
    Plan(StatusPlan),
}

impl<B: Books> Bookkeeper<B> {
    /// What a change of status leads to. Only reads.
    pub(super) async fn plan(&self, message: &Message) -> Result<StatusStep, Ends> {
        let body: Value = serde_json::from_slice(&message.payload)
            .map_err(|_| Ends(hold("the event is not JSON: look at it, and cancel this dispatch")))?;
        let text = |name: &str| body.pointer(name).and_then(Value::as_str);
        let Some(to) = text("/data/newStatus").map(str::trim).filter(|to| !to.is_empty()) else {
            return Err(Ends(hold(
                "the event has no `data.newStatus` that is a text: look at it, and cancel this dispatch",
            )));
        };
        let Some(action) = self.options.status_map.get(to).filter(|action| *action != "nothing") else {
            return Ok(StatusStep::Nothing(format!(
                "nothing is done in {} for the status `{to}` (`status_map`)",
                self.system()
            )));
        };
        let invoice = self.resolver.invoice(message).await.map_err(|unresolved| Ends(unresolved.into()))?;
        let number = self.options.number.of(&invoice).map_err(|problem| Ends(hold(problem)))?;
        let told_at = text("/timestamp").and_then(|time| time.parse().ok()).unwrap_or(message.received_at);
        let change = StatusChange {
            invoice: &invoice,
            number: &number,
            from: text("/data/previousStatus"),
            to,
            action,
            date: told_at.to_zoned(self.options.timezone.clone()).date(),
        };
        Ok(StatusStep::Plan(self.books.status(&change).await?))
    }

    /// Makes the change of status in the books, or says why it is not made.
    pub(super) async fn status(&self, message: &Message, not_after: Instant) -> Result<Outcome, Ends> {
        let plan = match self.plan(message).await? {
            StatusStep::Nothing(why) => StatusPlan::Done { why },
            StatusStep::Plan(plan) => plan,
        };
        match plan {
            StatusPlan::Done { why } => {
                tracing::info!(
                    sink.name = %self.sink, event.id = %message.event_id, reason = why,
                    "a change of status requires no action"
                );
                Ok(Outcome::Delivered)
            }
            StatusPlan::Write(request) => {
                // Safe to repeat: the plan checks first whether the change was made.
                let Err(trouble) = self.books.api().send(&request, Some(not_after)).await else {
                    return Ok(Outcome::Delivered);
                };
                let Trouble::Doubtful { reason, concerns_all } = trouble else { return Err(trouble.into()) };
                if matches!(self.plan(message).await?, StatusStep::Plan(StatusPlan::Done { .. })) {
                    return Ok(Outcome::Delivered);
                }
                let reason = format!("{reason}. The change is not there: look at the invoice in {}", self.system());
                Ok(if concerns_all {
                    Outcome::Stop { reason: format!("{reason}, and resume the sink (`sinks resume`)") }
                } else {
                    hold(format!("{reason}; then retry this dispatch or cancel it"))
                })
            }
            StatusPlan::Absent { instruction } => Ok(self.absent(message, &instruction)),
            StatusPlan::Hold { instruction, recheck } => Ok(Outcome::Hold {
                reason: instruction,
                recheck_after: recheck.then_some(Duration::from_secs(self.options.recheck_secs)),
            }),
        }
    }
}
