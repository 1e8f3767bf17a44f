//! How dispatches are listed, the same on both databases.
//!
//! A list of one state reads the only table that can hold it, a list without a state the view of both. Where no index
//! gives the order of a list, it is read piece by piece, see [`super::search`].

use std::fmt::Write as _;

use async_trait::async_trait;

use super::{
    DispatchFilter, DispatchesPage, Page, StoreError,
    rows::{AttemptRow, DispatchRow, with_attempts},
    search::Pieces,
    tx::{Access, Again, Sql, Transact, Value, values},
};
use crate::model::{
    clock,
    dispatch::{Attempt, Dispatch, State},
    id::DispatchId,
};

/// How much the order of the numbers and that of the times of creation may differ: an hour, in microseconds.
const SLACK: i64 = 3_600_000_000;

/// The columns of [`DispatchRow`]; those given are not in every table.
macro_rules! columns {
    ($rest:literal) => {
        concat!(
            "id, event_id, event_type, invoice_id, sink, state, CAST(attempts AS bigint) AS attempts, trigger,
             created_at, finished_at, last_error, ",
            $rest
        )
    };
}

/// The beginning of a statement that reads [`DispatchRow`]s wherever they are.
macro_rules! whole_dispatch {
    () => {
        concat!(
            "SELECT ",
            $crate::store::lists::columns!("due_at, waits_for, attempted_at, attempt_us"),
            " FROM dispatches"
        )
    };
}
pub(super) use {columns, whole_dispatch};

/// What both stores do for [`super::DispatchStore`].
#[async_trait]
pub(super) trait Lists {
    /// A list: newest first, at most `limit` rows.
    async fn list(&self, filter: &DispatchFilter, limit: u32) -> Result<DispatchesPage, StoreError>;

    /// The numbers of a selection, at most so many.
    async fn ids(&self, filter: &DispatchFilter, most: u32) -> Result<Vec<DispatchId>, StoreError>;

    /// How many are selected, among as many as a search looks at, and whether those are all.
    async fn count(&self, filter: &DispatchFilter) -> Result<(u64, bool), StoreError>;

    /// One dispatch with its attempts.
    async fn one(&self, id: DispatchId) -> Result<Option<(Dispatch, Vec<Attempt>)>, StoreError>;
}

#[async_trait]
impl<S: Transact> Lists for S {
    async fn list(&self, filter: &DispatchFilter, limit: u32) -> Result<DispatchesPage, StoreError> {
        let mut filter = filter.clone();
        let mut pieces = filter.is_search().then(|| Pieces::of_dispatches(filter.look_at));
        let mut rows: Vec<DispatchRow> = Vec::new();
        let mut searched_until = None;
        loop {
            let left = limit.saturating_add(1).saturating_sub(u32::try_from(rows.len()).unwrap_or(u32::MAX));
            let size = pieces.as_ref().map(Pieces::size);
            // Each piece gives its connection back.
            let (end, found) = self
                .transact("list dispatches", Again::Harmless, Access::Look, async |mut tx| {
                    let mut end: Option<(i64, i64)> = None;
                    if let Some(size) = size {
                        let (sql, values) = end_statement(&filter, size);
                        end = tx.row(Sql::Made(sql), &values).await?;
                    }
                    let (sql, values) = list_statement(&filter, end.map(|(id, _)| id), left);
                    let found: Vec<DispatchRow> = tx.rows(Sql::Made(sql), &values).await?;
                    tx.commit((end, found)).await
                })
                .await?;
            rows.extend(found);
            let (Some((id, created_at)), Some(pieces)) = (end, &mut pieces) else { break };
            if rows.len() > limit as usize {
                break;
            }
            filter.before = Some(DispatchId(id));
            // What is older was created before.
            if filter.since.is_some_and(|since| created_at < clock::to_micros(since).saturating_sub(SLACK)) {
                break;
            }
            if !pieces.go_on() {
                searched_until = Some((DispatchId(id), clock::nearest(created_at)));
                break;
            }
        }
        let Page { rows, more } = Page::cut(rows, limit);
        Ok(DispatchesPage { rows, more: more || searched_until.is_some(), searched_until })
    }

    async fn ids(&self, filter: &DispatchFilter, most: u32) -> Result<Vec<DispatchId>, StoreError> {
        let (sql, values) = ids_statement(filter, most);
        let ids: Vec<(i64,)> = self.read("select dispatches", Access::Look, Sql::Made(sql), &values).await?;
        Ok(ids.into_iter().map(|(id,)| DispatchId(id)).collect())
    }

