//! Lists are read page by page.

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// True when there are more after the last row.
    pub more: bool,
}

impl<T> Page<T> {
    /// Cuts a page out of rows, of which one more than `limit` was asked for.
    pub(super) fn cut<R: Into<T>>(mut rows: Vec<R>, limit: u32) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        Self { rows: rows.into_iter().map(R::into).collect(), more }
    }
}
