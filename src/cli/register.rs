//! `register`: creates an endpoint's webhook at Finkare, or adopts the one that has its URL.
//!
//! The running service does the work, so that it knows the secret at once. If no service runs on this machine, the command
//! does it by itself, with the same code and the same store: SQLite's lock makes sure that no service is running, and on
//! Postgres the replicas are notified.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::{
    Failure,
    admin::{Service, path_segment},
    client::{Client, NotThere},
    endpoints::{ask_to_rotate, for_each, name_of, rotated_text},
    failure::Usage,
    local,
    output::{Output, cell},
};
use crate::{
    config::Config,
    lifecycle::Lifecycle,
    link::{Links, Registration},
    model::id::EndpointName,
    secrets::{Secrets, SecretsError},
    service::{self, OpenStore},
    telemetry::Metrics,
    web::admin::endpoints::{RegisteredRow, RotatedRow, check_registration, default_events},
};

/// The actor in the audit trail if the command does the work itself.
pub(super) const ACTOR: &str = "cli";

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The public URL of the endpoint, to which Finkare posts (https://…)
    #[arg(long, value_name = "URL", required_unless_present = "all")]
    url: Option<String>,
    /// Register all endpoints, each at the URL of --url-base with its own path
    #[arg(long, requires = "url_base", conflicts_with_all = ["url", "endpoint"])]
    all: bool,
    /// With --all: where the public listener is reached from outside, such as `https://hooks.example.fr`
    #[arg(long, value_name = "URL", requires = "all")]
    url_base: Option<String>,
    /// The endpoint [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// An event type to subscribe to; may be repeated [default: `payment.received`, `invoice.status_changed`]
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<String>,
    /// The description in Finkare's list of webhooks
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Rotate the secret afterwards if the webhook already existed: its secret can be learned only in this way
    #[arg(long)]
    rotate: bool,
    #[command(flatten)]
    service: Service,
}

/// What does the work.
enum Worker {
    /// The running service.
    Service(Client),
    /// This process.
    Here(Box<Here>),
}

