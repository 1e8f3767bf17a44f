//! The admin API's client, for the commands.

use std::{
    error::Error,
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use http::HeaderMap;
use outgoing::{
    Egress, Limits, Plan,
    failure::{causes, find},
};
use serde_json::{Value, json};
use url::Url;

use super::{local, usage::Usage};
use crate::{config::Config, model::secret::Secret, options::env};

/// How long a bulk operation may take: enough for a replay of very many events on a slow disk.
const PATIENCE_WITH_DECISIONS: std::time::Duration = std::time::Duration::from_hours(1);

/// A client for the running service.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<Secret>,
    /// Where the token comes from, or why there is none.
    origin: String,
}

/// How long a call may take that the service passes on to Finkare: time-outs, retries and the rate limit add up.
const PATIENCE_WITH_FINKARE: Duration = Duration::from_secs(150);

/// The admin API does not accept connections.
#[derive(Debug)]
pub(super) struct NotThere {
    base: String,
    /// True if the connection was refused: nothing listens at this address.
    pub(super) refused: bool,
}

impl fmt::Display for NotThere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot reach the admin API at {}: is `finkare-relay serve` running there? If it runs elsewhere, give its address with --admin-url",
            self.base
        )
    }
}

/// The admin API has rejected the request.
#[derive(Debug)]
pub(super) struct Refused {
    detail: String,
    status: u16,
    code: String,
    /// All problems, if there can be more than one.
    pub(super) problems: Option<Vec<String>>,
    /// The whole answer: a problem document (RFC 9457).
    document: Value,
}

impl Refused {
    /// The API's problem document.
    pub(super) fn document(&self) -> &Value {
        &self.document
    }

    /// True if the same arguments would be rejected again, regardless of what the service has stored.
    pub(super) fn is_about_the_arguments(&self) -> bool {
        match self.status {
            400 => true,
            422 => ["bad_body", "no_selection", "wrong_state"].contains(&self.code.as_str()),
            _ => false,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            // The status adds nothing to the text.
            401 => f.write_str(&self.detail),
            status => write!(f, "{} (HTTP {status}, code {})", self.detail, self.code),
        }
    }
}

/// The address of an API or of a receiver, as an argument.
///
/// # Errors
/// What to write instead. A user or a password is refused, since later messages repeat the address.
pub(super) fn address(text: &str) -> Result<String, String> {
    let text = &with_scheme(text);
    match Url::parse(text) {
        Ok(url) if ["http", "https"].contains(&url.scheme()) && url.has_host() => {
            if url.username().is_empty() && url.password().is_none() {
                Ok(text.to_owned())
            } else {
                Err("it holds a user or a password, which is not used here: leave it out".to_owned())
            }
        }
        _ => Err(
            "it does not begin with `http://` or `https://` and a host: write, for example, `http://127.0.0.1:8081`"
                .to_owned(),
        ),
    }
}

/// An address as it is typed, with the scheme that was left out: `http` for this machine, `https` for any other.
fn with_scheme(text: &str) -> String {
    let text = text.trim();
    if text.contains("://") {
        return text.to_owned();
    }
    let host = Url::parse(&format!("http://{text}")).ok();
    let is_here = host.as_ref().and_then(Url::host).is_some_and(|host| match host {
        url::Host::Domain(name) => name == "localhost",
        url::Host::Ipv4(address) => address.is_loopback(),
        url::Host::Ipv6(address) => address.is_loopback(),
    });
    format!("{}://{text}", if is_here { "http" } else { "https" })
}

/// An address without its query, which often holds a token.
pub(super) fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
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

/// A client for the service's own addresses and those that a command names. It uses no proxy, whatever `[outgoing]` says:
/// what it calls is on this machine or named by the operator.
pub(super) fn http() -> anyhow::Result<reqwest::Client> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let plan = Plan {
        agent: concat!("finkare-relay/", env!("CARGO_PKG_VERSION")),
        // The addresses are not known yet, and may be of either kind.
        target: &Url::parse("https://localhost").expect("it is written as a URL"),
        headers: HeaderMap::new(),
        limits: Limits { connect: PATIENCE, whole: PATIENCE },
        idle: PATIENCE,
    };
    Egress::default().client(plan).context("the HTTP client could not be created")
}

