//! An endpoint's secrets: encrypted in the store, and kept in memory to verify deliveries.
//!
//! The store decides which secrets are valid ([`crate::model::stored_secret`] describes a secret's life). [`Secrets`] holds
//! a snapshot of the store, with which a [`Keyring`] for each endpoint verifies deliveries. [`vault`] encrypts secrets for
//! the store and decrypts them; [`misread`] explains refusals.
//!
//! # When a signature fits no secret
//!
//! Most such deliveries are forged. But Finkare switches to a new secret before the relay can know it, and another replica
//! may know the secret before this one does. [`Keyring::prove`] therefore checks again before it refuses:
//!
//! - If the snapshot was read before the delivery came, and other processes use the same database, the store is read once
//!   more. All waiting deliveries share one read, and there are at most five reads per second, so that a flood of forgeries
//!   does not load the database.
//! - If a change of the secret is in progress, the delivery waits until the change has ended, up to [`PATIENCE`], and is
//!   checked again. At most [`WAITING`] deliveries wait at the same time.
//! - If it is not known whether Finkare has switched (after a crash or a lost answer), the delivery waits for the outcome,
//!   up to [`UNKNOWN_PATIENCE`]. After that, and whenever one of these limits is reached, the sender is asked to retry: the
//!   delivery may be genuine, and a 401 would reject it permanently.
//! - If it was not known until a moment ago ([`AFTERMATH`]) whether Finkare has switched, the sender is asked to retry as
//!   well: the delivery may have been signed with a secret that was lost before the relay got the next one.
//!
//! A header that is missing or malformed is refused at once: no secret would make the delivery genuine.
//!
//! # When a stored secret cannot be decrypted
//!
//! A row that was damaged, or that was encrypted under another master key, affects its own secret and nothing else. A
//! configured secret with the same fingerprint is used instead. If there is none, the sender of a delivery that fits none
//! of the endpoint's other secrets is asked to retry: the delivery may be genuine. Only if no row at all can be decrypted
//! is the master key itself wrong, which is an error.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use tokio::{
    sync::{Mutex, Semaphore, watch},
    time::Instant,
};

use crate::{
    lifecycle::Lifecycle,
    model::{
        audit::NewAudit,
        chain::Chain,
        clock,
        id::EndpointName,
        intent::{IntentState, Link},
        secret::Secret,
        stored_secret::Fingerprint,
    },
    signature::{
        finkare::{self, Rejection, SecretEncoding, SignatureOver, Verified, Verifier},
        hmac::Tag,
    },
    store::{Store, StoreError},
};

pub mod misread;
pub mod vault;

use misread::Fit;
use vault::{Vault, VaultError};

/// How long a delivery waits for a change of the secret that is in progress. Finkare waits 5 seconds for an answer, and the
/// delivery must be committed within that time as well.
pub const PATIENCE: Duration = Duration::from_millis(3500);

/// How long a delivery waits while it is not known which secret Finkare uses: finding out may take long.
pub const UNKNOWN_PATIENCE: Duration = Duration::from_secs(1);

/// How long, after the secret is known again, the sender of a delivery that fits no secret is still asked to retry. This is
/// as long as Finkare waits for an answer, so that every delivery that was signed before has arrived by then.
pub const AFTERMATH: Duration = Duration::from_secs(5);

/// How many deliveries, of all endpoints together, may wait to be checked again. Their bodies share the memory
/// budget of all other bodies.
pub const WAITING: usize = 2048;

/// The shortest time between the starts of two reads that unverified deliveries request.
const PACE: Duration = Duration::from_millis(200);

/// How often the store is read again while a change is in progress, in case its announcement is lost…
const LOOK_WHILE_CHANGING: Duration = Duration::from_millis(250);

/// … and while no change is in progress.
const LOOK: Duration = Duration::from_secs(10);

/// The configuration from which the secrets of an endpoint are built.
#[derive(Debug, Clone)]
pub struct Source {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Configured secrets.
    pub configured: Vec<Secret>,
    /// How a secret is turned into a key.
    pub encoding: SecretEncoding,
    /// What the signature is computed over.
    pub over: SignatureOver,
}