    async fn count(&self, filter: &DispatchFilter) -> Result<(u64, bool), StoreError> {
        let mut filter = filter.clone();
        // Those of an invoice or of some events are few.
        let mut pieces = (!filter.names_events()).then(|| Pieces::of_dispatches(filter.look_at));
        let mut all = 0;
        loop {
            let size = pieces.as_ref().map(Pieces::size);
            let (end, found) = self
                .transact("count dispatches", Again::Harmless, Access::Look, async |mut tx| {
                    let mut end: Option<(i64, i64)> = None;
                    if let Some(size) = size {
                        let (sql, values) = end_statement(&filter, size);
                        end = tx.row(Sql::Made(sql), &values).await?;
                    }
                    let (sql, values) = count_statement(&filter, end.map(|(id, _)| id));
                    let found: Option<(i64,)> = tx.row(Sql::Made(sql), &values).await?;
                    tx.commit((end, found)).await
                })
                .await?;
            all += found.map_or(0, |(count,)| count.unsigned_abs());
            let (Some((id, created_at)), Some(pieces)) = (end, &mut pieces) else { return Ok((all, true)) };
            filter.before = Some(DispatchId(id));
            if filter.since.is_some_and(|since| created_at < clock::to_micros(since).saturating_sub(SLACK)) {
                return Ok((all, true));
            }
            if !pieces.go_on() {
                return Ok((all, false));
            }
        }
    }

    async fn one(&self, id: DispatchId) -> Result<Option<(Dispatch, Vec<Attempt>)>, StoreError> {
        let (dispatch, attempts) = self
            .transact(format!("read dispatch {id}"), Again::Harmless, Access::Look, async |mut tx| {
                let dispatch: Vec<DispatchRow> =
                    tx.rows(concat!(whole_dispatch!(), " WHERE id = $1"), values![id.0]).await?;
                let attempts =
                    "SELECT dispatch_id, CAST(number AS bigint) AS number, started_at, duration_us, outcome, error
                                FROM attempts WHERE dispatch_id = $1 ORDER BY number";
                let attempts: Vec<AttemptRow> = tx.rows(attempts, values![id.0]).await?;
                tx.commit((dispatch, attempts)).await
            })
            .await?;
        Ok(with_attempts(dispatch, attempts).pop())
    }
}

type Statement<'v> = (String, Vec<Value<'v>>);

/// The statement for a list; `from` is the last dispatch of a piece.
pub(super) fn list_statement(filter: &DispatchFilter, from: Option<i64>, most: u32) -> Statement<'_> {
    let columns = match filter.state {
        None => columns!("due_at, waits_for, attempted_at, attempt_us"),
        Some(State::Delivered | State::Cancelled) => {
            columns!("NULL AS due_at, NULL AS waits_for, attempted_at, attempt_us")
        }
        Some(State::Pending | State::Leased | State::Held | State::Dead) => {
            columns!("due_at, waits_for, NULL AS attempted_at, NULL AS attempt_us")
        }
    };
    let (mut sql, mut values) = selected(columns, filter);
    if let Some(from) = from {
        push(&mut sql, &mut values, " AND id >= ", from.into());
    }
    let order = if filter.is_ordered_by_sink() { "sink DESC, id DESC" } else { "id DESC" };
    push(&mut sql, &mut values, &format!(" ORDER BY {order} LIMIT "), most.into());
    (sql, values)
}

/// The statement for the end of a piece of so many dispatches. Of the filter, only its bound and where such dispatches are
/// matter: those of a state that has an index of its own are found among a million of others.
pub(super) fn end_statement(filter: &DispatchFilter, size: u32) -> Statement<'static> {
    let among = match filter.state {
        None => "dispatches WHERE true",
        Some(State::Delivered) => "history WHERE true",
        Some(State::Cancelled) => "history WHERE state = 'cancelled'",
        Some(State::Pending | State::Leased) => "queue WHERE true",
        Some(State::Held) => "queue WHERE state IN ('held', 'dead') AND state = 'held'",
        Some(State::Dead) => "queue WHERE state IN ('held', 'dead') AND state = 'dead'",
    };
    let (mut sql, mut values) = (format!("SELECT id, created_at FROM {among}"), Vec::new());
    if let Some(before) = filter.before {
        push(&mut sql, &mut values, " AND id < ", before.0.into());
    }
    push(&mut sql, &mut values, " ORDER BY id DESC LIMIT 1 OFFSET ", size.saturating_sub(1).into());
    (sql, values)
}

/// The statement for how many are selected; `from` is the last dispatch of a piece.
pub(super) fn count_statement(filter: &DispatchFilter, from: Option<i64>) -> Statement<'_> {
    let (mut sql, mut values) = selected("count(*)", filter);
    if let Some(from) = from {
        push(&mut sql, &mut values, " AND id >= ", from.into());
    }
    (sql, values)
}

/// The statement for the numbers of a selection.
pub(super) fn ids_statement(filter: &DispatchFilter, most: u32) -> Statement<'_> {
    let (mut sql, mut values) = selected("id", filter);
    push(&mut sql, &mut values, " LIMIT ", most.into());
    (sql, values)
}