impl Client {
    /// For the service that this configuration describes, or the one at `url`.
    ///
    /// If `RELAY_ADMIN_TOKEN` is set, it is the token that is used.
    pub(super) fn new(mut config: Config, url: Option<&str>) -> anyhow::Result<Self> {
        let missing = local::find_made_up(&mut config);
        let from_environment = env::of_process("RELAY_ADMIN_URL").filter(|url| !url.is_empty());
        let from_environment = match from_environment {
            Some(url) => {
                Some(address(&url.to_string_lossy()).map_err(|what| Usage::new(format!("RELAY_ADMIN_URL: {what}")))?)
            }
            None => None,
        };
        let url = url.or(from_environment.as_deref());
        let base = url.map_or_else(
            || format!("http://{}", reachable(config.server.admin_listen)),
            |url| url.trim_end_matches('/').to_owned(),
        );
        if let Some(token) = config.admin.from_environment {
            let origin = "RELAY_ADMIN_TOKEN holds one that it does not know".to_owned();
            return Ok(Self { http: http()?, base, token: Some(token), origin });
        }
        // The token with the highest role: the caller can read the configuration and could choose it anyway.
        let known = config.admin.tokens.iter().filter_map(|token| Some((token, token.token.plain()?)));
        let token = known.max_by_key(|(token, _)| token.role).map(|(entry, token)| (entry.name.clone(), token.clone()));
        let (token, origin) = match (token, missing) {
            (Some((name, token)), _) => {
                let folder = local::directory(&config).filter(|_| config.made_up.admin_token);
                let folder = folder.map(|folder| std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()));
                let from = match (folder, &config.file) {
                    (Some(folder), _) => folder.join(local::ADMIN_TOKEN).display().to_string(),
                    (None, Some(file)) => format!("`{name}` in {}", file.display()),
                    (None, None) => name,
                };
                (Some(token), format!("it does not know the one of {from}"))
            }
            (None, _) if !config.admin.tokens.is_empty() => bail!(
                "the configuration knows the admin tokens by their hashes only (`token_sha256`): set RELAY_ADMIN_TOKEN to one of the tokens"
            ),
            (None, Some(missing)) => (
                None,
                format!(
                    "{missing}: run the command where the service runs and as its user, name its configuration by --config, or give RELAY_ADMIN_TOKEN"
                ),
            ),
            (None, None) => (None, "no token is configured here".to_owned()),
        };
        Ok(Self { http: http()?, base, token, origin })
    }

    /// The address of the service.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// `GET` below `/api/v1`.
    pub(super) async fn get(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<Value> {
        self.answer(self.http.get(format!("{}/api/v1{path}", self.base)).query(query)).await
    }

    /// `GET` below `/api/v1`, for an answer that is a text; drawing it up may take long.
    pub(super) async fn get_text(&self, path: &str, query: &[(&str, String)]) -> anyhow::Result<String> {
        let request = self.http.get(format!("{}/api/v1{path}", self.base)).query(query);
        let body = self.send(request.timeout(PATIENCE_WITH_FINKARE)).await?;
        String::from_utf8(body.into()).context("the admin API's answer is no text")
    }

    /// The endpoints that are silent, as `/readyz` says; none if it cannot be asked.
    pub(super) async fn silent_endpoints(&self) -> anyhow::Result<Vec<String>> {
        let asked = || format!("cannot find out at {}/readyz which endpoints are silent", self.base);
        let answer = self.http.get(format!("{}/readyz", self.base)).send().await.with_context(asked)?;
        let body: Value = answer.json().await.with_context(asked)?;
        let checks = body["checks"].as_array().into_iter().flatten();
        Ok(checks.filter_map(|check| Some(check["name"].as_str()?.strip_prefix("endpoint/")?.to_owned())).collect())
    }

    /// `POST` below `/api/v1`, without a body.
    pub(super) async fn post(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(self.http.post(format!("{}/api/v1{path}", self.base))).await
    }

    /// `GET` below `/api/v1`, for a call that the service passes on to Finkare.
    pub(super) async fn get_from_finkare(&self, path: &str) -> anyhow::Result<Value> {
        self.answer(self.http.get(format!("{}/api/v1{path}", self.base)).timeout(PATIENCE_WITH_FINKARE)).await
    }

    /// `POST` below `/api/v1`, for a call that the service passes on to Finkare.
    pub(super) async fn post_for_finkare(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}/api/v1{path}", self.base));
        self.answer(request.json(body).timeout(PATIENCE_WITH_FINKARE)).await
    }

    /// `POST` below `/api/v1`, for an operation that may take long.
    pub(super) async fn decide(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}/api/v1{path}", self.base));
        self.answer(request.json(body).timeout(PATIENCE_WITH_DECISIONS)).await
    }

    /// `GET` below `/api/v1`, into a type that preserves more than [`Value`], such as the text of numbers.
    pub(super) async fn get_as<T: serde::de::DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let body = self.send(self.http.get(format!("{}/api/v1{path}", self.base))).await?;
        serde_json::from_slice(&body).context("the admin API's answer cannot be read")
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
        let body = self.send(request).await?;
        serde_json::from_slice(&body).context("the admin API's answer is not JSON")
    }

    /// The body of a successful answer.
    async fn send(&self, mut request: reqwest::RequestBuilder) -> anyhow::Result<bytes::Bytes> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let response = request.send().await.map_err(|error| {
            if error.is_connect() && !is_about_tls(&error) {
                let refused = is_refused(&error);
                return anyhow!(error.without_url()).context(NotThere { base: self.base.clone(), refused });
            }
            let what = format!("cannot reach the admin API at {}: {}", self.base, why_not(&error));
            anyhow!(error.without_url()).context(what)
        })?;
        let status = response.status();
        let body = response.bytes().await.map_err(reqwest::Error::without_url);
        let body = body.context("the admin API's answer was incomplete")?;
        if status.is_success() {
            return Ok(body);
        }
        let body: Value = serde_json::from_slice(&body).context("the admin API's answer is not JSON")?;
        let detail = body.get("detail").and_then(Value::as_str).unwrap_or("no detail was given");
        let mut refused = Refused {
            detail: detail.to_owned(),
            status: status.as_u16(),
            code: super::output::cell(&body["code"]),
            problems: body["problems"].as_array().map(|list| list.iter().map(super::output::cell).collect()),
            document: body,
        };
        if refused.status == 401 {
            let (base, origin) = (&self.base, &self.origin);
            refused.detail = match self.token {
                Some(_) => format!(
                    "the admin API at {base} does not accept the token: {origin}. Set RELAY_ADMIN_TOKEN to one that it knows; one that was added to the configuration is accepted after the next reload"
                ),
                None => format!("the admin API at {base} requires a token, and {origin}"),
            };
            refused.document["detail"] = json!(refused.detail);
        }
        bail!(refused)
    }
}

