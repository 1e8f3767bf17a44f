//! The rows of the link that both stores read, and their conversion into the model. The columns and their types are
//! the same on both.

use std::{collections::BTreeMap, fmt, time::Duration};

use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use crate::{
    model::{
        audit::{AuditEntry, NewAudit},
        clock,
        id::{EndpointName, LeaseToken},
        intent::{Intent, IntentId, IntentKind, IntentState, Link, SERVICE, Webhook},
        stored_secret::{Fingerprint, Origin, SealedSecret, SecretId, SecretState, StoredSecret},
    },
    store::{error::StoreError, link::Change, page::Page},
};

/// The columns of [`SecretRow`].
macro_rules! secret_columns {
    () => {
        "id, endpoint, fingerprint, origin, state, created_at, valid_until, key_id, sealed"
    };
}
pub(in crate::store) use secret_columns;

/// The columns of [`IntentRow`].
macro_rules! intent_columns {
    () => {
        "id, endpoint, kind, state, actor, webhook_id, url, events, overlap_us, begun_at, tries, lease_token,
         lease_until, unreadable, given_meanwhile, asked_by"
    };
}
pub(in crate::store) use intent_columns;

fn unreadable(table: &'static str, column: &'static str, row: &str, problem: &dyn fmt::Display) -> StoreError {
    StoreError::Unreadable { table, column, row: row.to_owned(), problem: problem.to_string() }
}

fn time(table: &'static str, column: &'static str, row: &str, micros: i64) -> Result<Timestamp, StoreError> {
    clock::from_micros(micros).ok_or_else(|| {
        unreadable(table, column, row, &format_args!("{micros} µs since 1970 is no time of this calendar"))
    })
}

fn endpoint(table: &'static str, row: &str, name: &str) -> Result<EndpointName, StoreError> {
    EndpointName::new(name).map_err(|error| unreadable(table, "endpoint", row, &error))
}

fn word<T>(
    table: &'static str,
    column: &'static str,
    row: &str,
    word: &str,
    known: impl Fn(&str) -> Option<T>,
) -> Result<T, StoreError> {
    known(word)
        .ok_or_else(|| unreadable(table, column, row, &format_args!("`{word}` is not a word that this version knows")))
}

#[derive(FromRow)]
pub(in crate::store) struct SecretRow {
    id: Uuid,
    endpoint: String,
    fingerprint: String,
    origin: String,
    state: String,
    created_at: i64,
    valid_until: Option<i64>,
    key_id: String,
    sealed: Option<Vec<u8>>,
}

impl TryFrom<SecretRow> for StoredSecret {
    type Error = StoreError;

    fn try_from(row: SecretRow) -> Result<Self, StoreError> {
        const TABLE: &str = "secrets";
        let at = row.id.to_string();
        Ok(Self {
            id: SecretId(row.id),
            endpoint: endpoint(TABLE, &at, &row.endpoint)?,
            fingerprint: Fingerprint::from_stored(row.fingerprint),
            origin: word(TABLE, "origin", &at, &row.origin, Origin::from_word)?,
            state: word(TABLE, "state", &at, &row.state, SecretState::from_word)?,
            created_at: time(TABLE, "created_at", &at, row.created_at)?,
            valid_until: row.valid_until.map(|end| time(TABLE, "valid_until", &at, end)).transpose()?,
            key_id: row.key_id,
            sealed: row.sealed,
        })
    }
}

/// A whole list of secrets.
pub(in crate::store) fn secrets(rows: Vec<SecretRow>) -> Result<Vec<StoredSecret>, StoreError> {
    rows.into_iter().map(StoredSecret::try_from).collect()
}

/// An unfinished intent.
#[derive(FromRow)]
pub(in crate::store) struct IntentRow {
    id: Uuid,
    endpoint: String,
    kind: String,
    state: String,
    actor: String,
    webhook_id: Option<String>,
    url: Option<String>,
    events: String,
    overlap_us: i64,
    begun_at: i64,
    tries: i64,
    lease_token: Option<Uuid>,
    lease_until: Option<i64>,
    unreadable: i64,
    given_meanwhile: bool,
    asked_by: Option<String>,
}

impl IntentRow {
    pub(in crate::store) fn id(&self) -> IntentId {
        IntentId(self.id)
    }

    /// True if its lease has not run out.
    pub(in crate::store) fn is_held(&self, now: i64) -> bool {
        self.lease_until.is_some_and(|end| end > now)
    }

