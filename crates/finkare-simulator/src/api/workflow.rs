//! The workflow of an invoice: documented are `currentStep` and that it can be triggered; the event of a trigger appears in
//! the vendor's example of a receiver.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use super::{Answer, Refusal, read, refusal};
use crate::{World, deliveries as posting, now, state::InvoiceId};

/// The actions of a third party's client.
const ACTIONS: [&str; 5] = ["start", "pause", "resume", "cancel", "escalate"];

#[derive(Default, Deserialize)]
struct Trigger {
    action: Option<String>,
}

pub(super) fn status(world: &World, id: &str) -> Result<Answer, Refusal> {
    let id: InvoiceId = id.parse().map_err(|_| Refusal::not_found())?;
    let state = world.lock();
    state.invoice(id).ok_or_else(Refusal::not_found)?;
    Ok(Answer::data(json!({"invoiceId": id, "currentStep": state.company.step(id)})))
}

/// Moves the workflow on, unless the action is to hold it or to end it.
pub(super) fn trigger(world: &Arc<World>, id: &str, body: &[u8]) -> Result<Answer, Refusal> {
    let id: InvoiceId = id.parse().map_err(|_| Refusal::not_found())?;
    world.lock().invoice(id).ok_or_else(Refusal::not_found)?;
    let Trigger { action } = if body.trim_ascii().is_empty() { Trigger::default() } else { read(body)? };
    let action = action.unwrap_or_else(|| "start".to_owned());
    if !ACTIONS.contains(&action.as_str()) {
        return Err(Refusal::invalid(format!("`action` must be one of {}", ACTIONS.join(", "))));
    }
    let (step, outgoing) = {
        let mut state = world.lock();
        let moves = !matches!(action.as_str(), "pause" | "cancel");
        let step = if moves { state.company.move_on(id) } else { state.company.step(id) };
        let data = json!({"action": action, "invoiceId": id, "channel": "email"});
        (step, state.emit("workflow.action_triggered", &data, now()).map_err(refusal)?)
    };
    posting::start(world, outgoing);
    Ok(Answer::data(json!({"invoiceId": id, "action": action, "currentStep": step})))
}
