//! `endpoints`, `rotate-secret`, `audit`: the link to Finkare, through the running service.

use std::{
    io::{BufRead as _, IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::{
    Failure,
    admin::{Paging, Period, Service, fetch, list, path_segment, query, streamed},
    client::Client,
    failure::Usage,
    interrupting::Interrupted,
    output::{Output, cell, complain, plain, second, time},
    view::in_words,
};
use crate::{config::Config, link::MAX_OVERLAP, model::secret::Secret, options::env, web::admin::audit::AuditRow};

#[derive(Debug, Subcommand)]
pub(super) enum Endpoints {
    /// List endpoints with their paths, last deliveries, webhooks at Finkare, secrets, and unfinished changes
    List {
        #[command(flatten)]
        service: Service,
    },
    /// List all secrets that an endpoint has or had, by fingerprint
    Secrets {
        /// The endpoint's name
        name: String,
        #[command(flatten)]
        service: Service,
    },
    /// Show Finkare's own delivery history of an endpoint
    Deliveries {
        /// The endpoint's name
        name: String,
        #[command(flatten)]
        service: Service,
    },
    /// Tell the relay which secret Finkare signs with, as Finkare's dashboard shows it; this ends an unfinished change
    Settle(Settle),
}

/// Which secret is right. It is read from standard input unless an option says otherwise. It is never an argument, since
/// every process on the machine could read that.
#[derive(Debug, Args)]
pub(super) struct Settle {
    /// The endpoint's name
    name: String,
    /// Read the secret from this file
    #[arg(long, value_name = "PATH", group = "source")]
    secret_file: Option<PathBuf>,
    /// Read the secret from the environment variable with this name
    #[arg(long, value_name = "NAME", group = "source")]
    secret_env: Option<String>,
    /// Give no secret: the endpoint's newest secret is right
    #[arg(long, group = "source")]
    current: bool,
    #[command(flatten)]
    service: Service,
}

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List the entries of the audit trail, newest first
    List {
        /// Only entries about this endpoint
        #[arg(long)]
        endpoint: Option<String>,
        /// Only what this one did: the name of a token, cli, schedule, service
        #[arg(long)]
        actor: Option<String>,
        /// Only this action, such as sink.paused
        #[arg(long)]
        action: Option<String>,
        #[command(flatten)]
        period: Period,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        service: Service,
    },
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// The endpoint whose secret to rotate [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// Rotate the secrets of all endpoints, one after the other
    #[arg(long, conflicts_with = "endpoint")]
    all: bool,
    /// How long the previous secrets stay valid, in seconds, at least 10 [default: the endpoint's `rotate_overlap_secs`]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=MAX_OVERLAP.as_secs()))]
    overlap_secs: Option<u64>,
    #[command(flatten)]
    service: Service,
}

/// The given name, or the name of the only endpoint.
pub(super) fn name_of(config: &Config, given: Option<&str>) -> Result<String, Usage> {
    match (given, config.endpoints.as_slice()) {
        // The service checks whether the endpoint exists: its configuration may be a different one.
        (Some(name), _) => Ok(name.to_owned()),
        (None, [only]) => Ok(only.name.as_str().to_owned()),
        (None, several) => {
            let names: Vec<_> = several.iter().map(|endpoint| endpoint.name.as_str()).collect();
            Err(Usage::new(format!(
                "several endpoints are configured: choose one with --endpoint: {}",
                names.join(", ")
            )))
        }
    }
}

/// `endpoints …`
pub(super) async fn endpoints(config: Config, command: Endpoints, output: Output) -> Result<bool, Failure> {
    match command {
        Endpoints::List { service } => {
            let answer = Client::new(config, service.admin_url.as_deref())?.get("/endpoints", &[]).await?;
            let head = [
                "ENDPOINT",
                "PATH",
                "LAST DELIVERY (UTC)",
                "STATE",
                "WEBHOOK",
                "URL",
                "SECRETS",
                "FINGERPRINT",
                "NEXT ROTATION (UTC)",
            ];
            list(&answer, output, &head, |endpoint: &Value| {
                let sandbox = if endpoint["sandbox"] == true { " (sandbox)" } else { "" };
                vec![
                    format!("{}{sandbox}", cell(&endpoint["name"])),
                    cell(&endpoint["path"]),
                    if endpoint["last_delivery_at"].is_null() {
                        "never".to_owned()
                    } else {
                        time(&endpoint["last_delivery_at"])
                    },
                    cell(&endpoint["state"]),
                    cell(&endpoint["webhook_id"]),
                    cell(&endpoint["url"]),
                    cell(&endpoint["secrets"]),
                    cell(&endpoint["fingerprint"]),
                    time(&endpoint["next_rotation_at"]),
                ]
            })?;
            output.say_besides(&attention(&answer));
        }
        Endpoints::Secrets { name, service } => {
            let client = Client::new(config, service.admin_url.as_deref())?;
            let answer = client.get(&format!("/endpoints/{}/secrets", path_segment(&name)), &[]).await?;
            let head = ["FINGERPRINT", "STATE", "ORIGIN", "CREATED (UTC)", "VALID UNTIL (UTC)"];
            list(&answer, output, &head, |secret: &Value| {
                vec![
                    cell(&secret["fingerprint"]),
                    cell(&secret["state"]),
                    cell(&secret["origin"]),
                    time(&secret["created_at"]),
                    time(&secret["valid_until"]),
                ]
            })?;
        }
        Endpoints::Deliveries { name, service } => {
            let client = Client::new(config, service.admin_url.as_deref())?;
            let answer = client.get_from_finkare(&format!("/endpoints/{}/deliveries", path_segment(&name))).await?;
            list(&answer, output, &["TYPE", "STATUS", "ATTEMPTS", "OTHER"], |delivery: &Value| {
                let other = &delivery["other"];
                let is_empty = other.as_object().is_none_or(serde_json::Map::is_empty);
                vec![
                    cell(&delivery["event_type"]),
                    cell(&delivery["status"]),
                    cell(&delivery["attempts"]),
                    // Finkare's own texts, without control characters.
                    if is_empty { String::new() } else { cell(&Value::from(other.to_string())) },
                ]
            })?;
        }
        Endpoints::Settle(options) => settle(config, options, output).await?,
    }
    Ok(true)
}

/// What a person has to look at, one line each.
fn attention(answer: &Value) -> String {
    let mut lines = Vec::new();
    for endpoint in answer["data"].as_array().into_iter().flatten() {
        for what in endpoint["attention"].as_array().into_iter().flatten() {
            lines.push(format!("{}: {}", cell(&endpoint["name"]), cell(what)));
        }
    }
    lines.join("\n")
}

/// `endpoints settle`
async fn settle(config: Config, options: Settle, output: Output) -> Result<(), Failure> {
    let Settle { name, secret_file, secret_env, current, service } = options;
    let body = if current {
        json!({"current": true})
    } else {
        let secret = given_secret(secret_file.as_deref(), secret_env.as_deref())?;
        json!({"secret": secret.expose()})
    };
    let client = Client::new(config, service.admin_url.as_deref())?;
    let answer = client.decide(&format!("/endpoints/{}/settle", path_segment(&name)), &body).await?;
    let text = format!(
        "Finkare's secret for the endpoint {name} is the one with the fingerprint {}.\n{}",
        cell(&answer["fingerprint"]),
        cell(&answer["next"])
    );
    output.say(&answer, &text)?;
    Ok(())
}

/// Reads the secret, without blanks and line breaks around it.
fn given_secret(file: Option<&Path>, variable: Option<&str>) -> anyhow::Result<Secret> {
    // The most that is read; a secret is far shorter.
    const MOST: u64 = 64 * 1024;
    let mut text = Zeroizing::new(String::new());
    let from = match (file, variable) {
        (Some(path), _) => {
            let file = std::fs::File::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
            let reading = file.take(MOST).read_to_string(&mut text);
            reading.with_context(|| format!("{} cannot be read as text", path.display()))?;
            path.display().to_string()
        }
        (None, Some(name)) => {
            let value = env::of_process(name).with_context(|| format!("the variable {name} is not set"))?;
            let value = value.into_string().map_err(|_| anyhow::anyhow!("the variable {name} is not UTF-8"))?;
            *text = value;
            format!("the variable {name}")
        }
        (None, None) => {
            let input = std::io::stdin();
            if input.is_terminal() {
                complain("Paste the secret that Finkare's dashboard shows, and press Enter:");
                input.lock().take(MOST).read_line(&mut text).context("standard input cannot be read")?;
            } else {
                input.lock().take(MOST).read_to_string(&mut text).context("standard input cannot be read as text")?;
            }
            "standard input".to_owned()
        }
    };
    match text.trim() {
        "" => anyhow::bail!(
            "{from} holds no secret: give the one that Finkare's dashboard shows, or --current if the newest one is right"
        ),
        secret => Ok(Secret::new(secret)),
    }
}

/// `audit …`
pub(super) async fn audit(config: Config, command: Audit, output: Output) -> Result<bool, Failure> {
    let Audit::List { endpoint, actor, action, period, paging, service } = command;
    let client = Client::new(config, service.admin_url.as_deref())?;
    let filters = [
        ("endpoint", endpoint),
        ("actor", actor),
        ("action", action),
        ("since", period.since),
        ("until", period.until),
    ];
    let query = query(filters, paging);
    let head = ["AT (UTC)", "ACTOR", "ACTION", "SUBJECT", "DETAIL"];
    let row = |entry: &AuditRow| {
        let AuditRow { at, actor, action, subject, detail, .. } = entry;
        let is_empty = detail.as_object().is_none_or(serde_json::Map::is_empty);
        vec![
            second(*at),
            plain(actor),
            plain(action),
            plain(subject),
            if is_empty { String::new() } else { cell(&Value::from(detail.to_string())) },
        ]
    };
    if !streamed(&client, "/audit", &query, &head, row).await? {
        list(&fetch(&client, "/audit", &query).await?, output, &head, row)?;
    }
    Ok(true)
}

/// `rotate-secret`
pub(super) async fn rotate(config: Config, options: Rotate, output: Output) -> Result<bool, Failure> {
    if options.all {
        return rotate_all(config, options, output).await;
    }
    let name = name_of(&config, options.endpoint.as_deref())?;
    let client = Client::new(config, options.service.admin_url.as_deref())?;
    let answer = ask_to_rotate(&client, &name, options.overlap_secs).await?;
    output.say(&answer, &rotated_text(&name, &answer))?;
    Ok(true)
}

/// `rotate-secret --all`: one endpoint after the other; one that fails does not keep the others from it. Interrupted, it ends
/// after the one that is under way.
async fn rotate_all(config: Config, options: Rotate, output: Output) -> Result<bool, Failure> {
    let client = Client::new(config, options.service.admin_url.as_deref())?;
    let endpoints = client.get("/endpoints", &[]).await?;
    let names: Vec<String> =
        endpoints["data"].as_array().into_iter().flatten().map(|endpoint| cell(&endpoint["name"])).collect();
    let one = async |name: &str| -> anyhow::Result<String> {
        let answer = ask_to_rotate(&client, name, options.overlap_secs).await?;
        Ok(rotated_text(name, &answer))
    };
    Ok(for_each(&names, "rotated", output, one).await?)
}

/// Does one thing after the other, tells each result, and at the end how many there were. False if one failed or the work was
/// interrupted.
pub(super) async fn for_each(
    names: &[String],
    done: &str,
    output: Output,
    work: impl AsyncFn(&str) -> anyhow::Result<String>,
) -> anyhow::Result<bool> {
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let (mut good, mut results, mut is_over) = (0, Vec::new(), false);
    for name in names {
        let mut working = std::pin::pin!(work(name));
        let result = loop {
            tokio::select! {
                result = &mut working => break result,
                _ = &mut interrupted, if !is_over => {
                    is_over = true;
                    complain("Interrupted: it ends after this one.");
                }
            }
        };
        match result {
            Ok(text) => {
                good += 1;
                output.say_besides(&text);
                results.push(json!({"endpoint": name, "error": null}));
            }
            Err(error) => {
                output.say_besides(&format!("{name}: {error:#}"));
                results.push(json!({"endpoint": name, "error": format!("{error:#}")}));
            }
        }
        if is_over {
            break;
        }
    }
    let left = names.len() - results.len();
    let rest = if left > 0 { format!(", {left} not begun") } else { String::new() };
    let text = format!("{good} of {} {done}{rest}.", names.len());
    output.say(&json!({"data": results, "not_begun": left}), if is_over { "" } else { &text })?;
    if is_over {
        return Err(Interrupted(text).into());
    }
    Ok(good == names.len())
}

/// Asks the running service for a rotation.
pub(super) async fn ask_to_rotate(client: &Client, name: &str, overlap_secs: Option<u64>) -> anyhow::Result<Value> {
    let body = overlap_secs.map_or_else(|| json!({}), |overlap_secs| json!({"overlap_secs": overlap_secs}));
    client.post_for_finkare(&format!("/endpoints/{}/rotate-secret", path_segment(name)), &body).await
}

/// The result of a rotation, in words.
pub(super) fn rotated_text(name: &str, answer: &Value) -> String {
    let before = match answer["previous_valid_until"].as_str() {
        Some(text) => {
            let until = text.parse().map_or_else(|_| plain(text), in_words);
            format!(" The previous secrets are accepted until {until}.")
        }
        None => String::new(),
    };
    format!("The endpoint {name} has a new secret, fingerprint {}.{before}", cell(&answer["fingerprint"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_endpoint_needs_no_name() {
        let load = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            crate::config::load(Some(file.path()), &|_| None).unwrap()
        };
        let one = load("");
        assert_eq!(name_of(&one, None).unwrap(), "default");
        assert_eq!(name_of(&one, Some("other")).unwrap(), "other");
        let two = load("[[endpoints]]\nname = 'a'\npath = '/a'\n[[endpoints]]\nname = 'b'\npath = '/b'\n");
        let error = name_of(&two, None).unwrap_err().to_string();
        assert!(error.contains("--endpoint: a, b"), "{error}");
        assert_eq!(name_of(&two, Some("b")).unwrap(), "b");
    }

    #[test]
    fn a_rotation_is_told_in_words() {
        let answer = json!({"rotated": true, "fingerprint": "0011", "previous_valid_until": "2026-03-16T10:30:00Z"});
        assert_eq!(
            rotated_text("e", &answer),
            "The endpoint e has a new secret, fingerprint 0011. The previous secrets are accepted until 2026-03-16 10:30:00 UTC."
        );
        let first = json!({"rotated": true, "fingerprint": "0011", "previous_valid_until": null});
        assert_eq!(rotated_text("e", &first), "The endpoint e has a new secret, fingerprint 0011.");
    }
}
