//! How long the admin API takes to answer: each path a few times, one request after another, on one connection.

use std::{collections::BTreeMap, time::Instant};

use anyhow::Context;
use hyper::header::HeaderValue;

use crate::{
    client::{Connection, Target},
    percentiles::{Latencies, Percentiles},
};

/// Times `count` answers to each path, after one that is not counted.
///
/// # Errors
/// When a path is not answered 2xx.
pub(crate) async fn run(
    target: &Target,
    token: &str,
    count: u32,
    paths: &[String],
) -> anyhow::Result<BTreeMap<String, Percentiles>> {
    let bearer = HeaderValue::try_from(format!("Bearer {token}")).context("the token does not fit into a header")?;
    let mut connection = Connection::open(target).await?;
    let mut timed = BTreeMap::new();
    for path in paths {
        let mut latencies = Latencies::default();
        connection.get_as(path, Some(&bearer)).await?;
        for _ in 0..count {
            let begun = Instant::now();
            connection.get_as(path, Some(&bearer)).await?;
            latencies.record(begun.elapsed());
        }
        timed.insert(path.clone(), latencies.percentiles());
    }
    Ok(timed)
}
