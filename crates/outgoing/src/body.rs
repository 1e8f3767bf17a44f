//! Reading the body of an answer up to a bound, so that no service can fill the memory or hold a call open.

use std::time::Duration;

use tokio::time::Instant;

/// What was read of a body.
#[derive(Debug)]
pub struct Body {
    /// The bytes that arrived, at most as many as were allowed.
    pub bytes: Vec<u8>,
    /// Why reading ended.
    pub end: End,
}

/// Why reading a body ended.
#[derive(Debug)]
pub enum End {
    /// The body was read completely.
    Whole,
    /// The body is longer than was allowed.
    TooLong,
    /// The body had not arrived completely in the time that was allowed.
    TooSlow,
    /// The connection failed.
    Broken(reqwest::Error),
}

/// Reads at most `most` bytes of the body, and for at most `patience` if that is given; without it, the bound on the
/// whole call ends the reading.
///
/// A body that is not read completely costs its connection. Dropping the future drops the answer with it.
pub async fn read(response: &mut reqwest::Response, most: usize, patience: Option<Duration>) -> Body {
    let until = patience.map(|patience| Instant::now() + patience);
    let mut bytes = Vec::new();
    let end = loop {
        let chunk = match until {
            None => response.chunk().await,
            Some(until) => match tokio::time::timeout_at(until, response.chunk()).await {
                Ok(chunk) => chunk,
                Err(_) => break End::TooSlow,
            },
        };
        match chunk {
            Ok(None) => break End::Whole,
            Ok(Some(chunk)) => {
                let room = most - bytes.len();
                bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    break End::TooLong;
                }
            }
            Err(error) => break End::Broken(error),
        }
    };
    Body { bytes, end }
}
