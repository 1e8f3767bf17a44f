//! An endpoint's secrets: encrypted in the store, live in memory, never old when it matters.
//!
//! The store has the truth ([`crate::model::stored_secret`] tells a secret's life). [`Secrets`] keeps a copy of
//! it that deliveries are verified by, a [`Keyring`] for each endpoint; [`vault`] encrypts what goes
//! into the store and opens what comes out.
//!
//! # When a signature fits none
//!
//! Most such deliveries are forged. But Finkare switches a secret before we can know the new one, and
//! another replica may know it before this one does. So [`Keyring::verify`] looks again before it
//! says no:
//!
//! - The copy was read before the delivery came, and others work on the same database: it is read
//!   once more. All who wait share one reading, and there are at most five a second, so a flood of
//!   forgeries does not become a load on the database.
//! - A change of the secret is under way: the delivery waits for its end, up to [`PATIENCE`], and
//!   is checked again. At most [`WAITING`] wait at a time.
//! - Nobody knows whether Finkare has switched (a crash, a lost answer): it waits a moment for the
//!   cure. After that, and whenever one of these bounds is met, the sender is asked to come again: it may be
//!   genuine, and 401 would turn it away for good.
//! - It was not known until a moment ago ([`AFTERMATH`]): a delivery that was signed with a secret that was lost,
//!   and is still on its way or waiting here when the cure brings another, is asked to come again as well.
//!
//! A header that is missing or malformed is refused at once: no secret would make it genuine.
//!
//! # When a stored secret does not open
//!
//! A row that was damaged, or that was sealed under another master key, costs its own secret and nothing else. The text of a configured secret
//! with the same fingerprint stands in for it. Where none does, whoever fits none of the endpoint's other secrets is
//! asked to come again: it may be genuine. Only if not one row opens is it the master key that is wrong, which is an error.

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
    signature::finkare::{self, Rejection, SecretEncoding, SignatureOver, Verified, Verifier},
    store::{Store, StoreError},
};

pub mod misread;
pub mod vault;

use vault::{Vault, VaultError};

/// How long a delivery waits for a change of the secret that is under way. Finkare waits 5 seconds
/// for an answer, and what waited has to be committed yet.
pub const PATIENCE: Duration = Duration::from_millis(3500);

/// How long a delivery waits where nobody knows which secret Finkare uses: the cure may take long.
pub const UNKNOWN_PATIENCE: Duration = Duration::from_secs(1);

/// For so long after the cure, whoever fits no secret is still asked to come again: as long as Finkare
/// waits for an answer, so that whatever it signed before the cure has arrived.
pub const AFTERMATH: Duration = Duration::from_secs(5);

/// Deliveries, of all endpoints together, that may wait to be checked again. What they hold in memory counts to the
/// same budget as all bodies.
pub const WAITING: usize = 2048;

/// Between the beginnings of two readings that unproved deliveries ask for.
const PACE: Duration = Duration::from_millis(200);

/// The copy is read again so often while a change is under way, should its announcement be lost…
const LOOK_WHILE_CHANGING: Duration = Duration::from_millis(250);

/// … and so often while there is none.
const LOOK: Duration = Duration::from_secs(10);

/// What the secrets of an endpoint are made of.
#[derive(Debug, Clone)]
pub struct Source {
    /// The endpoint.
    pub endpoint: EndpointName,
    /// Configured secrets.
    pub configured: Vec<Secret>,
    /// How a secret becomes a key.
    pub encoding: SecretEncoding,
    /// What the signature is computed over.
    pub over: SignatureOver,
}

/// Why the secrets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The store.
    #[error("the stored secrets cannot be read")]
    Store(#[from] StoreError),
    /// The master key.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A configured secret that cannot be a key.
    #[error("endpoint {endpoint}: {problem}")]
    Unusable {
        /// The endpoint.
        endpoint: EndpointName,
        /// What is wrong and what to do.
        problem: String,
    },
}

/// A stored secret that cannot be used as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Which one.
    pub fingerprint: Fingerprint,
    /// What is wrong with it and what to do; never the secret.
    pub problem: String,
    /// True if the configuration has the same secret, which is used in its place.
    pub is_replaced: bool,
}

