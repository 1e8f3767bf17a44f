//! Shared by the systems in which no payment can be recorded: finding an invoice by its number where the system has no
//! search, and the texts about it.
//!
//! Neither Tiime nor FastFaktura lists invoices by number, so their lists are searched page by page, within a bound. Two
//! things keep the search cheap and make sure that it ends. The ids of the invoices that were seen are remembered
//! ([`Index`]): the next look at an invoice is one call, and its answer has to have the number. And a search that was cut
//! off (a limit, a failure, the end of the attempt) continues where it stopped, so that it ends however few calls are
//! allowed.
//!
//! An answer is read field by field ([`Fields`]): a malformed invoice that was not searched for does no harm, and a problem
//! with the one that was searched for is reported to a person. A missing field that only helps is ignored. Without a total
//! it is unknown whether the invoice was paid in full, so the payment does not close by itself. Amounts never become
//! floats on the way.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Deserializer, de::DeserializeOwned, de::Error as _};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    api::{Answer, Api, Trouble},
    books::{Finding, StatusChange, StatusPlan, Wanted},
};
use crate::model::money::Cents;

/// How many numbers are remembered. When there are more, all are forgotten and found again.
const MOST_NUMBERS: usize = 20_000;
/// A search that was not continued for this long begins again, because its results are old.
const SEARCH_LIVES: Duration = Duration::from_mins(10);
/// The wait before a search continues whose attempt ran out of time.
const GO_ON_AFTER: Duration = Duration::from_secs(1);
/// The longest id, in bytes.
const LONGEST_ID: usize = 64;

/// A system's id of something: a JSON number or text of letters, digits, `-` and `_`, so that it is one step of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::sinks) struct Id(String);

impl Id {
    pub(in crate::sinks) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        let (text, is_text) = match serde_json::from_str::<String>(raw.get()) {
            Ok(text) => (text, true),
            Err(_) => (raw.get().to_owned(), false),
        };
        let is_part =
            |byte: u8| byte.is_ascii_digit() || (is_text && (byte.is_ascii_alphabetic() || b"-_".contains(&byte)));
        if (1..=LONGEST_ID).contains(&text.len()) && text.bytes().all(is_part) {
            Ok(Self(text))
        } else {
            Err(D::Error::custom("it is not an id"))
        }
    }
}

/// An object of an answer, its values still text.
#[derive(Debug, Clone)]
pub(in crate::sinks) struct Fields(HashMap<String, Box<RawValue>>);

impl Fields {
    /// The fields of an object; `None` if it is not an object.
    pub(in crate::sinks) fn of(object: &RawValue) -> Option<Self> {
        serde_json::from_str(object.get()).ok().map(Self)
    }

    /// A field's value as this type.
    ///
    /// # Errors
    /// The field is missing or has another type; the text names the field and its value.
    pub(in crate::sinks) fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        let raw = self.0.get(name).ok_or_else(|| format!("it has no `{name}`"))?;
        serde_json::from_str(raw.get()).map_err(|_| {
            let stands: String = raw.get().chars().take(40).collect();
            format!("its `{name}` has an unexpected value: {stands}")
        })
    }

    /// The same for a field that may be missing or `null`.
    ///
    /// # Errors
    /// The field has another type; the text names the field and its value.
    pub(in crate::sinks) fn get_if_any<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, String> {
        if self.0.contains_key(name) { self.get(name) } else { Ok(None) }
    }

    /// The same for a field that only helps: `None` if it is missing, `null`, or of another type.
    pub(in crate::sinks) fn help<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.get(name).ok()
    }

    /// The object under the first of these names that has one.
    pub(in crate::sinks) fn inner(&self, names: &[&str]) -> Option<Fields> {
        names.iter().find_map(|name| Fields::of(self.0.get(*name)?))
    }

    /// The list under this name.
    pub(in crate::sinks) fn list(&self, name: &str) -> Option<Vec<Box<RawValue>>> {
        serde_json::from_str(self.0.get(name)?.get()).ok()
    }
}

/// An invoice in a list or by itself.
#[derive(Debug, Clone)]
pub(in crate::sinks) struct Listed {
    pub(in crate::sinks) id: Id,
    /// The number as printed; a draft has none.
    number: Option<String>,
    pub(in crate::sinks) fields: Fields,
}

impl Listed {
    /// Reads an invoice. `number` is the name of the field with the printed number.
    ///
    /// # Errors
    /// The value is not an object, or has no id.
    pub(in crate::sinks) fn of(fields: Option<Fields>, number: &str, answer: &Answer) -> Result<Self, Trouble> {
        let fields = fields.ok_or_else(|| answer.unreadable("there is no object where an invoice should be"))?;
        let unreadable = |what: String| answer.unreadable(&format!("an invoice cannot be understood: {what}"));
        let id = fields.get("id").map_err(unreadable)?;
        let number = fields.help(number).map(|Text(text)| text);
        Ok(Self { id, number, fields })
    }

