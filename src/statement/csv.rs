//! The statement for a spreadsheet: a French one opens it with a double click.
//!
//! UTF-8 with a byte order mark, without which spreadsheets read another encoding; `;` between the cells and a comma in the
//! amounts, as a French spreadsheet expects; every line ends with CR LF (RFC 4180). What others have written (names,
//! numbers, reasons) is never taken for a formula. The totals stand in a column of their own, so that a sum over the column
//! of amounts counts no payment twice.

use jiff::civil::Date;

use super::{BookedLine, Line, OpenLine, SinkPart, Statement, Sum};
use crate::{
    model::{booking::BookingState, language::Language, money::Cents},
    sinks::wording::format::bounded,
};

/// Tells spreadsheets that it is UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';
/// The longest text of a cell, in characters.
const LONGEST: usize = 2000;

/// The columns.
const HEAD: [(&str, &str); 15] = [
    ("Destination", "Sink"),
    ("État", "State"),
    ("Date de paiement", "Date paid"),
    ("Facture", "Invoice"),
    ("Débiteur", "Debtor"),
    ("Montant", "Amount"),
    ("Devise", "Currency"),
    ("Moyen de paiement", "Method"),
    ("Date d’inscription", "Date booked"),
    ("Référence dans le logiciel", "Id there"),
    ("Paiement Finkare", "Finkare payment"),
    ("Source", "Endpoint"),
    ("Motif", "Reason"),
    ("Total", "Total"),
    ("Nombre", "Count"),
];

/// Writes a statement as CSV.
pub fn csv(statement: &Statement, language: Language) -> String {
    let mut text = String::from(BYTE_ORDER_MARK);
    let head: Vec<String> = HEAD.iter().map(|(fr, en)| language.pick(fr, en).to_owned()).collect();
    row(&mut text, &head);
    for part in &statement.sinks {
        for line in &part.bookings {
            row(&mut text, &booked(part, line, language));
        }
        for sum in &part.sums {
            row(&mut text, &total(part, sum, language.pick("total inscrit", "total booked")));
        }
        for line in &part.open {
            row(&mut text, &open(part, line, language));
        }
        for sum in &part.open_sums {
            row(&mut text, &total(part, sum, language.pick("total non inscrit", "total not booked")));
        }
    }
    text
}

/// The word for the state of a booking.
pub(super) const fn booking_word(state: BookingState, language: Language) -> &'static str {
    match state {
        BookingState::Booked => language.pick("inscrit", "booked"),
        BookingState::Seen => language.pick("déjà inscrit", "booked already"),
        BookingState::Reserved => language.pick("en vérification", "being checked"),
        BookingState::Sending => language.pick("en cours d’inscription", "being written"),
        BookingState::Written => language.pick("inscrit, à vérifier", "written, to be verified"),
    }
}

/// The word for the state of something that is not in the books yet.
pub(super) fn open_word(state: &str, language: Language) -> String {
    let word = match state {
        "held" => language.pick("en attente d’une décision", "held"),
        "dead" => language.pick("abandonné", "dead"),
        "pending" => language.pick("en cours", "pending"),
        other => match other.parse() {
            Ok(state) => booking_word(state, language),
            Err(_) => return other.to_owned(),
        },
    };
    word.to_owned()
}

/// The word for how something was paid.
pub(super) fn method_word(method: &str, language: Language) -> String {
    match method {
        "card" => language.pick("carte", "card").to_owned(),
        "bank_transfer" => language.pick("virement", "bank transfer").to_owned(),
        "sepa_debit" => language.pick("prélèvement SEPA", "SEPA debit").to_owned(),
        "payment_link" => language.pick("lien de paiement", "payment link").to_owned(),
        other => bounded(other, LONGEST),
    }
}

