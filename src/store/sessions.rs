//! What the store promises about who may look at the dashboard: sessions, and links for people without an admin token.
//! Implemented once for both databases.
//!
//! Neither secrets nor tokens are stored: a session and a link are found by the SHA-256 of their secret, and name their
//! token by a mark that whoever asks compares with the configured tokens. Every replica sees the same sessions. All times
//! are the store's clock.
//!
//! The table is bounded, so that nobody fills it: each token has at most [`MOST_OF_TOKEN`] sessions and each link at most
//! [`MOST_OF_LINK`]; together there are at most [`MOST_SESSIONS`] sessions and [`MOST_LINKS`] links. A new session takes the
//! place of the one that was not used for longest.

use std::{fmt::Write as _, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    error::{Failure, StoreError},
    link::audit,
    lists::one_of,
    page::Page,
    tx::{Access, Again, Sql, Transact, Tx, Value, later, values},
};
use crate::model::{
    audit::NewAudit,
    clock,
    guest::{GuestLinkId, GuestPage},
};

/// The most sessions that one token has at a time.
pub const MOST_OF_TOKEN: u32 = 100;
/// The most visitors' sessions that one link has at a time.
pub const MOST_OF_LINK: u32 = 20;
/// The most sessions at a time.
pub const MOST_SESSIONS: u32 = 9_000;
/// The most links at a time.
pub const MOST_LINKS: u32 = 1_000;

/// How often it is noted at most that a session is used, so that looking at a page normally writes nothing.
const NOTED: Duration = Duration::from_mins(1);

/// A SHA-256.
pub type Hash = [u8; 32];

/// A session that is to begin.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// The hash of its secret.
    pub id_hash: Hash,
    /// Whose session it is.
    pub of: Owner,
    /// It ends when it was not used for so long.
    pub idle: Duration,
    /// It ends after so long in any case.
    pub lasts: Duration,
    /// The session of the same browser that it takes the place of.
    pub replaces: Option<Hash>,
}

/// Whose session it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// Of an admin token.
    Token {
        /// Its name.
        name: String,
        /// Its mark.
        mark: Hash,
    },
    /// Of a link, by the hash of its secret.
    Link(Hash),
}

/// A session that has not ended, as far as the store can tell: whether the token is still configured is the caller's to
/// find out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// The name of the token that began it; of a visitor's session, that of the token that made the link.
    pub token_name: String,
    /// That token's mark.
    pub token_mark: Hash,
    /// The link, if a visitor has come by one.
    pub link: Option<GuestLink>,
    /// True if it is to be noted that the session is used, see [`SessionStore::note_session`].
    pub is_due: bool,
}

/// A link that is to be made.
#[derive(Debug, Clone)]
pub struct NewLink {
    /// Its id, for people.
    pub id: GuestLinkId,
    /// The hash of its secret.
    pub id_hash: Hash,
    /// The name of the token that makes it.
    pub token_name: String,
    /// That token's mark.
    pub token_mark: Hash,
    /// The endpoint that it shows.
    pub endpoint: String,
    /// The pages that it shows.
    pub pages: Vec<GuestPage>,
    /// What it is for, in a person's words.
    pub label: Option<String>,
    /// How long it can be used.
    pub lasts: Duration,
}

