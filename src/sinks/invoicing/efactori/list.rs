//! Reads lists page by page, and tells how much can be concluded from them.
//!
//! A list has `count` and `items`, and takes `offset`, `limit` (at most 100) and `order_by` (the vendor's OpenAPI file).
//! A list may change while it is read. A line that is added moves later lines down, so that some come twice, which does no
//! harm. A line that is removed moves later lines up, so that one is missed. Lines of the same date may also come in a
//! different order on each page. So each page begins at the last line of the previous page, which has to be known already,
//! and lines that come twice have to be explained by growth. Otherwise the list was not
//! [steady](Listing::is_steady), and the absence of a line proves nothing.

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use super::wire::{Id, Listed, Page};
use crate::sinks::invoicing::{Api, Trouble};

/// Lines of a page: the documented maximum.
const LINES: usize = 100;

/// Which list is to be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    /// The purpose, in words.
    pub(super) purpose: &'a str,
    /// With `.json` at its end.
    pub(super) path: &'a [&'a str],
    /// `field:ascend` or `field:descend`.
    pub(super) order_by: Option<&'a str>,
    /// A filter, which the platform may ignore.
    pub(super) q: Option<&'a str>,
    /// The largest number of pages that are read.
    pub(super) max_pages: u32,
}

/// How far a list was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// To its end.
    Whole,
    /// As far as the caller needed.
    Enough,
    /// Not that far: there are more pages than may be read, or the rest did not come.
    Part,
}

/// The lines that were read, and how far.
#[derive(Debug)]
pub(super) struct Listing<T> {
    /// Each line once, in the order of arrival.
    pub(super) items: Vec<T>,
    pub(super) extent: Extent,
    /// False if a line may have been missed, because others were removed or moved in the meantime.
    pub(super) is_steady: bool,
}

/// Reads a list until `is_enough` returns true for the lines so far; it is called after each page.
pub(super) async fn read<T: Listed + DeserializeOwned>(
    api: &Api,
    question: Question<'_>,
    is_enough: impl Fn(&[T]) -> bool + Send,
) -> Result<Listing<T>, Trouble> {
    let mut reading = Reading::default();
    for _ in 0..question.max_pages {
        let offset = reading.offset();
        let mut request = api
            .get(question.purpose, question.path)
            .query("offset", &offset.to_string())
            .query("limit", &LINES.to_string());
        if let Some(order_by) = question.order_by {
            request = request.query("order_by", order_by);
        }
        if let Some(q) = question.q {
            request = request.query("q", q);
        }
        let page: Page<T> = api.read(request).await?.json()?;
        let progress = reading.take(page);
        match progress {
            Progress::End => return Ok(reading.end(Extent::Whole)),
            _ if is_enough(&reading.items) => return Ok(reading.end(Extent::Enough)),
            Progress::More => {}
            Progress::Stuck => break,
        }
    }
    Ok(reading.end(Extent::Part))
}

/// A list that is being read.
struct Reading<T> {
    items: Vec<T>,
    seen: HashSet<Id>,
    /// Lines from the list's beginning that were shown.
    covered: usize,
    /// Lines of the list, when its first and its latest page were read.
    counts: Option<(usize, usize)>,
    /// Lines that came again, apart from those that were requested twice.
    repeats: usize,
    is_broken: bool,
}

impl<T> Default for Reading<T> {
    fn default() -> Self {
        Self { items: vec![], seen: HashSet::new(), covered: 0, counts: None, repeats: 0, is_broken: false }
    }
}

enum Progress {
    More,
    End,
    /// The page had no new line, although there should be more.
    Stuck,
}

impl<T: Listed> Reading<T> {
    /// The offset of the next page: the last known line.
    fn offset(&self) -> usize {
        self.covered.saturating_sub(1)
    }