    /// True if it was leased under this token and no other process has taken it over.
    pub(in crate::store) fn is_leased_under(&self, token: LeaseToken) -> bool {
        self.lease_token == Some(token.0)
    }

    /// The intent, as of this time.
    pub(in crate::store) fn at(self, now: i64) -> Result<Intent, StoreError> {
        const TABLE: &str = "intents";
        let at = self.id.to_string();
        let state = word(TABLE, "state", &at, &self.state, IntentState::from_word)?;
        let number = |column, value: i64| {
            u64::try_from(value).map_err(|_| unreadable(TABLE, column, &at, &format_args!("{value} is negative")))
        };
        Ok(Intent {
            id: IntentId(self.id),
            endpoint: endpoint(TABLE, &at, &self.endpoint)?,
            kind: word(TABLE, "kind", &at, &self.kind, IntentKind::from_word)?,
            state: if state == IntentState::InFlight && !self.is_held(now) { IntentState::Unknown } else { state },
            events: serde_json::from_str(&self.events).map_err(|error| unreadable(TABLE, "events", &at, &error))?,
            overlap: Duration::from_micros(number("overlap_us", self.overlap_us)?),
            begun_at: time(TABLE, "begun_at", &at, self.begun_at)?,
            tries: u32::try_from(number("tries", self.tries)?).unwrap_or(u32::MAX),
            unreadable: u32::try_from(number("unreadable", self.unreadable)?).unwrap_or(u32::MAX),
            given_meanwhile: self.given_meanwhile,
            asked_by: self.asked_by,
            actor: self.actor,
            webhook_id: self.webhook_id,
            url: self.url,
        })
    }
}

#[derive(FromRow)]
pub(in crate::store) struct WebhookRow {
    endpoint: String,
    id: String,
    url: String,
    registered_at: i64,
}

fn of<'a>(links: &'a mut BTreeMap<EndpointName, Link>, name: &EndpointName) -> &'a mut Link {
    let empty = || Link { endpoint: name.clone(), webhook: None, secrets: Vec::new(), intent: None };
    links.entry(name.clone()).or_insert_with(empty)
}

/// Combines what was read at `now`: secrets newest first, endpoints by name.
pub(in crate::store) fn links(
    now: i64,
    webhooks: Vec<WebhookRow>,
    secrets: Vec<SecretRow>,
    intents: Vec<IntentRow>,
) -> Result<Vec<Link>, StoreError> {
    let mut links = BTreeMap::new();
    for row in webhooks {
        let at = &row.endpoint;
        let registered_at = time("webhooks", "registered_at", at, row.registered_at)?;
        let name = endpoint("webhooks", at, at)?;
        of(&mut links, &name).webhook = Some(Webhook { id: row.id, url: row.url, registered_at });
    }
    for row in secrets {
        let secret = StoredSecret::try_from(row)?;
        let name = secret.endpoint.clone();
        of(&mut links, &name).secrets.push(secret);
    }
    for row in intents {
        let intent = row.at(now)?;
        let name = intent.endpoint.clone();
        of(&mut links, &name).intent = Some(intent);
    }
    Ok(links.into_values().collect())
}

#[derive(FromRow)]
pub(in crate::store) struct AuditRow {
    id: i64,
    at: i64,
    actor: String,
    action: String,
    subject: String,
    detail: String,
}

impl TryFrom<AuditRow> for AuditEntry {
    type Error = StoreError;

    fn try_from(row: AuditRow) -> Result<Self, StoreError> {
        const TABLE: &str = "audit";
        let at = row.id.to_string();
        Ok(Self {
            id: row.id,
            // A time that cannot be read must not hide the other entries.
            at: clock::nearest(row.at),
            actor: row.actor,
            action: row.action,
            subject: row.subject,
            detail: serde_json::from_str(&row.detail).map_err(|error| unreadable(TABLE, "detail", &at, &error))?,
        })
    }
}

/// A page out of one row more than it may have.
pub(in crate::store) fn audit_page(mut rows: Vec<AuditRow>, limit: u32) -> Result<Page<AuditEntry>, StoreError> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok(Page { rows: rows.into_iter().map(AuditEntry::try_from).collect::<Result<_, _>>()?, more })
}

// --- audit entries that the stores write by themselves

/// The service took an intent over.
pub(in crate::store) fn taken_over(intent: &Intent) -> NewAudit {
    NewAudit::new(SERVICE, "intent.taken_over", format!("endpoint/{}", intent.endpoint))
        .with("intent", intent.id.to_string())
        .with("kind", intent.kind.as_str())
        .with("tries", intent.tries)
}

