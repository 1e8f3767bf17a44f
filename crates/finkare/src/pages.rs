//! Lists: one page of them, all pages as a stream, and when a list is at its end.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{Stream, StreamExt, stream};
use http::Method;
use jiff::Timestamp;
use outgoing::Redactor;
use serde_json::Value;
use url::Url;

use crate::{
    Client, Error, Response,
    response::Mask,
    transport::{Answer, Call},
    wire::Fields,
};

/// Which page of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// The page, counted from 1.
    pub page: u32,
    /// Items on a page; 100 is the most that Finkare documents (for payments).
    pub limit: u32,
}

/// The first page, of 20 items: what Finkare answers where nothing is asked for.
impl Default for PageRequest {
    fn default() -> Self {
        Self { page: 1, limit: 20 }
    }
}

/// What an answer says of the list that it is a page of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pagination {
    /// The page, counted from 1.
    pub page: Option<u64>,
    /// Items on a full page.
    pub limit: Option<u64>,
    /// Items on all pages.
    pub total: Option<u64>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page<T> {
    /// The items that can be read, in Finkare's order.
    pub data: Vec<T>,
    /// The items that cannot be read. They hide no other item, and are not left out in silence.
    pub unreadable: Vec<UnreadableItem>,
    /// What the answer says of the whole list; without numbers if it says nothing.
    pub pagination: Pagination,
    /// Finkare's own words, on some calls.
    pub message: Option<String>,
    /// `req_…`
    pub request_id: Option<String>,
    /// When Finkare answered, by its own clock.
    pub timestamp: Option<Timestamp>,
}

impl<T> Page<T> {
    /// How many items are on this page, readable or not.
    pub fn rows(&self) -> u64 {
        (self.data.len() + self.unreadable.len()) as u64
    }
}

/// An item of a list that cannot be read. The others of the list can be read all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableItem {
    /// Its id, if at least the id can be read.
    pub id: Option<String>,
    /// The problem. The text names the field and never repeats its value.
    pub problem: String,
}

/// An item of a list.
pub(crate) trait Item: Mask + Sized + Send + 'static {
    /// Reads one; the text of a problem names the field and never repeats its value.
    fn read(value: &Value) -> Result<Self, String>;
    /// What distinguishes it from others.
    fn key(&self) -> &str;
}

/// An item that cannot be read, and the error that it is for a caller who wants all of them.
pub(crate) struct Bad {
    pub(crate) item: UnreadableItem,
    pub(crate) error: Error,
}

/// An item, or why it cannot be read, under its key.
type Row<T> = (String, Result<T, UnreadableItem>);

/// Reads an item of a list. One that cannot be read must not hide the others. `key` distinguishes the item from others:
/// its id, or its whole text.
fn row<T: Item>(value: &Value, redactor: &Redactor) -> Row<T> {
    match T::read(value) {
        Ok(mut item) => {
            item.mask(redactor);
            (item.key().to_owned(), Ok(item))
        }
        Err(problem) => {
            let id = Fields::of(value).and_then(|fields| fields.text(["id"]).ok());
            let key = id.clone().unwrap_or_else(|| value.to_string());
            (key, Err(UnreadableItem { id: id.map(|id| redactor.redact(&id)), problem }))
        }
    }
}

/// The items of an answer, each with its key.
fn rows<T: Item>(answer: &Answer, call: &Call, redactor: &Redactor) -> Result<Vec<Row<T>>, Error> {
    let items = answer.envelope.data.as_array();
    let items = items.ok_or_else(|| answer.unreadable(call, "`data` is not a list".to_owned()))?;
    Ok(items.iter().map(|item| row(item, redactor)).collect())
}

/// Whether a list is asked for in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paging {
    /// Pages are documented: as many items on each.
    Asked(u32),
    /// They are not: the first page is asked for without a number, further pages only if the answer mentions them.
    IfAnswered,
}

/// A list to be read.
#[derive(Debug, Clone)]
pub(crate) struct List<T> {
    /// The purpose as a phrase: "listing payments".
    pub(crate) what: String,
    pub(crate) url: Url,
    pub(crate) of: PhantomData<fn() -> T>,
}

impl<T: Item> List<T> {
    pub(crate) fn new(what: impl Into<String>, url: Url) -> Self {
        Self { what: what.into(), url, of: PhantomData }
    }

