//! What waits for a person, with its reasons: for an overview that shows a hundred payments of one cause as one line.

use std::fmt::Write as _;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{
    error::StoreError,
    lists::{one_of, push},
    tx::{Access, Sql, Transact, Value},
};
use crate::model::{clock, dispatch::State, id::DispatchId};

/// The most dispatches that one overview reads: the newest.
pub const MOST_WAITING: u32 = 20_000;
/// Payloads longer than this hold no amount that anybody would look for, in bytes.
const LONGEST: u32 = 8 * 1024;

/// A dispatch that waits for a person, or was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingOne {
    /// The dispatch.
    pub id: DispatchId,
    /// Its sink.
    pub sink: String,
    /// `held` or `dead`.
    pub state: State,
    /// The endpoint of its event; empty if it is about none.
    pub endpoint: String,
    /// The reason.
    pub reason: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// The payload of its event, unless it is gone or long.
    pub payload: Option<Vec<u8>>,
}

/// The part of the store that is about what waits.
#[async_trait]
pub trait WaitingStore: Send + Sync {
    /// The dispatches that are held or dead, newest first, of events of these endpoints (`None`: all); at most `look_at`,
    /// and at most [`MOST_WAITING`]. The flag is false if there are more.
    async fn waiting(&self, endpoints: Option<&[String]>, look_at: u32) -> Result<(Vec<WaitingOne>, bool), StoreError>;
}

type Row = (i64, String, String, Option<String>, Option<String>, i64, Option<Vec<u8>>);

#[async_trait]
impl<S: Transact> WaitingStore for S {
    async fn waiting(&self, endpoints: Option<&[String]>, look_at: u32) -> Result<(Vec<WaitingOne>, bool), StoreError> {
        let most = look_at.min(MOST_WAITING);
        let mut values: Vec<Value<'_>> = Vec::new();
        let mut sql = format!(
            "SELECT q.id, q.sink, q.state, e.endpoint, q.last_error, q.created_at,
                 CASE WHEN octet_length(e.payload) <= {LONGEST} THEN e.payload END
             FROM ("
        );
        for state in ["held", "dead"] {
            sql.push_str(if state == "held" { "SELECT id FROM (" } else { " UNION ALL SELECT id FROM (" });
            // The condition of the partial index, word for word. Each state by itself, as the index has them in order.
            let _ = write!(sql, "SELECT id FROM queue WHERE state IN ('held', 'dead') AND state = '{state}'");
            if let Some(endpoints) = endpoints {
                sql.push_str(" AND EXISTS (SELECT 1 FROM events WHERE events.id = event_id");
                one_of(&mut sql, &mut values, " AND endpoint", endpoints);
                sql.push(')');
            }
            push(&mut sql, &mut values, " ORDER BY id DESC LIMIT ", (i64::from(most) + 1).into());
            let _ = write!(sql, ") AS {state}");
        }
        push(&mut sql, &mut values, " ORDER BY id DESC LIMIT ", (i64::from(most) + 1).into());
        sql.push_str(
            ") AS newest JOIN queue q ON q.id = newest.id LEFT JOIN events e ON e.id = q.event_id ORDER BY q.id DESC",
        );
        let mut rows: Vec<Row> = self.read("look for what waits", Access::Look, Sql::Made(sql), &values).await?;
        let complete = rows.len() <= most as usize;
        rows.truncate(most as usize);
        let read = |(id, sink, state, endpoint, reason, created_at, payload): Row| WaitingOne {
            id: DispatchId(id),
            sink,
            state: if state == "dead" { State::Dead } else { State::Held },
            endpoint: endpoint.unwrap_or_default(),
            reason: reason.unwrap_or_default(),
            created_at: clock::nearest(created_at),
            payload,
        };
        Ok((rows.into_iter().map(read).collect(), complete))
    }
}
