//! `check`: is everything ready? One line each, with what to change.

use std::{fmt::Write as _, time::Duration};

use finkare::{Client, Error, Webhook};

use super::{
    Failure, client, local,
    output::{Output, print},
};
use crate::{
    config::{Config, Endpoint, Sink, StoreConfig},
    model::{chain::Chain, intent::Link},
    secrets::vault::Vault,
    service,
};

/// How long the store may take: it may be far away or just starting.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long Finkare's API may take: it may be slow, or ask for a pause.
const FINKARE_TIMEOUT: Duration = Duration::from_mins(1);

/// How long a service on this machine may take to answer.
const LOCAL_TIMEOUT: Duration = Duration::from_secs(2);

/// An id that no invoice has.
const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

struct Line {
    what: String,
    result: Result<String, String>,
}

/// Checks the configuration (which has been read already), the store, each endpoint's secrets and its webhook
/// at Finkare, whether payments may be read there if a sink needs them, and each sink.
pub(super) async fn run(mut config: Config, output: Output) -> Result<bool, Failure> {
    local::find_made_up(&mut config);
    let mut source =
        config.file.as_ref().map_or("environment and defaults".to_owned(), |file| file.display().to_string());
    for part in &config.parts {
        let _ = write!(source, ", {}", part.display());
    }
    let mut lines = vec![Line { what: "configuration".into(), result: Ok(source) }];
    // First, since without the store half of the other checks are not possible.
    let (about_store, known) = store(&config.store).await;
    let is_known = about_store.is_ok();
    lines.push(Line { what: "store".into(), result: about_store });
    let mut notes = config.notices.clone();
    if !is_known {
        notes.push(
            "the endpoints' secrets and webhooks are stored in the database: they could not be checked".to_owned(),
        );
    } else if let Some(note) = elsewhere(&config).await {
        notes.push(note);
    }
    for endpoint in &config.endpoints {
        let link = known.iter().find(|link| link.endpoint == endpoint.name);
        if is_known {
            let result = doubt(link).map_or_else(|| secrets(&config, endpoint, link), Err);
            lines.push(Line { what: format!("endpoint {}", endpoint.name), result });
        }
        let Some(settings) = endpoint.api() else { continue };
        let asking = async {
            let client = Client::new(settings).map_err(|error| error.to_string())?;
            client.webhooks().list().await.map(|answer| answer.data).map_err(|error| Chain(&error).to_string())
        };
        let result = match tokio::time::timeout(FINKARE_TIMEOUT, asking).await {
            // The id of the webhook is stored in the database, unless it is configured.
            Ok(Ok(_)) if !is_known && endpoint.webhook_id.is_none() => Ok("Finkare's API answers".to_owned()),
            Ok(webhooks) => webhooks.and_then(|webhooks| webhook(endpoint, link, &webhooks)),
            Err(_) => Err(format!("Finkare's API did not answer within {} s", FINKARE_TIMEOUT.as_secs())),
        };
        lines.push(Line { what: format!("webhook of {}", endpoint.name), result });
        if let Some(sink) = config.sinks.iter().find(|sink| reads(sink, endpoint)) {
            let result = match tokio::time::timeout(FINKARE_TIMEOUT, readable(endpoint, sink)).await {
                Ok(result) => result,
                Err(_) => Err(format!("Finkare's API did not answer within {} s", FINKARE_TIMEOUT.as_secs())),
            };
            lines.push(Line { what: format!("payments of {}", endpoint.name), result });
        }
    }
    for sink in &config.sinks {
        let result = match tokio::time::timeout(sink.timeout, sink.kind.check(sink.timeout)).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {:?}", sink.timeout)),
        };
        lines.push(Line { what: format!("sink {} ({})", sink.name, sink.kind.name()), result });
    }
    let ready = lines.iter().all(|line| line.result.is_ok());
    let rows: Vec<_> = lines
        .iter()
        .map(|line| {
            let (Ok(detail) | Err(detail)) = &line.result;
            serde_json::json!({"check": line.what, "ready": line.result.is_ok(), "detail": detail})
        })
        .collect();
    if output.json {
        output.say(&serde_json::json!({"ready": ready, "checks": rows, "notices": notes}), "")?;
        return Ok(ready);
    }
    let width = lines.iter().map(|line| line.what.chars().count()).max().unwrap_or(0);
    for line in &lines {
        let (mark, detail) = match &line.result {
            Ok(detail) => ("ok  ", detail),
            Err(detail) => ("FAIL", detail),
        };
        print(&format!("{mark}  {:width$}  {detail}", line.what))?;
    }
    for note in &notes {
        print(&format!("note  {note}"))?;
    }
    Ok(ready)
}