fn is_refused(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    })
}

fn is_about_tls(error: &reqwest::Error) -> bool {
    find::<rustls::Error>(error).is_some()
}

/// Why nothing answered, as the end of a sentence.
pub(super) fn why_not(error: &reqwest::Error) -> &'static str {
    if is_about_tls(error) {
        "its TLS certificate is not accepted, or it does not speak TLS"
    } else if is_refused(error) {
        "is `finkare-relay serve` running there?"
    } else if error.is_timeout() {
        "the service did not answer in time"
    } else if error.is_connect() {
        "no connection could be made: check the host and the port"
    } else {
        "the service did not answer"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_scheme_is_plain_on_this_machine_only() {
        for (typed, expected) in [
            ("127.0.0.1:8081", "http://127.0.0.1:8081"),
            ("localhost:8081", "http://localhost:8081"),
            ("[::1]:8081", "http://[::1]:8081"),
            ("relay.example.fr", "https://relay.example.fr"),
            ("10.0.0.5:8081", "https://10.0.0.5:8081"),
            ("http://10.0.0.5:8081", "http://10.0.0.5:8081"),
            // A name that only begins like this machine's.
            ("localhost.example.fr", "https://localhost.example.fr"),
            ("127.0.0.1.example.fr:8081", "https://127.0.0.1.example.fr:8081"),
        ] {
            assert_eq!(address(typed).as_deref(), Ok(expected), "{typed}");
        }
        for wrong in ["", "ftp://127.0.0.1", "user:secret@127.0.0.1:8081"] {
            assert!(address(wrong).is_err_and(|what| !what.contains("secret")), "{wrong}");
        }
    }
}
