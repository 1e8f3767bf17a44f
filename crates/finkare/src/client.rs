//! The client: what all calls share. The calls are in one file for each resource.

use std::{fmt, sync::Arc};

use http::Method;
use serde_json::{Map, Value};
use url::Url;

use crate::{
    ApiKeys, Debtors, Error, Invoices, Payments, Response, Settings, SettingsError, UpdateMethod, Webhooks, Workflow,
    response::Mask,
    settings::{SANDBOX_HOST, base_url},
    transport::{Answer, Call, Transport},
};

/// Bytes of an id; Finkare's are UUIDs.
const LONGEST_ID: usize = 200;

/// Characters of an id that a text repeats.
const SHOWN_ID: usize = 64;

/// A client for one API key. Each of its methods opens one of Finkare's resources.
///
/// Cloning it is cheap, and all clones share its connections and its rate limit.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    settings: Settings,
    base: Url,
    transport: Transport,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.0.base.as_str()).finish_non_exhaustive()
    }
}

impl Client {
    /// Builds a client. No request is sent yet.
    ///
    /// If the process has no TLS provider of rustls yet, aws-lc-rs is installed as such (the feature `aws-lc-rs`, on by
    /// default). A program that wants another one installs it before.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        settings.paths.check()?;
        let base = base_url(&settings)?;
        Ok(Self(Arc::new(Inner { transport: Transport::new(&settings, &base)?, base, settings })))
    }

    /// Builds a client with [`Settings::from_env`].
    ///
    /// # Errors
    /// The variable or the setting that cannot be used.
    pub fn from_env() -> Result<Self, SettingsError> {
        Self::new(Settings::from_env()?)
    }

    /// True if the key or the URL is the sandbox's.
    pub fn is_sandbox(&self) -> bool {
        self.0.settings.is_sandbox_key() || self.0.base.host_str() == Some(SANDBOX_HOST)
    }

    /// Invoices: list, create, import, update, cancel.
    pub fn invoices(&self) -> Invoices<'_> {
        Invoices::new(self)
    }

    /// Debtors: list and read.
    pub fn debtors(&self) -> Debtors<'_> {
        Debtors::new(self)
    }

    /// Payments: list and read.
    pub fn payments(&self) -> Payments<'_> {
        Payments::new(self)
    }

    /// Webhooks: list, create, update, delete, rotate the secret, and Finkare's history of deliveries.
    pub fn webhooks(&self) -> Webhooks<'_> {
        Webhooks::new(self)
    }

    /// The workflow of an invoice: its status, and triggering it.
    pub fn workflow(&self) -> Workflow<'_> {
        Workflow::new(self)
    }

    /// API keys: list, create, rotate, revoke.
    pub fn api_keys(&self) -> ApiKeys<'_> {
        ApiKeys::new(self)
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// The method of an update.
    pub(crate) fn update_method(&self) -> Method {
        match self.settings().update_method {
            UpdateMethod::Put => Method::PUT,
            UpdateMethod::Patch => Method::PATCH,
        }
    }

    /// Makes a call and reads its data. A write is named by this key, otherwise by a random one.
    pub(crate) async fn ask<T: Mask>(
        &self,
        call: &Call,
        key: Option<&str>,
        read: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<Response<T>, Error> {
        let answer = self.transport().call_named(call, key).await?;
        let mut data = answer.read(call, read)?;
        data.mask(&self.transport().redactor);
        Ok(answer.respond(data))
    }

    /// Makes a call whose answer holds nothing that is needed.
    pub(crate) async fn tell(&self, call: &Call, key: Option<&str>) -> Result<Response<()>, Error> {
        self.transport().call_named(call, key).await.map(|answer: Answer| answer.respond(()))
    }

    /// The address of a path that has no id.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.0.base.clone();
        url.set_path(&format!("{}{path}", self.0.base.path()));
        url
    }

    /// A call of a path that has no id.
    pub(crate) fn call_to(&self, method: Method, what: &str, path: &str, body: Option<Value>) -> Call {
        Call { what: what.to_owned(), method, url: self.url(path), body }
    }

    /// A call about the item with this id, which becomes a part of one segment of the path.
    pub(crate) fn call_of(&self, method: Method, what: &str, path: &str, id: &str) -> Result<Call, Error> {
        let what = format!("{what} {}", self.transport().redactor.line(id, SHOWN_ID));
        let unusable = |problem: &str| Error::Unusable { call: what.clone(), problem: problem.to_owned() };
        if id.is_empty() {
            return Err(unusable("the id is empty"));
        }
        if id.len() > LONGEST_ID {
            return Err(unusable("the id is longer than any of Finkare's"));
        }
        // An address cannot hold a step of dots, or a line break, in any spelling: it would become another address.
        if matches!(id, "." | "..") || id.chars().any(char::is_control) {
            return Err(unusable("the id is made of dots or has control characters"));
        }
        let mut url = self.0.base.clone();
        url.path_segments_mut()
            .map_err(|()| unusable("`api_url` cannot have a path"))?
            .extend(path.trim_start_matches('/').split('/').map(|segment| segment.replace("{id}", id)));
        Ok(Call { what, method, url, body: None })
    }
}

