//! Searching piece by piece: filters that no index covers are applied to the newest events or dispatches first, up to a
//! limit.
//!
//! A search that finds nothing would otherwise read everything that is stored: gigabytes of payloads, on a connection
//! that is blocked in the meantime. Here each piece is a statement of its own, which ends quickly and gives its
//! connection back; if the caller hangs up, the search ends. If the limit is reached, the answer says how far the
//! search came.

use std::time::{Duration, Instant};

use crate::model::id::EventId;

/// Events that one search reads, at most.
pub const LOOKED_AT: u32 = 100_000;

/// Dispatches that one search reads, at most: each of them twice.
const DISPATCHES_LOOKED_AT: u32 = 50_000;

/// After this time a search begins no further piece.
const LONGEST: Duration = Duration::from_secs(2);

/// The target duration of a piece.
const PIECE: Duration = Duration::from_millis(100);

const SMALLEST: u32 = 64;
const LARGEST: u32 = 8192;

/// How large the next piece of a search is, and whether there is one.
#[derive(Debug)]
pub(super) struct Pieces {
    began: Instant,
    piece_began: Instant,
    size: u32,
    left: u32,
}

impl Pieces {
    /// A search among events that begins now. `look_at` is the caller's own limit, if that is smaller.
    pub(super) fn of_events(look_at: Option<u32>) -> Self {
        Self::up_to(look_at.unwrap_or(LOOKED_AT).min(LOOKED_AT))
    }

    /// The same among dispatches.
    pub(super) fn of_dispatches(look_at: Option<u32>) -> Self {
        Self::up_to(look_at.unwrap_or(DISPATCHES_LOOKED_AT).min(DISPATCHES_LOOKED_AT))
    }

    fn up_to(most: u32) -> Self {
        let now = Instant::now();
        Self { began: now, piece_began: now, size: 512, left: most.max(1) }
    }

    /// The number of events or dispatches in the next piece.
    pub(super) fn size(&self) -> u32 {
        self.size.min(self.left)
    }

    /// Records that a piece of [`Pieces::size`] was searched. False: the search ends here.
    pub(super) fn go_on(&mut self) -> bool {
        self.left -= self.size();
        let took = self.piece_began.elapsed();
        self.piece_began = Instant::now();
        if took < PIECE {
            self.size = (self.size * 2).min(LARGEST);
        } else if took > PIECE * 3 {
            self.size = (self.size / 4).max(SMALLEST);
        }
        self.left > 0 && self.began.elapsed() < LONGEST
    }
}

/// Where a piece ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// At this event, which still belongs to the piece; there may be more behind it.
    At(EventId),
    /// At the oldest event of all.
    OfAll,
}

impl From<Option<uuid::Uuid>> for End {
    fn from(id: Option<uuid::Uuid>) -> Self {
        id.map_or(Self::OfAll, |id| Self::At(EventId(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_looks_at_so_many_and_no_more() {
        for (asked, most) in [(None, LOOKED_AT), (Some(u32::MAX), LOOKED_AT), (Some(20_000), 20_000), (Some(0), 1)] {
            let mut pieces = Pieces::of_events(asked);
            let mut total = pieces.size();
            while pieces.go_on() {
                total += pieces.size();
            }
            assert!(total <= most, "{asked:?}");
            assert!(total == most || pieces.began.elapsed() >= LONGEST, "{asked:?}");
        }
    }
}