/// `register --all`, through the running service: one endpoint after the other.
async fn register_all(config: Config, options: Options, output: Output) -> Result<bool, Failure> {
    let base = options.url_base.clone().unwrap_or_default();
    let base = base.trim_end_matches('/').to_owned();
    let events = if options.events.is_empty() { default_events() } else { options.events.clone() };
    check_registration(&events, options.description.as_deref()).map_err(Usage::new)?;
    let client = Client::new(config, options.service.admin_url.as_deref())?;
    let endpoints = client.get("/endpoints", &[]).await?;
    let paths: Vec<(String, String)> = endpoints["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|endpoint| (cell(&endpoint["name"]), cell(&endpoint["path"])))
        .collect();
    let names: Vec<String> = paths.iter().map(|(name, _)| name.clone()).collect();
    let one = async |name: &str| -> anyhow::Result<String> {
        let path = paths.iter().find(|(known, _)| known == name).map(|(_, path)| path.as_str()).unwrap_or_default();
        let body = json!({"url": format!("{base}{path}"), "events": events, "description": options.description});
        let answer = client.post_for_finkare(&format!("/endpoints/{}/register", path_segment(name)), &body).await?;
        let mut told = text(name, &answer, None, false);
        if options.rotate && answer["created"] == false {
            let rotated = ask_to_rotate(&client, name, None).await?;
            told = text(name, &answer, Some(&rotated), false);
        }
        Ok(told)
    };
    Ok(for_each(&names, "registered", output, one).await?)
}

/// `register`
pub(super) async fn run(config: Config, options: Options, output: Output) -> Result<bool, Failure> {
    if options.all {
        return register_all(config, options, output).await;
    }
    let name = name_of(&config, options.endpoint.as_deref())?;
    let url = options.url.clone().unwrap_or_default();
    let events = if options.events.is_empty() { default_events() } else { options.events };
    check_registration(&events, options.description.as_deref()).map_err(Usage::new)?;
    let registration = Registration { url, events, description: options.description };

    let client = Client::new(config.clone(), options.service.admin_url.as_deref())?;
    let asked = client
        .post_for_finkare(
            &format!("/endpoints/{}/register", path_segment(&name)),
            &json!({
                "url": registration.url, "events": registration.events, "description": registration.description,
            }),
        )
        .await;
    let is_nowhere = |error: &anyhow::Error| error.downcast_ref::<NotThere>().is_some_and(|nobody| nobody.refused);
    let (worker, answer) = match asked {
        Ok(answer) => (Worker::Service(client), answer),
        // With --admin-url, the service is meant to do it.
        Err(error) if is_nowhere(&error) && options.service.admin_url.is_none() => {
            let here = Here::open(config).await?;
            let answer = here.register(&name, registration).await;
            let here = Box::new(here);
            match answer {
                Ok(answer) => (Worker::Here(here), answer),
                Err(error) => {
                    here.close().await;
                    return Err(error.into());
                }
            }
        }
        Err(error) => return Err(error.into()),
    };

    let wants_rotation = options.rotate && answer["created"] == false;
    let rotated = match (&worker, wants_rotation) {
        (_, false) => Ok(Value::Null),
        (Worker::Service(client), true) => ask_to_rotate(client, &name, None).await,
        (Worker::Here(here), true) => here.rotate(&name).await,
    };
    let is_here = matches!(worker, Worker::Here(_));
    if let Worker::Here(here) = worker {
        here.close().await;
    }
    // The registration stays even if the rotation has failed.
    let mut shown = answer.clone();
    if let Ok(rotated) = &rotated {
        shown["rotation"] = rotated.clone();
    }
    output.say(&shown, &text(&name, &answer, rotated.as_ref().ok(), is_here))?;
    match rotated {
        Ok(_) => Ok(true),
        Err(error) => Err(error.context("the webhook is registered, but its secret could not be rotated").into()),
    }
}

/// What was done, and what to do next.
fn text(name: &str, answer: &Value, rotated: Option<&Value>, is_here: bool) -> String {
    let (id, url) = (cell(&answer["webhook_id"]), cell(&answer["url"]));
    let mut lines = vec![if answer["created"] == true {
        format!("The webhook {id} was created: Finkare posts to {url}, for the endpoint {name}.")
    } else {
        format!("Finkare already has the webhook {id} for {url}. The endpoint {name} has adopted it.")
    }];
    for note in answer["notes"].as_array().into_iter().flatten() {
        lines.push(format!("note: {}", cell(note)));
    }
    let rotated = rotated.filter(|rotated| rotated.is_object());
    if let Some(rotated) = rotated {
        lines.push(rotated_text(name, rotated));
    } else if answer["fingerprint"].is_string() {
        lines.push(format!("The endpoint's newest secret has the fingerprint {}.", cell(&answer["fingerprint"])));
    } else {
        lines.push(format!(
            "Its secret is not known, so its deliveries are rejected. Rotate the secret: finkare-relay {}",
            if is_here {
                format!("register --url {url} --endpoint {name} --rotate")
            } else {
                format!("rotate-secret --endpoint {name}")
            },
        ));
    }
    if is_here {
        lines.push("No service was running on this machine. Start it: finkare-relay serve".to_owned());
    }
    lines.join("\n")
}

/// What a registration in this process needs.
struct Here {
    open: OpenStore,
    links: Arc<Links>,
    lifecycle: Lifecycle,
}

impl Here {
    async fn open(mut config: Config) -> anyhow::Result<Self> {
        let linked = service::linked_endpoints(&config)?;
        local::settle_master_key(&config).await?;
        local::make_up_master_key(&mut config)?;
        let vault = service::vault(&config)?;
        let open = service::open_store(&config.store, true).await.context(
            "no service answers at the admin API's address (--admin-url), and the store could not be opened",
        )?;
        let store = &open.store;
        store.migrate().await.context("the store could not be migrated")?;
        service::keep_made_up(store.as_ref(), &vault, &config).await?;
        if !store.is_shared() {
            // This process holds the lock, so no other process can still be working on it.
            store.abandon_intents().await?;
        }
        let opened = Secrets::open(store.clone(), Arc::new(vault), service::sources(&config)).await;
        let secrets = opened.inspect_err(|error| {
            if !matches!(error, SecretsError::Store(_)) {
                service::discard_made_up(&config);
            }
        })?;
        let lifecycle = Lifecycle::new();
        let links = Links::new(store.clone(), secrets, linked, Arc::new(Metrics::new()), lifecycle.clone());
        Ok(Self { open, links, lifecycle })
    }

    async fn register(&self, name: &str, registration: Registration) -> anyhow::Result<Value> {
        let registered = self.links.register(&EndpointName::new(name)?, ACTOR, registration).await?;
        Ok(serde_json::to_value(RegisteredRow::from(registered))?)
    }

    async fn rotate(&self, name: &str) -> anyhow::Result<Value> {
        let name = EndpointName::new(name)?;
        let endpoints = self.links.endpoints();
        let overlap = endpoints.iter().find(|endpoint| endpoint.name == name);
        let overlap = overlap.map_or(crate::link::DEFAULT_OVERLAP, |endpoint| endpoint.rotate_overlap);
        let rotated = self.links.rotate(&name, ACTOR, overlap).await?;
        Ok(serde_json::to_value(RotatedRow::from(rotated))?)
    }

    /// Finishes the running tasks and closes the store.
    async fn close(self) {
        self.lifecycle.stop(Duration::from_secs(5)).await;
        self.open.store.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_to_do_next() {
        let answer = |created: bool, fingerprint: Option<&str>| {
            json!({
                "registered": true, "created": created, "webhook_id": "w-1", "url": "https://relay.example/hook",
                "fingerprint": fingerprint, "notes": if created { json!([]) } else { json!(["it is disabled"]) },
            })
        };
        let rotated = json!({"rotated": true, "fingerprint": "22", "previous_valid_until": null});
        insta::assert_snapshot!(
            [
                text("e", &answer(true, Some("11")), Some(&Value::Null), false),
                text("e", &answer(true, Some("11")), Some(&Value::Null), true),
                text("e", &answer(false, None), Some(&Value::Null), false),
                text("e", &answer(false, None), Some(&Value::Null), true),
                text("e", &answer(false, Some("11")), Some(&Value::Null), false),
                text("e", &answer(false, None), Some(&rotated), false),
            ]
            .join("\n\n")
        );
    }
}
