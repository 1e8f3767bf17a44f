//! Explains to the operator, and never to the sender, why a delivery was refused.
//!
//! The answer must not help a forger. The operator, however, must learn from the first refusal whether a secret was
//! mistyped, a proxy changes bodies, or deliveries are forged. Most refusals explain themselves. If no secret fits, a task
//! tries other readings of the secrets and of the body, after the answer has been decided. The result is a log line, a
//! metric and a row of `GET /api/v1/refusals`, and changes nothing else. The work is limited:
//!
//! - After each explanation the task pauses nine times as long as the explanation took, and at least [`REST`]: a flood of
//!   refused deliveries takes a tenth of a core, and gets at most twenty explanations per second.
//! - At most [`QUEUE`] deliveries wait, which is 4 MiB of bodies. A delivery for which the queue has no room, or that is
//!   larger than [`LARGEST`], is counted as not examined.
//! - The last [`KEPT`] refusals are kept in memory, per process: a restart deletes them, and each replica has its own.
//!   Neither bodies nor signatures are kept.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{sync::mpsc, time::Instant};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Endpoint, Refused};
use crate::{
    lifecycle::Lifecycle,
    model::{clock, id::EndpointName},
    secrets::Keyring,
    signature::{
        finkare::{HEADER, Rejection, SecretEncoding, SignatureOver},
        header_shape::{self, Shape},
        hmac::Tag,
        reserialize::reserialize,
    },
    telemetry::Metrics,
};

/// The most refusals that are kept; a further one replaces the oldest.
pub const KEPT: usize = 1000;
/// The most refused deliveries that wait to be examined.
pub const QUEUE: usize = 16;
/// The largest body that is examined, in bytes: Finkare's bodies have a few hundred.
pub const LARGEST: usize = 256 * 1024;
/// How long a refusal that waits to be examined is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// The shortest time between two explanations.
pub const REST: Duration = Duration::from_millis(50);
/// The pause after an explanation, as a multiple of the time that the explanation took.
const REST_FACTOR: u32 = 9;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $word:literal),+ $(,)?) => {
        /// What a refusal looks like. The words are stable: metrics and the admin API show them.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $($(#[$doc])* #[serde(rename = $word)] $name),+
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
    /// None of the endpoint's secrets fits, or one fits without its quotes or blanks.
    WrongSecret = "wrong_secret",
    /// A secret fits whose overlap after a rotation is over.
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
    /// A secret fits under another value of `secret_encoding`.
    SecretEncoding = "secret_encoding",
    /// A secret fits under another value of `signature_over`.
    SignatureOver = "signature_over",
    /// The endpoint has no secret.
    NoSecret = "no_secret",
    /// It was not known at that time whether the delivery was genuine.
    Undecided = "undecided",
    /// The delivery is genuine and older than `max_age_days`.
    TooOld = "too_old",
    /// The delivery came to a path that no endpoint has.
    UnknownPath = "unknown_path",
    /// There was no time or no room to look at the delivery.
    NotExamined = "not_examined",
}

/// A refusal as the API shows it: never the body, never the signature.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[schema(as = RefusalRow)]
pub struct Refusal {
    /// The refusal's number, counted from 1 in this process.
    pub number: u64,
    /// When the delivery came.
    pub at: Timestamp,
    /// The endpoint that the delivery came to; null for a path that no endpoint has.
    #[schema(required, value_type = Option<String>)]
    pub endpoint: Option<EndpointName>,
    /// The address that the delivery came from, as the connection says: behind a proxy, the proxy's.
    #[schema(required, value_type = Option<String>)]
    pub peer: Option<SocketAddr>,
    /// The status of the answer.
    pub status: u16,
    /// The reason, as a stable word.
    #[schema(value_type = String)]
    pub reason: Reason,
    /// The reason in words, and what to do.
    pub explanation: String,
    /// False if there was no time or no room to look at the delivery, and for a moment after it was refused.
    pub examined: bool,
    /// The length of the body in bytes; if the body was not read, the length that the request declared.
    pub body_bytes: usize,
    /// The SHA-256 of the body in hexadecimal; null if the delivery was not examined.
    #[schema(required)]
    pub body_sha256: Option<String>,
    /// What the signature header looked like.
    pub signature_header: SignatureHeader,
    /// The request id of the answer.
    #[schema(required)]
    pub request_id: Option<Uuid>,
}