/// A link that can be used now, as far as the store can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestLink {
    /// Its id, for people.
    pub id: GuestLinkId,
    /// The name of the token that made it.
    pub token_name: String,
    /// That token's mark.
    pub token_mark: Hash,
    /// The endpoint that it shows.
    pub endpoint: String,
    /// The pages that it shows. One that this version does not know is left out.
    pub pages: Vec<GuestPage>,
    /// What it is for, in a person's words.
    pub label: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    pub seen_at: Option<Timestamp>,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// The part of the store that is about sessions and links of the dashboard.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// Begins a session, with the audit entry if there is one; false if the link that it belongs to has ended. Sessions that
    /// have ended are deleted, and so are those for which there is no room.
    async fn begin_session(&self, new: &NewSession, audit: Option<NewAudit>) -> Result<bool, StoreError>;

    /// The session with this hash, if it has not ended.
    async fn session(&self, id_hash: &Hash) -> Result<Option<StoredSession>, StoreError>;

    /// Notes that a session, and the link that it belongs to, is used now.
    async fn note_session(&self, id_hash: &Hash) -> Result<(), StoreError>;

    /// Ends a session, with the audit entry if there is one; false if there was none, and then nothing is stored.
    async fn end_session(&self, id_hash: &Hash, audit: Option<NewAudit>) -> Result<bool, StoreError>;

    /// Makes a link, with the audit entry; `None` if there are too many. Answers until when it can be used.
    async fn make_link(&self, new: &NewLink, audit: NewAudit) -> Result<Option<Timestamp>, StoreError>;

    /// The link whose secret has this hash, if it can be used.
    async fn link_by_hash(&self, id_hash: &Hash) -> Result<Option<GuestLink>, StoreError>;

    /// The link with this id, if it can be used.
    async fn link_by_id(&self, id: GuestLinkId) -> Result<Option<GuestLink>, StoreError>;

    /// The links that can be used, newest first, for these endpoints (`None`: all), made before `before`; at most `limit`.
    async fn guest_links(
        &self,
        endpoints: Option<&[String]>,
        before: Option<GuestLinkId>,
        limit: u32,
    ) -> Result<Page<GuestLink>, StoreError>;

    /// Ends a link and the sessions of its visitors, with the audit entry; false if there was none, and then nothing is
    /// stored.
    async fn revoke_link(&self, id: GuestLinkId, audit: NewAudit) -> Result<bool, StoreError>;

    /// Deletes sessions and links that have ended. Returns how many.
    async fn purge_sessions(&self) -> Result<u64, StoreError>;
}

macro_rules! link_columns {
    () => {
        "l.link_id, l.token_name, l.token_mark, l.endpoint, l.pages, l.label, l.created_at, l.seen_at, l.expires_at"
    };
}

macro_rules! links {
    () => {
        concat!("SELECT ", link_columns!(), " FROM ui_sessions l WHERE l.kind = 'link' AND l.expires_at > $1")
    };
}

const BY_HASH: &str = concat!(links!(), " AND l.id_hash = $2");
const BY_ID: &str = concat!(links!(), " AND l.link_id = $2");

/// A session of a link that is gone or has ended has ended too.
const SESSION: &str = concat!(
    "SELECT s.token_name AS of_token, s.token_mark AS of_mark, s.seen_at AS used_at, s.idle_us, ",
    link_columns!(),
    " FROM ui_sessions s LEFT JOIN ui_sessions l ON l.id_hash = s.parent AND l.kind = 'link' AND l.expires_at > $2
     WHERE s.id_hash = $1 AND s.kind = 'session' AND s.expires_at > $2 AND s.seen_at + s.idle_us > $2
       AND (s.parent IS NULL OR l.id_hash IS NOT NULL)"
);

const ENDED: &str = "DELETE FROM ui_sessions WHERE expires_at <= $1 OR (kind = 'session' AND seen_at + idle_us <= $1)";

/// The sessions of a token, of a link, and all, beyond so many.
const BEYOND_OF_TOKEN: &str = "
    DELETE FROM ui_sessions WHERE id_hash IN (
        SELECT id_hash FROM ui_sessions WHERE kind = 'session' AND parent IS NULL AND token_name = $1
        ORDER BY seen_at DESC, id_hash LIMIT 1000 OFFSET $2)";
const BEYOND_OF_LINK: &str = "
    DELETE FROM ui_sessions WHERE id_hash IN (
        SELECT id_hash FROM ui_sessions WHERE parent = $1 ORDER BY seen_at DESC, id_hash LIMIT 1000 OFFSET $2)";
const BEYOND_ALL: &str = "
    DELETE FROM ui_sessions WHERE id_hash IN (
        SELECT id_hash FROM ui_sessions WHERE kind = 'session' ORDER BY seen_at DESC, id_hash LIMIT 1000 OFFSET $1)";

