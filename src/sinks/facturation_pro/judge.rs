//! What an invoice that was read means for a payment. Pure: asks nobody.
//!
//! The words are for an accountant: what is the matter, what to do there, what to do here.

use super::{
    OnAlreadyPaid, SYSTEM,
    wire::{Invoice, Settlement, Thousandths, Whole},
};
use crate::sinks::invoicing::{Finding, Verified, Wanted};

/// The `payment_mode` of an invoice that was given up (bad debt).
const BAD_DEBT: u64 = 999;

/// An invoice that takes the payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    pub(super) id: Whole,
}

/// What to do here once all is right there, at the end of an instruction.
const RETRY: &str = "retry this dispatch (`dispatches retry`)";
const CANCEL: &str = "cancel this dispatch (`dispatches cancel`)";

fn hold<I>(instruction: String, recheck: bool) -> Finding<I> {
    Finding::Hold { instruction, recheck }
}

/// What the books show before anything is written.
pub(super) fn before(wanted: &Wanted<'_>, marker: &str, invoice: &Invoice, on_paid: OnAlreadyPaid) -> Finding<Open> {
    // Before all else: what stands there is not written again, whatever has become of the invoice since.
    if let Some(finding) = marked(wanted, marker, invoice) {
        return finding;
    }
    let (number, payment) = (wanted.number, wanted.in_words());
    let currency = &*invoice.currency;
    if invoice.is_draft {
        let what = format!(
            "invoice {number} is a draft in {SYSTEM}, on which nothing is booked: the payment of {payment} waits. Finalise the \
             invoice there and {RETRY}; or book the payment there by hand and {CANCEL}"
        );
        return hold(what, true);
    }
    if invoice.is_deleted {
        let what = format!(
            "invoice {number} is in the bin in {SYSTEM}, and the payment of {payment} belongs to it. Restore the invoice there \
             and {RETRY}; or book the payment where it belongs and {CANCEL}"
        );
        return hold(what, true);
    }
    if invoice.is_credit_note {
        let what = format!(
            "{number} is a credit note in {SYSTEM}, or was cancelled by one, and the payment of {payment} cannot be booked on \
             it. Find out there which invoice was paid, or whether the debtor gets the money back; book it by hand and {CANCEL}"
        );
        return hold(what, false);
    }
    if currency != wanted.payment.currency {
        let what = format!(
            "invoice {number} is in {currency} in {SYSTEM}, and the payment is one of {payment}: it is not converted here. Book \
             it there by hand and {CANCEL}"
        );
        return hold(what, false);
    }
    let Some(paid) = Thousandths::sum(invoice.settlements.iter().map(|settlement| settlement.total)) else {
        return hold(unclear(wanted, invoice, "the sum of its payments cannot be a sum of money"), true);
    };
    if let Some(why) = marked_as_paid(invoice) {
        return already_paid(wanted, invoice, why, on_paid);
    }
    // So nothing is missing in the list of its payments, ours least of all.
    if invoice.total.minus(paid) != Some(invoice.balance) {
        let what = format!(
            "its total of {} {currency} less its payments of {paid} {currency} is not its balance of {} {currency}",
            invoice.total, invoice.balance
        );
        return hold(unclear(wanted, invoice, &what), true);
    }
    if invoice.balance.is_less_than_a_cent() || invoice.balance < Thousandths(0) {
        return already_paid(wanted, invoice, "has nothing due there", on_paid);
    }
    if wanted.is_uncertain
        && let Some(doubtful) = doubtful(wanted, marker, invoice)
    {
        let what = format!(
            "an earlier attempt to record the payment of {payment} on invoice {number} in {SYSTEM} got no answer, and the payment \
             {} there has its amount and no reference, or a part of ours. If it is this one, write `{marker}` as its reference \
             there, or {CANCEL}; if it is another, book this payment by hand and {CANCEL}",
            doubtful.id
        );
        return hold(what, true);
    }
    let amount = Thousandths::of(wanted.payment.amount_cents);
    match amount.and_then(|amount| invoice.balance.minus(amount)) {
        Some(rest) if rest < Thousandths(0) => {
            let what = format!(
                "the payment of {payment} is more than the {} {currency} that are still due of invoice {number} in {SYSTEM}. Was \
                 a part of it booked there by hand, or did the debtor pay too much? Correct it there and {RETRY}; or book the \
                 payment by hand and {CANCEL}",
                invoice.balance
            );
            hold(what, true)
        }
        // What is left is less than anyone can pay: the invoice is settled.
        Some(rest) if invoice.balance.has_a_part_of_a_cent() && !rest.is_less_than_a_cent() => {
            let what = format!("its balance of {} {currency} has a part of a cent", invoice.balance);
            hold(unclear(wanted, invoice, &what), true)
        }
        Some(_) => Finding::Open(Open { id: invoice.id }),
        None => hold(unclear(wanted, invoice, "its amounts are too large to be reckoned with"), true),
    }
}

