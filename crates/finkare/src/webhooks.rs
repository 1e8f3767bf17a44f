//! Webhooks: where Finkare posts events, and the secrets that it signs with.

use http::Method;
use jiff::Timestamp;
use outgoing::Redactor;
use serde_json::{Map, Value, json};

use crate::{
    Client, Error, Response, Secret, WebhookId,
    client::body_of,
    pages::{Item, List, Paging},
    response::Mask,
    wire,
};

/// A webhook as Finkare lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// A UUID.
    pub id: WebhookId,
    /// Where Finkare posts.
    pub url: String,
    /// Event types.
    pub events: Vec<String>,
    /// Free text.
    pub description: Option<String>,
    /// Whether Finkare posts at all.
    pub enabled: bool,
    /// `created_at` or `createdAt`.
    pub created_at: Option<Timestamp>,
    /// `last_triggered_at` or `lastTriggeredAt`.
    pub last_triggered_at: Option<Timestamp>,
    /// All other fields, as they came, but with keys and secrets masked.
    pub other: Map<String, Value>,
}

impl Mask for Webhook {
    fn mask(&mut self, redactor: &Redactor) {
        self.other.mask(redactor);
    }
}

impl Item for Webhook {
    fn read(value: &Value) -> Result<Self, String> {
        wire::webhook(value)
    }

    fn key(&self) -> &str {
        &self.id
    }
}

/// A webhook to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewWebhook {
    /// HTTPS.
    pub url: String,
    /// Event types.
    pub events: Vec<String>,
    /// Free text.
    pub description: Option<String>,
    /// Whether Finkare posts at all; `None` is Finkare's default, which is that it does.
    pub enabled: Option<bool>,
}

impl NewWebhook {
    /// A webhook for these event types, such as `payment.received`.
    pub fn new(url: impl Into<String>, events: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let events = events.into_iter().map(Into::into).collect();
        Self { url: url.into(), events, ..Self::default() }
    }

    /// The same with a description.
    #[must_use]
    pub fn description(self, text: impl Into<String>) -> Self {
        Self { description: Some(text.into()), ..self }
    }
}

/// A webhook that was just created.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreatedWebhook {
    /// The webhook.
    pub webhook: Webhook,
    /// What Finkare signs its deliveries with. It is shown only here: store it.
    pub secret: Secret,
}

impl Mask for CreatedWebhook {
    fn mask(&mut self, redactor: &Redactor) {
        self.webhook.mask(redactor);
    }
}

/// What to change about a webhook; `None` leaves a field as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookUpdate {
    /// Where Finkare posts.
    pub url: Option<String>,
    /// Event types.
    pub events: Option<Vec<String>>,
    /// Free text.
    pub description: Option<String>,
    /// Whether Finkare posts at all.
    pub enabled: Option<bool>,
}

/// One delivery in Finkare's own history. Only three fields are documented; all others are in `other`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `eventType`
    pub event_type: Option<String>,
    /// `status`: its values are not documented.
    pub status: Option<String>,
    /// `attempts`
    pub attempts: Option<u64>,
    /// All other fields, as they came, but with keys and secrets masked.
    pub other: Map<String, Value>,
}

impl Mask for Delivery {
    fn mask(&mut self, redactor: &Redactor) {
        self.other.mask(redactor);
    }
}

/// Webhooks; [`Client::webhooks`]. The key needs the scope `webhooks:manage`.
#[derive(Debug, Clone)]
pub struct Webhooks<'a> {
    client: &'a Client,
    key: Option<String>,
}

impl<'a> Webhooks<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, key: None }
    }

    /// Names the next write by this key instead of a random one: see [idempotency](crate#idempotency).
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// All webhooks.
    pub async fn list(&self) -> Result<Response<Vec<Webhook>>, Error> {
        let list = List::new("listing the webhooks", self.client.url("/webhooks"));
        list.follow(self.client, Paging::IfAnswered).readable().await
    }

    /// One webhook.
    pub async fn get(&self, id: impl Into<WebhookId>) -> Result<Response<Webhook>, Error> {
        let path = &self.client.settings().paths.webhook;
        let call = self.client.call_of(Method::GET, "reading webhook", path, &id.into())?;
        self.client.ask(&call, None, wire::webhook).await
    }

    /// Creates a webhook. Finkare shows its secret only in this answer.
    ///
    /// An answer of success without a secret is [`Error::Unreadable`]; the webhook may exist nevertheless.
    pub async fn create(&self, webhook: &NewWebhook) -> Result<Response<CreatedWebhook>, Error> {
        let NewWebhook { url, events, description, enabled } = webhook;
        let body = body_of([
            ("url", Some(json!(url))),
            ("events", Some(json!(events))),
            ("description", description.as_ref().map(|description| json!(description))),
            ("enabled", enabled.map(Value::from)),
        ]);
        let call = self.client.call_to(Method::POST, "creating a webhook", "/webhooks", Some(Value::Object(body)));
        self.client.ask(&call, self.key.as_deref(), |data| wire::created(data, webhook)).await
    }

    /// Changes a webhook. Only the fields to change are sent; it is not documented whether Finkare takes a `PUT` as a
    /// change of these fields or of the whole webhook. The answer's data is the webhook, if Finkare shows it.
    pub async fn update(
        &self,
        id: impl Into<WebhookId>,
        update: &WebhookUpdate,
    ) -> Result<Response<Option<Webhook>>, Error> {
        let WebhookUpdate { url, events, description, enabled } = update;
        let body = body_of([
            ("url", url.as_ref().map(|url| json!(url))),
            ("events", events.as_ref().map(|events| json!(events))),
            ("description", description.as_ref().map(|description| json!(description))),
            ("enabled", enabled.map(Value::from)),
        ]);
        let (method, path) = (self.client.update_method(), &self.client.settings().paths.webhook);
        let mut call = self.client.call_of(method, "changing webhook", path, &id.into())?;
        call.body = Some(Value::Object(body));
        self.client.ask(&call, self.key.as_deref(), |data| Ok(wire::webhook(data).ok())).await
    }

    /// Deletes a webhook.
    pub async fn delete(&self, id: impl Into<WebhookId>) -> Result<Response<()>, Error> {
        let path = &self.client.settings().paths.webhook;
        let call = self.client.call_of(Method::DELETE, "deleting webhook", path, &id.into())?;
        self.client.tell(&call, self.key.as_deref()).await
    }

    /// Gives a webhook a new secret and returns it. When this succeeds, Finkare signs with the new secret; when it fails,
    /// Finkare may do so as well: see [`Error::may_have_happened`].
    pub async fn rotate_secret(&self, id: impl Into<WebhookId>) -> Result<Response<Secret>, Error> {
        let path = &self.client.settings().paths.rotate_secret;
        let call = self.client.call_of(Method::POST, "rotating the secret of webhook", path, &id.into())?;
        self.client.ask(&call, self.key.as_deref(), wire::secret).await
    }

    /// Finkare's own history of a webhook's deliveries, as far as one answer shows it.
    pub async fn deliveries(&self, id: impl Into<WebhookId>) -> Result<Response<Vec<Delivery>>, Error> {
        let path = &self.client.settings().paths.deliveries;
        let call = self.client.call_of(Method::GET, "listing the deliveries of webhook", path, &id.into())?;
        self.client.ask(&call, None, |data| wire::list(data, wire::delivery)).await
    }
}