const BEGIN: &str = "
    INSERT INTO ui_sessions (id_hash, kind, token_name, token_mark, created_at, seen_at, idle_us, expires_at)
    VALUES ($1, 'session', $2, $3, $4, $4, $5, $6)";

/// The link has to be there still.
const VISIT: &str = "
    INSERT INTO ui_sessions (id_hash, kind, token_name, token_mark, parent, created_at, seen_at, idle_us, expires_at)
    SELECT $1, 'session', token_name, token_mark, id_hash, $3, $3, $4, $5
    FROM ui_sessions WHERE id_hash = $2 AND kind = 'link' AND expires_at > $3";

/// Also what a clock that ran ahead has left in the future becomes the current time.
const NOTE: &str = "
    UPDATE ui_sessions SET seen_at = $2
    WHERE id_hash = $1 OR id_hash = (SELECT parent FROM ui_sessions WHERE id_hash = $1)";

#[derive(FromRow)]
struct LinkRow {
    link_id: Uuid,
    token_name: String,
    token_mark: Vec<u8>,
    endpoint: String,
    pages: String,
    label: Option<String>,
    created_at: i64,
    seen_at: Option<i64>,
    expires_at: i64,
}

impl LinkRow {
    fn read(self) -> Result<GuestLink, StoreError> {
        let id = GuestLinkId(self.link_id);
        Ok(GuestLink {
            id,
            token_name: self.token_name,
            token_mark: mark(&self.token_mark, || id.to_string())?,
            endpoint: self.endpoint,
            pages: self.pages.split(',').filter_map(GuestPage::from_word).collect(),
            label: self.label,
            created_at: clock::nearest(self.created_at),
            seen_at: self.seen_at.map(clock::nearest),
            expires_at: clock::nearest(self.expires_at),
        })
    }
}

#[derive(FromRow)]
struct SessionRow {
    of_token: String,
    of_mark: Vec<u8>,
    used_at: i64,
    idle_us: i64,
    link_id: Option<Uuid>,
    token_name: Option<String>,
    token_mark: Option<Vec<u8>>,
    endpoint: Option<String>,
    pages: Option<String>,
    label: Option<String>,
    created_at: Option<i64>,
    seen_at: Option<i64>,
    expires_at: Option<i64>,
}

impl SessionRow {
    fn read(self, now: i64) -> Result<StoredSession, StoreError> {
        // A short session is noted more often than it could end.
        let noted = clock::duration_micros(NOTED).min(self.idle_us / 2);
        let link = match (self.link_id, self.token_name, self.token_mark, self.endpoint, self.pages) {
            (Some(link_id), Some(token_name), Some(token_mark), Some(endpoint), Some(pages)) => Some(LinkRow {
                link_id,
                token_name,
                token_mark,
                endpoint,
                pages,
                label: self.label,
                created_at: self.created_at.unwrap_or_default(),
                seen_at: self.seen_at,
                expires_at: self.expires_at.unwrap_or_default(),
            }),
            _ => None,
        };
        Ok(StoredSession {
            token_mark: mark(&self.of_mark, || format!("a session of {}", self.of_token))?,
            token_name: self.of_token,
            link: link.map(LinkRow::read).transpose()?,
            is_due: self.used_at > now || now - self.used_at >= noted,
        })
    }
}

fn mark(bytes: &[u8], row: impl FnOnce() -> String) -> Result<Hash, StoreError> {
    bytes.try_into().map_err(|_| StoreError::Unreadable {
        table: "ui_sessions",
        column: "token_mark",
        row: row(),
        problem: format!("it has {} bytes, not 32", bytes.len()),
    })
}

/// Which locks a change holds: an audit entry has one of its own.
const fn locks(audit: Option<&NewAudit>) -> Access {
    if audit.is_some() { Access::Link } else { Access::Write }
}