    /// The invoices of a list. One that cannot be understood is skipped: it is probably not the one that is searched for.
    ///
    /// # Errors
    /// The list has invoices, and none of them can be understood.
    pub(in crate::sinks) fn all(list: &[Box<RawValue>], number: &str, answer: &Answer) -> Result<Vec<Self>, Trouble> {
        let read: Vec<_> = list.iter().map(|invoice| Self::of(Fields::of(invoice), number, answer)).collect();
        if read.iter().any(Result::is_ok) {
            return Ok(read.into_iter().flatten().collect());
        }
        read.into_iter().collect()
    }
}

/// A text, or the text of a whole number.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        if raw.get().bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(Self(raw.get().to_owned()));
        }
        serde_json::from_str(raw.get()).map(Self).map_err(|_| D::Error::custom("it is not a text"))
    }
}

/// A page of a list.
#[derive(Debug)]
pub(in crate::sinks) struct Page {
    pub(in crate::sinks) invoices: Vec<Listed>,
    /// Where the next one begins; `None` if this is known to be the last.
    pub(in crate::sinks) next: Option<usize>,
}

/// How lists are searched.
#[derive(Debug, Clone, Copy)]
pub(in crate::sinks) struct Search {
    /// How many lists there are; they are searched one after the other.
    pub(in crate::sinks) lists: usize,
    /// Where the first page of each begins.
    pub(in crate::sinks) first: usize,
    /// The largest number of pages of each list that are read.
    pub(in crate::sinks) max_pages: u32,
    /// A page on which nothing is new ends the list: the system may not know pages.
    pub(in crate::sinks) ends_at_repeats: bool,
    /// How long one attempt may search.
    pub(in crate::sinks) time: Duration,
}

/// A system's lists of invoices.
#[async_trait]
pub(in crate::sinks) trait Shelf: Send + Sync {
    /// How the lists are searched.
    fn search(&self) -> Search;

    /// The client.
    fn api(&self) -> &Api;

    /// A page of a list. `number` is the number that is searched for; it is only named in the text of a failure.
    async fn page(&self, number: &str, list: usize, position: usize) -> Result<Page, Trouble>;

    /// One invoice; [`Trouble::Missing`] if there is none with this id.
    async fn one(&self, number: &str, id: &Id) -> Result<Listed, Trouble>;
}

/// The result of searching for a number.
#[derive(Debug)]
pub(in crate::sinks) enum LookUp {
    /// One invoice with exactly this number, read just now.
    One(Listed),
    /// More than one, with their ids.
    Several(Vec<Id>),
    /// None of this many invoices, which are all that the system shows.
    Nowhere(usize),
    /// None of this many invoices, and there may be more: the bound was reached.
    CutShort(usize),
}

/// How far a search has come.
#[derive(Debug, Clone)]
struct Progress {
    list: usize,
    position: usize,
    pages: u32,
    /// The ids of this list so far.
    seen: HashSet<Id>,
    /// The ids of all lists so far.
    all: HashSet<Id>,
    /// At least one invoice had a number.
    numbered: bool,
    /// A list was not searched to its end.
    cut_short: bool,
    touched: Instant,
}

impl Progress {
    fn new(search: &Search) -> Self {
        Self {
            list: 0,
            position: search.first,
            pages: 0,
            seen: HashSet::new(),
            all: HashSet::new(),
            numbered: false,
            cut_short: false,
            touched: Instant::now(),
        }
    }

    fn next_list(&mut self, search: &Search) {
        self.list += 1;
        (self.position, self.pages) = (search.first, 0);
        self.seen.clear();
    }
}

#[derive(Default)]
struct Remembered {
    ids: HashMap<String, BTreeSet<Id>>,
    searches: HashMap<String, Progress>,
}

/// Which number belongs to which ids, as far as this process has seen.
#[derive(Default)]
pub(in crate::sinks) struct Index(Mutex<Remembered>);

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("numbers", &self.remembered().ids.len()).finish_non_exhaustive()
    }
}