/// Why a delivery is not proved.
#[derive(Debug, thiserror::Error)]
pub enum NotProved {
    /// It is not genuine: the sender need not come again.
    #[error(transparent)]
    Rejected(Rejection),
    /// It may be genuine: the sender should come again.
    #[error("the signature fits no secret that is known, and {0}")]
    Undecided(Undecided),
}

/// Why nobody can say now whether a delivery is genuine.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Undecided {
    /// [`PATIENCE`] was not enough.
    #[error("a change of the secret was still under way after {PATIENCE:?}")]
    Changing,
    /// A change was cut off.
    #[error("it is not known whether Finkare has switched to another secret")]
    Unknown,
    /// A change was cut off, and made again a moment ago.
    #[error("until a moment ago it was not known which secret Finkare uses")]
    Aftermath,
    /// Too many wait already.
    #[error("too many deliveries ({WAITING}) wait to be checked again")]
    Crowded,
    /// The store could not be asked.
    #[error("the stored secrets could not be read again")]
    Unreadable,
    /// It came while the endpoint was being removed.
    #[error("the endpoint has just been removed from the configuration")]
    Gone,
    /// One of the endpoint's secrets is there and does not open.
    #[error(
        "a stored secret of this endpoint cannot be used (`finkare-relay endpoints list` says which one, and what to do)"
    )]
    Closed,
}

/// The live secrets of all endpoints: one copy for the process. Another configuration is told to it by
/// [`Secrets::update`], so that a change of a secret that is under way is seen by whatever answers.
#[derive(Debug)]
pub struct Secrets {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    copy: watch::Sender<Arc<Copy>>,
    /// Held by who reads; those who wait for it find that it was done for them.
    turn: Mutex<Option<Failure>>,
    room: Semaphore,
    reads: AtomicU64,
}

/// The last reading, if it failed.
type Failure = (Instant, Arc<SecretsError>);

/// What was read at one time.
#[derive(Debug)]
struct Copy {
    /// When the reading began: whatever was committed before stands in it.
    begun: Instant,
    /// What it was read for.
    sources: Arc<[Source]>,
    /// In the order of the sources.
    rings: Vec<Arc<Ring>>,
}

impl Copy {
    /// An endpoint's place among the sources.
    fn place(&self, endpoint: &EndpointName) -> Option<usize> {
        self.sources.iter().position(|source| source.endpoint == *endpoint)
    }

    fn ring(&self, endpoint: &EndpointName) -> Option<&Arc<Ring>> {
        self.rings.get(self.place(endpoint)?)
    }
}

/// One endpoint's part of a copy.
#[derive(Debug)]
struct Ring {
    verifier: Verifier,
    /// For each of the verifier's keys, until when it is good; `None` is for ever.
    until: Vec<Option<Timestamp>>,
    fingerprints: Vec<Fingerprint>,
    /// Every key that the secrets may stand for, for explaining refusals only.
    suspects: Vec<misread::Suspect>,
    /// Stored secrets that cannot be used.
    closed: Vec<Closed>,
    standing: Standing,
    /// Until when a delivery that comes may have been signed with a secret that was lost.
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
    /// Reads the store, checks that the master key opens what is there, adds configured secrets that the
    /// store never had, and makes everything ready to verify.
    ///
    /// # Errors
    /// See [`SecretsError`]; a wrong master key is found before anything is written. A single row that does not open is
    /// none: [`Secrets::closed`].
    pub async fn open(
        store: Arc<dyn Store>,
        vault: impl Into<Arc<Vault>>,
        sources: Vec<Source>,
    ) -> Result<Arc<Self>, SecretsError> {
        let secrets = Self::without_endpoints(store, vault.into());
        secrets.update(sources).await?;
        Ok(secrets)
    }

    /// Knows no endpoint yet; see [`Secrets::update`].
    pub fn without_endpoints(store: Arc<dyn Store>, vault: Arc<Vault>) -> Arc<Self> {
        let nothing = Copy { begun: Instant::now(), sources: Arc::default(), rings: Vec::new() };
        Arc::new(Self {
            store,
            vault,
            copy: watch::Sender::new(Arc::new(nothing)),
            turn: Mutex::default(),
            room: Semaphore::new(WAITING),
            reads: AtomicU64::new(0),
        })
    }

