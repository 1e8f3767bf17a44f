//! Reads a request's body within limits of size, time and memory.
//!
//! A body that is too large is rejected, never truncated; this includes a chunked body whose length is not known in
//! advance. All bodies that are being read or processed share one [`Budget`] of memory, so that even a thousand slow or
//! forged requests cannot use more.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// The memory for all bodies together, in bytes.
const BUDGET_BYTES: usize = 64 * 1024 * 1024;
/// The budget is counted in units of this many bytes.
const UNIT: usize = 1024;
/// How many more bytes of an oversized body are read and dropped, so that a sender that is still writing sees the answer
/// and not a reset connection.
const DRAIN_BYTES: usize = 8 * 1024 * 1024;
/// How long an oversized body is drained.
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Why a body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// 413
    #[error("the body is larger than the limit")]
    TooLarge,
    /// 408
    #[error("the body did not arrive in time")]
    TooSlow,
    /// 400; the sender has gone and reads no answer.
    #[error("the connection ended within the body")]
    Broken,
    /// 503
    #[error("too many bodies are being read")]
    Busy,
}

/// The memory that bodies may take together.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

impl Default for Budget {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(BUDGET_BYTES / UNIT)))
    }
}

/// A body, with its share of the budget. Dropping it frees the share.
#[derive(Debug)]
pub struct Held {
    /// The body.
    pub bytes: Bytes,
    _share: Option<OwnedSemaphorePermit>,
}

/// Reads a whole body of at most `max_bytes` within `timeout`.
///
/// # Errors
/// See [`BodyError`]. After an error the connection should be closed.
pub async fn read(
    headers: &HeaderMap,
    mut body: Body,
    max_bytes: usize,
    timeout: Duration,
    budget: &Budget,
) -> Result<Held, BodyError> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max_bytes) {
        if announced.is_some_and(|length| length <= max_bytes + DRAIN_BYTES) {
            drain(body).await;
        }
        return Err(BodyError::TooLarge);
    }
    let deadline = Instant::now() + timeout;
    let mut share: Option<OwnedSemaphorePermit> = None;
    let mut first: Option<Bytes> = None;
    let mut whole = BytesMut::new();
    let mut length = 0;
    loop {
        let frame = match tokio::time::timeout_at(deadline, body.frame()).await {
            Err(_) => return Err(BodyError::TooSlow),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(BodyError::Broken),
            Ok(Some(Ok(frame))) => frame,
        };
        // Trailers are not used.
        let Ok(data) = frame.into_data() else { continue };
        let before = length;
        length += data.len();
        if length > max_bytes {
            drop((first, whole, share));
            drain(body).await;
            return Err(BodyError::TooLarge);
        }
        let units = length.div_ceil(UNIT) - before.div_ceil(UNIT);
        if units > 0 {
            let more = u32::try_from(units).map_err(|_| BodyError::Busy)?;
            let permit = budget.0.clone().try_acquire_many_owned(more).map_err(|_| BodyError::Busy)?;
            match &mut share {
                Some(share) => share.merge(permit),
                None => share = Some(permit),
            }
        }
        // Nearly every delivery fits into one frame and is used as it came, without a copy.
        match (first.take(), whole.is_empty()) {
            (None, true) => first = Some(data),
            (None, false) => whole.extend_from_slice(&data),
            (Some(start), _) => {
                whole.reserve(announced.unwrap_or(length).max(length));
                whole.extend_from_slice(&start);
                whole.extend_from_slice(&data);
            }
        }
    }
    Ok(Held { bytes: first.unwrap_or_else(|| whole.freeze()), _share: share })
}

async fn drain(mut body: Body) {
    let mut left = DRAIN_BYTES;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                return;
            }
        }
    };
    // The answer is the same whether the body ends or the time runs out.
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn chunks(sizes: &[usize]) -> Body {
        let sizes = sizes.to_vec();
        Body::from_stream(stream::iter(
            sizes.into_iter().map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; size]))),
        ))
    }

    async fn length(body: Body, max: usize, budget: &Budget) -> Result<usize, BodyError> {
        read(&HeaderMap::new(), body, max, Duration::from_secs(30), budget).await.map(|held| held.bytes.len())
    }

    #[tokio::test]
    async fn refuses_and_never_cuts() {
        let budget = Budget::default();
        assert_eq!(length(chunks(&[]), 10, &budget).await, Ok(0));
        assert_eq!(length(chunks(&[4, 6]), 10, &budget).await, Ok(10));
        assert_eq!(length(chunks(&[4, 0, 6, 1]), 10, &budget).await, Err(BodyError::TooLarge));
        assert_eq!(length(chunks(&[11]), 10, &budget).await, Err(BodyError::TooLarge));
    }

    #[tokio::test]
    async fn an_announced_length_is_refused_before_reading() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, http::HeaderValue::from(u64::MAX));
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let result = read(&headers, body, 10, Duration::from_secs(30), &Budget::default()).await;
        assert_eq!(result.map(|held| held.bytes.len()), Err(BodyError::TooLarge));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(length(body, 10, &Budget::default()).await, Err(BodyError::TooSlow));
    }

    #[tokio::test]
    async fn all_bodies_share_one_budget_and_give_it_back() {
        let budget = Budget(Arc::new(Semaphore::new(3)));
        let body = || chunks(&[UNIT, 1]);
        let max = 10 * UNIT;
        let held = read(&HeaderMap::new(), body(), max, Duration::from_secs(30), &budget).await.unwrap();
        assert_eq!(length(body(), max, &budget).await, Err(BodyError::Busy));
        drop(held);
        assert_eq!(length(body(), max, &budget).await, Ok(UNIT + 1));
        assert_eq!(budget.0.available_permits(), 3);
    }
}