/// Why the secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The store failed.
    #[error("the stored secrets cannot be read")]
    Store(#[from] StoreError),
    /// The master key cannot be used.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A configured secret cannot be turned into a key.
    #[error("endpoint {endpoint}: {problem}")]
    Unusable {
        /// The endpoint.
        endpoint: EndpointName,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// A stored secret that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// The secret's fingerprint.
    pub fingerprint: Fingerprint,
    /// What is wrong with it and what to do; never the secret.
    pub problem: String,
    /// True if the configuration has the same secret, which is used instead.
    pub is_replaced: bool,
}

/// Why a delivery could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum NotProved {
    /// The delivery is not genuine: the sender need not retry.
    #[error(transparent)]
    Rejected(Rejection),
    /// The delivery may be genuine: the sender should retry.
    #[error("the signature fits no secret that is known, and {0}")]
    Undecided(Undecided),
}

/// Why it is not known at the moment whether a delivery is genuine.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Undecided {
    /// The change of the secret took longer than [`PATIENCE`].
    #[error("a change of the secret was still in progress after {PATIENCE:?}")]
    Changing,
    /// A change was interrupted.
    #[error("it is not known whether Finkare has switched to another secret")]
    Unknown,
    /// A change was interrupted, and was repeated a moment ago.
    #[error("until a moment ago it was not known which secret Finkare uses")]
    Aftermath,
    /// Too many deliveries wait already.
    #[error("too many deliveries ({WAITING}) wait to be checked again")]
    Crowded,
    /// The store could not be read.
    #[error("the stored secrets could not be read again")]
    Unreadable,
    /// The delivery came while the endpoint was being removed.
    #[error("the endpoint has just been removed from the configuration")]
    Gone,
    /// One of the endpoint's stored secrets cannot be used.
    #[error(
        "a stored secret of this endpoint cannot be used (`finkare-relay endpoints list` says which one, and what to do)"
    )]
    Closed,
}

/// The live secrets of all endpoints, once per process. A reload replaces the endpoints by [`Secrets::update`], so that all
/// code that verifies deliveries sees a change of a secret that is in progress.
#[derive(Debug)]
pub struct Secrets {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// Held while the store is read. A task that waited for this lock may find that another task has read the store already.
    turn: Mutex<Option<Failure>>,
    room: Semaphore,
    reads: AtomicU64,
}

/// The last read, if it failed.
type Failure = (Instant, Arc<SecretsError>);

/// The content of the store at one time.
#[derive(Debug)]
struct Snapshot {
    /// When the read began: the snapshot has everything that was committed before.
    begun: Instant,
    /// The endpoints for which it was read.
    sources: Arc<[Source]>,
    /// In the order of the sources.
    rings: Vec<Arc<Ring>>,
}

impl Snapshot {
    /// An endpoint's place among the sources.
    fn place(&self, endpoint: &EndpointName) -> Option<usize> {
        self.sources.iter().position(|source| source.endpoint == *endpoint)
    }

    fn ring(&self, endpoint: &EndpointName) -> Option<&Arc<Ring>> {
        self.rings.get(self.place(endpoint)?)
    }
}

/// One endpoint's part of a snapshot.
#[derive(Debug)]
struct Ring {
    verifier: Verifier,
    /// When each of the verifier's keys expires; `None` if it does not.
    until: Vec<Option<Timestamp>>,
    fingerprints: Vec<Fingerprint>,
    /// Every key that the secrets may stand for; used only to explain refusals.
    suspects: Vec<misread::Suspect>,
    /// Stored secrets that cannot be used.
    closed: Vec<Closed>,
    standing: Standing,
    /// Until this time a delivery may have been signed with a secret that was lost.
    doubtful_until: Option<Instant>,
}

/// Whether the secrets of an endpoint are certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Settled,
    Changing,
    Unknown,
}

