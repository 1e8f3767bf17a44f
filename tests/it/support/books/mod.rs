//! Stand-ins of the invoicing systems that a sink books payments in: local servers that keep books and
//! judge the calls made to them.
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

pub(crate) mod desk;
pub(crate) mod efactori;
pub(crate) mod facturation_pro;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use self::desk::Desk;

/// An invoice to be put into the books.
#[derive(Debug, Clone)]
pub(crate) struct NewInvoice(Invoice);

impl NewInvoice {
    /// A final, unpaid invoice in euros, of 1 March 2026.
    pub(crate) fn of(number: &str, total_with_vat_cents: i64) -> Self {
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
    pub(crate) fn prefix(mut self, prefix: &str) -> Self {
        self.0.prefix = prefix.into();
        self
    }

    pub(crate) fn currency(mut self, currency: &str) -> Self {
        self.0.currency = currency.into();
        self
    }

    /// `YYYY-MM-DD`.
    pub(crate) fn dated(mut self, date: &str) -> Self {
        self.0.date = date.into();
        self
    }

    pub(crate) fn draft(mut self) -> Self {
        self.0.draft = true;
        self.0.status = "concept".into();
        self
    }

    /// In the bin.
    pub(crate) fn deleted(mut self) -> Self {
        self.0.deleted = true;
        self
    }

    pub(crate) fn credit_note(mut self) -> Self {
        self.0.credit_note = true;
        self
    }

    /// Already in the bookkeeping and not to be changed; eFactori only.
    pub(crate) fn locked(mut self) -> Self {
        self.0.locked = true;
        self
    }

    /// Marked as paid by a person, without any payment in the books.
    pub(crate) fn paid(mut self) -> Self {
        self.0.cleared = self.0.total;
        self.0.paid = Some(Paid { on: "2026-03-02".into(), mode: "3".into() });
        self.0.status = "paid".into();
        self
    }
}

/// When and how an invoice was paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paid {
    /// `YYYY-MM-DD`.
    pub on: String,
    /// A `payment_mode`, or the id of an account.
    pub mode: String,
}

/// An invoice in the books.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the systems have these as flags of their own")]
pub(crate) struct Invoice {
    pub id: u64,
    pub prefix: String,
    pub number: String,
    /// With VAT, in thousandths.
    pub total: i64,
    pub currency: String,
    pub date: String,
    pub draft: bool,
    pub deleted: bool,
    pub credit_note: bool,
    pub locked: bool,
    pub paid: Option<Paid>,
    /// The word for its state where the system has words.
    pub status: String,
    pub payment_ref: Option<String>,
    pub internal_note: Option<String>,
    /// Paid without an entry in the books, in thousandths.
    cleared: i64,
    /// Grows with every change in these books.
    version: u64,
}

impl Invoice {
    /// The number as printed.
    pub(crate) fn full_number(&self) -> String {
        format!("{}{}", self.prefix, self.number)
    }
}

/// A payment as it stands in the books.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub id: u64,
    pub invoice_id: u64,
    /// As printed.
    pub invoice_number: String,
    /// What the payment was marked with, as the system kept it.
    pub marker: Option<String>,
    pub thousandths: i64,
    /// `YYYY-MM-DD`.
    pub date: String,
    /// A `payment_mode`, or the id of an account.
    pub mode: String,
    pub currency: String,
    /// Booked by the test in a person's place, not by a call.
    pub by_hand: bool,
    /// What it takes from the balance, in thousandths.
    counts: i64,
}

impl Entry {
    /// Its amount in cents, which it must be a whole number of.
    pub(crate) fn cents(&self) -> i64 {
        assert_eq!(self.thousandths % 10, 0, "no whole cents: {self:?}");
        self.thousandths / 10
    }
}

/// The books themselves.
pub(crate) struct Ledger {
    invoices: Vec<Invoice>,
    entries: Vec<Entry>,
    last_id: u64,
    version: u64,
    /// The status of a paid invoice, where a payment that covers it makes it one.
    status_when_covered: Option<String>,
}

impl Ledger {
    fn new(status_when_covered: Option<&str>) -> Self {
        let status_when_covered = status_when_covered.map(str::to_owned);
        Self { invoices: vec![], entries: vec![], last_id: 4710, version: 0, status_when_covered }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn add(&mut self, NewInvoice(mut invoice): NewInvoice) -> u64 {
        invoice.id = self.next_id();
        let id = invoice.id;
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
    pub(crate) fn change_invoice(&mut self, number: &str, change: impl FnOnce(&mut Invoice)) {
        let id = self.the(number).id;
        change(self.invoice_mut(id));
        self.touch(id);
    }

    /// A person changes what was booked, or where it stands in the list.
    pub(crate) fn change_entries(&mut self, change: impl FnOnce(&mut [Entry])) {
        change(&mut self.entries);
    }

    fn the(&self, number: &str) -> &Invoice {
        let mut found = self.invoices.iter().filter(|invoice| invoice.full_number() == number);
        let invoice = found.next().unwrap_or_else(|| panic!("no invoice {number} in the books"));
        assert!(found.next().is_none(), "invoice {number} is twice in the books");
        invoice
    }
}

/// What every system's books can be asked and told by a test. Numbers are as printed.
pub(crate) trait Books {
    fn locked_ledger(&self) -> MutexGuard<'_, Ledger>;

    /// Faults, quotas, the log, complaints.
    fn desk(&self) -> &Desk;

    /// As `base_url` takes it.
    fn url(&self) -> String;

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

/// Whether this is a day of the calendar, written `YYYY-MM-DD`.
fn is_date(text: &str) -> bool {
    let shape = |(at, byte): (usize, u8)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() };
    text.len() == 10 && text.bytes().enumerate().all(shape) && text.parse::<jiff::civil::Date>().is_ok()
}

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
        assert!(is_date("2028-02-29"));
        for text in ["2026-02-29", "2026-2-9", "20260209", "2026-13-01", "09/02/2026", "2026-03-15T00"] {
            assert!(!is_date(text), "{text}");
        }
    }
}