    /// Goes over to these sources, as a whole or not at all: what is stored must open, and configured secrets that the
    /// store never had are added. When this returns, this process verifies by what the store held after the call.
    ///
    /// # Errors
    /// See [`SecretsError`]; the sources before stay in force.
    pub async fn update(&self, sources: Vec<Source>) -> Result<(), SecretsError> {
        for source in &sources {
            Verifier::new(source.configured.clone(), source.encoding, source.over)
                .map_err(|problem| SecretsError::Unusable { endpoint: source.endpoint.clone(), problem })?;
        }
        let sources: Arc<[Source]> = sources.into();
        // Before anything is sealed: what is there must open.
        self.read(&sources).await?;
        self.seed(&sources).await?;
        // Nobody else reads meanwhile: a copy never gives way to one that was read earlier.
        let mut last_failure = self.turn.lock().await;
        let copy = self.read(&sources).await?;
        *last_failure = None;
        self.tell_closed(&copy);
        for (source, ring) in copy.sources.iter().zip(&copy.rings) {
            tracing::info!(
                endpoint.name = %source.endpoint, secrets = ring.fingerprints.len(),
                newest = ring.fingerprints.first().map(tracing::field::display), "secrets are ready"
            );
        }
        self.copy.send_replace(copy);
        Ok(())
    }

