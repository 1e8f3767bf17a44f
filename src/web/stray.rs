//! Requests to paths of the public listener that belong to no endpoint.
//!
//! Such a request is answered 404 and nothing else, but it is recorded: a typo in the webhook's URL, an extra slash, or a
//! replica that was not reloaded would otherwise lose every payment silently. Each request is counted. A request with
//! Finkare's signature header also becomes a row of `GET /api/v1/refusals`, with the path that was probably meant. The log
//! has at most one line per [`QUIET`] for signed requests and one for all others, so that scanners cannot fill the disk.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::Request,
    response::{IntoResponse, Response},
};
use http::header;

use super::error::{Problem, RequestId};
use crate::{
    ingest::{
        Endpoint,
        explain::{Refusals, Seen},
    },
    listener::Peer,
    signature::finkare::HEADER,
    telemetry::Metrics,
};

/// The shortest time between two log lines about the same kind of request.
pub const QUIET: Duration = Duration::from_mins(1);
/// How many characters of a path are shown.
const SHOWN: usize = 80;
/// How many letters of a path may differ for it to count as mistyped.
const FAR: usize = 3;

/// Answers requests to paths that belong to no endpoint.
#[derive(Debug)]
pub struct Strays {
    /// The endpoints' names and paths.
    endpoints: Vec<(String, String)>,
    refusals: Arc<Refusals>,
    metrics: Arc<Metrics>,
    signed: Mutex<Line>,
    unsigned: Mutex<Line>,
}

/// When a line was last written, and how many requests came since then.
#[derive(Debug, Default)]
struct Line {
    last: Option<Instant>,
    silent: u64,
}

impl Line {
    /// How many requests came since the last line, if another line is due.
    fn due(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.duration_since(last) < QUIET) {
            self.silent += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.silent))
    }
}

impl Strays {
    /// For the listener of these endpoints.
    pub fn new(endpoints: &[Endpoint], refusals: &Arc<Refusals>, metrics: &Arc<Metrics>) -> Arc<Self> {
        let endpoints =
            endpoints.iter().map(|endpoint| (endpoint.name.as_str().to_owned(), endpoint.path.clone())).collect();
        Arc::new(Self {
            endpoints,
            refusals: refusals.clone(),
            metrics: metrics.clone(),
            signed: Mutex::default(),
            unsigned: Mutex::default(),
        })
    }

    /// Records the request and answers 404.
    pub fn answer(&self, request: &Request) -> Response {
        let is_signed = request.headers().contains_key(HEADER);
        self.metrics.strayed(is_signed);
        let problem = Problem::no_such_path();
        let (shown, peer) = (shown(request.uri().path()), request.extensions().get::<Peer>().map(|peer| peer.0));
        let line = if is_signed { &self.signed } else { &self.unsigned };
        let silent = line.lock().unwrap_or_else(PoisonError::into_inner).due(Instant::now());
        let peer_shown = peer.map(tracing::field::display);
        if is_signed {
            let hint = self.hint(request.uri().path());
            let length =
                request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
            let seen = Seen {
                headers: request.headers(),
                status: problem.status().as_u16(),
                peer,
                request_id: request.extensions().get::<RequestId>().map(|id| id.0),
            };
            let explanation = format!("No endpoint has the path `{shown}`. {hint}");
            self.refusals.note_stray(seen, length.unwrap_or(0), explanation);
            if let Some(silent) = silent {
                tracing::warn!(
                    path = shown,
                    peer = peer_shown,
                    unlogged = silent,
                    "a signed delivery came to a path that no endpoint has, and was answered 404. {hint}"
                );
            }
        } else if let Some(silent) = silent {
            tracing::info!(
                path = shown, method = %request.method(), peer = peer_shown, unlogged = silent,
                "a request came to a path that no endpoint has"
            );
        }
        problem.into_response()
    }

