//! Posting: each attempt is signed when it is sent, waits 5 s for its answer, and is retried with growing waits after
//! any answer but 2xx.
//!
//! Each delivery is a task of its own: the order between them is not guaranteed (nor does Finkare guarantee it).
//! [`Options::concurrency`](crate::Options::concurrency) limits the number of deliveries that are posted at the same
//! time. No redirect is followed and no proxy is used.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{join, join_all};
use serde_json::{Value, json};
use url::Url;

use crate::{
    World, now,
    secret::Secret,
    settings::{Over, Variants},
    signing::{HEADER, sign},
    state::{Outgoing, Status, body_of},
};

/// How long deliveries are collected before they are sent in reverse order.
const GATHERING: Duration = Duration::from_millis(300);
/// How much of an answer is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Starts deliveries.
pub(crate) fn start(world: &Arc<World>, outgoing: Vec<Outgoing>) {
    let mut state = world.lock();
    let size = state.faults.reorder as usize;
    if size <= 1 {
        drop(state);
        for one in outgoing {
            world.tracker.spawn(deliver(world.clone(), one));
        }
        return;
    }
    let first = state.gathered.is_empty() && !outgoing.is_empty();
    state.gathered.extend(outgoing);
    let full = state.gathered.len() >= size;
    let group = if full { std::mem::take(&mut state.gathered) } else { Vec::new() };
    drop(state);
    if full {
        world.tracker.spawn(turned_around(world.clone(), group));
    } else if first {
        let world = world.clone();
        world.tracker.clone().spawn(async move {
            world.pause(GATHERING).await;
            let group = std::mem::take(&mut world.lock().gathered);
            turned_around(world, group).await;
        });
    }
}

/// Makes the first attempts one after another, beginning with the last delivery.
async fn turned_around(world: Arc<World>, group: Vec<Outgoing>) {
    for outgoing in group.into_iter().rev() {
        if !attempt(&world, &outgoing, 1).await {
            world.tracker.spawn(retry(world.clone(), outgoing));
        }
    }
}

async fn deliver(world: Arc<World>, outgoing: Outgoing) {
    if !attempt(&world, &outgoing, 1).await {
        retry(world, outgoing).await;
    }
}

