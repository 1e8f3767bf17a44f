//! Stand-ins of the invoicing systems that a sink books payments in: local servers that keep books and
//! judge the calls made to them.
//!
//! They are for trying out bookings without an account (`finkare-relay simulate --books`), for the demo and for tests.
//! `GET /` shows the books to a person; no real system has that. A stand-in does what its vendor documents and has never
//! been compared with the real service.
//!
//! Each is written from the vendor's documentation (named at the top of its file) and shares no code with the service,
//! neither its client nor its type for money: an error there must not cancel itself here. What the documentation
//! forbids, and what a sink must never do (delete, cancel, write to a debtor, make or change an invoice), stands in
//! [`Desk::complaints`]. Where the documentation is silent, a `Variant` says how this server behaves. What a bad
//! server might do and a sink has to prevent (a payment twice, a payment above the balance) is done without a word: it
//! shows in the books.
//!
//! [`Desk`] is what they have in common towards the caller (faults, quotas, the log), [`Books`] what they have in
//! common for a test that compares books. Amounts are integers everywhere, in thousandths, since three decimals can be
//! sent.

mod page;
#[cfg(test)]
mod testing;

pub mod desk;
pub mod efactori;
pub mod facturation_pro;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use self::desk::Desk;

/// An invoice to be put into the books.
#[derive(Debug, Clone)]
pub struct NewInvoice(Invoice);

impl NewInvoice {
    /// A final, unpaid invoice in euros, of 1 March 2026.
    #[must_use]
    pub fn of(number: &str, total_with_vat_cents: i64) -> Self {
        Self(Invoice {
            id: 0,
            prefix: String::new(),
            number: number.to_owned(),
            total: total_with_vat_cents * 10,
            currency: "EUR".into(),
            date: "2026-03-01".into(),
            status: "sent".into(),
            ..Invoice::default()
        })
    }

    /// Stands before the number; both together are the number as printed.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.0.prefix = prefix.into();
        self
    }

    /// In another currency, by its ISO code.
    #[must_use]
    pub fn currency(mut self, currency: &str) -> Self {
        self.0.currency = currency.into();
        self
    }

    /// `YYYY-MM-DD`.
    #[must_use]
    pub fn dated(mut self, date: &str) -> Self {
        self.0.date = date.into();
        self
    }

    /// Not final yet.
    #[must_use]
    pub fn draft(mut self) -> Self {
        self.0.draft = true;
        self.0.status = "concept".into();
        self
    }

    /// In the bin.
    #[must_use]
    pub fn deleted(mut self) -> Self {
        self.0.deleted = true;
        self
    }

    /// A credit note.
    #[must_use]
    pub fn credit_note(mut self) -> Self {
        self.0.credit_note = true;
        self
    }

    /// Already in the bookkeeping and not to be changed; eFactori only.
    #[must_use]
    pub fn locked(mut self) -> Self {
        self.0.locked = true;
        self
    }

    /// Marked as paid by a person, without any payment in the books.
    #[must_use]
    pub fn paid(mut self) -> Self {
        self.0.cleared = self.0.total;
        self.0.paid = Some(Paid { on: "2026-03-02".into(), mode: "3".into() });
        self.0.status = "paid".into();
        self
    }
}

/// When and how an invoice was paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paid {
    /// `YYYY-MM-DD`.
    pub on: String,
    /// A `payment_mode`, or the id of an account.
    pub mode: String,
}

/// An invoice in the books.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the systems have these as flags of their own")]
pub struct Invoice {
    /// Its id in the system.
    pub id: u64,
    /// What stands before the number.
    pub prefix: String,
    /// The number without its prefix.
    pub number: String,
    /// With VAT, in thousandths.
    pub total: i64,
    /// The ISO code.
    pub currency: String,
    /// Its day: `YYYY-MM-DD`.
    pub date: String,
    /// Not final yet.
    pub draft: bool,
    /// In the bin.
    pub deleted: bool,
    /// A credit note.
    pub credit_note: bool,
    /// In the bookkeeping, and not to be changed.
    pub locked: bool,
    /// When and how it was paid, if it is marked as paid.
    pub paid: Option<Paid>,
    /// The word for its state where the system has words.
    pub status: String,
    /// The reference on the invoice itself.
    pub payment_ref: Option<String>,
    /// The note that the debtor does not see.
    pub internal_note: Option<String>,
    /// Paid without an entry in the books, in thousandths.
    cleared: i64,
    /// Grows with every change in these books.
    version: u64,
}

