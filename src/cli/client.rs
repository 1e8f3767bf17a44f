//! The admin API's client, for the commands.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

use super::local;
use crate::{config::Config, model::secret::Secret};

/// A replay of very many events on a slow disk is done by then.
const PATIENCE_WITH_DECISIONS: std::time::Duration = std::time::Duration::from_hours(1);

/// Talks to the running service.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<Secret>,
}

/// For a question that the service passes on to Finkare: its time-outs, its retries and its own limit of rate add up.
const PATIENCE_WITH_FINKARE: Duration = Duration::from_secs(150);

/// Nothing takes connections where the admin API should be.
#[derive(Debug)]
pub(super) struct NotThere {
    base: String,
    /// True if this machine (or that one) said so itself: nobody listens there.
    pub(super) refused: bool,
}

impl fmt::Display for NotThere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot reach the admin API at {}: is `finkare-relay serve` running there? Otherwise say where with --admin-url",
            self.base
        )
    }
}

/// The admin API understood and said no.
#[derive(Debug)]
pub(super) struct Refused {
    detail: String,
    status: u16,
    code: String,
    /// Everything that is wrong, where that is more than one thing.
    pub(super) problems: Option<Vec<String>>,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (HTTP {}, code {})", self.detail, self.status, self.code)
    }
}

impl Error for Refused {}

/// The address at which this machine reaches a listener.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// A client that follows no redirects and asks no proxy: what it talks to is on this machine or named by the operator.
pub(super) fn http() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .user_agent(concat!("finkare-relay/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("the HTTP client could not be made")
}

impl Client {
    /// For the service that this configuration describes, or the one at `url`.
    pub(super) fn new(mut config: Config, url: Option<&str>) -> anyhow::Result<Self> {
        local::find_made_up(&mut config);
        let base = url.map_or_else(
            || format!("http://{}", reachable(config.server.admin_listen)),
            |url| url.trim_end_matches('/').to_owned(),
        );
        // The most powerful one: the caller can read the configuration and could pick it anyway.
        let known = config.admin.tokens.iter().filter_map(|token| Some((token.role, token.token.plain()?)));
        let token = known.max_by_key(|(role, _)| *role).map(|(_, token)| token.clone());
        if token.is_none() && !config.admin.tokens.is_empty() {
            bail!(
                "the configuration knows the admin tokens by their hashes only (`token_sha256`): set RELAY_ADMIN_TOKEN to one of the tokens"
            );
        }
        Ok(Self { http: http()?, base, token })
    }

    /// `GET` below `/api/v1`.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.answer(self.http.get(format!("{}/api/v1{path}", self.base)).query(query)).await
    }

    /// `POST` below `/api/v1`, without a body.
    pub(super) async fn post(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(self.http.post(format!("{}/api/v1{path}", self.base))).await
    }

    /// `GET` below `/api/v1`, of what the service has to ask Finkare for.
    pub(super) async fn get_from_finkare(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(self.http.get(format!("{}/api/v1{path}", self.base)).timeout(PATIENCE_WITH_FINKARE)).await
    }

    /// `POST` below `/api/v1`, for what the service has to ask Finkare.
    pub(super) async fn post_for_finkare(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}/api/v1{path}", self.base));
        self.answer(request.json(body).timeout(PATIENCE_WITH_FINKARE)).await
    }

    /// `POST` below `/api/v1`, of a decision that may take its time.
    pub(super) async fn decide(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}/api/v1{path}", self.base));
        self.answer(request.json(body).timeout(PATIENCE_WITH_DECISIONS)).await
    }

    /// `GET` below `/api/v1`, into a type that keeps what [`Value`] would not, such as the text of numbers.
    pub(super) async fn get_as<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let body = self.send(self.http.get(format!("{}/api/v1{path}", self.base))).await?;
        serde_json::from_slice(&body).context("the admin API's answer cannot be read")
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let body = self.send(request).await?;
        serde_json::from_slice(&body).context("the admin API's answer is not JSON")
    }

    /// The body of a good answer.
    async fn send(&self, mut request: reqwest::RequestBuilder) -> anyhow::Result<bytes::Bytes> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let response = request.send().await.map_err(|error| {
            if error.is_connect() {
                let refused = is_refused(&error);
                return anyhow!(error.without_url()).context(NotThere { base: self.base.clone(), refused });
            }
            let what = format!("cannot reach the admin API at {}: the service did not answer", self.base);
            anyhow!(error.without_url()).context(what)
        })?;
        let status = response.status();
        let body = response.bytes().await.map_err(reqwest::Error::without_url);
        let body = body.context("the admin API's answer broke off")?;
        if status.is_success() {
            return Ok(body);
        }
        let body: Value = serde_json::from_slice(&body).context("the admin API's answer is not JSON")?;
        let detail = body.get("detail").and_then(Value::as_str).unwrap_or("no detail was given");
        match status.as_u16() {
            401 => bail!("the admin API does not accept the token: set RELAY_ADMIN_TOKEN to one that it knows"),
            status => {
                let problems = body["problems"].as_array().map(|list| list.iter().map(super::output::cell).collect());
                bail!(Refused { detail: detail.to_owned(), status, code: super::output::cell(&body["code"]), problems })
            }
        }
    }
}

fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}