/// A note for the case that the database does not exist although a service answers: that service uses another database.
async fn elsewhere(config: &Config) -> Option<String> {
    let StoreConfig::Sqlite { path } = &config.store else { return None };
    if path.exists() || config.server.admin_listen.port() == 0 {
        return None;
    }
    let admin = format!("http://{}", client::reachable(config.server.admin_listen));
    let http = client::http().ok()?;
    let asking = http.get(format!("{admin}/healthz")).timeout(LOCAL_TIMEOUT).send();
    let answer: serde_json::Value = asking.await.ok()?.json().await.ok()?;
    if !answer["version"].is_string() {
        return None;
    }
    let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
    Some(format!(
        "a service answers at {admin}, but it does not use {}, which does not exist: to check that service, run this command \
         where the service runs, or name its configuration with --config",
        path.display()
    ))
}

/// True if the sink needs Finkare's data about the endpoint's invoices and payments.
fn reads(sink: &Sink, endpoint: &Endpoint) -> bool {
    let is_fed = sink.endpoints.as_ref().is_none_or(|names| names.contains(&endpoint.name));
    (sink.enrich || sink.kind.is_invoicing()) && is_fed && !(sink.live && endpoint.is_sandbox())
}

/// Checks whether the key may read invoices and payments. It asks for an invoice that does not exist, so only a refusal means
/// something.
async fn readable(endpoint: &Endpoint, sink: &Sink) -> Result<String, String> {
    let Some(settings) = endpoint.api() else {
        return Err(format!(
            "sink {} needs its `api_key`, with the scopes `invoices:read` and `payments:read`",
            sink.name
        ));
    };
    let client = Client::new(settings).map_err(|error| error.to_string())?;
    for (scope, error) in [
        ("invoices:read", client.invoices().get(NOBODY).await.err()),
        ("payments:read", client.payments().of_invoice(NOBODY).await.err()),
    ] {
        match error {
            None | Some(Error::Api { status: 404, .. }) => {}
            Some(error @ Error::Api { status: 401 | 403, .. }) => {
                return Err(format!("{error}: sink {} needs an `api_key` with the scope `{scope}`", sink.name));
            }
            Some(error) => return Err(Chain(&error).to_string()),
        }
    }
    Ok("the API key can read invoices and payments".to_owned())
}

/// True if a store's error means that the database has not been migrated yet, which is not a problem.
///
/// The text is compared, since the store has no error variant for this; a test checks both stores.
pub(super) fn has_no_schema(problem: &str) -> bool {
    problem.contains("has no schema yet") || problem.contains("has schema version 0,")
}

/// What a person must do about an unfinished change that the service does not heal by itself.
fn doubt(link: Option<&Link>) -> Option<String> {
    crate::web::admin::endpoints::doubt(link?.intent.as_ref()?)
}