impl Invoice {
    /// The number as printed.
    pub fn full_number(&self) -> String {
        format!("{}{}", self.prefix, self.number)
    }
}

/// A payment as it stands in the books.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id in the system.
    pub id: u64,
    /// The invoice that it was booked on.
    pub invoice_id: u64,
    /// As printed.
    pub invoice_number: String,
    /// What the payment was marked with, as the system kept it.
    pub marker: Option<String>,
    /// The amount, in thousandths.
    pub thousandths: i64,
    /// `YYYY-MM-DD`.
    pub date: String,
    /// A `payment_mode`, or the id of an account.
    pub mode: String,
    /// The ISO code of the invoice.
    pub currency: String,
    /// Booked by the test in a person's place, not by a call.
    pub by_hand: bool,
    /// What it takes from the balance, in thousandths.
    counts: i64,
}

impl Entry {
    /// Its amount in cents, which it must be a whole number of.
    pub fn cents(&self) -> i64 {
        assert_eq!(self.thousandths % 10, 0, "no whole cents: {self:?}");
        self.thousandths / 10
    }
}

/// The books themselves.
pub struct Ledger {
    invoices: Vec<Invoice>,
    entries: Vec<Entry>,
    last_id: u64,
    version: u64,
    /// The status of a paid invoice, where a payment that covers it makes it one.
    status_when_covered: Option<String>,
    /// So many of the newest invoices are kept; all of them without a number.
    keep: Option<usize>,
}

impl Ledger {
    fn new(status_when_covered: Option<&str>) -> Self {
        let status_when_covered = status_when_covered.map(str::to_owned);
        Self { invoices: vec![], entries: vec![], last_id: 4710, version: 0, status_when_covered, keep: None }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn add(&mut self, NewInvoice(mut invoice): NewInvoice) -> u64 {
        invoice.id = self.next_id();
        let id = invoice.id;
        if self.keep.is_some_and(|most| self.invoices.len() >= most.max(1)) {
            let oldest = self.invoices.remove(0).id;
            self.entries.retain(|entry| entry.invoice_id != oldest);
        }
        self.invoices.push(invoice);
        self.touch(id);
        id
    }

    fn touch(&mut self, id: u64) {
        self.version += 1;
        let version = self.version;
        self.invoice_mut(id).version = version;
    }

    fn invoice(&self, id: u64) -> Option<&Invoice> {
        self.invoices.iter().find(|invoice| invoice.id == id)
    }

    /// One that was found before.
    fn invoice_mut(&mut self, id: u64) -> &mut Invoice {
        self.invoices.iter_mut().find(|invoice| invoice.id == id).expect("it was looked for")
    }

    fn entries_of(&self, invoice: u64) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.invoice_id == invoice)
    }

    /// What remains due, in thousandths; negative if too much was paid.
    fn balance(&self, id: u64) -> i64 {
        let invoice = self.invoice(id).expect("it was looked for");
        invoice.total - invoice.cleared - self.entries_of(id).map(|entry| entry.counts).sum::<i64>()
    }

    /// Books a payment, whatever the balance is. Its id is set here.
    fn book(&mut self, mut entry: Entry) -> u64 {
        entry.id = self.next_id();
        let (id, invoice) = (entry.id, entry.invoice_id);
        let paid = Paid { on: entry.date.clone(), mode: entry.mode.clone() };
        let amount = format!("{} {}", money(entry.thousandths), entry.currency);
        tracing::info!(
            invoice = entry.invoice_number,
            amount,
            reference = entry.marker.as_deref().unwrap_or_default(),
            "a payment was booked in the stand-in's books"
        );
        self.entries.push(entry);
        self.touch(invoice);
        if let Some(status) = self.status_when_covered.clone()
            && self.balance(invoice) <= 0
        {
            let invoice = self.invoice_mut(invoice);
            invoice.paid = Some(paid);
            invoice.status = status;
        }
        id
    }

    /// A person changes an invoice.
    pub fn change_invoice(&mut self, number: &str, change: impl FnOnce(&mut Invoice)) {
        let id = self.the(number).id;
        change(self.invoice_mut(id));
        self.touch(id);
    }

    /// A person changes what was booked, or where it stands in the list.
    pub fn change_entries(&mut self, change: impl FnOnce(&mut [Entry])) {
        change(&mut self.entries);
    }

    /// A person removes what was booked under this marker.
    pub fn remove_entries(&mut self, marker: &str) {
        self.entries.retain(|entry| entry.marker.as_deref() != Some(marker));
    }

    fn the(&self, number: &str) -> &Invoice {
        let mut found = self.invoices.iter().filter(|invoice| invoice.full_number() == number);
        let invoice = found.next().unwrap_or_else(|| panic!("no invoice {number} in the books"));
        assert!(found.next().is_none(), "invoice {number} is twice in the books");
        invoice
    }
}