impl Index {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, invoices: &[Listed]) {
        let mut remembered = self.remembered();
        if remembered.ids.len() > MOST_NUMBERS {
            remembered.ids.clear();
        }
        for invoice in invoices {
            if let Some(number) = &invoice.number {
                remembered.ids.entry(number.clone()).or_default().insert(invoice.id.clone());
            }
        }
    }

    fn forget(&self, number: &str, id: &Id) {
        if let Some(ids) = self.remembered().ids.get_mut(number) {
            ids.remove(id);
        }
    }

    fn keep(&self, number: &str, progress: &Progress) {
        let mut remembered = self.remembered();
        remembered.searches.retain(|_, search| search.touched.elapsed() < SEARCH_LIVES);
        remembered.searches.insert(number.to_owned(), progress.clone());
    }

    /// Finds the invoices with exactly this number, compared on our side.
    pub(in crate::sinks) async fn look_up<S: Shelf + ?Sized>(
        &self,
        shelf: &S,
        number: &str,
    ) -> Result<LookUp, Trouble> {
        let ids: Vec<Id> = self.remembered().ids.get(number).into_iter().flatten().cloned().collect();
        let mut found = Vec::new();
        for id in ids {
            match shelf.one(number, &id).await {
                Ok(invoice) if invoice.id == id && invoice.number.as_deref() == Some(number) => found.push(invoice),
                // The invoice got another number, or was deleted.
                Ok(_) | Err(Trouble::Missing { .. }) => self.forget(number, &id),
                Err(trouble) => return Err(trouble),
            }
        }
        if !found.is_empty() {
            return Ok(judged(found));
        }
        self.search(shelf, number).await
    }

    async fn search<S: Shelf + ?Sized>(&self, shelf: &S, number: &str) -> Result<LookUp, Trouble> {
        let search = shelf.search();
        let until = Instant::now() + search.time;
        let kept = self.remembered().searches.get(number).cloned();
        let mut progress =
            kept.filter(|kept| kept.touched.elapsed() < SEARCH_LIVES).unwrap_or_else(|| Progress::new(&search));
        while progress.list < search.lists {
            if Instant::now() >= until {
                return Err(Trouble::TooMany {
                    reason: format!(
                        "searching {}'s invoices for {number} takes longer than one attempt: the search continues",
                        shelf.api().system()
                    ),
                    after: GO_ON_AFTER,
                });
            }
            let page = shelf.page(number, progress.list, progress.position).await?;
            self.note(&page.invoices);
            let found: Vec<_> =
                page.invoices.iter().filter(|invoice| invoice.number.as_deref() == Some(number)).cloned().collect();
            if !found.is_empty() {
                self.remembered().searches.remove(number);
                return Ok(judged(found));
            }
            let before = progress.seen.len();
            progress.seen.extend(page.invoices.iter().map(|invoice| invoice.id.clone()));
            progress.all.extend(page.invoices.iter().map(|invoice| invoice.id.clone()));
            progress.numbered |= page.invoices.iter().any(|invoice| invoice.number.is_some());
            progress.pages += 1;
            let repeats = search.ends_at_repeats && progress.seen.len() == before;
            match page.next {
                _ if page.invoices.is_empty() || repeats => progress.next_list(&search),
                None => progress.next_list(&search),
                Some(_) if progress.pages >= search.max_pages => {
                    progress.cut_short = true;
                    progress.next_list(&search);
                }
                Some(next) => progress.position = next,
            }
            progress.touched = Instant::now();
            self.keep(number, &progress);
        }
        self.remembered().searches.remove(number);
        let seen = progress.all.len();
        if seen > 0 && !progress.numbered {
            return Err(Trouble::Unreadable {
                reason: format!(
                    "none of the {seen} invoices that {} shows has a number, which cannot be right",
                    shelf.api().system()
                ),
            });
        }
        Ok(if progress.cut_short { LookUp::CutShort(seen) } else { LookUp::Nowhere(seen) })
    }
}

/// One invoice or several. An invoice that appears twice in a list counts once.
fn judged(mut found: Vec<Listed>) -> LookUp {
    let ids: BTreeSet<Id> = found.iter().map(|invoice| invoice.id.clone()).collect();
    match found.pop() {
        Some(invoice) if ids.len() == 1 => LookUp::One(invoice),
        _ => LookUp::Several(ids.into_iter().collect()),
    }
}

/// Why there is no invoice to look at.
pub(in crate::sinks) enum NoInvoice {
    /// There is none; it may be new.
    Absent(String),
    /// A person has to look; the flag is true if the problem may be solved there without telling the relay.
    Hold(String, bool),
}

impl From<NoInvoice> for Finding<std::convert::Infallible> {
    fn from(no: NoInvoice) -> Self {
        match no {
            NoInvoice::Absent(instruction) => Finding::Absent { instruction },
            NoInvoice::Hold(instruction, recheck) => Finding::Hold { instruction, recheck },
        }
    }
}

impl From<NoInvoice> for StatusPlan {
    fn from(no: NoInvoice) -> Self {
        match no {
            NoInvoice::Absent(instruction) => StatusPlan::Absent { instruction },
            NoInvoice::Hold(instruction, recheck) => StatusPlan::Hold { instruction, recheck },
        }
    }
}