/// Checks whether the store has secrets that the master key decrypts, or will have a secret.
fn secrets(config: &Config, endpoint: &Endpoint, link: Option<&Link>) -> Result<String, String> {
    let stored = link.map_or(&[][..], |link| &link.secrets);
    if !stored.is_empty() {
        let key =
            config.master_key.as_ref().ok_or("the store has secrets, but there is no master key to decrypt them")?;
        let vault = Vault::new(key).map_err(|error| error.to_string())?;
        for secret in stored {
            vault.open(secret).map_err(|error| error.to_string())?;
        }
    }
    let known = |secret: &&crate::model::secret::Secret| {
        let fingerprint = crate::model::stored_secret::Fingerprint::of(secret);
        stored.iter().any(|stored| stored.fingerprint == fingerprint)
    };
    let configured = endpoint.secrets.iter().filter(|secret| !known(secret)).count();
    let path = &endpoint.path;
    let newest = stored.first().map(|newest| format!(", the newest {}", newest.fingerprint)).unwrap_or_default();
    match (stored.len(), configured) {
        (0, 0) if config.made_up.secret => Ok("a secret will be generated by `serve`".to_owned()),
        (0, 0) => Err(format!("it has no secret and would refuse every delivery: {}", endpoint.how_to_get_a_secret())),
        (0, 1) => Ok(format!("1 secret, path {path}")),
        (0, more) => Ok(format!("{more} secrets, path {path}")),
        (1, 0) => Ok(format!("1 secret{newest}, path {path}")),
        (more, 0) => Ok(format!("{more} secrets{newest}, path {path}")),
        (some, more) => {
            Ok(format!("{some} stored secrets{newest}; {more} configured that may not be stored yet; path {path}"))
        }
    }
}

/// Checks whether the endpoint's webhook exists and is enabled, and where it posts to.
fn webhook(endpoint: &Endpoint, link: Option<&Link>, webhooks: &[Webhook]) -> Result<String, String> {
    let registered = link.and_then(|link| link.webhook.as_ref());
    let again = format!("run `finkare-relay register --endpoint {} --url URL`", endpoint.name);
    let Some(id) = endpoint.webhook_id.as_ref().or(registered.map(|webhook| &webhook.id)) else {
        return Ok(format!("Finkare's API answers; the relay does not know the endpoint's webhook yet: {again}"));
    };
    let Some(webhook) = webhooks.iter().find(|webhook| webhook.id == *id) else {
        return Err(format!("Finkare has no webhook {id} for this API key: {again}"));
    };
    if !webhook.enabled {
        return Err(format!("the webhook {id} is disabled at Finkare, which therefore sends nothing: enable it there"));
    }
    match registered.filter(|registered| registered.id == *id && !is_same(&registered.url, &webhook.url)) {
        Some(registered) => Err(format!(
            "the webhook {id} posts to {} and was registered with {}: {again}",
            webhook.url, registered.url
        )),
        None => Ok(format!("{id} is enabled and posts to {}", webhook.url)),
    }
}

/// True if both texts are the same address, even if they are written differently.
fn is_same(one: &str, other: &str) -> bool {
    one == other || url::Url::parse(one).is_ok_and(|one| url::Url::parse(other).is_ok_and(|other| one == other))
}