/// The fields of a body that are to be sent.
pub(crate) fn body_of<const N: usize>(fields: [(&str, Option<Value>); N]) -> Map<String, Value> {
    fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{DEFAULT_RATE, Secret};

    fn client(key: &str, url: Option<&str>) -> Result<Client, SettingsError> {
        let api_url = url.map(|url| url.parse().unwrap());
        Client::new(Settings { api_url, ..Settings::new(Secret::new(key)) })
    }

    #[test]
    fn the_address_follows_from_the_key_and_the_setting() {
        let base = |key, url| client(key, url).unwrap().0.base.to_string();
        assert_eq!(base("fk_live_a", None), "https://api.finkare.io/api/v1");
        assert_eq!(base("fk_test_a", None), "https://api-sandbox.finkare.io/api/v1");
        assert_eq!(base("other", None), "https://api.finkare.io/api/v1");
        for (url, expected) in [
            ("http://127.0.0.1:1", "http://127.0.0.1:1/api/v1"),
            ("http://127.0.0.1:1/", "http://127.0.0.1:1/api/v1"),
            ("https://x.example/v2", "https://x.example/v2"),
            ("https://x.example/v2/", "https://x.example/v2"),
            ("https://x.example/a/api/v1//", "https://x.example/a/api/v1"),
        ] {
            assert_eq!(base("fk_test_a", Some(url)), expected);
        }
    }

    #[test]
    fn the_sandbox_is_known_by_its_key_or_its_host() {
        let is_sandbox = |key, url| client(key, url).unwrap().is_sandbox();
        assert!(is_sandbox("fk_test_a", None));
        assert!(is_sandbox("fk_test_a", Some("https://x.example")));
        assert!(is_sandbox("fk_live_a", Some("https://api-sandbox.finkare.io/api/v1")));
        assert!(!is_sandbox("fk_live_a", None));
        assert!(!is_sandbox("fk_live_a", Some("https://x.example")));
    }

    #[test]
    fn an_id_stays_one_step_of_the_path() {
        let client = client("fk_live_a", Some("https://x.example/v2")).unwrap();
        let url = |path, id| client.call_of(Method::GET, "reading", path, id).map(|call| call.url.to_string());
        for (id, step) in [
            ("5e4f", "5e4f"),
            ("a/../b?c#d", "a%2F..%2Fb%3Fc%23d"),
            ("%2e%2e", "%252e%252e"),
            ("é {id}\\", "%C3%A9%20%7Bid%7D%5C"),
            ("...", "..."),
        ] {
            assert_eq!(
                url("/webhooks/{id}/rotate", id).unwrap(),
                format!("https://x.example/v2/webhooks/{step}/rotate")
            );
        }
        for (id, word) in
            [("", "empty"), (".", "dots"), ("..", "dots"), ("a\nb", "control"), (&"a".repeat(201), "longer")]
        {
            let error = url("/webhooks/{id}", id).unwrap_err();
            assert!(error.to_string().contains(word) && !error.to_string().contains('\n'), "{error}");
            assert!(!error.may_have_happened());
        }
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name_and_without_its_value() {
        for (key, url, word) in [
            ("", None, "`api_key`"),
            ("fk_live_privat e", None, "`api_key`"),
            ("fk_live_privat\n", None, "`api_key`"),
            ("fk_live_privat\"", None, "`api_key`"),
            ("fk_live_a", Some("ftp://x.example"), "`api_url`"),
            ("fk_live_a", Some("unix:/run/x"), "`api_url`"),
            ("fk_live_a", Some("https://privat:privat@x.example"), "`api_url`"),
            ("fk_live_a", Some("https://x.example?key=privat"), "`api_url`"),
        ] {
            let problem = client(key, url).unwrap_err().to_string();
            assert!(problem.contains(word) && !problem.contains("privat"), "{problem}");
        }
        for path in ["invoices/{id}", "/invoices", "/invoices/{id}?x", "/../{id}"] {
            let mut settings = Settings::new(Secret::new("fk_live_a"));
            settings.paths.invoice = path.to_owned();
            assert!(Client::new(settings).unwrap_err().to_string().contains("`paths.invoice`"), "{path}");
        }
        let settings = Settings::new(Secret::new("fk_live_a"));
        let no_time = Settings { rate_limit: (DEFAULT_RATE.0, Duration::ZERO), ..settings.clone() };
        assert!(matches!(Client::new(no_time), Err(SettingsError::RateLimit)));
        let no_time = Settings { timeout: Duration::ZERO, ..settings };
        assert!(matches!(Client::new(no_time), Err(SettingsError::Timeout)));
    }

    #[test]
    fn a_client_shows_no_key() {
        let shown = format!("{:?}", client("fk_live_privat", None).unwrap());
        assert!(shown.contains("api.finkare.io") && !shown.contains("privat"), "{shown}");
    }
}