    fn take(&mut self, page: Page<T>) -> Progress {
        let offset = self.offset();
        let (is_first, known) = (self.counts.is_none(), self.items.len());
        let count = page.count.0;
        let (at_first, latest) = self.counts.unwrap_or((count, count));
        self.is_broken |= count < latest;
        self.counts = Some((at_first, count));
        if !is_first && page.items.first().is_some_and(|first| !self.seen.contains(first.id())) {
            self.is_broken = true;
        }
        self.covered = self.covered.max(offset + page.items.len());
        for (at, item) in page.items.into_iter().enumerate() {
            if self.seen.insert(item.id().clone()) {
                self.items.push(item);
            } else if is_first || at > 0 {
                self.repeats += 1;
            }
        }
        if self.covered >= count {
            // Every line that was there at the beginning must have come.
            self.is_broken |= self.items.len() < at_first;
            Progress::End
        } else if self.items.len() == known {
            Progress::Stuck
        } else {
            Progress::More
        }
    }

    fn end(self, extent: Extent) -> Listing<T> {
        let growth = self.counts.map_or(0, |(first, latest)| latest.saturating_sub(first));
        Listing { is_steady: !self.is_broken && self.repeats <= growth, items: self.items, extent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct Line(Id);

    impl Listed for Line {
        fn id(&self) -> &Id {
            &self.0
        }
    }

    fn line(id: usize) -> Line {
        Line(serde_json::from_str(&id.to_string()).unwrap())
    }

    /// Reads these pages, each with the list's count at that time.
    fn read(pages: &[(usize, Vec<usize>)]) -> (Vec<String>, Extent, bool) {
        let mut reading = Reading::default();
        let mut extent = Extent::Part;
        for (count, ids) in pages {
            let items = ids.iter().copied().map(line).collect();
            let page = Page { count: serde_json::from_str(&count.to_string()).unwrap(), items };
            match reading.take(page) {
                Progress::End => extent = Extent::Whole,
                Progress::More => continue,
                Progress::Stuck => {}
            }
            break;
        }
        let Listing { items, extent, is_steady } = reading.end(extent);
        (items.iter().map(|line| line.0.to_string()).collect(), extent, is_steady)
    }

    #[test]
    fn each_page_begins_at_a_known_line() {
        let (items, extent, steady) = read(&[(5, vec![9, 8, 7]), (5, vec![7, 6, 5])]);
        assert_eq!((items, extent, steady), (["9", "8", "7", "6", "5"].map(str::to_owned).into(), Extent::Whole, true));
        assert_eq!(read(&[(0, vec![])]), (vec![], Extent::Whole, true));
        assert_eq!(read(&[(1, vec![1])]).1, Extent::Whole);
    }

    #[test]
    fn what_is_added_meanwhile_does_no_harm() {
        // 10 comes in front, and everything moves down.
        let (items, extent, steady) = read(&[(5, vec![9, 8, 7]), (6, vec![8, 7, 6]), (6, vec![6, 5])]);
        assert_eq!((items.len(), extent, steady), (5, Extent::Whole, true));
    }

    #[test]
    fn what_is_removed_or_moved_meanwhile_is_noticed() {
        // 9 goes, and 6 moves to where nobody looks again.
        let (items, _, steady) = read(&[(5, vec![9, 8, 7]), (4, vec![6, 5])]);
        assert!(!steady && items.len() == 5, "the overlap shows it: {items:?}");
        assert!(!read(&[(6, vec![9, 8, 7]), (5, vec![7, 5, 4])]).2, "it has shrunk");
        // 9 goes and 10 comes elsewhere: the count is the same.
        assert!(!read(&[(5, vec![9, 8, 7]), (5, vec![6, 5, 4])]).2);
        // Another order for each page: 8 comes twice, and 6 never.
        assert!(!read(&[(5, vec![9, 8, 7]), (5, vec![7, 8, 5])]).2);
        assert!(!read(&[(3, vec![9, 9, 8])]).2, "twice on one page");
    }

    #[test]
    fn a_list_that_does_not_go_on_ends_the_reading() {
        assert_eq!(read(&[(500, vec![3, 2, 1]), (500, vec![3, 2, 1])]).1, Extent::Part);
        assert_eq!(read(&[(500, vec![])]).1, Extent::Part);
        assert_eq!(read(&[(500, vec![3, 2, 1]), (500, vec![1])]).1, Extent::Part);
    }
}
