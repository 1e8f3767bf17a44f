//! Invoices. What the vendor's page shows is documented; the paths, the checks, and the status `cancelled` are our own
//! choice.

use std::sync::Arc;

use http::{Method, StatusCode, Uri};
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Page, Refusal, query, read, refusal};
use crate::{
    World,
    company::{Debtor, Details},
    deliveries as posting, now,
    settings::InvoiceAmount,
    state::{Invoice, InvoiceId, State},
};

/// The most invoices of one import, as a third party's client says.
const MOST_AT_ONCE: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewInvoice {
    invoice_number: String,
    amount: Option<i64>,
    amount_cents: Option<i64>,
    issue_date: Date,
    due_date: Date,
    debtor: NewDebtor,
}

#[derive(Deserialize)]
struct NewDebtor {
    name: String,
    email: Option<String>,
    phone: Option<String>,
    siret: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Import {
    invoices: Vec<NewInvoice>,
    #[serde(default)]
    auto_start_workflow: bool,
}

#[derive(Deserialize)]
struct Update {
    notes: Option<String>,
    metadata: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Cancel {
    reason: String,
}

impl NewInvoice {
    /// The amount in cents; an error names the field.
    fn check(&self, variant: InvoiceAmount) -> Result<i64, Refusal> {
        let (name, cents) = match variant {
            InvoiceAmount::Amount => ("amount", self.amount),
            InvoiceAmount::AmountCents => ("amountCents", self.amount_cents),
            InvoiceAmount::Either => ("amount", self.amount.or(self.amount_cents)),
            InvoiceAmount::AmountEuros => ("amount", self.amount.and_then(|euros| euros.checked_mul(100))),
        };
        let cents = cents.filter(|cents| *cents > 0);
        let cents = cents.ok_or_else(|| Refusal::invalid(format!("`{name}` must be a positive integer")))?;
        if self.invoice_number.trim().is_empty() {
            return Err(Refusal::invalid("`invoiceNumber` must not be empty"));
        }
        if self.debtor.name.trim().is_empty() {
            return Err(Refusal::invalid("`debtor.name` must not be empty"));
        }
        if self.due_date < self.issue_date {
            return Err(Refusal::invalid("`dueDate` must not be before `issueDate`"));
        }
        Ok(cents)
    }
}

/// Creates one, with its debtor and its event.
fn add(world: &Arc<World>, new: NewInvoice, cents: i64) -> Result<Invoice, Refusal> {
    let invoice = world.create_invoice(Some(new.invoice_number), Some(cents)).map_err(refusal)?;
    let mut state = world.lock();
    let NewDebtor { name, email, phone, siret } = new.debtor;
    let debtor = Debtor { id: state.uuid(), name, email, phone, siret };
    let debtor = state.company.debtor_like(debtor);
    state.company.add_details(Details {
        invoice: invoice.id,
        issue_date: new.issue_date,
        due_date: new.due_date,
        debtor,
        notes: None,
        metadata: None,
    });
    Ok(invoice)
}

pub(super) fn create(world: &Arc<World>, body: &[u8]) -> Result<Answer, Refusal> {
    let new: NewInvoice = read(body)?;
    let cents = new.check(world.lock().variants.invoice_amount)?;
    let invoice = add(world, new, cents)?;
    let data = shown(&world.lock(), &invoice);
    Ok(Answer::Done { status: StatusCode::CREATED, data, message: Some("Invoice created"), pagination: None })
}

/// All of them, or none if one is not valid.
pub(super) fn import(world: &Arc<World>, body: &[u8]) -> Result<Answer, Refusal> {
    let Import { invoices, auto_start_workflow } = read(body)?;
    if invoices.is_empty() || invoices.len() > MOST_AT_ONCE {
        return Err(Refusal::invalid(format!("`invoices` must have 1 to {MOST_AT_ONCE} invoices")));
    }
    let variant = world.lock().variants.invoice_amount;
    let mut checked = Vec::with_capacity(invoices.len());
    for (number, invoice) in invoices.into_iter().enumerate() {
        let of_this = |problem: Refusal| Refusal::invalid(format!("invoice {number}: {}", problem.message));
        let cents = invoice.check(variant).map_err(of_this)?;
        checked.push((invoice, cents));
    }
    let mut imported = 0_u64;
    for (invoice, cents) in checked {
        let invoice = add(world, invoice, cents)?;
        if auto_start_workflow {
            world.lock().company.move_on(invoice.id);
        }
        imported += 1;
    }
    let message = Some("Invoices imported");
    Ok(Answer::Done { status: StatusCode::CREATED, data: json!({"imported": imported}), message, pagination: None })
}

pub(super) fn one(world: &Arc<World>, method: &Method, id: &str, body: &[u8]) -> Result<Answer, Refusal> {
    let id: InvoiceId = id.parse().map_err(|_| Refusal::not_found())?;
    if *method == Method::GET {
        let state = world.lock();
        let invoice = state.invoice(id).ok_or_else(Refusal::not_found)?;
        return Ok(Answer::data(shown(&state, invoice)));
    }
    let update: Update = read(body)?;
    let (data, outgoing) = {
        let mut state = world.lock();
        let invoice = state.invoice(id).cloned().ok_or_else(Refusal::not_found)?;
        if let Some(details) = state.company.details_mut(id) {
            details.notes = update.notes.or_else(|| details.notes.take());
            details.metadata = update.metadata.or_else(|| details.metadata.take());
        }
        // The content of such an event is not documented.
        let outgoing = state.emit("invoice.updated", &json!({"invoiceId": id}), now()).map_err(refusal)?;
        (shown(&state, &invoice), outgoing)
    };
    posting::start(world, outgoing);
    Ok(Answer::data(data))
}

pub(super) fn cancel(world: &Arc<World>, id: &str, body: &[u8]) -> Result<Answer, Refusal> {
    let id: InvoiceId = id.parse().map_err(|_| Refusal::not_found())?;
    world.lock().invoice(id).ok_or_else(Refusal::not_found)?;
    let Cancel { reason } = read(body)?;
    if reason.trim().is_empty() {
        return Err(Refusal::invalid("`reason` must not be empty"));
    }
    world.set_status(id, "cancelled".to_owned()).map_err(refusal)?;
    let state = world.lock();
    let data = state.invoice(id).map_or(Value::Null, |invoice| shown(&state, invoice));
    Ok(Answer::Done { status: StatusCode::OK, data, message: Some("Invoice cancelled"), pagination: None })
}

pub(super) fn list(world: &World, uri: &Uri) -> Result<Answer, Refusal> {
    let query = query(uri)?;
    let page = Page::of(&query)?;
    let status = query.get("status");
    let state = world.lock();
    let found = state.invoices().rev().filter(|invoice| status.is_none_or(|status| *status == invoice.status));
    Ok(page.answer(found.map(|invoice| shown(&state, invoice))))
}

fn shown(state: &State, invoice: &Invoice) -> Value {
    let mut shown = json!({
        "id": invoice.id, "invoiceNumber": invoice.number, "amountCents": invoice.amount_cents, "currency": "EUR",
        "status": invoice.status,
    });
    let Some(details) = state.company.details(invoice.id) else { return shown };
    shown["issueDate"] = json!(details.issue_date);
    shown["dueDate"] = json!(details.due_date);
    if let Some(debtor) = state.company.debtor(details.debtor) {
        shown["debtor"] = super::debtors::shown(debtor);
    }
    if let Some(notes) = &details.notes {
        shown["notes"] = json!(notes);
    }
    if let Some(metadata) = &details.metadata {
        shown["metadata"] = json!(metadata);
    }
    shown
}