impl Secrets {
    /// Reads the store, checks that the master key decrypts its secrets, and stores the configured secrets that the store
    /// never had. The result is ready to verify deliveries.
    ///
    /// # Errors
    /// See [`SecretsError`]; a wrong master key is found before anything is written. A single row that cannot be decrypted
    /// is no error: see [`Secrets::closed`].
    pub async fn open(
        store: Arc<dyn Store>,
        vault: impl Into<Arc<Vault>>,
        sources: Vec<Source>,
    ) -> Result<Arc<Self>, SecretsError> {
        let secrets = Self::without_endpoints(store, vault.into());
        secrets.update(sources).await?;
        Ok(secrets)
    }

    /// Makes secrets without any endpoint; see [`Secrets::update`].
    pub fn without_endpoints(store: Arc<dyn Store>, vault: Arc<Vault>) -> Arc<Self> {
        let nothing = Snapshot { begun: Instant::now(), sources: Arc::default(), rings: Vec::new() };
        Arc::new(Self {
            store,
            vault,
            snapshot: watch::Sender::new(Arc::new(nothing)),
            turn: Mutex::default(),
            room: Semaphore::new(WAITING),
            reads: AtomicU64::new(0),
        })
    }

    /// Replaces the endpoints by these, as a whole or not at all, and stores the configured secrets that the store never
    /// had. When this returns, this process verifies deliveries with the secrets that the store held after the call.
    ///
    /// # Errors
    /// See [`SecretsError`]; the previous endpoints stay in force.
    pub async fn update(&self, sources: Vec<Source>) -> Result<(), SecretsError> {
        for source in &sources {
            Verifier::new(source.configured.clone(), source.encoding, source.over)
                .map_err(|problem| SecretsError::Unusable { endpoint: source.endpoint.clone(), problem })?;
        }
        let sources: Arc<[Source]> = sources.into();
        // Before anything is encrypted: a wrong master key is found here.
        self.read(&sources).await?;
        self.seed(&sources).await?;
        // No other task reads at the same time, so that a snapshot is never replaced by an older one.
        let mut last_failure = self.turn.lock().await;
        let snapshot = self.read(&sources).await?;
        *last_failure = None;
        self.tell_closed(&snapshot);
        for (source, ring) in snapshot.sources.iter().zip(&snapshot.rings) {
            tracing::info!(
                endpoint.name = %source.endpoint, secrets = ring.fingerprints.len(),
                newest = ring.fingerprints.first().map(tracing::field::display), "secrets are ready"
            );
        }
        self.snapshot.send_replace(snapshot);
        Ok(())
    }

