//! `refusals`: the deliveries that the service refused, and why.

use clap::Subcommand;

use super::{
    Failure,
    admin::{Paging, Service, fetch, list, query},
    client::Client,
    output::{Output, cell, time},
};
use crate::config::Config;

#[derive(Debug, Subcommand)]
pub(super) enum Refusals {
    /// List the last deliveries that the answering process has refused since its start, newest first, with the reasons
    List {
        /// Only of this endpoint
        #[arg(long)]
        endpoint: Option<String>,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        service: Service,
    },
}

/// `refusals …`
pub(super) async fn run(config: Config, command: Refusals, output: Output) -> Result<bool, Failure> {
    let Refusals::List { endpoint, paging, service } = command;
    let client = Client::new(config, service.url())?;
    let answer = fetch(&client, "/refusals", &query([("endpoint", endpoint)], paging)).await?;
    let head = ["AT (UTC)", "ENDPOINT", "PEER", "STATUS", "REASON", "BYTES", "EXPLANATION"];
    list(&answer, output, &head, |refusal: &serde_json::Value| {
        vec![
            time(&refusal["at"]),
            cell(&refusal["endpoint"]),
            cell(&refusal["peer"]),
            cell(&refusal["status"]),
            cell(&refusal["reason"]),
            cell(&refusal["body_bytes"]),
            cell(&refusal["explanation"]),
        ]
    })?;
    Ok(true)
}