    /// Which endpoint was probably meant, and what to do.
    fn hint(&self, path: &str) -> String {
        let Some((name, known)) = self.nearest(path) else {
            let known: Vec<String> =
                self.endpoints.iter().take(10).map(|(name, path)| format!("`{path}` ({name})")).collect();
            return format!(
                "The endpoints of this process are at {}. Change the webhook's URL at Finkare, or add an endpoint with \
                 this path and reload every replica.",
                known.join(", ")
            );
        };
        let how = if known.trim_end_matches('/') == path.trim_end_matches('/') {
            "they differ by a slash at the end"
        } else if known.eq_ignore_ascii_case(path) {
            "they differ in upper and lower case"
        } else {
            "is there a typo?"
        };
        format!(
            "The endpoint `{name}` is at `{known}`: {how}. Change the webhook's URL at Finkare, or the endpoint's `path`; \
             if the path is a new one, reload this replica."
        )
    }

    /// The endpoint whose path is similar enough that it was probably meant.
    fn nearest(&self, path: &str) -> Option<(&str, &str)> {
        let plain = |path: &str| {
            let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
            parts.join("/").to_ascii_lowercase()
        };
        // The cost of the comparison is the product of both lengths.
        let asked: String = plain(path).chars().take(4 * SHOWN).collect();
        let far = |known: &str| strsim::levenshtein(&asked, &plain(known));
        let nearest = self.endpoints.iter().min_by_key(|(_, known)| far(known))?;
        let (name, known) = nearest;
        let close = FAR.min(plain(known).chars().count() / 3);
        let is_part = !asked.is_empty() && (asked.ends_with(&plain(known)) && !plain(known).is_empty());
        (far(known) <= close || is_part).then_some((name.as_str(), known.as_str()))
    }
}

/// A path that is safe to log: short, and without control characters.
fn shown(path: &str) -> String {
    let mut text: String = path.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).take(SHOWN).collect();
    if path.chars().nth(SHOWN).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Lifecycle;

    fn strays(paths: &[&str]) -> Strays {
        let metrics = Arc::new(Metrics::new());
        let (refusals, _explaining) = Refusals::new(metrics.clone(), Lifecycle::new());
        Strays {
            endpoints: paths.iter().map(|path| (format!("at{}", path.replace('/', "-")), (*path).to_owned())).collect(),
            refusals,
            metrics,
            signed: Mutex::default(),
            unsigned: Mutex::default(),
        }
    }

    #[test]
    fn the_nearest_path_is_told_if_it_is_near() {
        let strays = strays(&["/webhooks/finkare", "/hooks/beta", "/x"]);
        for (path, known) in [
            ("/webhooks/finkare/", Some("/webhooks/finkare")),
            ("/webhooks//finkare", Some("/webhooks/finkare")),
            ("/Webhooks/Finkare", Some("/webhooks/finkare")),
            ("/webhook/finkare", Some("/webhooks/finkare")),
            ("/webhooks/finkrae", Some("/webhooks/finkare")),
            ("/relay/webhooks/finkare", Some("/webhooks/finkare")),
            ("/hooks/betta", Some("/hooks/beta")),
            ("/", None),
            ("/y", None),
            ("/wp-login.php", None),
            ("/hooks/acme-production", None),
        ] {
            assert_eq!(strays.nearest(path).map(|(_, known)| known), known, "{path}");
        }
        let hint = strays.hint("/webhooks/finkare/");
        assert!(hint.contains("`/webhooks/finkare`: they differ by a slash at the end"), "{hint}");
        assert!(strays.hint("/wp-login.php").contains("`/hooks/beta` (at-hooks-beta)"));
        let _ = strays.nearest(&"/a".repeat(20_000));
    }

    #[test]
    fn a_path_is_shown_short_and_harmless() {
        assert_eq!(shown("/a/b"), "/a/b");
        assert_eq!(shown("/\u{1b}[31m\n é"), "/?[31m???");
        assert_eq!(shown(&"/x".repeat(500)).chars().count(), SHOWN + 1);
    }

    #[test]
    fn the_log_is_told_now_and_then() {
        let (mut line, begin) = (Line::default(), Instant::now());
        assert_eq!(line.due(begin), Some(0));
        for second in 1..60 {
            assert_eq!(line.due(begin + Duration::from_secs(second)), None);
        }
        assert_eq!(line.due(begin + QUIET), Some(59));
        assert_eq!(line.due(begin + QUIET), None);
    }
}