    /// Encrypts and decrypts.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// How often the store was read so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Relaxed)
    }

    /// One endpoint's secrets; `None` if it was not among the sources.
    pub fn keyring(self: &Arc<Self>, endpoint: &EndpointName) -> Option<Keyring> {
        let copy = self.copy.borrow().clone();
        let source = &copy.sources[copy.place(endpoint)?];
        let (endpoint, encoding, over) = (source.endpoint.clone(), source.encoding, source.over);
        Some(Keyring { secrets: self.clone(), endpoint, encoding, over })
    }

    /// Whether this can be a secret of the endpoint, as it is configured to read secrets.
    ///
    /// # Errors
    /// What is wrong with it, never the secret.
    pub fn is_usable(&self, endpoint: &EndpointName, secret: &Secret) -> Result<(), String> {
        let copy = self.copy.borrow().clone();
        let source = copy.place(endpoint).map(|place| &copy.sources[place]);
        let (encoding, over) = source.map(|source| (source.encoding, source.over)).unwrap_or_default();
        Verifier::new(vec![secret.clone()], encoding, over).map(drop)
    }

    /// The stored secrets of an endpoint that cannot be used, as of the last reading.
    pub fn closed(&self, endpoint: &EndpointName) -> Vec<Closed> {
        self.copy.borrow().ring(endpoint).map(|ring| ring.closed.clone()).unwrap_or_default()
    }

    /// Says which secrets have become unusable since the last copy.
    fn tell_closed(&self, copy: &Copy) {
        let before = self.copy.borrow().clone();
        for (source, ring) in copy.sources.iter().zip(&copy.rings) {
            let known = before.ring(&source.endpoint).map(|ring| &*ring.closed).unwrap_or_default();
            for closed in ring.closed.iter().filter(|closed| !known.contains(closed)) {
                let instead = if closed.is_replaced {
                    "the configured secret is used in its place"
                } else {
                    "deliveries that fit none of this endpoint's other secrets are asked to come again"
                };
                tracing::error!(
                    endpoint.name = %source.endpoint, fingerprint = %closed.fingerprint, problem = closed.problem,
                    "a stored secret cannot be used: {instead}"
                );
            }
        }
    }

    /// Reads the store again; when this returns, this process verifies by what the store held after the
    /// call. Calls at the same time share a reading.
    ///
    /// # Errors
    /// When the store cannot be read, or none of its secrets can be opened; the copy stays as it was.
    pub async fn refresh(&self) -> Result<(), Arc<SecretsError>> {
        self.read_since(Instant::now(), Duration::ZERO).await
    }

    /// Makes sure of a reading that began at `since` or later, and begins none within `pace` of the last.
    async fn read_since(&self, since: Instant, pace: Duration) -> Result<(), Arc<SecretsError>> {
        let mut last_failure = self.turn.lock().await;
        let mut last = self.copy.borrow().begun;
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
        let sources = self.copy.borrow().sources.clone();
        match self.read(&sources).await {
            Ok(copy) => {
                *last_failure = None;
                self.tell_closed(&copy);
                self.copy.send_replace(copy);
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

    /// Keeps the copy up to date until asked to stop: after every announcement, and now and then.
    pub async fn run(self: Arc<Self>, lifecycle: Lifecycle) {
        let mut changes = self.store.wakeups().link();
        // What was announced before we listened is seen by this.
        let _ = lifecycle.soft.run_until_cancelled(self.refresh()).await;
        loop {
            let settled = self.copy.borrow().rings.iter().all(|ring| ring.standing == Standing::Settled);
            let look = if settled { LOOK } else { LOOK_WHILE_CHANGING };
            tokio::select! {
                () = lifecycle.soft.cancelled() => return,
                // The store lives as long as we do, so this never ends.
                _ = changes.changed() => {}
                () = tokio::time::sleep(look) => {}
            }
            // What failed stands in the log.
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

    async fn read(&self, sources: &Arc<[Source]>) -> Result<Arc<Copy>, SecretsError> {
        let begun = Instant::now();
        self.reads.fetch_add(1, Relaxed);
        let links = self.store.links().await?;
        let links: HashMap<_, _> = links.into_iter().map(|link| (link.endpoint.clone(), link)).collect();
        let before = self.copy.borrow().clone();
        let (mut opened, mut under_another_key) = (0, None);
        let rings = sources.iter().map(|source| {
            let link = links.get(&source.endpoint);
            let mut ring = self.ring(source, link, &mut opened, &mut under_another_key)?;
            // One that is being asked for again was unknown before.
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
            // Not one row, but the key.
            Some(wrong_key) if opened == 0 => Err(wrong_key),
            _ => Ok(Arc::new(Copy { begun, sources: sources.clone(), rings })),
        }
    }

    /// Counts the rows that opened, and remembers the first that was sealed under another master key.
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
                // It must not take the others with it.
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
            // Nor must one that Finkare gave and that cannot be read as configured.
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
    /// True if there is no secret at all: every delivery is refused.
    pub fn is_empty(&self) -> bool {
        let copy = self.secrets.copy.borrow();
        copy.ring(&self.endpoint).is_none_or(|ring| ring.fingerprints.is_empty() && ring.closed.is_empty())
    }

    /// Proves that a delivery is genuine, waiting for a change of the secret where that may matter;
    /// the [module](self) tells when. A genuine one whose secret is known never waits.
    ///
    /// Dropping the future gives up the place among those who wait.
    ///
    /// # Errors
    /// [`NotProved`]: whether the sender should come again.
    pub async fn verify(&self, headers: &HeaderMap, body: &Bytes) -> Result<Verified, NotProved> {
        let signature = finkare::header_of(headers).map_err(NotProved::Rejected)?;
        let ring = self.secrets.copy.borrow().ring(&self.endpoint).cloned();
        let ring = ring.ok_or(NotProved::Undecided(Undecided::Gone))?;
        match ring.verify(signature, body) {
            Ok(verified) => Ok(verified),
            Err(rejection) if rejection.is_final() => Err(NotProved::Rejected(rejection)),
            Err(_) => self.look_again(signature, body).await,
        }
    }

    async fn look_again(&self, signature: Option<&[u8]>, body: &Bytes) -> Result<Verified, NotProved> {
        let came = Instant::now();
        let is_shared = self.secrets.store.is_shared();
        // From before the first look on, so that no change is missed between two looks.
        let mut copies = self.secrets.copy.subscribe();
        let mut place = None;
        loop {
            let (ring, begun) = {
                let copy = copies.borrow_and_update();
                (copy.ring(&self.endpoint).cloned(), copy.begun)
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
                    // The sender lives as long as we do.
                    let _ = copies.changed().await;
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
