//! What the simulated Finkare remembers of a company besides its webhooks, invoices and payments: debtors, what invoices
//! were created with, the steps of their workflows, API keys, and the answers to writes that were named by a key.

use std::collections::VecDeque;

use jiff::{Timestamp, civil::Date};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{secret::Secret, state::InvoiceId};

/// The most debtors, and the most invoices with details; the oldest are forgotten.
const MOST: usize = 10_000;
/// The most API keys; a further one is refused.
pub(crate) const MOST_KEYS: usize = 100;
/// The most keys that are known to be revoked; the oldest are forgotten.
const MOST_REVOKED: usize = 1000;
/// The most answers that are remembered; the oldest are forgotten.
const MOST_ANSWERS: usize = 1000;

/// The steps of a workflow. Only `relance_email_2` is documented.
const STEPS: [&str; 4] = ["relance_email_1", "relance_email_2", "relance_sms_1", "mise_en_demeure"];

/// Who owes an invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Debtor {
    pub(crate) id: Uuid,
    pub(crate) name: String,
    pub(crate) email: Option<String>,
    pub(crate) phone: Option<String>,
    pub(crate) siret: Option<String>,
}

/// What an invoice was created with.
#[derive(Debug, Clone)]
pub(crate) struct Details {
    pub(crate) invoice: InvoiceId,
    pub(crate) issue_date: Date,
    pub(crate) due_date: Date,
    pub(crate) debtor: Uuid,
    pub(crate) notes: Option<String>,
    pub(crate) metadata: Option<Map<String, Value>>,
}

/// An API key.
pub(crate) struct ApiKey {
    pub(crate) id: Uuid,
    pub(crate) key: Secret,
    pub(crate) name: String,
    pub(crate) scopes: Vec<String>,
    pub(crate) tier: Option<String>,
    pub(crate) created_at: Timestamp,
}

/// An answer that is remembered: the write's key, its method and path, and the answer.
struct Remembered<A> {
    key: String,
    call: String,
    answer: A,
}

/// The company. `A` is an answer of the API.
pub(crate) struct Company<A> {
    debtors: VecDeque<Debtor>,
    details: VecDeque<Details>,
    steps: VecDeque<(InvoiceId, usize)>,
    pub(crate) keys: Vec<ApiKey>,
    pub(crate) revoked: VecDeque<Secret>,
    answers: VecDeque<Remembered<A>>,
}

impl<A> Default for Company<A> {
    fn default() -> Self {
        Self {
            debtors: VecDeque::new(),
            details: VecDeque::new(),
            steps: VecDeque::new(),
            keys: Vec::new(),
            revoked: VecDeque::new(),
            answers: VecDeque::new(),
        }
    }
}

impl<A> Company<A> {
    /// The debtors, the oldest first.
    pub(crate) fn debtors(&self) -> impl DoubleEndedIterator<Item = &Debtor> {
        self.debtors.iter()
    }

    pub(crate) fn debtor(&self, id: Uuid) -> Option<&Debtor> {
        self.debtors.iter().find(|debtor| debtor.id == id)
    }

    /// The debtor with this SIRET, otherwise with this name and address; a new one if there is none.
    pub(crate) fn debtor_like(&mut self, new: Debtor) -> Uuid {
        let is_same = |debtor: &&Debtor| match (&debtor.siret, &new.siret) {
            (Some(one), Some(other)) => one == other,
            _ => debtor.name == new.name && debtor.email == new.email,
        };
        if let Some(known) = self.debtors.iter().find(is_same) {
            return known.id;
        }
        let id = new.id;
        push(&mut self.debtors, new, MOST);
        id
    }

    pub(crate) fn details(&self, invoice: InvoiceId) -> Option<&Details> {
        self.details.iter().rev().find(|details| details.invoice == invoice)
    }

    pub(crate) fn details_mut(&mut self, invoice: InvoiceId) -> Option<&mut Details> {
        self.details.iter_mut().rev().find(|details| details.invoice == invoice)
    }

    pub(crate) fn add_details(&mut self, details: Details) {
        push(&mut self.details, details, MOST);
    }

    /// The step that an invoice's workflow is at.
    pub(crate) fn step(&self, invoice: InvoiceId) -> &'static str {
        let at = self.steps.iter().rev().find(|(id, _)| *id == invoice).map_or(0, |(_, step)| *step);
        STEPS[at.min(STEPS.len() - 1)]
    }

    /// Moves an invoice's workflow to its next step, and returns that.
    pub(crate) fn move_on(&mut self, invoice: InvoiceId) -> &'static str {
        match self.steps.iter_mut().rev().find(|(id, _)| *id == invoice) {
            Some((_, step)) => *step += 1,
            None => push(&mut self.steps, (invoice, 1), MOST),
        }
        self.step(invoice)
    }

    /// Makes a key stop working.
    pub(crate) fn revoke(&mut self, key: Secret) {
        push(&mut self.revoked, key, MOST_REVOKED);
    }

    /// The answer to the write that was named by this key before; the same key on another call names nothing.
    pub(crate) fn answer_to(&self, key: &str, call: &str) -> Option<&A> {
        let found = self.answers.iter().rev().find(|known| known.key == key && known.call == call);
        found.map(|known| &known.answer)
    }

    pub(crate) fn remember(&mut self, key: String, call: String, answer: A) {
        push(&mut self.answers, Remembered { key, call, answer }, MOST_ANSWERS);
    }
}

fn push<T>(all: &mut VecDeque<T>, item: T, most: usize) {
    if all.len() >= most {
        all.pop_front();
    }
    all.push_back(item);
}
