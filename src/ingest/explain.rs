//! Why was it refused? An answer for the operator, never for the sender.
//!
//! A delivery that is turned away tells its sender nothing, and that is right; but whoever runs the
//! service must learn from the first one whether a secret was mistyped, a proxy changes bodies, or
//! somebody forges. So every refusal is noted ([`Refusals::note`]), and one task tries what the
//! delivery may have been signed with ([`Keyring::suspect`]).
//!
//! It happens after the answer was decided, in a task of its own, and changes nothing: what is found
//! is a line in the log, a count, and a row of `GET /api/v1/refusals`. It is bounded throughout:
//!
//! - After each explanation the task rests nine times as long as that took, and at least [`REST`]: a
//!   flood costs a tenth of a core, and makes at most twenty explanations a second.
//! - At most [`QUEUE`] deliveries with [`QUEUE_BYTES`] of bodies wait; what finds no room, and what is
//!   larger than [`LARGEST`], is counted as not examined.
//! - The last [`KEPT`] refusals are kept, in this process's memory alone: a restart forgets them, and each
//!   replica has its own. No body is kept, and no signature.

use std::{
    collections::VecDeque,
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    time::Instant,
};
use uuid::Uuid;

use super::{Endpoint, Refused};
use crate::{
    lifecycle::Lifecycle,
    model::{clock, id::EndpointName},
    secrets::{
        Keyring, Undecided,
        suspicion::{Suspicion, Whose},
    },
    signature::{
        finkare::{HEADER, Rejection, SecretEncoding, SignatureOver},
        suspicion::{self, Reading, Shape, Written},
    },
    telemetry::Metrics,
};

/// Refusals that are kept; beyond that the oldest is forgotten.
pub const KEPT: usize = 1000;
/// Refused deliveries that wait to be examined.
pub const QUEUE: usize = 32;
/// Bytes of their bodies together.
pub const QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Larger bodies are not examined: Finkare's have a few hundred bytes.
pub const LARGEST: usize = 256 * 1024;
/// Between two explanations, at least.
pub const REST: Duration = Duration::from_millis(50);
/// The rest, as a multiple of the time that the explanation took.
const REST_FACTOR: u32 = 9;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal),+ $(,)?) => {
        /// What a refusal looks like. The words are stable: metrics and the admin API show them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name),+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The word.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word),+
                }
            }
        }
    };
}
reasons! {
    /// Nothing that we know fits.
    WrongSecret = "wrong_secret",
    /// A secret fits that was retired.
    RetiredSecret = "retired_secret",
    /// A secret fits that was not known when the delivery came.
    SecretKnownSince = "secret_known_since",
    /// No signature header.
    HeaderMissing = "header_missing",
    /// More than one signature header.
    HeaderRepeated = "header_repeated",
    /// The header is not 64 hexadecimal digits.
    HeaderEncoding = "header_encoding",
    /// A secret fits the body as it was before something changed it.
    BodyChanged = "body_changed",
    /// A secret fits if it becomes a key in another way.
    SecretEncoding = "secret_encoding",
    /// A secret fits what `signature_over` rules out.
    SignatureOver = "signature_over",
    /// The secret of another endpoint fits.
    OtherEndpoint = "other_endpoint",
    /// The endpoint has no secret.
    NoSecret = "no_secret",
    /// It could not be told at that time whether it was genuine.
    Undecided = "undecided",
    /// It is genuine and older than `max_age_days`.
    TooOld = "too_old",
    /// It came to a path that no endpoint has.
    UnknownPath = "unknown_path",
    /// There was no time or no room to look at it.
    NotExamined = "not_examined",
}

/// One refusal, as it is kept.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Counted from 1 in this process.
    pub number: u64,
    /// When it was answered.
    pub at: Timestamp,
    /// To which endpoint it came; `None` if to a path that no endpoint has.
    pub endpoint: Option<EndpointName>,
    /// From where, as the connection says: behind a proxy, the proxy.
    pub peer: Option<SocketAddr>,
    /// What was answered.
    pub status: u16,
    /// What it looks like.
    pub reason: Reason,
    /// The same in words, with what to do.
    pub explanation: String,
    /// The body's length.
    pub body_bytes: usize,
    /// The body's SHA-256, in hexadecimal; `None` if it was not examined.
    pub body_sha256: Option<String>,
    /// The signature header's length in bytes.
    pub header_bytes: Option<usize>,
    /// How it looks.
    pub header_shape: Shape,
    /// The id that the answer carried.
    pub request_id: Option<Uuid>,
    /// True once it was looked at.
    pub examined: bool,
}