/// The only invoice with this number, or an instruction for a person. `about` says what the invoice was needed for, as the
/// beginning of the sentence.
pub(in crate::sinks) fn only(found: LookUp, system: &str, number: &str, about: &str) -> Result<Listed, NoInvoice> {
    match found {
        LookUp::One(invoice) => Ok(invoice),
        LookUp::Several(ids) => {
            let ids: Vec<_> = ids.iter().map(Id::as_str).collect();
            Err(NoInvoice::Hold(
                format!(
                    "{about}, and {system} has {} invoices with the number {number} (ids {}): find out there which one is meant, \
                     see to it by hand, and cancel this dispatch",
                    ids.len(),
                    ids.join(", ")
                ),
                false,
            ))
        }
        LookUp::Nowhere(seen) => Err(NoInvoice::Absent(format!(
            "{about}, and none of the {seen} invoices that {system} shows has the number {number}: look for it there. If it has \
             another number there, set `number` in the settings; if the invoice is not kept there, see to the payment by hand \
             and cancel this dispatch"
        ))),
        LookUp::CutShort(seen) => Err(NoInvoice::Hold(
            format!(
                "{about}, and none of the {seen} invoices that were searched in {system} has the number {number}; there may be \
                 more: raise `lookup_max_pages`, or see to it by hand there and cancel this dispatch"
            ),
            true,
        )),
    }
}

/// The instruction for a payment with which more was paid than the invoice's total; `None` if that is not so.
pub(in crate::sinks) fn overpaid(wanted: &Wanted<'_>, system: &str, total: Cents) -> Option<String> {
    let amount = wanted.payment.amount_cents;
    let sum = wanted.booked_before.checked_add(amount);
    if sum.is_some_and(|sum| sum <= total) {
        return None;
    }
    let currency = &wanted.payment.currency;
    let before = match wanted.booked_before {
        Cents::ZERO => String::new(),
        before => format!(", together with the {} noted before it,", before.of(currency)),
    };
    Some(format!(
        "the payment of {}{before} is more than the total of invoice {}, which is {} in {system}: find out what the rest is \
         for, see to it by hand there (a credit or a refund), and cancel this dispatch",
        wanted.in_words(),
        wanted.number,
        total.of(currency)
    ))
}

/// The instruction for an invoice that is paid but does not show its amount: this payment may be included, or may have
/// come on top.
pub(in crate::sinks) fn paid_of_what(about: &str, system: &str, number: &str, field: &str) -> String {
    format!(
        "{about}, and {system} shows invoice {number} as paid, but does not show its amount (`{field}`): check there whether \
         this payment is included, and cancel this dispatch"
    )
}

/// Whether the payment pays the whole invoice or a part of it, and what to do about that there.
pub(in crate::sinks) fn share(wanted: &Wanted<'_>, total: Option<Cents>) -> String {
    let (amount, currency) = (wanted.payment.amount_cents, &wanted.payment.currency);
    let Some(total) = total else {
        return "note it there, and mark the invoice as paid once all of it is paid".to_owned();
    };
    if amount == total {
        return "it pays the whole invoice: mark the invoice as paid there".to_owned();
    }
    format!(
        "it pays a part of the invoice, {amount} of {}: note it there, and mark the invoice as paid once all of it is paid",
        total.of(currency)
    )
}

/// The last sentence of every instruction about an open payment.
pub(in crate::sinks) fn closes(system: &str) -> String {
    format!(
        "The relay checks again, and closes this by itself once {system} shows the invoice as paid; `dispatches retry` checks \
         at once"
    )
}

/// Compares a status with what `status_map` expects there.
pub(in crate::sinks) fn compared(change: &StatusChange<'_>, system: &str, shown: &str, is_same: bool) -> StatusPlan {
    let StatusChange { number, to, action, date, .. } = change;
    if is_same {
        return StatusPlan::Done {
            why: format!("{system} shows invoice {number} as `{shown}`, as `status_map` expects"),
        };
    }
    StatusPlan::Hold {
        instruction: format!(
            "Finkare reported on {date} that invoice {number} is now `{to}`, and {system} shows it as `{shown}`, where \
             `status_map` expects `{action}`: find out which is right, and change it by hand there. The relay checks again, \
             and closes this by itself once {system} shows `{action}`; cancel this dispatch if it should stay as it is"
        ),
        recheck: true,
    }
}

/// The beginning of an instruction about a change of status.
pub(in crate::sinks) fn told(change: &StatusChange<'_>) -> String {
    format!("Finkare reported on {} that invoice {} is now `{}`", change.date, change.number, change.to)
}
