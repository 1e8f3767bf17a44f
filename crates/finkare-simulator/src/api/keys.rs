//! API keys: documented is what a key is created with, and that `apiKey` is shown once. A key that was created here works,
//! and a key that was replaced or revoked here no longer does.

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, Refusal, read};
use crate::{
    World,
    company::{ApiKey, MOST_KEYS},
    now,
    state::written,
};

#[derive(Deserialize)]
struct NewKey {
    name: String,
    scopes: Vec<String>,
    tier: Option<String>,
}

pub(super) fn list(world: &World) -> Answer {
    Answer::data(world.lock().company.keys.iter().map(shown).collect())
}

pub(super) fn create(world: &World, body: &[u8]) -> Result<Answer, Refusal> {
    let NewKey { name, scopes, tier } = read(body)?;
    if name.trim().is_empty() || scopes.is_empty() {
        return Err(Refusal::invalid("`name` must not be empty, and `scopes` must name at least one"));
    }
    let mut state = world.lock();
    if state.company.keys.len() >= MOST_KEYS {
        return Err(Refusal::invalid(format!("there are {MOST_KEYS} API keys already: revoke one first")));
    }
    let key = ApiKey { id: state.uuid(), key: state.api_key(), name, scopes, tier, created_at: now() };
    let data = shown_once(&key);
    state.company.keys.push(key);
    let message = Some("API key created. Keep it: it is not shown again.");
    Ok(Answer::Done { status: StatusCode::CREATED, data, message, pagination: None })
}

pub(super) fn rotate(world: &World, id: &str) -> Result<Answer, Refusal> {
    let id: Uuid = id.parse().map_err(|_| Refusal::not_found())?;
    let mut state = world.lock();
    let new = state.api_key();
    let key = state.company.keys.iter_mut().find(|key| key.id == id).ok_or_else(Refusal::not_found)?;
    let old = std::mem::replace(&mut key.key, new);
    let data = shown_once(key);
    state.company.revoke(old);
    Ok(Answer::data(data))
}

pub(super) fn revoke(world: &World, id: &str) -> Result<Answer, Refusal> {
    let id: Uuid = id.parse().map_err(|_| Refusal::not_found())?;
    let mut state = world.lock();
    let at = state.company.keys.iter().position(|key| key.id == id).ok_or_else(Refusal::not_found)?;
    let key = state.company.keys.remove(at);
    state.company.revoke(key.key);
    let message = Some("API key revoked");
    Ok(Answer::Done { status: StatusCode::OK, data: json!({"id": id}), message, pagination: None })
}

fn shown(key: &ApiKey) -> Value {
    json!({
        "id": key.id, "name": key.name, "scopes": key.scopes, "tier": key.tier, "createdAt": written(key.created_at),
    })
}

fn shown_once(key: &ApiKey) -> Value {
    let mut data = shown(key);
    data["apiKey"] = json!(key.key.expose());
    data
}
