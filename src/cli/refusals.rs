//! `refusals`: the deliveries that the service refused, and why.

use clap::Subcommand;

use super::{
    Failure,
    admin::{Paging, Period, Service, fetch, list, query, streamed},
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
        period: Period,
        #[command(flatten)]
        paging: Paging,
        #[command(flatten)]
        service: Service,
    },
}

/// `refusals …`
pub(super) async fn run(config: Config, command: Refusals, output: Output) -> Result<bool, Failure> {
    let Refusals::List { endpoint, period, paging, service } = command;
    let client = Client::new(config, service.url())?;
    let filters = [("endpoint", endpoint), ("since", period.since), ("until", period.until)];
    let query = query(filters, paging);
    let head = ["AT (UTC)", "ENDPOINT", "PEER", "STATUS", "REASON", "BYTES", "EXPLANATION"];
    let row = |refusal: &serde_json::Value| {
        vec![
            time(&refusal["at"]),
            cell(&refusal["endpoint"]),
            cell(&refusal["peer"]),
            cell(&refusal["status"]),
            cell(&refusal["reason"]),
            cell(&refusal["body_bytes"]),
            cell(&refusal["explanation"]),
        ]
    };
    if !streamed(&client, "/refusals", &query, &head, row).await? {
        list(&fetch(&client, "/refusals", &query).await?, output, &head, row)?;
    }
    Ok(true)
}
