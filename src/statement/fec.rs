//! The bookings as accounting entries, in the columns of the *fichier des écritures comptables*: article A47 A-1 of the
//! Livre des procédures fiscales, VII 1°, names the 18 columns, their order and their form (dates `AAAAMMJJ`, a comma in
//! amounts, a tab between the fields; <https://www.legifrance.gouv.fr/codes/article_lc/LEGIARTI000027804775>).
//!
//! Each payment is two lines that balance: the bank or the clearing account is debited, the customer credited. A payment
//! that is in the books of two sinks is one payment, and is here once. Only finished bookings are here: what is not certain
//! to be in the books is no entry.
//!
//! This is the file of one month's payments, to be imported; it is not the company's own file of a whole year, and so its
//! name is another one.

use std::collections::HashSet;

use jiff::civil::Date;

use super::{BookedLine, Statement, csv};
use crate::{model::language::Language, sinks::wording::format::bounded};

/// The columns, in their order.
pub const COLUMNS: [&str; 18] = [
    "JournalCode",
    "JournalLib",
    "EcritureNum",
    "EcritureDate",
    "CompteNum",
    "CompteLib",
    "CompAuxNum",
    "CompAuxLib",
    "PieceRef",
    "PieceDate",
    "EcritureLib",
    "Debit",
    "Credit",
    "EcritureLet",
    "DateLet",
    "ValidDate",
    "Montantdevise",
    "Idevise",
];

/// The currency of the columns Debit and Credit.
const EURO: &str = "EUR";
/// The longest text of a field, in characters.
const LONGEST: usize = 200;

/// The accounts of the entries: `[statement]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts {
    /// The bank.
    pub bank: String,
    /// For money that is on its way to the bank.
    pub clearing: String,
    /// The customers.
    pub customer: String,
    /// The code of the journal.
    pub journal: String,
    /// The methods whose money arrives on the bank account directly; all others go through the clearing account.
    pub bank_methods: Vec<String>,
}

impl Default for Accounts {
    /// The accounts of the general chart (*plan comptable général*): 512 banks, 511 values to be collected, 411 customers.
    fn default() -> Self {
        Self {
            bank: "512000".to_owned(),
            clearing: "511000".to_owned(),
            customer: "411000".to_owned(),
            journal: "BQ".to_owned(),
            bank_methods: vec!["bank_transfer".to_owned()],
        }
    }
}

/// Writes the entries of a statement.
pub fn fec(statement: &Statement, accounts: &Accounts) -> String {
    let mut text = COLUMNS.join("\t");
    text.push_str("\r\n");
    let mut seen = HashSet::new();
    let mut lines: Vec<&BookedLine> = statement.sinks.iter().flat_map(|part| &part.bookings).collect();
    // In the order of the bookings, so that one that comes later gets the next number and leaves the others theirs.
    lines.sort_by_key(|line| (line.booked_at, line.line.endpoint.clone(), line.line.payment_id.clone()));
    lines.retain(|line| seen.insert((line.line.endpoint.clone(), line.line.payment_id.clone())));
    for (place, line) in lines.into_iter().enumerate() {
        for fields in entry(&statement.month, place + 1, line, accounts) {
            text.push_str(&fields.join("\t"));
            text.push_str("\r\n");
        }
    }
    text
}

fn entry(month: &str, number: usize, booked: &BookedLine, accounts: &Accounts) -> [[String; 18]; 2] {
    let line = &booked.line;
    let method = line.method.as_deref().unwrap_or_default();
    let (money, name) = if accounts.bank_methods.iter().any(|known| known == method) {
        (&accounts.bank, "Banque")
    } else {
        (&accounts.clearing, "Valeurs à l'encaissement")
    };
    let day = compact(booked.day());
    let cents = line.amount_cents.unwrap_or_default();
    let currency = line.currency.as_deref().unwrap_or_default();
    // What the amount of another currency is in euros is not known here.
    let euros = if currency == EURO { csv::amount(cents) } else { csv::amount(0) };
    let (abroad, code) = if currency == EURO { (None, "") } else { (Some(cents), currency) };
    let piece = field(line.invoice_number.as_deref().or(line.payment_id.as_deref()).unwrap_or_default());
    let mut label = vec!["Règlement".to_owned(), piece.clone()];
    label.extend(line.debtor.as_deref().map(field));
    label.extend(line.method.as_deref().map(|method| csv::method_word(method, Language::Fr)));
    label.extend(line.payment_id.as_deref().map(|payment| format!("Finkare {}", field(payment))));
    let label = field(&label.join(" "));
    let number = format!("{}{number:05}", month.replace('-', ""));
    let side = |account: &str, account_name: &str, is_debit: bool| {
        let none = csv::amount(0);
        let (debit, credit) = if is_debit { (euros.clone(), none) } else { (none, euros.clone()) };
        [
            accounts.journal.clone(),
            "Encaissements Finkare".to_owned(),
            number.clone(),
            day.clone(),
            account.to_owned(),
            account_name.to_owned(),
            String::new(),
            String::new(),
            piece.clone(),
            day.clone(),
            label.clone(),
            debit,
            credit,
            String::new(),
            String::new(),
            compact(booked.booked_on),
            abroad.map(|cents| csv::amount(if is_debit { cents } else { -cents })).unwrap_or_default(),
            code.to_owned(),
        ]
    };
    [side(money, name, true), side(&accounts.customer, "Clients", false)]
}

/// A day as the columns write it: `20261031`.
fn compact(day: Date) -> String {
    format!("{:04}{:02}{:02}", day.year(), day.month(), day.day())
}

/// A text without what separates fields and lines.
fn field(text: &str) -> String {
    bounded(text, LONGEST).replace('|', " ")
}
