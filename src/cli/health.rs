//! `health`: checks whether the service on this machine is up.
//!
//! It reads only the address of the public listener. A missing variable of a sink, or a wrong line elsewhere in the
//! configuration, must not fail a container's health check and get the service restarted.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use super::{
    Failure,
    client::{self, reachable},
    output::{Output, cell},
};
use crate::{config, options::env};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Check whether a delivery that arrives now would be accepted (`/readyz`), not only whether the service is up (`/healthz`)
    #[arg(long)]
    ready: bool,
}

/// `health`: exit 0 if it is.
pub(super) async fn run(path: Option<&Path>, options: Options, output: Output) -> Result<bool, Failure> {
    let listen = config::public_address(path, &env::of_process)?;
    let address = format!("http://{}", reachable(listen));
    let url = format!("{address}/{}", if options.ready { "readyz" } else { "healthz" });
    let response = client::http()?.get(&url).send().await.map_err(reqwest::Error::without_url);
    let response =
        response.with_context(|| format!("nothing answers at {url}: is `finkare-relay serve` running there?"))?;
    let is_good = response.status().is_success();
    let status = response.status().as_u16();
    let Ok(answer) = response.json::<Value>().await else {
        return Err(anyhow::anyhow!("the server at {url} (HTTP {status}) is not the relay").into());
    };
    let text = match (is_good, options.ready) {
        (true, true) => format!("The service at {address} is ready: a delivery that arrives now would be accepted."),
        (true, false) => format!("The service at {address} is up."),
        (false, _) => {
            let checks = answer["checks"].as_array().map(Vec::as_slice).unwrap_or_default();
            let wrong: Vec<String> = checks
                .iter()
                .filter(|check| check["ready"] == false)
                .map(|check| format!("\n  {}: {}", cell(&check["name"]), cell(&check["detail"])))
                .collect();
            let detail = cell(&answer["detail"]);
            let what = if options.ready { "not ready" } else { "not healthy" };
            format!("The service at {address} is {what} (HTTP {status}). {detail}{}", wrong.concat())
        }
    };
    output.say(&answer, text.trim_end())?;
    Ok(is_good)
}