/// A delivery that was just refused.
#[derive(Debug)]
pub struct Seen<'a> {
    /// To which endpoint it came.
    pub endpoint: &'a Endpoint,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body.
    pub body: &'a Bytes,
    /// Why it was refused.
    pub refused: &'a Refused,
    /// What is answered.
    pub status: u16,
    /// From where it came.
    pub peer: Option<SocketAddr>,
    /// The request's id.
    pub request_id: Option<Uuid>,
}

/// A request with a signature that came to a path that no endpoint has.
#[derive(Debug)]
pub struct Stray<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// What its path is, and what it may have been meant for.
    pub explanation: String,
    /// Its body's length, as it says: nobody read it.
    pub body_bytes: usize,
    /// What is answered.
    pub status: u16,
    /// From where it came.
    pub peer: Option<SocketAddr>,
    /// The request's id.
    pub request_id: Option<Uuid>,
}

/// The refusals of this process.
#[derive(Debug)]
pub struct Refusals {
    kept: Mutex<Kept>,
    queue: mpsc::Sender<Case>,
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Kept {
    /// Oldest first.
    rows: VecDeque<Refusal>,
    last: u64,
}

/// What waits to be examined. Dropped after that, with the body.
#[derive(Debug)]
struct Case {
    refusal: Refusal,
    certain: Option<Reason>,
    keyring: Keyring,
    /// The signature headers alone.
    headers: HeaderMap,
    body: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Refusals {
    /// Makes the list, and the future that explains what is on it, to be spawned by the caller.
    pub fn new(metrics: Arc<Metrics>, lifecycle: Lifecycle) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (queue, cases) = mpsc::channel(QUEUE);
        let refusals =
            Arc::new(Self { kept: Mutex::default(), queue, room: Arc::new(Semaphore::new(QUEUE_BYTES)), metrics });
        (refusals.clone(), explain(refusals, cases, lifecycle))
    }

    /// Notes a refusal, if it is about who the sender is, and has it examined if there is room. Never waits.
    pub fn note(&self, seen: &Seen<'_>) {
        let Some(certain) = certainty(seen.refused) else { return };
        let headers = signature_headers(seen.headers);
        let looks = suspicion::headers(&headers);
        let room = u32::try_from(seen.body.len())
            .ok()
            .filter(|_| seen.body.len() <= LARGEST)
            .and_then(|bytes| self.room.clone().try_acquire_many_owned(bytes).ok());
        let place = room.and_then(|room| Some((room, self.queue.try_reserve().ok()?)));
        let reason = certain.unwrap_or(Reason::NotExamined);
        let mut refusal = Refusal {
            number: 0,
            at: clock::now(),
            endpoint: Some(seen.endpoint.name.clone()),
            peer: seen.peer,
            status: seen.status,
            reason,
            explanation: told_at_once(seen.refused, place.is_some()),
            body_bytes: seen.body.len(),
            body_sha256: None,
            header_bytes: looks.length,
            header_shape: looks.shape,
            request_id: seen.request_id,
            examined: false,
        };
        refusal.number = self.keep(refusal.clone());
        match place {
            None => self.metrics.refused(seen.endpoint.name.as_str(), reason.as_str()),
            Some((room, place)) => place.send(Case {
                refusal,
                certain,
                keyring: seen.endpoint.keyring.clone(),
                headers,
                body: seen.body.clone(),
                _room: room,
            }),
        }
    }

    /// Notes a signed request to a path that no endpoint has. Nothing is examined: whom it was meant for is not known.
    pub fn note_stray(&self, stray: &Stray<'_>) {
        let looks = suspicion::headers(&signature_headers(stray.headers));
        self.keep(Refusal {
            number: 0,
            at: clock::now(),
            endpoint: None,
            peer: stray.peer,
            status: stray.status,
            reason: Reason::UnknownPath,
            explanation: stray.explanation.clone(),
            body_bytes: stray.body_bytes,
            body_sha256: None,
            header_bytes: looks.length,
            header_shape: looks.shape,
            request_id: stray.request_id,
            examined: false,
        });
    }