/// What a signature header looked like.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct SignatureHeader {
    /// The header's length in bytes; null if it was missing.
    #[schema(required)]
    pub bytes: Option<usize>,
    /// What the header looks like, as a stable word.
    #[schema(value_type = String)]
    pub shape: Shape,
}

/// A request that was answered with a refusal.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// The status of the answer.
    pub status: u16,
    /// The address that the request came from.
    pub peer: Option<SocketAddr>,
    /// The request's id.
    pub request_id: Option<Uuid>,
}

/// The refusals of this process.
#[derive(Debug)]
pub struct Refusals {
    /// Oldest first.
    kept: Mutex<VecDeque<Refusal>>,
    queue: mpsc::Sender<Case>,
    metrics: Arc<Metrics>,
}

/// A refusal that waits to be examined; the body is dropped after that.
struct Case {
    refusal: Refusal,
    /// The signature that fits no secret, if that is why the delivery was refused.
    claimed: Option<Tag>,
    keyring: Keyring,
    body: Bytes,
}

impl Refusals {
    /// Creates the list, and the future that explains the refusals, which the caller spawns.
    pub fn new(metrics: Arc<Metrics>, lifecycle: Lifecycle) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (queue, cases) = mpsc::channel(QUEUE);
        let refusals = Arc::new(Self { kept: Mutex::default(), queue, metrics });
        (refusals.clone(), explain(refusals, cases, lifecycle))
    }

    /// Notes a refused delivery if the refusal concerns the identity of the sender, and queues it for examination if there is
    /// room. Never waits.
    pub fn note(&self, seen: Seen<'_>, endpoint: &Endpoint, body: &Bytes, refused: &Refused) {
        let header = header_shape::of(seen.headers);
        let Some(told) = told(refused, header.shape) else { return };
        let place = self.queue.try_reserve().ok().filter(|_| body.len() <= LARGEST);
        let claimed = if told.is_some() { None } else { header.claimed };
        let (reason, explanation) = told.unwrap_or_else(|| {
            let why = if place.is_some() {
                "; it will be examined in a moment."
            } else {
                ". It was not examined further, because too many deliveries were refused at the same time, or because its body is too large for that."
            };
            (Reason::NotExamined, format!("The signature fits none of the endpoint's secrets{why}"))
        });
        let refusal = self.keep(seen, Some(endpoint.name.clone()), body.len(), reason, explanation);
        match place {
            None => self.metrics.refused(endpoint.name.as_str(), reason.as_str()),
            Some(place) => {
                place.send(Case { refusal, claimed, keyring: endpoint.keyring.clone(), body: body.clone() });
            }
        }
    }

    /// Notes a signed request to a path that no endpoint has; its body was not read. There is nothing to examine, since
    /// the endpoint that it was meant for is not known.
    pub fn note_stray(&self, seen: Seen<'_>, body_bytes: usize, explanation: String) {
        self.keep(seen, None, body_bytes, Reason::UnknownPath, explanation);
    }

    /// Keeps a row under the next number.
    fn keep(
        &self,
        seen: Seen<'_>,
        endpoint: Option<EndpointName>,
        body_bytes: usize,
        reason: Reason,
        explanation: String,
    ) -> Refusal {
        #[cfg(test)]
        crate::french::expect(&explanation);
        let Seen { headers, status, peer, request_id } = seen;
        let header_shape::Header { shape, bytes, .. } = header_shape::of(headers);
        let mut kept = self.kept();
        let refusal = Refusal {
            number: kept.back().map_or(1, |last| last.number + 1),
            at: clock::now(),
            endpoint,
            peer,
            status,
            reason,
            explanation,
            examined: false,
            body_bytes,
            body_sha256: None,
            signature_header: SignatureHeader { bytes, shape },
            request_id,
        };
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(refusal.clone());
        refusal
    }

    /// The refusals after this number of deliveries that look genuine (those with a signature header), each with its
    /// endpoint, reason and time; and the number of the last one that is finished. One that waits to be examined is not,
    /// nor is what follows it.
    pub fn after(&self, number: u64) -> (Vec<(Option<EndpointName>, Reason, Timestamp)>, u64) {
        let kept = self.kept();
        let waits = |refusal: &&Refusal| !refusal.examined && refusal.reason == Reason::NotExamined;
        let patient = clock::now().checked_sub(PATIENCE).unwrap_or(Timestamp::MIN);
        let first = kept.partition_point(|refusal| refusal.number <= number);
        let fresh = kept.iter().skip(first).take_while(|refusal| !waits(refusal) || refusal.at < patient);
        let (mut last, mut rows) = (number, Vec::new());
        for refusal in fresh {
            last = refusal.number;
            if refusal.reason != Reason::HeaderMissing {
                rows.push((refusal.endpoint.clone(), refusal.reason, refusal.at));
            }
        }
        (rows, last)
    }

    /// Lists refusals, newest first: those older than the number `before` that `is_shown` says, at most `limit`.
    /// The flag says whether there are more.
    pub fn list(&self, is_shown: impl Fn(&Refusal) -> bool, before: Option<u64>, limit: usize) -> (Vec<Refusal>, bool) {
        let kept = self.kept();
        let fits = |refusal: &&Refusal| before.is_none_or(|before| refusal.number < before) && is_shown(refusal);
        let mut rows: Vec<Refusal> = kept.iter().rev().filter(fits).take(limit + 1).cloned().collect();
        let more = rows.len() > limit;
        rows.truncate(limit);
        (rows, more)
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Refusal>> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Replaces a row by its examined form, unless the row was pushed out meanwhile.
    fn amend(&self, examined: Refusal) {
        #[cfg(test)]
        crate::french::expect(&examined.explanation);
        if let Some(row) = self.kept().iter_mut().rev().find(|row| row.number == examined.number) {
            *row = examined;
        }
    }
}