#[async_trait]
impl<S: Transact> SessionStore for S {
    async fn begin_session(&self, new: &NewSession, audit: Option<NewAudit>) -> Result<bool, StoreError> {
        let NewSession { id_hash, of, idle, lasts, replaces } = new;
        let access = locks(audit.as_ref());
        self.transact("begin a session of the dashboard", Again::Unsafe, access, async |mut tx| {
            let now = tx.now().await?;
            tx.execute(ENDED, values![now]).await?;
            if let Some(replaced) = replaces {
                let end = "DELETE FROM ui_sessions WHERE id_hash = $1 AND kind = 'session'";
                tx.execute(end, values![replaced.as_slice()]).await?;
            }
            let (idle, ends) = (clock::duration_micros(*idle), later(now, *lasts));
            tx.execute(BEYOND_ALL, values![MOST_SESSIONS - 1]).await?;
            let begun = match of {
                Owner::Token { name, mark } => {
                    tx.execute(BEYOND_OF_TOKEN, values![name, MOST_OF_TOKEN - 1]).await?;
                    tx.execute(BEGIN, values![id_hash.as_slice(), name, mark.as_slice(), now, idle, ends]).await?
                }
                Owner::Link(link) => {
                    tx.execute(BEYOND_OF_LINK, values![link.as_slice(), MOST_OF_LINK - 1]).await?;
                    let begin = values![id_hash.as_slice(), link.as_slice(), now, idle, ends];
                    let begun = tx.execute(VISIT, begin).await?;
                    tx.execute(NOTE, values![id_hash.as_slice(), now]).await?;
                    begun
                }
            };
            if let Some(audit) = audit.as_ref().filter(|_| begun > 0) {
                audit::insert(&mut tx, audit).await?;
            }
            tx.commit(begun > 0).await
        })
        .await
    }

    async fn session(&self, id_hash: &Hash) -> Result<Option<StoredSession>, StoreError> {
        let (found, now) = self
            .transact("read a session of the dashboard", Again::Harmless, Access::Look, async |mut tx| {
                let now = tx.now().await?;
                let found: Option<SessionRow> = tx.row(SESSION, values![id_hash.as_slice(), now]).await?;
                tx.commit((found, now)).await
            })
            .await?;
        found.map(|row| row.read(now)).transpose()
    }

    async fn note_session(&self, id_hash: &Hash) -> Result<(), StoreError> {
        let action = "note that a session of the dashboard is used";
        self.transact(action, Again::Harmless, Access::Write, async |mut tx| {
            let now = tx.now().await?;
            tx.execute(NOTE, values![id_hash.as_slice(), now]).await?;
            tx.commit(()).await
        })
        .await
    }

    async fn end_session(&self, id_hash: &Hash, audit: Option<NewAudit>) -> Result<bool, StoreError> {
        let access = locks(audit.as_ref());
        self.transact("end a session of the dashboard", Again::Unsafe, access, async |mut tx| {
            let end = "DELETE FROM ui_sessions WHERE id_hash = $1 AND kind = 'session'";
            let ended = tx.execute(end, values![id_hash.as_slice()]).await?;
            if let Some(audit) = audit.as_ref().filter(|_| ended > 0) {
                audit::insert(&mut tx, audit).await?;
            }
            tx.commit(ended > 0).await
        })
        .await
    }