/// Checks the store. Answers the links of the endpoints as well; none if the store could not be read.
async fn store(config: &StoreConfig) -> (Result<String, String>, Vec<Link>) {
    if let StoreConfig::Sqlite { path } = config
        && !path.exists()
    {
        return (Ok(format!("{} will be created by `serve`", path.display())), Vec::new());
    }
    let checking = async {
        let open = service::open_store(config, false).await.map_err(|error| Chain(&error).to_string())?;
        let store = &open.store;
        let asked = match store.ready().await {
            Ok(()) => store.links().await.map(Some),
            Err(error) => Err(error),
        };
        let kind = store.kind();
        store.close().await;
        match asked.map_err(|error| Chain(&error).to_string()) {
            Ok(links) => Ok((format!("{kind} answers, its schema is up to date"), links.unwrap_or_default())),
            Err(problem) if has_no_schema(&problem) => {
                Ok((format!("{kind} answers; `serve` will migrate its schema"), Vec::new()))
            }
            Err(problem) => Err(problem),
        }
    };
    match tokio::time::timeout(STORE_TIMEOUT, checking).await {
        Ok(Ok((answer, links))) => (Ok(answer), links),
        Ok(Err(problem)) => (Err(problem), Vec::new()),
        Err(_) => (Err(format!("the database did not answer within {} s", STORE_TIMEOUT.as_secs())), Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config,
        model::{
            clock,
            secret::Secret,
            stored_secret::{Fingerprint, Origin, SecretState, StoredSecret},
        },
    };

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn config(options: &str) -> Config {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("[[endpoints]]\nname = 'e'\npath = '/e'\n{options}")).unwrap();
        config::load(Some(file.path()), &|name| (name == "RELAY_MASTER_KEY").then(|| KEY.into())).unwrap()
    }

    fn link(config: &Config, key: &str, webhook: Option<(&str, &str)>) -> Link {
        let name = config.endpoints[0].name.clone();
        let sealed = Vault::new(&Secret::new(key)).unwrap().seal(&name, &Secret::new("whsec_stored"));
        Link {
            webhook: webhook.map(|(id, url)| crate::model::intent::Webhook {
                id: id.into(),
                url: url.into(),
                registered_at: clock::now(),
            }),
            secrets: vec![StoredSecret {
                id: sealed.id,
                endpoint: name.clone(),
                fingerprint: sealed.fingerprint,
                origin: Origin::Registered,
                state: SecretState::Active,
                created_at: clock::now(),
                valid_until: None,
                key_id: sealed.key_id,
                sealed: Some(sealed.sealed),
            }],
            intent: None,
            endpoint: name,
        }
    }

    #[test]
    fn secrets_have_to_open_under_the_master_key() {
        let of = |config: &Config, link: Option<&Link>| secrets(config, &config.endpoints[0], link);
        let plain = config("");
        assert!(of(&plain, None).unwrap_err().contains("set its `secret`"));
        let key = config("api_key = 'fk_live_1'");
        assert!(of(&key, None).unwrap_err().contains("register --endpoint e --url URL"));
        let newest = Fingerprint::of(&Secret::new("whsec_stored"));
        let stored = link(&plain, KEY, None);
        assert_eq!(of(&plain, Some(&stored)).unwrap(), format!("1 secret, the newest {newest}, path /e"));
        let other = KEY.replace("MDEy", "MTEy");
        let wrong = of(&plain, Some(&link(&plain, &other, None))).unwrap_err();
        assert!(wrong.contains("RELAY_MASTER_KEY") && !wrong.contains("whsec_"), "{wrong}");
        let configured = config("secrets = ['whsec_stored', 'whsec_more']");
        let answer = of(&configured, Some(&stored)).unwrap();
        assert!(answer.contains("1 stored secrets") && answer.contains("1 configured"), "{answer}");
        assert_eq!(of(&configured, None).unwrap(), "2 secrets, path /e");
    }

    #[test]
    fn the_webhook_has_to_be_there_and_switched_on() {
        let config = config("api_key = 'fk_live_1'");
        let at_finkare = |id: &str, url: &str, enabled: bool| Webhook {
            id: id.into(),
            url: url.into(),
            events: vec![],
            description: None,
            enabled,
            created_at: None,
            last_triggered_at: None,
            other: serde_json::Map::new(),
        };
        let known = link(&config, KEY, Some(("w", "https://relay.example/e")));
        let of = |link: Option<&Link>, webhooks: &[Webhook]| webhook(&config.endpoints[0], link, webhooks);
        let url = "https://relay.example:443/e";
        assert_eq!(
            of(Some(&known), &[at_finkare("w", url, true)]).unwrap(),
            format!("w is enabled and posts to {url}")
        );
        assert!(of(None, &[at_finkare("w", url, true)]).unwrap().contains("does not know the endpoint's webhook yet"));
        assert!(of(Some(&known), &[at_finkare("v", url, true)]).unwrap_err().contains("Finkare has no webhook w"));
        assert!(of(Some(&known), &[at_finkare("w", url, false)]).unwrap_err().contains("disabled"));
        let elsewhere = of(Some(&known), &[at_finkare("w", "https://other.example/e", true)]).unwrap_err();
        assert!(elsewhere.contains("posts to https://other.example/e and was registered with"), "{elsewhere}");
    }
}