/// A secret was kept that came with an intent of which it is unknown whether it is finished.
pub(in crate::store) fn kept(endpoint: &str, intent: IntentId, fingerprint: &Fingerprint) -> NewAudit {
    NewAudit::new(SERVICE, "secret.kept", format!("endpoint/{endpoint}"))
        .with("intent", intent.to_string())
        .with("fingerprint", fingerprint.as_str())
}

/// A secret that the endpoint never had was configured, and has ended an intent.
pub(in crate::store) fn settled(intent: &Intent, fingerprint: &Fingerprint) -> NewAudit {
    NewAudit::new(SERVICE, "intent.settled", format!("endpoint/{}", intent.endpoint))
        .with("intent", intent.id.to_string())
        .with("kind", intent.kind.as_str())
        .with("fingerprint", fingerprint.as_str())
}

/// A secret has expired.
pub(in crate::store) fn expired(endpoint: &str, fingerprint: &str) -> NewAudit {
    NewAudit::new(SERVICE, "secret.expired", format!("endpoint/{endpoint}")).with("fingerprint", fingerprint)
}

// --- errors of both stores

/// The intent to be finished is not in the table.
pub(in crate::store) fn no_such_intent(id: IntentId) -> StoreError {
    StoreError::Open(format!(
        "the intent {id} is not in the database any more, and with it the endpoint whose secret it brought: somebody \
         removed the row; rotate the endpoint's secret again"
    ))
}

/// The secrets that were encrypted again are not the stored ones.
pub(in crate::store) fn changed_meanwhile(old_key_id: &str) -> StoreError {
    StoreError::Open(format!(
        "the secrets under the master key {old_key_id} were changed while they were encrypted anew; nothing was \
         replaced: do it again"
    ))
}

// --- decisions of both stores

/// How the count of unreadable answers changes when an intent is released.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum Unreadable {
    /// It goes up by one.
    Counted,
    /// It stays.
    Kept,
    /// It goes back to zero: a readable secret came, so asking again makes sense.
    Forgotten,
}

impl Unreadable {
    /// The number by which the count is multiplied, and the number that is added.
    pub(in crate::store) fn as_factors(self) -> (i64, i64) {
        match self {
            Self::Counted => (1, 1),
            Self::Kept => (1, 0),
            Self::Forgotten => (0, 0),
        }
    }
}

/// A secret that a person gave, as a change: the others stay as they are.
pub(in crate::store) fn given(secret: &SealedSecret) -> Change {
    Change { secret: secret.clone(), origin: Origin::Configured, overlap: None, webhook: None }
}

/// The one of these secrets that has this id.
pub(in crate::store) fn named(secrets: &[SealedSecret], id: SecretId) -> &SealedSecret {
    secrets.iter().find(|secret| secret.id == id).expect("what is new is one of those that were given")
}

/// The audit entry of a person's statement, with its result.
pub(in crate::store) fn settling(entry: &NewAudit, fingerprint: &Fingerprint, ended: Option<&Intent>) -> NewAudit {
    let entry = entry.clone().with("fingerprint", fingerprint.as_str());
    match ended {
        Some(intent) => entry.with("intent", intent.id.to_string()).with("kind", intent.kind.as_str()),
        None => entry,
    }
}

/// The order in which a list of secrets, newest first, is written: each once, oldest first.
pub(in crate::store) fn oldest_first(secrets: &[SealedSecret]) -> impl Iterator<Item = &SealedSecret> {
    let first = |&(at, secret): &(usize, &SealedSecret)| {
        secrets[..at].iter().all(|earlier| earlier.fingerprint != secret.fingerprint)
    };
    secrets.iter().enumerate().filter(first).map(|(_, secret)| secret).rev()
}

/// True if these are the live secrets among those that hold a text (id, fingerprint, whether it is still live). A
/// secret that expired after it was read may be present or not.
pub(in crate::store) fn are_the_live_ones(held: &[(Uuid, String, bool)], given: &[SealedSecret]) -> bool {
    let is = |row: &(Uuid, String, bool), secret: &SealedSecret| {
        row.0 == secret.id.0 && row.1 == secret.fingerprint.as_str()
    };
    held.iter().filter(|row| row.2).all(|row| given.iter().any(|secret| is(row, secret)))
        && given.iter().all(|secret| held.iter().any(|row| is(row, secret)))
}

/// Event types as they are stored.
pub(in crate::store) fn events(events: &[String]) -> String {
    serde_json::to_string(events).expect("strings can be written as JSON")
}