/// Makes all attempts after the first, until one ends the delivery.
async fn retry(world: Arc<World>, outgoing: Outgoing) {
    for (number, wait) in (2..).zip(&world.options.retry_waits) {
        world.pause(*wait).await;
        if world.stopping.soft.is_cancelled() || attempt(&world, &outgoing, number).await {
            return;
        }
    }
    tracing::warn!(event.r#type = outgoing.event, "a delivery is given up");
    world.finish(&outgoing, Status::Failed);
}

/// A signed delivery, with its copies and forgeries.
struct Prepared {
    url: Url,
    body: Bytes,
    signature: String,
    copies: u32,
    forged: Vec<(Bytes, String)>,
}

/// Makes one attempt; true if the delivery is finished by it.
async fn attempt(world: &Arc<World>, outgoing: &Outgoing, number: u32) -> bool {
    let delay = Duration::from_millis(world.lock().faults.delivery_delay_ms);
    world.pause(delay).await;
    let result = tokio::select! {
        () = world.stopping.soft.cancelled() => return true,
        result = posted(world, outgoing, number) => result,
    };
    let Some(answer) = result else {
        // The webhook was disabled or deleted in the meantime.
        world.finish(outgoing, Status::Failed);
        return true;
    };
    let good = answer.is_some_and(|status| (200..300).contains(&status));
    tracing::debug!(event.r#type = outgoing.event, attempt.number = number, answer, "delivered");
    {
        let mut state = world.lock();
        if let Some(entry) = state.entry(outgoing.webhook, outgoing.id) {
            entry.last_answer = answer;
        }
    }
    if good {
        world.finish(outgoing, Status::Success);
    }
    good
}

/// Posts, and returns the status of the answer, if one came. `None` if the webhook was deleted or disabled.
async fn posted(world: &World, outgoing: &Outgoing, number: u32) -> Option<Option<u16>> {
    let _permit = world.permits.acquire().await.expect("the semaphore is never closed");
    let prepared = prepare(world, outgoing, number)?;
    let transit = Duration::from_millis(world.lock().faults.transit_delay_ms);
    world.pause(transit).await;
    let Prepared { url, body, signature, copies, forged } = prepared;
    let post = |body: Bytes, signature: String| post(world, url.clone(), body, signature);
    let genuine = join_all((0..=copies).map(|_| post(body.clone(), signature.clone())));
    let beside = join_all(forged.into_iter().map(|(body, signature)| post(body, signature)));
    let (answers, forged_answers) = join(genuine, beside).await;
    let accepted = forged_answers.iter().flatten().filter(|status| (200..300).contains(*status)).count();
    world.lock().counters.forged_accepted += accepted as u64;
    // A copy may be answered although the first post is not; Finkare would look at one answer.
    Some(answers.first().copied().flatten())
}

/// Writes the body and signs it with the secret of this moment.
fn prepare(world: &World, outgoing: &Outgoing, number: u32) -> Option<Prepared> {
    let now = now();
    let mut state = world.lock();
    let (faults, variants) = (state.faults.clone(), state.variants.clone());
    let timestamp = if faults.fresh_timestamp && number > 1 { now } else { outgoing.timestamp };
    let event_id = variants.event_id.key().map(|key| (key, outgoing.event_id));
    let forged: Vec<_> = (0..faults.forged)
        .map(|number| {
            let mut data = outgoing.data.clone();
            if let Value::Object(fields) = &mut data {
                fields.insert("forged".into(), json!(true));
                fields.insert("forgery".into(), json!(number));
            }
            let body = body_of(&outgoing.event, &data, timestamp, event_id);
            written_and_signed(&body, &state.secret(), &variants)
        })
        .collect();
    let hook = state.hook_mut(outgoing.webhook).filter(|hook| hook.webhook.enabled)?;
    hook.webhook.last_triggered_at = Some(now);
    let url = world.target(&hook.webhook.url);
    let body = body_of(&outgoing.event, &outgoing.data, timestamp, event_id);
    let (body, signature) = written_and_signed(&body, hook.signing_secret(now), &variants);
    if let Some(entry) = state.entry(outgoing.webhook, outgoing.id) {
        entry.attempts = number;
        entry.body = body.clone();
        entry.signature.clone_from(&signature);
    }
    state.counters.attempts += 1;
    state.counters.posts += 1 + u64::from(faults.repeats);
    state.counters.forged += u64::from(faults.forged);
    Some(Prepared { url, body, signature, copies: faults.repeats, forged })
}

/// The bytes that are sent, and their signature.
fn written_and_signed(body: &Value, secret: &Secret, variants: &Variants) -> (Bytes, String) {
    let compact = body.to_string();
    let sent = match variants.signature_over {
        Over::Raw => Bytes::from(compact.clone()),
        Over::Reserialized => Bytes::from(format!("{body:#}\n")),
    };
    (sent, sign(compact.as_bytes(), secret, variants))
}

/// Posts once, and returns the status of the answer, or `None` if no answer came in time.
async fn post(world: &World, url: Url, body: Bytes, signature: String) -> Option<u16> {
    let request = world
        .client
        .post(url)
        .timeout(world.options.delivery_timeout)
        .header("content-type", "application/json")
        .header(HEADER, signature)
        .body(body);
    match request.send().await {
        Ok(mut response) => {
            // The answer is read, within bounds, so that the connection can be used again.
            let mut left = MAX_ANSWER_BYTES;
            while let Ok(Some(chunk)) = response.chunk().await
                && chunk.len() <= left
            {
                left -= chunk.len();
            }
            Some(response.status().as_u16())
        }
        Err(error) => {
            tracing::debug!(error = %error.without_url(), "a delivery was not answered");
            None
        }
    }
}