/// Whether the payment stands there already, by our marker.
fn marked(wanted: &Wanted<'_>, marker: &str, invoice: &Invoice) -> Option<Finding<Open>> {
    let (number, payment) = (wanted.number, wanted.in_words());
    let amount = Thousandths::of(wanted.payment.amount_cents);
    let settlements: Vec<&Settlement> =
        invoice.settlements.iter().filter(|settlement| settlement.reference() == marker).collect();
    Some(match settlements[..] {
        [] if invoice.payment_ref != marker => return None,
        // The invoice as a whole bears it: somebody has marked it as paid by this payment.
        [] => {
            let others = Thousandths::sum(invoice.settlements.iter().map(|settlement| settlement.total));
            let rest = others.and_then(|others| invoice.total.minus(others));
            if amount == rest && marked_as_paid(invoice).is_some() && invoice.currency == wanted.payment.currency {
                Finding::Booked { target_id: format!("invoice {}", invoice.id) }
            } else {
                let what = format!(
                    "invoice {number} bears the reference `{marker}` in {SYSTEM}, and is not paid by the payment of {payment} \
                     alone. Look there what was booked; then {CANCEL}, or take the reference away there and {RETRY}"
                );
                hold(what, true)
            }
        }
        [one] if Some(one.total) == amount => Finding::Booked { target_id: one.id.to_string() },
        [one] => {
            let what = format!(
                "the payment {} on invoice {number} in {SYSTEM} bears the reference `{marker}`, but is one of {} {}, and not of \
                 {payment}. Correct it there and {RETRY}; or {CANCEL} if it is right so",
                one.id, one.total, invoice.currency
            );
            hold(what, true)
        }
        ref several => {
            let ids: Vec<_> = several.iter().map(|settlement| settlement.id.to_string()).collect();
            let what = format!(
                "the payment of {payment} stands {} times on invoice {number} in {SYSTEM}: all of {} bear the reference \
                 `{marker}`. Remove there what is too much and {RETRY}",
                several.len(),
                ids.join(", ")
            );
            hold(what, true)
        }
    })
}

/// Whether it says that it is paid. Unpaid is: no date and the mode 0 (<https://facturation.dev>, invoices).
fn marked_as_paid(invoice: &Invoice) -> Option<&'static str> {
    if invoice.payment_mode == BAD_DEBT {
        Some("was given up there as a bad debt")
    } else if !invoice.paid_on.is_empty() || invoice.payment_mode != 0 {
        Some("is marked as paid there")
    } else {
        None
    }
}