/// What every system's books can be asked and told by a test. Numbers are as printed.
pub trait Books {
    /// The books, locked until this is dropped.
    fn locked_ledger(&self) -> MutexGuard<'_, Ledger>;

    /// Faults, quotas, the log, complaints.
    fn desk(&self) -> &Desk;

    /// As `base_url` takes it.
    fn url(&self) -> String;

    /// Keeps only so many of the newest invoices, with their payments, and about as many calls: for a stand-in that runs
    /// for days.
    fn keep(&self, newest: usize) {
        self.locked_ledger().keep = Some(newest);
        self.desk().keep(newest.max(MOST_COUNTED));
    }

    /// What was wrong with the calls so far.
    fn complaints(&self) -> Vec<String> {
        self.desk().complaints()
    }

    /// The id of the new invoice.
    fn add(&self, invoice: NewInvoice) -> u64 {
        self.locked_ledger().add(invoice)
    }

    /// Books a payment in a person's place, by bank transfer on 5 March 2026.
    fn pay_by_hand(&self, number: &str, cents: i64, marker: Option<&str>) {
        let mut ledger = self.locked_ledger();
        let invoice = ledger.the(number);
        let entry = Entry {
            id: 0,
            invoice_id: invoice.id,
            invoice_number: invoice.full_number(),
            marker: marker.map(str::to_owned),
            thousandths: cents * 10,
            date: "2026-03-05".into(),
            mode: "3".into(),
            currency: invoice.currency.clone(),
            by_hand: true,
            counts: cents * 10,
        };
        ledger.book(entry);
    }

    /// One invoice, which must be there once.
    fn invoice(&self, number: &str) -> Invoice {
        self.locked_ledger().the(number).clone()
    }

    /// Every invoice in the books.
    fn invoices(&self) -> Vec<Invoice> {
        self.locked_ledger().invoices.clone()
    }

    /// Every payment in the books, in the order of booking.
    fn entries(&self) -> Vec<Entry> {
        self.locked_ledger().entries.clone()
    }

    /// What remains due of an invoice; negative if too much was paid.
    fn balance_cents(&self, number: &str) -> i64 {
        let ledger = self.locked_ledger();
        let balance = ledger.balance(ledger.the(number).id);
        assert_eq!(balance % 10, 0, "the balance of {number} is no whole number of cents");
        balance / 10
    }

    /// The markers that stand in the books more than once, with how often.
    fn doubled(&self) -> Vec<(String, usize)> {
        let mut counts = BTreeMap::new();
        for marker in self.locked_ledger().entries.iter().filter_map(|entry| entry.marker.clone()) {
            *counts.entry(marker).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count > 1).collect()
    }

    /// The invoices on which more was paid than was due. A credit note of a negative total is none by itself.
    fn overpaid(&self) -> Vec<String> {
        let ledger = self.locked_ledger();
        let overpaid = ledger.invoices.iter().filter(|invoice| ledger.balance(invoice.id) < invoice.total.min(0));
        overpaid.map(Invoice::full_number).collect()
    }
}

/// More calls than a quota counts.
const MOST_COUNTED: usize = 10_000;

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().expect("nothing panics while it holds this")
}

/// Reads a plain decimal number with a dot and at most three decimals, in thousandths.
fn thousandths(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, decimals) = match digits.split_once('.') {
        Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
        Some(_) => return None,
        None => (digits, ""),
    };
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || decimals.len() > 3 || !is_plain(whole) || !is_plain(decimals) {
        return None;
    }
    let whole: i64 = whole.parse().ok()?;
    let decimals: i64 = format!("{decimals:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(decimals).map(|amount| sign * amount)
}