fn booked(part: &SinkPart, booked: &BookedLine, language: Language) -> Vec<String> {
    let BookedLine { line, state, booked_on, target_id, .. } = booked;
    let mut cells = payment(part, line, booking_word(*state, language), language);
    cells.insert(8, day(Some(*booked_on), language));
    cells.insert(9, text(target_id.as_deref()));
    cells.extend([String::new(), String::new(), String::new()]);
    cells
}

fn open(part: &SinkPart, open: &OpenLine, language: Language) -> Vec<String> {
    let mut cells = payment(part, &open.line, &open_word(&open.state, language), language);
    cells.insert(8, String::new());
    cells.insert(9, String::new());
    cells.extend([text(open.reason.as_deref()), String::new(), String::new()]);
    cells
}

/// The cells that both have, without the two about the booking.
fn payment(part: &SinkPart, line: &Line, state: &str, language: Language) -> Vec<String> {
    vec![
        text(Some(&part.sink)),
        state.to_owned(),
        day(line.paid_on, language),
        text(line.invoice_number.as_deref().or(line.invoice_id.as_deref())),
        text(line.debtor.as_deref()),
        line.amount_cents.map(amount).unwrap_or_default(),
        text(line.currency.as_deref()),
        line.method.as_deref().map(|method| method_word(method, language)).unwrap_or_default(),
        text(line.payment_id.as_deref()),
        text(line.endpoint.as_deref()),
    ]
}

fn total(part: &SinkPart, sum: &Sum, word: &str) -> Vec<String> {
    let mut cells = vec![String::new(); HEAD.len()];
    cells[0] = text(Some(&part.sink));
    word.clone_into(&mut cells[1]);
    cells[6] = text(sum.currency.as_deref());
    cells[13] = sum.amount_cents.map(amount).unwrap_or_default();
    cells[14] = sum.count.to_string();
    cells
}

/// An amount with a comma and nothing between the thousands, which a spreadsheet takes for a number.
pub(crate) fn amount(cents: i64) -> String {
    Cents(cents).to_string().replace('.', ",")
}

/// A day as a French spreadsheet writes it, or as ISO 8601 does.
fn day(day: Option<Date>, language: Language) -> String {
    let Some(day) = day else { return String::new() };
    match language {
        Language::Fr => format!("{:02}/{:02}/{:04}", day.day(), day.month(), day.year()),
        Language::En => day.to_string(),
    }
}

fn text(text: Option<&str>) -> String {
    text.map(|text| bounded(text, LONGEST)).unwrap_or_default()
}

fn row(text: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|one| cell(one, ';')).collect();
    text.push_str(&cells.join(";"));
    text.push_str("\r\n");
}

/// A cell, in quotes where it needs them. One that a spreadsheet would take for a formula is written as a text.
pub(crate) fn cell(cell: &str, separator: char) -> String {
    // A spreadsheet shows the apostrophe as "this is a text" and computes nothing.
    let is_number = cell.parse::<f64>().is_ok();
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '＝', '＋', '－', '＠']) && !is_number;
    let cell = if is_formula { format!("'{cell}") } else { cell.to_owned() };
    if cell.contains([separator, '"', '\n', '\r']) { format!("\"{}\"", cell.replace('"', "\"\"")) } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_a_formula() {
        for (given, written) in [
            ("=1+1", "'=1+1"),
            ("+33 1", "'+33 1"),
            ("-a", "'-a"),
            ("@x", "'@x"),
            ("＝1", "'＝1"),
            ("-5.00", "-5.00"),
            ("a;b", "\"a;b\""),
            ("a\"b", "\"a\"\"b\""),
            ("a,b", "a,b"),
            ("=\"x\";1", "\"'=\"\"x\"\";1\""),
            ("", ""),
        ] {
            assert_eq!(cell(given, ';'), written);
        }
    }

    #[test]
    fn amounts_have_a_comma_and_nothing_else() {
        assert_eq!(
            (amount(150_000), amount(5), amount(123_456_789)),
            ("1500,00".into(), "0,05".into(), "1234567,89".into())
        );
    }
}