    /// Encrypts and decrypts.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// How many times the store was read so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Relaxed)
    }

    /// One endpoint's secrets; `None` if it was not among the sources.
    pub fn keyring(self: &Arc<Self>, endpoint: &EndpointName) -> Option<Keyring> {
        let snapshot = self.snapshot.borrow().clone();
        let source = &snapshot.sources[snapshot.place(endpoint)?];
        let (endpoint, encoding, over) = (source.endpoint.clone(), source.encoding, source.over);
        Some(Keyring { secrets: self.clone(), endpoint, encoding, over })
    }

    /// Checks whether this text can be a secret of the endpoint under its `secret_encoding`.
    ///
    /// # Errors
    /// What is wrong with it, never the secret.
    pub fn is_usable(&self, endpoint: &EndpointName, secret: &Secret) -> Result<(), String> {
        let snapshot = self.snapshot.borrow().clone();
        let source = snapshot.place(endpoint).map(|place| &snapshot.sources[place]);
        let (encoding, over) = source.map(|source| (source.encoding, source.over)).unwrap_or_default();
        Verifier::new(vec![secret.clone()], encoding, over).map(drop)
    }

    /// The stored secrets of an endpoint that cannot be used, as of the last read.
    pub fn closed(&self, endpoint: &EndpointName) -> Vec<Closed> {
        self.snapshot.borrow().ring(endpoint).map(|ring| ring.closed.clone()).unwrap_or_default()
    }

    /// Logs which secrets have become unusable since the last snapshot.
    fn tell_closed(&self, snapshot: &Snapshot) {
        let before = self.snapshot.borrow().clone();
        for (source, ring) in snapshot.sources.iter().zip(&snapshot.rings) {
            let known = before.ring(&source.endpoint).map(|ring| &*ring.closed).unwrap_or_default();
            for closed in ring.closed.iter().filter(|closed| !known.contains(closed)) {
                let instead = if closed.is_replaced {
                    "the configured secret is used instead"
                } else {
                    "deliveries that fit none of this endpoint's other secrets are answered 503, so that Finkare retries them"
                };
                tracing::error!(
                    endpoint.name = %source.endpoint, fingerprint = %closed.fingerprint, problem = closed.problem,
                    "a stored secret cannot be used: {instead}"
                );
            }
        }
    }

    /// Reads the store again. When this returns, this process verifies deliveries with the secrets that the store held after
    /// the call. Concurrent calls share a read.
    ///
    /// # Errors
    /// If the store cannot be read, or none of its secrets can be decrypted; the snapshot then stays as it was.
    pub async fn refresh(&self) -> Result<(), Arc<SecretsError>> {
        self.read_since(Instant::now(), Duration::ZERO).await
    }

    /// Returns once a read that began at `since` or later is done. Starts no read within `pace` of the last one.
    async fn read_since(&self, since: Instant, pace: Duration) -> Result<(), Arc<SecretsError>> {
        let mut last_failure = self.turn.lock().await;
        let mut last = self.snapshot.borrow().begun;
        if last >= since {
            return Ok(());
        }
        if let Some((at, error)) = &*last_failure {
            if *at >= since {
                return Err(error.clone());
            }
            last = last.max(*at);
        }
        tokio::time::sleep_until(last + pace).await;
        let begun = Instant::now();
        let sources = self.snapshot.borrow().sources.clone();
        match self.read(&sources).await {
            Ok(snapshot) => {
                *last_failure = None;
                self.tell_closed(&snapshot);
                self.snapshot.send_replace(snapshot);
                Ok(())
            }
            Err(error) => {
                tracing::error!(error = %Chain(&error), "the stored secrets could not be read again");
                let error = Arc::new(error);
                *last_failure = Some((begun, error.clone()));
                Err(error)
            }
        }
    }

    /// Keeps the snapshot up to date until asked to stop: reads the store after every announcement, and at intervals.
    pub async fn run(self: Arc<Self>, lifecycle: Lifecycle) {
        let mut changes = self.store.wakeups().link();
        // For changes that were announced before this task listened.
        let _ = lifecycle.soft.run_until_cancelled(self.refresh()).await;
        loop {
            let settled = self.snapshot.borrow().rings.iter().all(|ring| ring.standing == Standing::Settled);
            let look = if settled { LOOK } else { LOOK_WHILE_CHANGING };
            tokio::select! {
                () = lifecycle.soft.cancelled() => return,
                // The store lives as long as this task, so its announcements never end.
                _ = changes.changed() => {}
                () = tokio::time::sleep(look) => {}
            }
            // A failure is in the log already.
            let _ = lifecycle.soft.run_until_cancelled(self.refresh()).await;
        }
    }

    async fn seed(&self, sources: &[Source]) -> Result<(), SecretsError> {
        for source in sources {
            if source.configured.is_empty() {
                continue;
            }
            let sealed: Vec<_> =
                source.configured.iter().map(|secret| self.vault.seal(&source.endpoint, secret)).collect();
            let fingerprints: Vec<_> = sealed.iter().map(|secret| secret.fingerprint.to_string()).collect();
            let audit = NewAudit::new("service", "secret.configured", format!("endpoint/{}", source.endpoint))
                .with("configured", fingerprints);
            let new = self.store.seed_secrets(&source.endpoint, &sealed, audit).await?;
            for secret in sealed.iter().filter(|secret| new.contains(&secret.id)) {
                tracing::info!(
                    endpoint.name = %source.endpoint, fingerprint = %secret.fingerprint,
                    "a configured secret was encrypted and stored"
                );
            }
        }
        Ok(())
    }

    async fn read(&self, sources: &Arc<[Source]>) -> Result<Arc<Snapshot>, SecretsError> {
        let begun = Instant::now();
        self.reads.fetch_add(1, Relaxed);
        let links = self.store.links().await?;
        let links: HashMap<_, _> = links.into_iter().map(|link| (link.endpoint.clone(), link)).collect();
        let before = self.snapshot.borrow().clone();
        let (mut opened, mut under_another_key) = (0, None);
        let rings = sources.iter().map(|source| {
            let link = links.get(&source.endpoint);
            let mut ring = self.ring(source, link, &mut opened, &mut under_another_key)?;
            // An intent with more than one try was in doubt before.
            let is_doubtful = link
                .and_then(|link| link.intent.as_ref())
                .is_some_and(|intent| intent.state == IntentState::Unknown || intent.tries > 1);
            ring.doubtful_until = if is_doubtful {
                Some(Instant::now() + AFTERMATH)
            } else {
                before.ring(&source.endpoint).and_then(|ring| ring.doubtful_until)
            };
            Ok::<_, SecretsError>(Arc::new(ring))
        });
        let rings = rings.collect::<Result<_, _>>()?;
        match under_another_key {
            // The key is wrong, not one row.
            Some(wrong_key) if opened == 0 => Err(wrong_key),
            _ => Ok(Arc::new(Snapshot { begun, sources: sources.clone(), rings })),
        }
    }

    /// Counts the rows that were decrypted, and keeps the first error of a row that was encrypted under another master key.
    fn ring(
        &self,
        source: &Source,
        link: Option<&Link>,
        opened: &mut usize,
        under_another_key: &mut Option<SecretsError>,
    ) -> Result<Ring, SecretsError> {
        let (mut keys, mut until, mut fingerprints) = (Vec::new(), Vec::new(), Vec::new());
        let (mut suspects, mut closed) = (Vec::new(), Vec::new());
        for row in link.map(|link| &*link.secrets).unwrap_or_default() {
            let fingerprint = row.fingerprint.clone();
            let secret = match self.vault.open(row) {
                Ok(None) => continue,
                Ok(Some(secret)) => {
                    *opened += 1;
                    secret
                }
                // It must not affect the other secrets.
                Err(error) => {
                    let problem = error.to_string();
                    if matches!(error, VaultError::WrongKey { .. }) {
                        under_another_key.get_or_insert(error.into());
                    }
                    let configured = source.configured.iter().find(|secret| Fingerprint::of(secret) == fingerprint);
                    closed.push(Closed { fingerprint, problem, is_replaced: configured.is_some() });
                    let Some(configured) = configured else { continue };
                    configured.clone()
                }
            };
            // A secret of Finkare's that cannot be read as configured must not affect them either.
            if let Err(problem) = Verifier::new(vec![secret.clone()], source.encoding, source.over) {
                let problem = format!("{problem}: check the endpoint's `secret_encoding`");
                closed.push(Closed { fingerprint: row.fingerprint.clone(), problem, is_replaced: false });
                continue;
            }
            suspects.extend(misread::suspects(&secret, &row.fingerprint));
            keys.push(secret);
            until.push(row.valid_until);
            fingerprints.push(row.fingerprint.clone());
        }
        let verifier = Verifier::new(keys, source.encoding, source.over)
            .map_err(|problem| SecretsError::Unusable { endpoint: source.endpoint.clone(), problem })?;
        let standing = match link.and_then(|link| link.intent.as_ref()).map(|intent| intent.state) {
            None | Some(IntentState::Done | IntentState::Failed) => Standing::Settled,
            Some(IntentState::InFlight) => Standing::Changing,
            Some(IntentState::Unknown) => Standing::Unknown,
        };
        Ok(Ring { verifier, until, fingerprints, suspects, closed, standing, doubtful_until: None })
    }
}

