//! `endpoints`, `rotate-secret`, `audit`: the link to Finkare from a terminal, through the running service.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failure,
    client::Client,
    failure::Usage,
    manage::{Paging, Service, list, path_segment, query},
    output::{Output, cell, time},
};
use crate::{config::Config, finkare::link::MAX_OVERLAP};

#[derive(Debug, Subcommand)]
pub(super) enum Endpoints {
    /// List endpoints: their webhooks at Finkare, their secrets, what is under way
    List {
        #[command(flatten)]
        service: Service,
    },
    /// List every secret that an endpoint ever had, by fingerprint
    Secrets {
        /// The endpoint's name
        name: String,
        #[command(flatten)]
        service: Service,
    },
    /// Ask Finkare for its own history of an endpoint's deliveries
    Deliveries {
        /// The endpoint's name
        name: String,
        #[command(flatten)]
        service: Service,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// List who did what, newest first
    List {
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        service: Service,
    },
}

#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// The endpoint whose secret is rotated [default: the only one]
    #[arg(long, value_name = "NAME")]
    endpoint: Option<String>,
    /// For how long the secrets before it stay good, in seconds [default: the endpoint's `rotate_overlap_secs`]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(0..=MAX_OVERLAP.as_secs()))]
    overlap_secs: Option<u64>,
    #[command(flatten)]
    service: Service,
}

/// The name that was given, or the one of the only endpoint.
pub(super) fn name_of(config: &Config, given: Option<&str>) -> Result<String, Usage> {
    match (given, config.endpoints.as_slice()) {
        // Whether there is such an endpoint is known by the service, whose configuration may be another.
        (Some(name), _) => Ok(name.to_owned()),
        (None, [only]) => Ok(only.name.as_str().to_owned()),
        (None, several) => {
            let names: Vec<_> = several.iter().map(|endpoint| endpoint.name.as_str()).collect();
            Err(Usage::new(format!(
                "several endpoints are configured: say which one is meant by --endpoint: {}",
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
            let head = ["ENDPOINT", "STATE", "WEBHOOK", "URL", "SECRETS", "FINGERPRINT", "NEXT ROTATION (UTC)"];
            list(&answer, output, &head, |endpoint| {
                let sandbox = if endpoint["sandbox"] == true { " (sandbox)" } else { "" };
                vec![
                    format!("{}{sandbox}", cell(&endpoint["name"])),
                    cell(&endpoint["state"]),
                    cell(&endpoint["webhook_id"]),
                    cell(&endpoint["url"]),
                    cell(&endpoint["secrets"]),
                    cell(&endpoint["fingerprint"]),
                    time(&endpoint["next_rotation_at"]),
                ]
            })?;
        }
        Endpoints::Secrets { name, service } => {
            let client = Client::new(config, service.admin_url.as_deref())?;
            let answer = client.get(&format!("/endpoints/{}/secrets", path_segment(&name)), &[]).await?;
            let head = ["FINGERPRINT", "STATE", "ORIGIN", "CREATED (UTC)", "VALID UNTIL (UTC)"];
            list(&answer, output, &head, |secret| {
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
            list(&answer, output, &["TYPE", "STATUS", "ATTEMPTS", "OTHER"], |delivery| {
                let other = &delivery["other"];
                let is_empty = other.as_object().is_none_or(serde_json::Map::is_empty);
                vec![
                    cell(&delivery["event_type"]),
                    cell(&delivery["status"]),
                    cell(&delivery["attempts"]),
                    // Finkare's own texts: made harmless for the terminal.
                    if is_empty { String::new() } else { cell(&Value::from(other.to_string())) },
                ]
            })?;
        }
    }
    Ok(true)
}

/// `audit …`
pub(super) async fn audit(config: Config, command: Audit, output: Output) -> Result<bool, Failure> {
    let Audit::List { paging, service } = command;
    let client = Client::new(config, service.admin_url.as_deref())?;
    let answer = client.get("/audit", &query([], paging)).await?;
    list(&answer, output, &["AT (UTC)", "ACTOR", "ACTION", "SUBJECT", "DETAIL"], |entry| {
        let detail = &entry["detail"];
        let is_empty = detail.as_object().is_none_or(serde_json::Map::is_empty);
        vec![
            time(&entry["at"]),
            cell(&entry["actor"]),
            cell(&entry["action"]),
            cell(&entry["subject"]),
            if is_empty { String::new() } else { cell(&Value::from(detail.to_string())) },
        ]
    })?;
    Ok(true)
}

/// `rotate-secret`
pub(super) async fn rotate(config: Config, options: Rotate, output: Output) -> Result<bool, Failure> {
    let name = name_of(&config, options.endpoint.as_deref())?;
    let client = Client::new(config, options.service.admin_url.as_deref())?;
    let answer = ask_to_rotate(&client, &name, options.overlap_secs).await?;
    output.say(&answer, &rotated_text(&name, &answer))?;
    Ok(true)
}

/// Asks the running service.
pub(super) async fn ask_to_rotate(client: &Client, name: &str, overlap_secs: Option<u64>) -> anyhow::Result<Value> {
    let body = overlap_secs.map_or_else(|| json!({}), |overlap_secs| json!({"overlap_secs": overlap_secs}));
    client.post_for_finkare(&format!("/endpoints/{}/rotate-secret", path_segment(name)), &body).await
}

/// What a rotation has come to, in words.
pub(super) fn rotated_text(name: &str, answer: &Value) -> String {
    let before = match answer["previous_valid_until"].as_str() {
        Some(_) => format!(" Those before it are accepted until {} UTC.", time(&answer["previous_valid_until"])),
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
            "The endpoint e has a new secret, fingerprint 0011. Those before it are accepted until 2026-03-16 10:30:00 UTC."
        );
        let first = json!({"rotated": true, "fingerprint": "0011", "previous_valid_until": null});
        assert_eq!(rotated_text("e", &first), "The endpoint e has a new secret, fingerprint 0011.");
    }
}