    /// One page.
    pub(crate) async fn page(self, client: &Client, asked: PageRequest) -> Result<Page<T>, Error> {
        let what = format!("{} (page {})", self.what, asked.page);
        if asked.page == 0 || asked.limit == 0 {
            let problem = "pages are counted from 1, and have at least one item".to_owned();
            return Err(Error::Unusable { call: what, problem });
        }
        let call = Call { what, method: Method::GET, url: paged(&self.url, Some(asked.limit), asked.page), body: None };
        let answer = client.transport().call(&call).await?;
        let (mut data, mut unreadable) = (Vec::new(), Vec::new());
        for (_, row) in rows(&answer, &call, &client.transport().redactor)? {
            match row {
                Ok(item) => data.push(item),
                Err(item) => unreadable.push(item),
            }
        }
        let pagination = answer.envelope.pagination.unwrap_or_default();
        let Response { message, request_id, timestamp, .. } = answer.respond(());
        Ok(Page { data, unreadable, pagination, message, request_id, timestamp })
    }

    /// All pages, one after another.
    pub(crate) fn follow(self, client: &Client, paging: Paging) -> Follower<T> {
        Follower {
            client: client.clone(),
            list: self,
            paging,
            known: HashSet::new(),
            previous: Vec::new(),
            came: 0,
            page: 1,
            is_done: false,
        }
    }
}

fn paged(url: &Url, limit: Option<u32>, page: u32) -> Url {
    let mut url = url.clone();
    if let Some(limit) = limit {
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
    }
    if limit.is_some() || page > 1 {
        url.query_pairs_mut().append_pair("page", &page.to_string());
    }
    url
}

/// Follows a list to its end.
///
/// It ends when as many items have arrived as the answer announces (`total`). Without that number, it ends with the
/// first page that is not full or has nothing new: a server without pages answers every request with the same list.
pub(crate) struct Follower<T> {
    client: Client,
    list: List<T>,
    paging: Paging,
    known: HashSet<String>,
    previous: Vec<String>,
    came: u64,
    page: u32,
    is_done: bool,
}

/// The items of one page that no earlier page had.
pub(crate) struct Step<T> {
    pub(crate) rows: Vec<Result<T, Bad>>,
    pub(crate) answer: Response<()>,
}

impl<T: Item> Follower<T> {
    /// The next page; `None` at the end of the list.
    pub(crate) async fn step(&mut self) -> Result<Option<Step<T>>, Error> {
        if self.is_done {
            return Ok(None);
        }
        // Whatever fails, the list does not go on after it.
        self.is_done = true;
        let limit = match self.paging {
            Paging::Asked(0) => {
                let problem = "a page has at least one item".to_owned();
                return Err(Error::Unusable { call: self.list.what.clone(), problem });
            }
            Paging::Asked(limit) => Some(limit),
            Paging::IfAnswered => None,
        };
        let page = self.page;
        let what = format!("{} (page {page})", self.list.what);
        let call = Call { what, method: Method::GET, url: paged(&self.list.url, limit, page), body: None };
        let answer = self.client.transport().call(&call).await?;
        let rows = rows(&answer, &call, &self.client.transport().redactor)?;

        let keys: Vec<String> = rows.iter().map(|(key, _)| key.clone()).collect();
        let length = keys.len() as u64;
        let is_repeated = !keys.is_empty() && keys == self.previous;
        let known_before = self.known.len();
        let mut new = Vec::new();
        for (index, (key, row)) in rows.into_iter().enumerate() {
            // A new item at the front of a list moves others to the next page, where they appear again.
            if self.known.insert(key) {
                new.push(row.map_err(|item| {
                    let error = answer.unreadable(&call, format!("item {index}: {}", item.problem));
                    Bad { item, error }
                }));
            }
        }
        let has_nothing_new = self.known.len() == known_before;
        self.came += length;
        self.previous = keys;

        let announced = answer.envelope.pagination.unwrap_or_default();
        let is_over = match announced.total {
            Some(total) if self.came >= total && !is_repeated => true,
            Some(total) if has_nothing_new => {
                let problem = format!("it announces {total} items, but page {page} has none that is new");
                return Err(answer.unreadable(&call, problem));
            }
            Some(_) => false,
            None => {
                // A server that was not asked for pages and does not mention them has returned everything.
                let full = match limit {
                    Some(asked) => Some(announced.limit.map_or(asked.into(), |limit| limit.min(asked.into()))),
                    None => announced.limit,
                };
                has_nothing_new || full.is_none_or(|full| length < full)
            }
        };
        let most = self.client.settings().max_pages;
        if !is_over && page >= most {
            let problem =
                format!("it goes on after {most} pages: ask for a part of it, such as the payments of a month");
            return Err(answer.unreadable(&call, problem));
        }
        self.page += 1;
        self.is_done = is_over;
        Ok(Some(Step { rows: new, answer: answer.respond(()) }))
    }