/// A decimal number with a dot and one to three decimals, as both systems' examples have it: `150.0`.
fn decimal(thousandths: i64) -> String {
    let amount = thousandths.unsigned_abs();
    let text = format!("{}{}.{:03}", if thousandths < 0 { "-" } else { "" }, amount / 1000, amount % 1000);
    let text = text.trim_end_matches('0');
    if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
}

/// An amount as people write it: two decimals, or three where it has a part of a cent.
fn money(thousandths: i64) -> String {
    let amount = thousandths.unsigned_abs();
    let text = format!("{}{}.{:03}", if thousandths < 0 { "-" } else { "" }, amount / 1000, amount % 1000);
    text.strip_suffix('0').map_or(text.clone(), str::to_owned)
}

/// Whether this is a day of the calendar, written `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let shape = |(at, byte): (usize, u8)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(shape) && text.parse::<jiff::civil::Date>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_and_written_without_loss() {
        for (text, amount) in [("150.0", 150_000), ("1500.00", 1_500_000), ("0.125", 125), ("7", 7000), ("-3.5", -3500)]
        {
            assert_eq!(thousandths(text), Some(amount), "{text}");
        }
        for text in ["", "-", ".", "1.", ".5", "1.0000", "1e2", "+1", "1,5", " 1", "0x1", "99999999999999999999"] {
            assert_eq!(thousandths(text), None, "{text:?}");
        }
        for (amount, text) in [(150_000, "150.0"), (12_340, "12.34"), (125, "0.125"), (0, "0.0"), (-10, "-0.01")] {
            assert_eq!(decimal(amount), text);
        }
        for (amount, text) in [(1_500_000, "1500.00"), (125, "0.125"), (-10, "-0.01"), (0, "0.00")] {
            assert_eq!(money(amount), text);
        }
        assert!(is_date("2028-02-29"));
        for text in ["2026-02-29", "2026-2-9", "20260209", "2026-13-01", "09/02/2026", "2026-03-15T00"] {
            assert!(!is_date(text), "{text}");
        }
    }

    #[tokio::test]
    async fn the_page_shows_what_was_booked_and_what_was_wrong() {
        let server = facturation_pro::FacturationPro::start().await;
        server.add(NewInvoice::of("F-1", 150_000));
        server.pay_by_hand("F-1", 50_000, Some("by hand"));
        let page = async || testing::http().get(server.url()).send().await.unwrap().text().await.unwrap();
        let shown = page().await;
        for part in [
            "The stand-in of Facturation.PRO: 1 payment on 1 invoice.\n",
            "2026-03-05  F-1                     500.00 EUR  by hand\n",
            "F-1                    1500.00 EUR       1000.00 EUR\n",
            "No call broke the rules",
        ] {
            assert!(shown.contains(part), "`{part}` is not in:\n{shown}");
        }
        assert_eq!(server.desk().count(desk::On::ANY), 0, "looking at it is no call of a sink");
        testing::http().get(format!("{}/elsewhere", server.url())).send().await.unwrap();
        let shown = page().await;
        assert!(shown.contains("\nThese calls broke the rules of the system:\n  GET /elsewhere: "), "{shown}");
    }

    #[tokio::test]
    async fn the_oldest_are_forgotten_where_that_is_wanted() {
        let server = efactori::Efactori::start().await;
        server.keep(2);
        for number in ["F-1", "F-2", "F-3"] {
            server.add(NewInvoice::of(number, 100));
            server.pay_by_hand(number, 100, None);
        }
        let numbers: Vec<_> = server.invoices().iter().map(Invoice::full_number).collect();
        assert_eq!((numbers, server.entries().len()), (vec!["F-2".to_owned(), "F-3".to_owned()], 2));
        // The desk alone, with a number that a test can reach.
        server.desk().keep(4);
        for _ in 0..20 {
            testing::http().get(format!("{}/elsewhere", server.url())).send().await.unwrap();
        }
        let log = server.desk().log();
        assert!((4..=7).contains(&log.len()), "{}", log.len());
        assert!(log.iter().all(|call| call.status == Some(401)), "each call has its own answer: {log:?}");
    }
}
