//! The page for a person at `/`: what was booked, on which invoices, and which calls were wrong.

use std::fmt::Write as _;

use crate::{Ledger, money};

/// So many of the newest rows are shown of each list.
const SHOWN: usize = 100;

/// The books as plain text, the newest first.
pub(crate) fn text(system: &str, ledger: &Ledger, complaints: &[String]) -> String {
    let counted = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let mut text = format!(
        "The stand-in of {system}: {} on {}.\n",
        counted(ledger.entries.len(), "payment"),
        counted(ledger.invoices.len(), "invoice"),
    );
    // A `String` takes everything.
    let _ = writeln!(text, "\n{:<10}  {:<16}  {:>16}  REFERENCE", "PAID ON", "INVOICE", "AMOUNT");
    for entry in ledger.entries.iter().rev().take(SHOWN) {
        let amount = format!("{} {}", money(entry.thousandths), entry.currency);
        let reference = entry.marker.as_deref().unwrap_or("none");
        let _ = writeln!(text, "{:<10}  {:<16}  {amount:>16}  {reference}", entry.date, entry.invoice_number);
    }
    let _ = writeln!(text, "\n{:<16}  {:>16}  {:>16}", "INVOICE", "TOTAL", "STILL DUE");
    for invoice in ledger.invoices.iter().rev().take(SHOWN) {
        let in_words = |thousandths| format!("{} {}", money(thousandths), invoice.currency);
        let (total, due) = (in_words(invoice.total), in_words(ledger.balance(invoice.id)));
        let _ = writeln!(text, "{:<16}  {total:>16}  {due:>16}", invoice.full_number());
    }
    if complaints.is_empty() {
        text.push_str("\nNo call broke the rules of the system.\n");
    } else {
        text.push_str("\nThese calls broke the rules of the system:\n");
        for complaint in complaints.iter().rev().take(SHOWN) {
            let _ = writeln!(text, "  {complaint}");
        }
    }
    text
}
