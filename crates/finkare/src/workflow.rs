//! The workflow of an invoice: which step of collecting it is at, and moving it on.

use http::Method;
use outgoing::Redactor;
use serde_json::{Map, Value, json};

use crate::{
    Client, Error, InvoiceId, Response, WorkflowAction,
    client::body_of,
    response::Mask,
    wire::{Fields, NO_OBJECT},
};

/// Where an invoice's workflow stands. One field is documented; all others are in `other`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkflowStatus {
    /// Such as `relance_email_2`.
    pub current_step: Option<String>,
    /// All other fields, as they came, but with keys and secrets masked.
    pub other: Map<String, Value>,
}

impl Mask for WorkflowStatus {
    fn mask(&mut self, redactor: &Redactor) {
        self.other.mask(redactor);
    }
}

/// Workflows; [`Client::workflow`].
#[derive(Debug, Clone)]
pub struct Workflow<'a> {
    client: &'a Client,
    key: Option<String>,
}

impl<'a> Workflow<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, key: None }
    }

    /// Names the next write by this key instead of a random one: see [idempotency](crate#idempotency).
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Where an invoice's workflow stands.
    pub async fn status(&self, invoice_id: impl Into<InvoiceId>) -> Result<Response<WorkflowStatus>, Error> {
        let path = &self.client.settings().paths.workflow;
        let call = self.client.call_of(Method::GET, "reading the workflow of invoice", path, &invoice_id.into())?;
        self.client.ask(&call, None, status).await
    }

    /// Triggers an invoice's workflow, as the vendor's page does: without saying how. The answer's data is whatever Finkare
    /// answers, with keys and secrets masked.
    pub async fn trigger(&self, invoice_id: impl Into<InvoiceId>) -> Result<Response<Value>, Error> {
        self.send(invoice_id.into(), None).await
    }

    /// Triggers one action of an invoice's workflow, with a reason.
    ///
    /// **Assumption:** `{"action":…,"reason":…}` is what a third party's client sends.
    pub async fn trigger_action(
        &self,
        invoice_id: impl Into<InvoiceId>,
        action: &WorkflowAction,
        reason: Option<&str>,
    ) -> Result<Response<Value>, Error> {
        let body = body_of([("action", Some(json!(action.as_str()))), ("reason", reason.map(|reason| json!(reason)))]);
        self.send(invoice_id.into(), Some(Value::Object(body))).await
    }

    async fn send(&self, invoice_id: InvoiceId, body: Option<Value>) -> Result<Response<Value>, Error> {
        let path = &self.client.settings().paths.trigger_workflow;
        let mut call = self.client.call_of(Method::POST, "triggering the workflow of invoice", path, &invoice_id)?;
        call.body = body;
        self.client.ask(&call, self.key.as_deref(), |data| Ok(data.clone())).await
    }
}

fn status(data: &Value) -> Result<WorkflowStatus, String> {
    let fields = Fields::of(data).ok_or(NO_OBJECT)?;
    let step = fields.read_if(["currentStep", "current_step"], |value| value.as_str().map(ToOwned::to_owned));
    Ok(WorkflowStatus { current_step: step, other: fields.rest() })
}
