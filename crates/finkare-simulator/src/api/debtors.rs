//! Debtors: documented is that there are a list and the details. A debtor is made with the first invoice that names it.

use http::Uri;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Answer, Page, Refusal, query};
use crate::{World, company::Debtor};

pub(super) fn list(world: &World, uri: &Uri) -> Result<Answer, Refusal> {
    let page = Page::of(&query(uri)?)?;
    let state = world.lock();
    Ok(page.answer(state.company.debtors().rev().map(shown)))
}

pub(super) fn one(world: &World, id: &str) -> Result<Answer, Refusal> {
    let id: Uuid = id.parse().map_err(|_| Refusal::not_found())?;
    world.lock().company.debtor(id).map(|debtor| Answer::data(shown(debtor))).ok_or_else(Refusal::not_found)
}

pub(super) fn shown(debtor: &Debtor) -> Value {
    json!({
        "id": debtor.id, "name": debtor.name, "email": debtor.email, "phone": debtor.phone, "siret": debtor.siret,
    })
}