    /// Keeps a row, and answers its number.
    fn keep(&self, refusal: Refusal) -> u64 {
        let mut kept = self.kept();
        kept.last += 1;
        let number = kept.last;
        if kept.rows.len() >= KEPT {
            kept.rows.pop_front();
        }
        kept.rows.push_back(Refusal { number, ..refusal });
        number
    }

    /// Newest first, before (older than) the given number, of one endpoint or of all; at most `limit`. The flag says
    /// whether there are more.
    pub fn list(&self, endpoint: Option<&str>, before: Option<u64>, limit: usize) -> (Vec<Refusal>, bool) {
        let kept = self.kept();
        let fits = |refusal: &&Refusal| {
            before.is_none_or(|before| refusal.number < before)
                && endpoint
                    .is_none_or(|endpoint| refusal.endpoint.as_ref().is_some_and(|name| name.as_str() == endpoint))
        };
        let mut rows: Vec<Refusal> = kept.rows.iter().rev().filter(fits).take(limit + 1).cloned().collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        (rows, more)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Puts what was found in the place of what was noted, unless that was pushed out meanwhile.
    fn amend(&self, examined: Refusal) {
        let mut kept = self.kept();
        let Some(first) = kept.rows.front().map(|refusal| refusal.number) else { return };
        let place = examined.number.checked_sub(first).and_then(|place| usize::try_from(place).ok());
        if let Some(refusal) = place.and_then(|place| kept.rows.get_mut(place)) {
            *refusal = examined;
        }
    }
}

/// Examines one case after the other until asked to stop; what waits then is dropped.
async fn explain(refusals: Arc<Refusals>, mut cases: mpsc::Receiver<Case>, lifecycle: Lifecycle) {
    let working = async {
        // The queue never closes: `refusals` holds its other end.
        while let Some(case) = cases.recv().await {
            let begun = Instant::now();
            // A megabyte of hashing would hold up whoever shares the thread.
            let examining = tokio::task::spawn_blocking(move || examine(case));
            match examining.await {
                Ok(refusal) => {
                    let endpoint = refusal.endpoint.as_ref().map_or("", EndpointName::as_str);
                    refusals.metrics.refused(endpoint, refusal.reason.as_str());
                    tracing::warn!(
                        endpoint.name = endpoint,
                        reason = refusal.reason.as_str(),
                        status = refusal.status,
                        bytes = refusal.body_bytes,
                        request.id = refusal.request_id.map(tracing::field::display),
                        "a refused delivery was examined: {}",
                        refusal.explanation
                    );
                    refusals.amend(refusal);
                }
                Err(error) => tracing::error!(%error, "a refused delivery could not be examined"),
            }
            tokio::time::sleep((begun.elapsed() * REST_FACTOR).max(REST)).await;
        }
    };
    let _ = lifecycle.soft.run_until_cancelled(working).await;
}

fn examine(case: Case) -> Refusal {
    let Case { mut refusal, certain, keyring, headers, body, _room } = case;
    let suspicion = keyring.suspect(&headers, &body);
    let found = found(certain, &suspicion);
    if let Some((reason, explanation)) = found {
        refusal.reason = reason;
        refusal.explanation = explanation;
    }
    refusal.body_sha256 = Some(hex::encode(Sha256::digest(&body)));
    refusal.examined = true;
    refusal
}

fn signature_headers(headers: &HeaderMap) -> HeaderMap {
    headers
        .get_all(HEADER)
        .iter()
        .take(8)
        .map(|value| (Some(http::HeaderName::from_static(HEADER)), value.clone()))
        .fold(HeaderMap::new(), |mut map, (name, value)| {
            if let Some(name) = name {
                map.append(name, value);
            }
            map
        })
}

/// The outer `None`: not about who the sender is. The inner one: only an examination can tell.
#[expect(clippy::option_option, reason = "both are answers, and both have a name here")]
fn certainty(refused: &Refused) -> Option<Option<Reason>> {
    match refused {
        Refused::NotGenuine(rejection) => Some(match rejection {
            Rejection::NoSecret => Some(Reason::NoSecret),
            Rejection::HeaderMissing => Some(Reason::HeaderMissing),
            Rejection::HeaderRepeated => Some(Reason::HeaderRepeated),
            Rejection::HeaderNotHex | Rejection::HeaderLength { .. } => Some(Reason::HeaderEncoding),
            Rejection::Retired => Some(Reason::RetiredSecret),
            Rejection::Mismatch | Rejection::NotReserializable(_) => None,
        }),
        Refused::Undecided(_) => Some(Some(Reason::Undecided)),
        Refused::TooOld { .. } => Some(Some(Reason::TooOld)),
        Refused::QueueFull | Refused::TooLate(_) | Refused::Store(_) => None,
    }
}

/// What can be said without an examination.
fn told_at_once(refused: &Refused, is_examined_next: bool) -> String {
    match refused {
        Refused::NotGenuine(rejection) => match rejection {
            Rejection::NoSecret => {
                "The endpoint has no secret, so nothing can be genuine. Set its `secret`, or run `finkare-relay register`.".into()
            }
            Rejection::HeaderMissing => format!(
                "There is no `{HEADER}` header. Either it does not come from Finkare, or a proxy in front removes the header: let it through."
            ),
            Rejection::HeaderRepeated => format!(
                "The `{HEADER}` header is there more than once, and which one counts is not defined. Look for a proxy that adds one."
            ),
            Rejection::HeaderNotHex | Rejection::HeaderLength { .. } => format!(
                "The `{HEADER}` header does not hold the 64 hexadecimal digits of an HMAC-SHA256. If it comes from Finkare, its form has changed: ask them."
            ),
            Rejection::Retired => {
                "It is signed with a secret of this endpoint that was retired: the overlap after its rotation is over. If Finkare still signs with it, rotate again; otherwise it is an old delivery that somebody repeats.".into()
            }
            Rejection::Mismatch | Rejection::NotReserializable(_) if is_examined_next => {
                "The signature fits no secret of the endpoint; it will be examined in a moment.".into()
            }
            Rejection::Mismatch | Rejection::NotReserializable(_) => {
                "The signature fits no secret of the endpoint. It was not examined further: too many were refused at a time, or its body is too large for that.".into()
            }
        },
        Refused::Undecided(undecided) => {
            let why = match undecided {
                Undecided::Changing => "a change of the secret was still under way",
                Undecided::Unknown => "nobody knew whether Finkare had switched to another secret",
                Undecided::Aftermath => "until a moment before nobody knew which secret Finkare used",
                Undecided::Crowded => "too many deliveries waited for the end of a change of the secret",
                Undecided::Unreadable => "the stored secrets could not be read again",
                Undecided::Gone => "the endpoint was just being removed from the configuration",
                Undecided::Closed => "a stored secret of the endpoint cannot be used (`finkare-relay endpoints list` says which, and what to do)",
            };
            format!("The signature fitted no secret that was known, and {why}: the sender was asked to come again. Nothing to do unless this goes on; then look at the audit trail and rotate again.")
        }
        Refused::TooOld { .. } => {
            "It is genuine, and its timestamp is older than `max_age_days`. Somebody repeats an old delivery, or Finkare was late by days: compare its payments with yours.".into()
        }
        // Not noted.
        Refused::QueueFull | Refused::TooLate(_) | Refused::Store(_) => String::new(),
    }
}

/// What the examination says; `None` leaves what was said at once.
fn found(certain: Option<Reason>, suspicion: &Suspicion) -> Option<(Reason, String)> {
    let Some(fit) = &suspicion.fit else {
        return certain.is_none().then(|| {
            (
                Reason::WrongSecret,
                "The signature fits no secret that this process knows, in any way that it knows to read it. Either it is forged, or the secret was changed at Finkare, or copied wrongly: compare its fingerprint (`printf %s \"$SECRET\" | sha256sum`) with the endpoint's, and set it anew. Secrets that were retired before the service started are not remembered.".to_owned(),
            )
        });
    };
    // These stay what they are, whatever would have fitted.
    if matches!(certain, Some(Reason::NoSecret | Reason::Undecided | Reason::TooOld | Reason::RetiredSecret))
        && !matches!((certain, &fit.whose), (Some(Reason::NoSecret), Whose::Other(..)))
    {
        return None;
    }
    let whose = match &fit.whose {
        Whose::Own(fingerprint) => format!("the endpoint's secret {fingerprint}"),
        Whose::Retired(fingerprint) => format!("the endpoint's secret {fingerprint}, which was retired"),
        Whose::Other(endpoint, fingerprint) => format!("the secret {fingerprint} of the endpoint `{endpoint}`"),
    };
    let mut text = format!("The signature fits {whose}");
    let (mut reason, mut remedies) = (None, Vec::new());
    let mut meet = |which: Reason, remedy: &str| {
        reason.get_or_insert(which);
        remedies.push(remedy.to_owned());
    };
    match &fit.whose {
        Whose::Own(_) => {}
        Whose::Retired(_) => meet(
            Reason::RetiredSecret,
            "If Finkare still signs with it, rotate again; otherwise it is an old delivery that somebody repeats.",
        ),
        Whose::Other(..) => meet(
            Reason::OtherEndpoint,
            "The webhook's URL at Finkare leads to the wrong path, or its secret stands at the wrong endpoint (a sandbox secret at a live one?): swap one of the two.",
        ),
    }
    if certain == Some(Reason::HeaderRepeated) {
        text.push_str(", in one of several signature headers");
        meet(Reason::HeaderRepeated, "Look for a proxy that adds or repeats the header.");
    }
    if let Some(oddity) = fit.oddity {
        text.push_str(", without what stands around it or is unseen in it");
        meet(
            Reason::WrongSecret,
            &format!("The secret as it is configured {oddity}: take that out where it is configured, and reload."),
        );
    }
    match fit.written {
        Written::Properly => {}
        Written::WithOtherPrefix => {
            text.push_str(", written behind a prefix other than `sha256=`");
            meet(
                Reason::HeaderEncoding,
                "Only bare hexadecimal digits and `sha256=` are taken: ask Finkare about the form, or look for what rewrites the header.",
            );
        }
        Written::InBase64 => {
            text.push_str(", written in base64 instead of hexadecimal");
            meet(
                Reason::HeaderEncoding,
                "Only hexadecimal digits are taken: ask Finkare about the form, or look for what rewrites the header.",
            );
        }
    }
    // Another endpoint's secret was tried as that endpoint takes it.
    if matches!(fit.whose, Whose::Own(_)) && fit.encoding != suspicion.encoding {
        let (how, word) = match fit.encoding {
            SecretEncoding::Literal => ("taken as a whole", "literal"),
            SecretEncoding::Stripped => ("taken without `whsec_`", "stripped"),
            SecretEncoding::Base64 => ("taken without `whsec_` and decoded from base64", "base64"),
        };
        let _ = write!(text, ", {how}");
        meet(Reason::SecretEncoding, &format!("Set `secret_encoding = \"{word}\"`."));
    }
    match (fit.reading, suspicion.over) {
        (Reading::AsItCame, SignatureOver::Reserialized) => {
            text.push_str(" over the body as it came");
            meet(Reason::SignatureOver, "Set `signature_over = \"raw\"`.");
        }
        (Reading::AsItCame, SignatureOver::Raw | SignatureOver::Either) => {}
        (Reading::Reserialized, _) => {
            let _ = write!(text, " if the body is read otherwise: {}", fit.reading.told());
            meet(
                Reason::SignatureOver,
                "Either something on the way adds blanks to the JSON, or Finkare signs another form of it than it sends: set `signature_over = \"either\"`.",
            );
        }
        (reading, _) => {
            let _ = write!(text, " if {}", reading.told());
            meet(Reason::BodyChanged, "Let the proxy in front pass bodies on byte for byte.");
        }
    }
    let Some(reason) = reason else {
        return Some((
            Reason::SecretKnownSince,
            format!("{text}, which was not known when the delivery came. Nothing to do: a repetition is taken."),
        ));
    };
    text.push_str(". ");
    text.push_str(&remedies.join(" "));
    Some((reason, text))
}