impl Ring {
    fn verify(&self, signature: Option<&[u8]>, body: &Bytes) -> Result<Verified, Rejection> {
        let verified = self.verifier.verify(signature, body)?;
        match self.until[verified.key] {
            Some(until) if until <= clock::now() => Err(Rejection::Retired),
            _ => Ok(verified),
        }
    }
}

/// One endpoint's live secrets. Clones share them.
#[derive(Debug, Clone)]
pub struct Keyring {
    secrets: Arc<Secrets>,
    endpoint: EndpointName,
    encoding: SecretEncoding,
    over: SignatureOver,
}

impl Keyring {
    /// True if the endpoint has no secret at all, so that every delivery is refused.
    pub fn is_empty(&self) -> bool {
        let snapshot = self.secrets.snapshot.borrow();
        snapshot.ring(&self.endpoint).is_none_or(|ring| ring.fingerprints.is_empty() && ring.closed.is_empty())
    }

    /// Verifies that a delivery is genuine, and waits for a change of the secret if that may make a difference; the
    /// [module](self) describes when. A genuine delivery whose secret is known never waits.
    ///
    /// Dropping the future gives up the delivery's place among those that wait.
    ///
    /// # Errors
    /// [`NotProved`], which says whether the sender should retry.
    pub async fn prove(&self, headers: &HeaderMap, body: &Bytes) -> Result<Verified, NotProved> {
        let signature = finkare::header_of(headers).map_err(NotProved::Rejected)?;
        let ring = self.secrets.snapshot.borrow().ring(&self.endpoint).cloned();
        let ring = ring.ok_or(NotProved::Undecided(Undecided::Gone))?;
        match ring.verify(signature, body) {
            Ok(verified) => Ok(verified),
            Err(rejection) if rejection.is_final() => Err(NotProved::Rejected(rejection)),
            Err(_) => self.look_again(signature, body).await,
        }
    }

