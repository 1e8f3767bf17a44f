//! The statement for people, in French or English, with the sums at the end of each part.

use std::fmt::Write as _;

use jiff::civil::Date;
use unicode_width::UnicodeWidthStr as _;

use super::{
    BookedLine, Line, Month, OpenLine, Reports212, SinkPart, Statement, Sum,
    csv::{booking_word, method_word, open_word},
};
use crate::{
    model::{language::Language, money::Cents},
    sinks::wording::format::{bounded, money, month},
};

/// Between two columns.
const GAP: usize = 2;
/// The longest text in a column, in characters.
const LONGEST: usize = 40;
/// The longest reason, in characters.
const LONGEST_REASON: usize = 1000;

/// Writes a statement as text.
pub fn text(statement: &Statement, language: Language) -> String {
    let mut text = String::new();
    let name =
        statement.month.parse::<Month>().map_or_else(|_| statement.month.clone(), |of| month(of.first(), language));
    let _ =
        write!(text, "{} {name}", language.pick("Relevé des paiements Finkare,", "Statement of Finkare’s payments,"));
    for (label, value) in [
        (language.pick("source", "endpoint"), &statement.endpoint),
        (language.pick("destination", "sink"), &statement.sink),
    ] {
        if let Some(value) = value {
            let _ = write!(text, ", {label} {}", bounded(value, LONGEST));
        }
    }
    text.push('\n');
    if statement.sinks.is_empty() {
        let none = language.pick(
            "\nAucun logiciel de facturation n’est configuré, et rien n’attend.\n",
            "\nNo invoicing software is configured, and nothing waits.\n",
        );
        text.push_str(none);
    }
    for part in &statement.sinks {
        sink(&mut text, part, language);
    }
    text
}

fn sink(text: &mut String, part: &SinkPart, language: Language) {
    let kind = part.r#type.as_deref().map(|kind| format!(" ({kind})"));
    let kind = kind.unwrap_or_else(|| language.pick(" (n’est plus configuré)", " (no longer configured)").to_owned());
    let title = format!("{}{kind}", bounded(&part.sink, LONGEST));
    let _ = write!(text, "\n{title}\n{}\n", "=".repeat(title.width()));

    let _ = writeln!(text, "\n{}", language.pick("Paiements inscrits", "Payments in the books"));
    if part.bookings.is_empty() {
        let _ = writeln!(text, "  {}", language.pick("aucun", "none"));
    } else {
        let head = [
            language.pick("Payé le", "Paid"),
            language.pick("Facture", "Invoice"),
            language.pick("Débiteur", "Debtor"),
            language.pick("Montant", "Amount"),
            language.pick("Moyen", "Method"),
            language.pick("Inscrit le", "Booked"),
            language.pick("Référence", "Id there"),
            language.pick("État", "State"),
        ];
        let rows: Vec<Vec<String>> = part.bookings.iter().map(|line| booked(line, language)).collect();
        table(text, &head, &rows);
    }
    sums(text, &part.sums, language.pick("Total inscrit", "Total in the books"), language);

    let _ = writeln!(text, "\n{}", language.pick("Paiements non inscrits", "Payments not in the books"));
    if part.open.is_empty() {
        let _ = writeln!(text, "  {}", language.pick("aucun", "none"));
    }
    for line in &part.open {
        open(text, line, language);
    }
    sums(text, &part.open_sums, language.pick("Total non inscrit", "Total not in the books"), language);
    let _ = writeln!(text, "\n{}", said_of_212(part.reports_212, language));
}

/// Who makes the status "encaissée" known.
pub(super) const fn said_of_212(reports: Reports212, language: Language) -> &'static str {
    match reports {
        Reports212::System => language.pick("Statut « encaissée » (212) de la facture électronique : si ce logiciel est votre plateforme agréée, c’est lui \
             qui le transmet, à partir du paiement inscrit. Le relais ne transmet aucun statut.",
            "Status “encaissée” (212) of the electronic invoice: if this software is your platform, the software reports it, \
             from the payment in its books. The relay reports no status.",
        ),
        Reports212::Person => language.pick("Statut « encaissée » (212) de la facture électronique : ce logiciel n’accepte pas de paiement du relais. La \
             personne qui y marque la facture comme payée déclenche le statut, si ce logiciel est votre plateforme agréée.",
            "Status “encaissée” (212) of the electronic invoice: this software takes no payments from the relay. The person \
             who marks the invoice as paid there sets the status off, if this software is your platform.",
        ),
        Reports212::Unknown => language.pick("Statut « encaissée » (212) de la facture électronique : le relais ne sait pas si cette destination le transmet, \
             et n’en transmet aucun lui-même.",
            "Status “encaissée” (212) of the electronic invoice: the relay does not know whether this sink reports it, and \
             reports none itself.",
        ),
    }
}