/// The states are written out, and the condition of a partial index word for word, as SQLite asks for it
/// (<https://www.sqlite.org/partialindex.html#queries_using_partial_indexes>).
fn selected<'v>(columns: &str, filter: &'v DispatchFilter) -> Statement<'v> {
    let mut values: Vec<Value<'v>> = Vec::new();
    let mut sql = format!("SELECT {columns} FROM ");
    sql.push_str(match filter.state {
        None => "dispatches WHERE true",
        // No index holds them, as each delivery would have to write it. They are few, their number is known, and in a
        // large queue they are the oldest. The limit without effect makes Postgres keep to that order.
        Some(State::Leased) if !filter.names_events() => {
            "(SELECT * FROM (SELECT * FROM queue ORDER BY id LIMIT 1000000000) AS oldest WHERE state = 'leased' LIMIT (
                  SELECT CASE WHEN sum(n) > 0 THEN sum(n) ELSE 0 END FROM queue_counts WHERE state = 'leased')
             ) AS leased WHERE true"
        }
        Some(State::Leased) => "queue WHERE state = 'leased'",
        Some(State::Pending) => "queue WHERE state = 'pending'",
        Some(State::Held) => "queue WHERE state IN ('held', 'dead') AND state = 'held'",
        Some(State::Dead) => "queue WHERE state IN ('held', 'dead') AND state = 'dead'",
        Some(State::Delivered) => "history WHERE state = 'delivered'",
        Some(State::Cancelled) => "history WHERE state = 'cancelled'",
    });
    if let Some(event) = filter.event_id {
        push(&mut sql, &mut values, " AND event_id = ", event.0.into());
    }
    if let Some(found) = &filter.found {
        sql.push_str(if found.is_empty() { " AND false" } else { " AND event_id IN (" });
        for (place, event) in found.iter().enumerate() {
            push(&mut sql, &mut values, if place > 0 { ", " } else { "" }, event.0.into());
        }
        sql.push_str(if found.is_empty() { "" } else { ")" });
    }
    if let Some(invoice) = &filter.invoice_id {
        push(&mut sql, &mut values, " AND invoice_id = ", invoice.into());
        if filter.event_id.is_none() {
            push(&mut sql, &mut values, " AND event_id IN (SELECT id FROM events WHERE invoice_id = ", invoice.into());
            sql.push(')');
        }
    }
    if let Some(sink) = &filter.sink {
        let is_ordered = filter.is_ordered_by_sink();
        push(&mut sql, &mut values, if is_ordered { " AND sink >= " } else { " AND sink = " }, sink.into());
        if is_ordered {
            push(&mut sql, &mut values, " AND sink <= ", sink.into());
        }
    }
    let endpoint = filter.endpoint.as_ref().map(std::slice::from_ref);
    for endpoints in [filter.endpoints.as_deref(), endpoint].into_iter().flatten() {
        sql.push_str(" AND EXISTS (SELECT 1 FROM events WHERE events.id = event_id");
        one_of(&mut sql, &mut values, " AND endpoint", endpoints);
        sql.push(')');
    }
    if let Some(reason) = &filter.reason {
        push(&mut sql, &mut values, " AND lower(last_error) LIKE ", pattern(reason).into());
        sql.push_str(" ESCAPE '!'");
    }
    for (operator, time) in [(">=", filter.since), ("<", filter.until)] {
        if let Some(time) = time {
            push(&mut sql, &mut values, &format!(" AND created_at {operator} "), clock::to_micros(time).into());
        }
    }
    if let Some(before) = filter.before {
        push(&mut sql, &mut values, " AND id < ", before.0.into());
    }
    (sql, values)
}

/// The pattern of a text that is looked for in a reason. SQLite changes only ASCII letters to lower case.
fn pattern(reason: &str) -> String {
    let mut pattern = String::from("%");
    for c in reason.chars() {
        match c {
            '…' => pattern.push('%'),
            '%' | '_' | '!' => pattern.extend(['!', c]),
            other => pattern.push(other.to_ascii_lowercase()),
        }
    }
    pattern.push('%');
    pattern
}

/// Adds the condition that a column has one of these values.
pub(super) fn one_of<'v>(sql: &mut String, values: &mut Vec<Value<'v>>, words: &str, among: &'v [String]) {
    if among.is_empty() {
        sql.push_str(" AND false");
        return;
    }
    sql.push_str(words);
    sql.push_str(" IN (");
    for (place, value) in among.iter().enumerate() {
        push(sql, values, if place > 0 { ", " } else { "" }, value.into());
    }
    sql.push(')');
}

/// Adds words and a value.
pub(super) fn push<'v>(sql: &mut String, values: &mut Vec<Value<'v>>, words: &str, value: Value<'v>) {
    values.push(value);
    let _ = write!(sql, "{words}${}", values.len());
}