    /// How this endpoint reads a secret, and what a signature covers.
    pub fn reading(&self) -> (SecretEncoding, SignatureOver) {
        (self.encoding, self.over)
    }

    /// Tries the endpoint's secrets, in every reading, with every message: to explain a refusal, never to accept a
    /// delivery. Takes a few dozen hashes of the messages; call it where no caller waits for an answer.
    pub fn misread(&self, claimed: &Tag, messages: &[Bytes]) -> Option<Fit> {
        let ring = self.secrets.snapshot.borrow().ring(&self.endpoint).cloned()?;
        misread::fit(&ring.suspects, self.encoding, claimed, messages)
    }

    async fn look_again(&self, signature: Option<&[u8]>, body: &Bytes) -> Result<Verified, NotProved> {
        let came = Instant::now();
        let is_shared = self.secrets.store.is_shared();
        // Subscribed before the first check, so that no change between two checks is missed.
        let mut snapshots = self.secrets.snapshot.subscribe();
        let mut place = None;
        loop {
            let (ring, begun) = {
                let snapshot = snapshots.borrow_and_update();
                (snapshot.ring(&self.endpoint).cloned(), snapshot.begun)
            };
            let ring = ring.ok_or(NotProved::Undecided(Undecided::Gone))?;
            let rejection = match ring.verify(signature, body) {
                Ok(verified) => return Ok(verified),
                Err(rejection) => rejection,
            };
            let is_old = is_shared && begun < came;
            if rejection.is_final() {
                return Err(NotProved::Rejected(rejection));
            }
            if !is_old && ring.standing == Standing::Settled {
                return Err(match ring.doubtful_until {
                    Some(until) if came < until => NotProved::Undecided(Undecided::Aftermath),
                    _ if ring.closed.iter().any(|closed| !closed.is_replaced) => {
                        NotProved::Undecided(Undecided::Closed)
                    }
                    _ => NotProved::Rejected(rejection),
                });
            }
            let patience = if ring.standing == Standing::Unknown { UNKNOWN_PATIENCE } else { PATIENCE };
            let undecided = match ring.standing {
                Standing::Unknown => Undecided::Unknown,
                Standing::Changing => Undecided::Changing,
                Standing::Settled => Undecided::Unreadable,
            };
            if place.is_none() {
                place = Some(self.secrets.room.try_acquire().map_err(|_| NotProved::Undecided(Undecided::Crowded))?);
            }
            let looked = tokio::time::timeout_at(came + patience, async {
                if is_old {
                    self.secrets.read_since(came, PACE).await.map_err(|_| Undecided::Unreadable)
                } else {
                    // The sender lives as long as this keyring.
                    let _ = snapshots.changed().await;
                    Ok(())
                }
            });
            match looked.await {
                Ok(Ok(())) => {}
                Ok(Err(undecided)) => return Err(NotProved::Undecided(undecided)),
                Err(_) => return Err(NotProved::Undecided(undecided)),
            }
        }
    }
}