fn booked(booked: &BookedLine, language: Language) -> Vec<String> {
    let BookedLine { line, state, booked_on, target_id, .. } = booked;
    vec![
        day(line.paid_on, language),
        short(line.invoice_number.as_deref()),
        short(line.debtor.as_deref()),
        amount(line, language),
        line.method.as_deref().map(|method| method_word(method, language)).unwrap_or_default(),
        day(Some(*booked_on), language),
        short(target_id.as_deref()),
        booking_word(*state, language).to_owned(),
    ]
}

fn open(text: &mut String, open: &OpenLine, language: Language) {
    let line = &open.line;
    let date = match line.paid_on {
        Some(paid_on) => format!("{} {}", language.pick("payé le", "paid"), day(Some(paid_on), language)),
        None => format!("{} {}", language.pick("annoncé le", "announced"), day(Some(open.since), language)),
    };
    let number = line.invoice_number.as_deref().or(line.invoice_id.as_deref());
    let mut facts = vec![date, short(number), short(line.debtor.as_deref()), amount(line, language)];
    facts.push(open_word(&open.state, language));
    facts.retain(|fact| !fact.is_empty());
    let _ = writeln!(text, "  {}", facts.join(", "));
    if let Some(reason) = &open.reason {
        let _ = writeln!(text, "    {}", bounded(reason, LONGEST_REASON));
    }
}

fn sums(text: &mut String, sums: &[Sum], label: &str, language: Language) {
    for sum in sums {
        let total = sum.amount_cents.map_or_else(
            || language.pick("trop grand pour être additionné", "too large to be added up").to_owned(),
            |cents| money(Cents(cents), sum.currency.as_deref(), language),
        );
        let payments = match (sum.count, language) {
            (1, Language::Fr) => "paiement",
            (_, Language::Fr) => "paiements",
            (1, Language::En) => "payment",
            (_, Language::En) => "payments",
        };
        let colon = language.pick("\u{a0}:", ":");
        let _ = writeln!(text, "  {label}{colon} {total} ({} {payments})", sum.count);
    }
}

fn amount(line: &Line, language: Language) -> String {
    match line.amount_cents {
        Some(cents) => money(Cents(cents), line.currency.as_deref(), language),
        None => language.pick("montant inconnu", "unknown amount").to_owned(),
    }
}

fn day(day: Option<Date>, language: Language) -> String {
    let Some(day) = day else { return String::new() };
    match language {
        Language::Fr => format!("{:02}/{:02}/{:04}", day.day(), day.month(), day.year()),
        Language::En => day.to_string(),
    }
}

fn short(text: Option<&str>) -> String {
    text.map(|text| bounded(text, LONGEST)).unwrap_or_default()
}

/// Columns that line up; amounts to the right.
fn table(text: &mut String, head: &[&str], rows: &[Vec<String>]) {
    const AMOUNT: usize = 3;
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].width());
        cells.chain([head[column].width()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut line = |cells: &[&str]| {
        let mut written = String::from("  ");
        for (column, cell) in cells.iter().enumerate() {
            let padding = " ".repeat(widths[column] - cell.width());
            if column == AMOUNT {
                written.push_str(&padding);
                written.push_str(cell);
            } else {
                written.push_str(cell);
                written.push_str(&padding);
            }
            written.push_str(&" ".repeat(GAP));
        }
        text.push_str(written.trim_end());
        text.push('\n');
    };
    line(head);
    for row in rows {
        line(&row.iter().map(String::as_str).collect::<Vec<_>>());
    }
}