    /// All items, and the last answer's envelope.
    pub(crate) async fn all(mut self) -> Result<Response<Vec<Result<T, Bad>>>, Error> {
        let mut rows = Vec::new();
        let mut last = None;
        while let Some(step) = self.step().await? {
            rows.extend(step.rows);
            last = Some(step.answer);
        }
        let last = last.expect("the first step asks for a page or fails");
        Ok(last.map(|()| rows))
    }

    /// All items; one that cannot be read is an error.
    pub(crate) async fn readable(self) -> Result<Response<Vec<T>>, Error> {
        let Response { data, message, request_id, timestamp } = self.all().await?;
        let data = data.into_iter().map(|row| row.map_err(|bad| bad.error)).collect::<Result<_, _>>()?;
        Ok(Response { data, message, request_id, timestamp })
    }

    /// The items one by one; each page is asked for when the one before is used up.
    pub(crate) fn stream(self) -> Items<T> {
        let items = stream::unfold((self, VecDeque::new()), |(mut follower, mut waiting)| async move {
            loop {
                if let Some(row) = waiting.pop_front() {
                    let row: Result<T, Bad> = row;
                    return Some((row.map_err(|bad| bad.error), (follower, waiting)));
                }
                match follower.step().await {
                    Ok(Some(step)) => waiting = step.rows.into(),
                    Ok(None) => return None,
                    Err(error) => return Some((Err(error), (follower, waiting))),
                }
            }
        });
        Items(items.boxed())
    }
}

/// All items of a list, page after page: a [`Stream`], which can also be read without importing anything:
///
/// ```no_run
/// # async fn example(client: finkare::Client) -> Result<(), finkare::Error> {
/// let mut invoices = client.invoices().list_all(50);
/// while let Some(invoice) = invoices.next().await {
///     println!("{}", invoice?.invoice_number);
/// }
/// # Ok(())
/// # }
/// ```
///
/// A page is asked for only when the items of the page before are used up. Each item is given once, also if it moves to
/// another page in between. An item that cannot be read is an error of its own, after which the stream goes on; after the
/// failure of a page it ends. A list that ends before the number of items that it announced is a failure, too: a part is
/// never given as the whole.
pub struct Items<T>(Pin<Box<dyn Stream<Item = Result<T, Error>> + Send>>);

impl<T> Items<T> {
    /// The next item; `None` at the end. Dropping the future loses nothing: the next call goes on where it was.
    pub async fn next(&mut self) -> Option<Result<T, Error>> {
        self.0.next().await
    }

    /// All items that are left, in Finkare's order.
    ///
    /// # Errors
    /// The first item or page that failed.
    pub async fn collect(mut self) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        while let Some(item) = self.next().await {
            all.push(item?);
        }
        Ok(all)
    }
}

impl<T> Stream for Items<T> {
    type Item = Result<T, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Payment;

    #[test]
    fn one_item_that_cannot_be_read_hides_no_other() {
        let paid = json!({ "id": "p", "invoiceId": "i", "amountCents": 5, "status": "completed", "echo": "whsec_a" });
        let odd = json!({ "id": "odd", "invoiceId": "i", "amountCents": "whsec_a", "status": "completed" });
        let redactor = Redactor::default().with_prefixes(&["whsec_"]);
        let rows = [odd, json!(5), paid, json!({ "amountCents": 7 })].map(|item| row::<Payment>(&item, &redactor));
        let told = rows.each_ref().map(|(_, row)| match row {
            Ok(payment) => (Some(payment.id.as_str()), ""),
            Err(item) => (item.id.as_deref(), item.problem.as_str()),
        });
        let expected = [
            (Some("odd"), "`amountCents` is not an integer of cents"),
            (None, "it is not an object"),
            (Some("p"), ""),
            (None, "`id` is missing"),
        ];
        assert_eq!(told, expected);
        let keys: HashSet<&String> = rows.iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), 4, "each is counted as one");
        assert!(rows[2].1.as_ref().is_ok_and(|payment| payment.other["echo"] == "[redacted]"));
    }
}
