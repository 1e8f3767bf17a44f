//! API keys: those of the company, without the keys themselves, which Finkare shows once.

use http::Method;
use jiff::Timestamp;
use outgoing::Redactor;
use serde_json::{Map, Value, json};

use crate::{
    ApiKeyId, Client, Error, Response, RevokeMethod, Secret,
    client::body_of,
    pages::{Item, List, Paging},
    response::Mask,
    wire::{self, Fields, NO_OBJECT},
};

/// An API key, without the key itself.
///
/// **Assumption:** the vendor's page creates keys without showing a list of them. The fields are those with which a key
/// is created.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiKeyInfo {
    /// A UUID.
    pub id: ApiKeyId,
    /// What it is called.
    pub name: Option<String>,
    /// What it may do, such as `invoices:read`.
    pub scopes: Option<Vec<String>>,
    /// Such as `pro`.
    pub tier: Option<String>,
    /// `createdAt` or `created_at`.
    pub created_at: Option<Timestamp>,
    /// All other fields, as they came, but with keys and secrets masked.
    pub other: Map<String, Value>,
}

impl Mask for ApiKeyInfo {
    fn mask(&mut self, redactor: &Redactor) {
        self.other.mask(redactor);
    }
}

impl Item for ApiKeyInfo {
    fn read(value: &Value) -> Result<Self, String> {
        let fields = Fields::of(value).ok_or(NO_OBJECT)?;
        let text = |name| fields.read_if([name], |value| value.as_str().map(ToOwned::to_owned));
        Ok(Self {
            id: fields.text(["id"])?.into(),
            name: text("name"),
            scopes: fields.texts("scopes")?,
            tier: text("tier"),
            created_at: fields.any_time(["createdAt", "created_at"]),
            other: fields.rest(),
        })
    }

    fn key(&self) -> &str {
        &self.id
    }
}

/// An API key to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewApiKey {
    /// What it is called.
    pub name: String,
    /// What it may do: `invoices:read`, `invoices:write`, `payments:read`, `webhooks:manage` are documented.
    pub scopes: Vec<String>,
    /// `pro` is documented.
    pub tier: Option<String>,
}

/// A key that was just created or rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CreatedApiKey {
    /// The key itself. It is shown only here: store it.
    pub api_key: Secret,
    /// Its id, for rotating and revoking it, if Finkare shows it.
    pub id: Option<ApiKeyId>,
    /// All other fields, as they came, but with keys and secrets masked.
    pub other: Map<String, Value>,
}

impl Mask for CreatedApiKey {
    fn mask(&mut self, redactor: &Redactor) {
        self.other.mask(redactor);
    }
}

/// API keys; [`Client::api_keys`].
#[derive(Debug, Clone)]
pub struct ApiKeys<'a> {
    client: &'a Client,
    key: Option<String>,
}

impl<'a> ApiKeys<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, key: None }
    }

    /// Names the next write by this key instead of a random one: see [idempotency](crate#idempotency).
    #[must_use]
    pub fn idempotency_key(self, key: impl Into<String>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// All API keys, without the keys themselves.
    pub async fn list(&self) -> Result<Response<Vec<ApiKeyInfo>>, Error> {
        let list = List::new("listing the API keys", self.client.url(&self.client.settings().paths.api_keys));
        list.follow(self.client, Paging::IfAnswered).readable().await
    }

    /// Creates an API key. Finkare shows it only in this answer.
    pub async fn create(&self, new: &NewApiKey) -> Result<Response<CreatedApiKey>, Error> {
        let NewApiKey { name, scopes, tier } = new;
        let body = body_of([
            ("name", Some(json!(name))),
            ("scopes", Some(json!(scopes))),
            ("tier", tier.as_ref().map(|tier| json!(tier))),
        ]);
        let path = &self.client.settings().paths.api_keys;
        let call = self.client.call_to(Method::POST, "creating an API key", path, Some(Value::Object(body)));
        self.client.ask(&call, self.key.as_deref(), created).await
    }

    /// Replaces an API key and returns the new one. When this fails, Finkare may have replaced it nevertheless: see
    /// [`Error::may_have_happened`]. It is not documented whether the old key goes on working for a while.
    pub async fn rotate(&self, id: impl Into<ApiKeyId>) -> Result<Response<CreatedApiKey>, Error> {
        let path = &self.client.settings().paths.rotate_api_key;
        let call = self.client.call_of(Method::POST, "rotating API key", path, &id.into())?;
        self.client.ask(&call, self.key.as_deref(), created).await
    }

    /// Revokes an API key: it works no longer.
    pub async fn revoke(&self, id: impl Into<ApiKeyId>) -> Result<Response<()>, Error> {
        let settings = self.client.settings();
        let method = match settings.revoke_method {
            RevokeMethod::Delete => Method::DELETE,
            RevokeMethod::Post => Method::POST,
        };
        let call = self.client.call_of(method, "revoking API key", &settings.paths.revoke_api_key, &id.into())?;
        self.client.tell(&call, self.key.as_deref()).await
    }
}

/// Nothing but the key itself is needed, so nothing else can cost it.
fn created(data: &Value) -> Result<CreatedApiKey, String> {
    const NAMES: [&str; 2] = ["apiKey", "api_key"];
    let api_key = wire::shown_once(data, &NAMES, "apiKeyInfo")?;
    let fields = Fields::of(data).ok_or(NO_OBJECT)?;
    let id = fields.read_if(["id"], |id| id.as_str().map(Into::into));
    Ok(CreatedApiKey { api_key, id, other: fields.rest_without(&NAMES) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_shown_once_is_read_and_not_shown_again() {
        let data = json!({ "id": "k", "apiKey": "fk_live_new", "name": "Integration ERP", "keyHash": "x" });
        let key = created(&data).unwrap();
        assert_eq!((key.api_key.expose(), key.id.as_deref()), ("fk_live_new", Some("k")));
        assert_eq!(key.other.keys().collect::<Vec<_>>(), ["name", "keyHash"]);
        assert!(!format!("{key:?}").contains("fk_live_new"));
        assert_eq!(
            created(&json!({ "apiKey": "fk_live_****" })),
            Err("`apiKey` is masked, or no secret at all".into())
        );
        assert_eq!(created(&json!({ "id": "k" })), Err("`apiKey` is missing".into()));
        let listed = json!({ "id": "k", "name": "x", "scopes": ["invoices:read"], "tier": "pro", "apiKey": "secret" });
        let info = ApiKeyInfo::read(&listed).unwrap();
        assert_eq!((info.tier.as_deref(), info.scopes.unwrap().len()), (Some("pro"), 1));
        assert_eq!(Value::Object(info.other), json!({ "apiKey": "[redacted]" }));
    }
}