fn already_paid(wanted: &Wanted<'_>, invoice: &Invoice, why: &str, on_paid: OnAlreadyPaid) -> Finding<Open> {
    let (number, payment) = (wanted.number, wanted.in_words());
    let since = if invoice.paid_on.is_empty() { String::new() } else { format!(" since {}", invoice.paid_on) };
    // What was given up and then paid after all is for a person in any case; so is what is said to be paid, and is not or
    // only by half.
    let is_plain = invoice.payment_mode != BAD_DEBT
        && invoice.paid_on.is_empty() == (invoice.payment_mode == 0)
        && invoice.balance.is_less_than_a_cent();
    if on_paid == OnAlreadyPaid::Close && is_plain {
        return Finding::Paid {
            note: format!("invoice {number} {why}{since}, without a payment that bears our reference"),
        };
    }
    let what = format!(
        "invoice {number} {why}{since} (due: {} {}), and the payment of {payment} is not among its payments in {SYSTEM}. If it was \
         booked there by hand, {CANCEL}; if not, reopen the invoice there and {RETRY}, or see whether the debtor has paid twice",
        invoice.balance, invoice.currency
    );
    hold(what, true)
}

/// A payment that may be ours although it does not say so: the system may have dropped the reference, or cut it.
fn doubtful<'a>(wanted: &Wanted<'_>, marker: &str, invoice: &'a Invoice) -> Option<&'a Settlement> {
    let amount = Thousandths::of(wanted.payment.amount_cents);
    invoice
        .settlements
        .iter()
        .find(|settlement| Some(settlement.total) == amount && marker.starts_with(settlement.reference()))
}

fn unclear(wanted: &Wanted<'_>, invoice: &Invoice, what: &str) -> String {
    format!(
        "invoice {} (id {}) cannot be relied on in {SYSTEM}: {what}. The payment of {} was not booked. Look at the invoice there; \
         book the payment by hand and {CANCEL}, or correct the invoice and {RETRY}",
        wanted.number,
        invoice.id,
        wanted.in_words()
    )
}

/// What the books show after the write. `payment_mode` is the one that was sent; `None` if an earlier attempt sent it,
/// maybe by other settings.
pub(super) fn after(
    wanted: &Wanted<'_>,
    marker: &str,
    payment_mode: Option<u64>,
    invoice: &Invoice,
    target_id: &str,
) -> Verified {
    let wrong = |what: String| Verified::Wrong { what };
    let currency = &*invoice.currency;
    let mut marked = invoice.settlements.iter().filter(|settlement| settlement.reference() == marker);
    let Some(ours) = marked.next() else {
        return match invoice.settlements.iter().find(|settlement| settlement.id.to_string() == target_id) {
            Some(other) => wrong(format!(
                "its reference is `{}` and not `{marker}`, by which it is found again (`payment_ref_prefix`)",
                other.reference()
            )),
            None => Verified::Missing { what: format!("a payment with the reference `{marker}`") },
        };
    };
    if let Some(again) = marked.next() {
        return wrong(format!("it stands there twice, as {} and as {}", ours.id, again.id));
    }
    if ours.id.to_string() != target_id {
        return wrong(format!("its reference `{marker}` stands at the payment {}", ours.id));
    }
    if Some(ours.total) != Thousandths::of(wanted.payment.amount_cents) {
        return wrong(format!("it is one of {} {currency}", ours.total));
    }
    if let Some(payment_mode) = payment_mode {
        if !ours.is_on(wanted.date) {
            return wrong(format!("its date is {}", ours.paid_on.as_deref().unwrap_or("missing")));
        }
        if ours.payment_mode != Some(Whole(payment_mode)) {
            return wrong(format!("its `payment_mode` is not {payment_mode} (`payment_modes`)"));
        }
    }
    // Before the write the same equation held: so the balance has fallen by exactly this amount, and if somebody booked
    // another payment meanwhile, by exactly that as well.
    let paid = Thousandths::sum(invoice.settlements.iter().map(|settlement| settlement.total));
    let due = paid.and_then(|paid| invoice.total.minus(paid));
    if due != Some(invoice.balance) {
        let due = due.map_or_else(|| "no amount".to_owned(), |due| format!("{due} {currency}"));
        return wrong(format!(
            "the invoice's balance is {} {currency}, and by its total and its payments it should be {due}",
            invoice.balance
        ));
    }
    if invoice.balance <= Thousandths(0) && invoice.paid_on.is_empty() {
        return wrong("nothing is due of the invoice any more, and it is not marked as paid".to_owned());
    }
    Verified::Right
}