/// Examines one case after the other until asked to stop. Cases that still wait are then dropped.
async fn explain(refusals: Arc<Refusals>, mut cases: mpsc::Receiver<Case>, lifecycle: Lifecycle) {
    let working = async {
        // The queue never closes: `refusals` holds its other end.
        while let Some(case) = cases.recv().await {
            let begun = Instant::now();
            // On a separate thread: hashing takes milliseconds, and would block the other tasks of this thread.
            match tokio::task::spawn_blocking(move || examine(case)).await {
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
    let Case { mut refusal, claimed, keyring, body } = case;
    if let Some(claimed) = claimed {
        (refusal.reason, refusal.explanation) = tried(&keyring, &claimed, &body);
    }
    refusal.body_sha256 = Some(hex::encode(Sha256::digest(&body)));
    refusal.examined = true;
    refusal
}

/// The explanation that follows from the refusal itself. The outer `None` means that the refusal does not concern the
/// identity of the sender; the inner `None` means that no secret fits, and only an examination can explain why.
#[expect(clippy::option_option, reason = "both are answers, and both have a meaning of their own")]
fn told(refused: &Refused, shape: Shape) -> Option<Option<(Reason, String)>> {
    let (reason, text) = match refused {
        Refused::NotGenuine(Rejection::Mismatch | Rejection::NotReserializable(_)) => return Some(None),
        Refused::QueueFull | Refused::TooLate(_) | Refused::Store(_) => return None,
        Refused::NotGenuine(Rejection::NoSecret) => (
            Reason::NoSecret,
            "The endpoint has no secret, so no delivery can be verified. Set its `secret`, or run `finkare-relay register`.".into(),
        ),
        Refused::NotGenuine(Rejection::HeaderMissing) => (
            Reason::HeaderMissing,
            format!("There is no `{HEADER}` header. Either the delivery does not come from Finkare, or a proxy removes the header: make the proxy pass it on."),
        ),
        Refused::NotGenuine(Rejection::HeaderRepeated) => (
            Reason::HeaderRepeated,
            format!("The `{HEADER}` header is there more than once, and it is not defined which one is valid. Look for a proxy that adds or repeats the header."),
        ),
        Refused::NotGenuine(Rejection::HeaderNotHex | Rejection::HeaderLength { .. }) => {
            let form = match shape {
                Shape::Base64 => "is written in base64 instead of hexadecimal",
                Shape::OtherPrefix => "has a prefix other than `sha256=`",
                _ => "does not hold the 64 hexadecimal digits of an HMAC-SHA256",
            };
            (
                Reason::HeaderEncoding,
                format!("The `{HEADER}` header {form}. If the delivery comes from Finkare, ask Finkare about the form of the header, or look for a proxy that rewrites it."),
            )
        }
        Refused::NotGenuine(Rejection::Retired) => (
            Reason::RetiredSecret,
            "The delivery is signed with a secret of this endpoint whose overlap after a rotation has ended. If Finkare still signs with this secret, rotate again; otherwise, a third party has sent an old delivery again.".into(),
        ),
        Refused::Undecided(undecided) => (
            Reason::Undecided,
            format!("The signature fitted no known secret, and {undecided}, so Finkare was asked to send the delivery again. There is nothing to do unless this continues; in that case, look at the audit trail and rotate again."),
        ),
        Refused::TooOld { .. } => (
            Reason::TooOld,
            "The delivery is genuine, but its timestamp is older than `max_age_days`. Either a third party has sent an old delivery again, or Finkare was days late: compare Finkare's payments with yours.".into(),
        ),
    };
    Some(Some((reason, text)))
}

/// How a body may have looked when it was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    AsItCame,
    /// Written again, compactly, as `JSON.stringify` does.
    Reserialized,
    /// As it was before something changed it on the way; the text follows "the signature fits if".
    Changed(&'static str),
}

/// The body as it came, and the other ways in which it may have been signed.
fn readings(body: &Bytes) -> (Vec<Reading>, Vec<Bytes>) {
    let (mut readings, mut bodies) = (vec![Reading::AsItCame], vec![body.clone()]);
    let mut add = |reading, text: Vec<u8>| {
        if !bodies.iter().any(|body| *body == text) {
            readings.push(reading);
            bodies.push(text.into());
        }
    };
    if let Ok(text) = std::str::from_utf8(body) {
        let lf = text.replace("\r\n", "\n");
        let crlf = lf.replace('\n', "\r\n");
        let bare = text.trim_start_matches('\u{feff}').trim();
        add(
            Reading::Changed("the blanks, newlines or byte order mark around it are removed: something added them"),
            bare.into(),
        );
        add(Reading::Changed("a newline is added at its end: something removed it"), format!("{text}\n").into());
        add(Reading::Changed("its line ends are LF: something turned them into CRLF"), lf.into());
        add(Reading::Changed("its line ends are CRLF: something turned them into LF"), crlf.into());
    }
    if let Ok(written) = reserialize(body) {
        add(Reading::Reserialized, written);
    }
    (readings, bodies)
}

/// What the signature fits if the secrets or the body are read in another way.
fn tried(keyring: &Keyring, claimed: &Tag, body: &Bytes) -> (Reason, String) {
    let (readings, bodies) = readings(body);
    let (encoding, over) = keyring.reading();
    let Some(fit) = keyring.misread(claimed, &bodies) else {
        return (
            Reason::WrongSecret,
            "The signature fits none of the endpoint's secrets, in any reading. Either the delivery is forged, or the secret was changed at Finkare or copied wrongly: compare its fingerprint (`printf %s \"$SECRET\" | sha256sum`) with the endpoint's, and set it again.".into(),
        );
    };
    let mut text = format!("The signature fits the endpoint's secret {}", fit.fingerprint);
    let mut found: Vec<(Reason, String)> = Vec::new();
    if let Some(oddity) = fit.oddity {
        text.push_str(" without the characters that do not belong to it");
        let remedy = format!("The configured secret {oddity}: correct it where it is configured, and reload.");
        found.push((Reason::WrongSecret, remedy));
    }
    if fit.encoding != encoding {
        let (how, word) = match fit.encoding {
            SecretEncoding::Literal => (" used as a whole", "literal"),
            SecretEncoding::Stripped => (" used without `whsec_`", "stripped"),
            SecretEncoding::Base64 => (" used without `whsec_` and decoded from base64", "base64"),
        };
        text.push_str(how);
        found.push((Reason::SecretEncoding, format!("Set `secret_encoding = \"{word}\"`.")));
    }
    match (readings[fit.message], over) {
        (Reading::AsItCame, SignatureOver::Reserialized) => {
            text.push_str(", over the body as it came");
            found.push((Reason::SignatureOver, "Set `signature_over = \"raw\"`.".into()));
        }
        (Reading::Reserialized, SignatureOver::Raw) => {
            text.push_str(" if the body's JSON is serialised again without blanks");
            found.push((
                Reason::SignatureOver,
                "Either something on the way adds blanks to the JSON, or Finkare signs another form of the JSON than it sends: set `signature_over = \"either\"`.".into(),
            ));
        }
        (Reading::AsItCame, SignatureOver::Raw | SignatureOver::Either)
        | (Reading::Reserialized, SignatureOver::Reserialized | SignatureOver::Either) => {}
        (Reading::Changed(how), _) => {
            text.push_str(" over the body if ");
            text.push_str(how);
            found.push((Reason::BodyChanged, "Make the proxy pass on bodies byte for byte.".into()));
        }
    }
    let Some((reason, _)) = found.first() else {
        text.push_str(
            ", which was not known when the delivery came. There is nothing to do: the delivery is accepted when Finkare sends it again.",
        );
        return (Reason::SecretKnownSince, text);
    };
    let remedies: Vec<&str> = found.iter().map(|(_, remedy)| remedy.as_str()).collect();
    (*reason, format!("{text}. {}", remedies.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_back_as_it_was_written() {
        let refusal = Refusal {
            number: 1,
            at: Timestamp::UNIX_EPOCH,
            endpoint: Some("production".parse().unwrap()),
            peer: Some("192.0.2.1:443".parse().unwrap()),
            status: 401,
            reason: Reason::BodyChanged,
            explanation: "a proxy changes the body".into(),
            examined: true,
            body_bytes: 12,
            body_sha256: None,
            signature_header: SignatureHeader { bytes: Some(71), shape: Shape::PrefixedHex },
            request_id: Some(Uuid::nil()),
        };
        let written = serde_json::to_string(&refusal).unwrap();
        let read: Refusal = serde_json::from_str(&written).unwrap();
        assert_eq!((read.reason, read.signature_header.shape), (Reason::BodyChanged, Shape::PrefixedHex));
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
    }

    #[test]
    fn a_body_is_read_as_it_may_have_been_signed() {
        for (came, was, reading) in [
            ("{\"a\":1}\n", "{\"a\":1}", "byte order mark"),
            ("\u{feff}[1.0 ]", "[1.0 ]", "byte order mark"),
            ("{\"a\":1}", "{\"a\":1}\n", "newline is added"),
            ("{\r\n\"a\":1}", "{\n\"a\":1}", "line ends are LF"),
            ("{\n\"a\":1}", "{\r\n\"a\":1}", "line ends are CRLF"),
        ] {
            let (which, bodies) = readings(&came.into());
            let at = bodies.iter().position(|body| body == was).unwrap_or_else(|| panic!("{came:?}: {bodies:?}"));
            assert!(matches!(which[at], Reading::Changed(how) if how.contains(reading)), "{came:?}: {:?}", which[at]);
        }
        let (which, bodies) = readings(&"{ \"a\" : 1 }".into());
        let last = which.last().zip(bodies.last().map(|body| &body[..]));
        assert_eq!((which[0], last), (Reading::AsItCame, Some((&Reading::Reserialized, &b"{\"a\":1}"[..]))));
        assert_eq!(readings(&Bytes::from_static(b"\xff")).0, [Reading::AsItCame]);
    }
}