    async fn make_link(&self, new: &NewLink, audit: NewAudit) -> Result<Option<Timestamp>, StoreError> {
        let NewLink { id, id_hash, token_name, token_mark, endpoint, pages, label, lasts } = new;
        let pages: Vec<&str> = pages.iter().map(|page| page.as_str()).collect();
        let pages = pages.join(",");
        self.transact("make a link to the dashboard", Again::Unsafe, Access::Link, async |mut tx| {
            let now = tx.now().await?;
            tx.execute(ENDED, values![now]).await?;
            let count = "SELECT count(*) FROM ui_sessions WHERE kind = 'link'";
            let (count,): (i64,) = tx.one(count, &[]).await?;
            if count >= i64::from(MOST_LINKS) {
                return tx.commit(None).await;
            }
            let make =
                "INSERT INTO ui_sessions (id_hash, kind, token_name, token_mark, link_id, endpoint, pages, label,
                                                 created_at, expires_at)
                        VALUES ($1, 'link', $2, $3, $4, $5, $6, $7, $8, $9)";
            let ends = later(now, *lasts);
            let (hash, mark) = (id_hash.as_slice(), token_mark.as_slice());
            tx.execute(make, values![hash, token_name, mark, id.0, endpoint, &pages, label, now, ends]).await?;
            audit::insert(&mut tx, &audit).await?;
            tx.commit(Some(clock::nearest(ends))).await
        })
        .await
    }

    async fn link_by_hash(&self, id_hash: &Hash) -> Result<Option<GuestLink>, StoreError> {
        one(self, BY_HASH, id_hash.as_slice().into()).await
    }

    async fn link_by_id(&self, id: GuestLinkId) -> Result<Option<GuestLink>, StoreError> {
        one(self, BY_ID, id.0.into()).await
    }

    async fn guest_links(
        &self,
        endpoints: Option<&[String]>,
        before: Option<GuestLinkId>,
        limit: u32,
    ) -> Result<Page<GuestLink>, StoreError> {
        let list = |now: i64| {
            let mut text = links!().to_owned();
            let mut values = vec![Value::from(now)];
            if let Some(endpoints) = endpoints {
                one_of(&mut text, &mut values, " AND l.endpoint", endpoints);
            }
            if let Some(before) = before {
                values.push(before.0.into());
                let _ = write!(text, " AND l.link_id < ${}", values.len());
            }
            values.push((i64::from(limit) + 1).into());
            let _ = write!(text, " ORDER BY l.link_id DESC LIMIT ${}", values.len());
            (text, values)
        };
        let mut rows: Vec<LinkRow> = self
            .transact("list the links to the dashboard", Again::Harmless, Access::Look, async |mut tx| {
                let (text, values) = list(tx.now().await?);
                let rows = tx.rows(Sql::Made(text), &values).await?;
                tx.commit(rows).await
            })
            .await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Ok(Page { rows: rows.into_iter().map(LinkRow::read).collect::<Result<_, _>>()?, more })
    }

    async fn revoke_link(&self, id: GuestLinkId, audit: NewAudit) -> Result<bool, StoreError> {
        self.transact("end a link to the dashboard", Again::Unsafe, Access::Link, async |mut tx| {
            let visitors = "DELETE FROM ui_sessions
                            WHERE parent = (SELECT id_hash FROM ui_sessions WHERE link_id = $1)";
            tx.execute(visitors, values![id.0]).await?;
            let revoked = tx.execute("DELETE FROM ui_sessions WHERE link_id = $1", values![id.0]).await?;
            if revoked > 0 {
                audit::insert(&mut tx, &audit).await?;
            }
            tx.commit(revoked > 0).await
        })
        .await
    }

    async fn purge_sessions(&self) -> Result<u64, StoreError> {
        self.transact("delete old sessions of the dashboard", Again::Harmless, Access::Write, async |mut tx| {
            let now = tx.now().await?;
            let purged = purge(&mut tx, now).await?;
            tx.commit(purged).await
        })
        .await
    }
}

/// The visitors of a link that is gone are told nothing any more; their rows go with the next round.
async fn purge(tx: &mut Tx<'_>, now: i64) -> Result<u64, Failure> {
    let left = "DELETE FROM ui_sessions
                WHERE parent IS NOT NULL AND parent NOT IN (SELECT id_hash FROM ui_sessions WHERE kind = 'link')";
    Ok(tx.execute(ENDED, values![now]).await? + tx.execute(left, &[]).await?)
}

async fn one(store: &impl Transact, sql: &'static str, value: Value<'_>) -> Result<Option<GuestLink>, StoreError> {
    let found: Option<LinkRow> = store
        .transact("read a link to the dashboard", Again::Harmless, Access::Look, async |mut tx| {
            let now = tx.now().await?;
            let found = tx.row(sql, &[now.into(), value.clone()]).await?;
            tx.commit(found).await
        })
        .await?;
    found.map(LinkRow::read).transpose()
}
