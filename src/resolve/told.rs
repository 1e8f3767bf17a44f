//! Stores what is known about an event's payment as soon as it is known, so that people find pending and held events by the
//! invoice's number, the debtor, the amount or the payment, and the month's statement has it without asking again. It decides nothing, and its failures affect nothing else.

use std::sync::PoisonError;

use super::{Case, Resolver, is_plain};
use crate::{
    model::{
        booking::{Announced, Payment},
        chain::Chain,
    },
    sinks::{invoicing::Unresolved, wording::format::bounded},
    store::StoreError,
};

/// The longest stored name, in characters.
const LONGEST_NAME: usize = 200;

impl Resolver {
    /// Stores what a case has found out.
    pub(super) async fn tell(&self, case: &Case<'_>, result: &Result<Payment, Unresolved>) {
        if let Err(error) = self.write_down(case, result).await {
            tracing::debug!(
                event.id = %case.message.event_id, error = %Chain(&error),
                "what is known about an event's payment could not be stored for searches"
            );
        }
    }

    async fn write_down(&self, case: &Case<'_>, result: &Result<Payment, Unresolved>) -> Result<(), StoreError> {
        let before = self.store.announced(&[case.message.event_id]).await?.pop();
        let known = before.clone().unwrap_or_else(|| Announced {
            event_id: case.message.event_id,
            invoice_id: case.asked.invoice_id.clone(),
            amount_cents: case.asked.amount,
            currency: None,
            payment_id: None,
            invoice_number: None,
            debtor: None,
            method: None,
            paid_at: None,
        });
        let mut now = known.clone();
        now.currency = case.asked.currency.clone().or(now.currency);
        now.payment_id = case.asked.payment_id.clone().or(now.payment_id);
        now.method = case.asked.method.clone().or(now.method);
        now.paid_at = case.asked.paid_at.or(now.paid_at);
        if let Ok(payment) = result {
            now.currency = Some(payment.currency.clone());
            now.payment_id = Some(payment.id.clone());
            now.invoice_number = Some(payment.invoice.number.clone());
            now.debtor = payment.invoice.debtor.as_deref().and_then(name).or(now.debtor);
            now.method = payment.method.as_deref().filter(|word| is_plain(word)).map(Into::into).or(now.method);
            now.paid_at = Some(payment.paid_at);
        } else {
            let looked = case.looked.lock().unwrap_or_else(PoisonError::into_inner).clone();
            now.payment_id = looked.payment.filter(|id| is_plain(id)).or(now.payment_id);
            // If Finkare does not answer, no further call is made.
            if looked.is_over && now.invoice_number.is_none() {
                let invoice = self.shown(case).await;
                now.debtor = invoice.as_ref().and_then(|(_, debtor)| debtor.clone()).or(now.debtor);
                now.invoice_number = invoice.map(|(number, _)| number);
            }
        }
        if before.as_ref() == Some(&now) { Ok(()) } else { self.store.note_announced(&now).await }
    }

    /// The invoice's number, and the debtor's name where it is known, if Finkare shows the invoice.
    async fn shown(&self, case: &Case<'_>) -> Option<(String, Option<String>)> {
        let source = self.sources.get(&case.message.endpoint)?.as_ref()?;
        let seen = source.invoice(&case.asked.invoice_id, case.message.received_at, None).await.ok()?;
        let number = &seen.value.invoice_number;
        let is_usable = seen.value.id == case.asked.invoice_id && is_plain(number);
        is_usable.then(|| (number.clone(), seen.value.debtor_name().and_then(name)))
    }
}

/// A debtor's name on one line, as it is stored.
fn name(debtor: &str) -> Option<String> {
    Some(bounded(debtor, LONGEST_NAME)).filter(|name| !name.is_empty())
}
