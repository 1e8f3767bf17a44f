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

#[cfg(test)]
#[expect(clippy::needless_pass_by_value, reason = "each case makes a value of its own")]
mod tests {
    use jiff::civil::date;
    use serde_json::{Value, json};

    use super::{super::wire::Shown, *};
    use crate::model::{booking, booking::Payment, money::Cents};

    const MARKER: &str = "finkare:p-1";

    fn payment() -> Payment {
        Payment {
            id: "p-1".into(),
            endpoint: "production".into(),
            invoice: booking::Invoice {
                id: "i".into(),
                number: "F-1".into(),
                amount_cents: None,
                currency: None,
                status: None,
            },
            amount_cents: Cents(10_000),
            currency: "EUR".into(),
            method: None,
            paid_at: "2026-03-15T10:00:00Z".parse().unwrap(),
        }
    }

    /// An unpaid invoice of 250 euros, with these changes.
    fn invoice(changes: Value) -> Invoice {
        let mut invoice = json!({
            "id": 7, "draft": false, "currency": "EUR", "total_with_vat": "250.0", "balance": "250.0", "paid_on": null,
            "payment_mode": 0, "internal_note": null, "settlements": [],
        });
        for (field, value) in changes.as_object().unwrap() {
            invoice[field] = value.clone();
        }
        serde_json::from_str::<Shown>(&invoice.to_string()).unwrap().complete().unwrap()
    }

    fn settlement(id: u64, total: &str, reference: Option<&str>) -> Value {
        json!({"id": id, "total": total, "payment_ref": reference, "paid_on": "2026-03-15", "payment_mode": 3})
    }

    fn found(changes: Value, is_uncertain: bool, on_paid: OnAlreadyPaid) -> Finding<Open> {
        let payment = payment();
        let wanted = Wanted {
            payment: &payment,
            number: "F-1",
            date: date(2026, 3, 15),
            booked_before: Cents::ZERO,
            is_uncertain,
        };
        before(&wanted, MARKER, &invoice(changes), on_paid)
    }

    fn find(changes: Value) -> Finding<Open> {
        found(changes, false, OnAlreadyPaid::Hold)
    }

    #[track_caller]
    fn holds(changes: Value, words: &str) {
        let Finding::Hold { instruction, .. } = find(changes.clone()) else { panic!("{changes} is not held") };
        assert!(instruction.contains(words), "`{words}` is not in: {instruction}");
        assert!(!instruction.ends_with('.'), "more may be said after it: {instruction}");
    }

    #[test]
    fn an_open_invoice_takes_it() {
        let open = Finding::Open(Open { id: Whole(7) });
        assert_eq!(find(json!({})), open);
        assert_eq!(find(json!({"balance": "100.0", "settlements": [settlement(1, "150", Some("x"))]})), open);
        // What remains due has a part of a cent, and less than one remains.
        assert_eq!(find(json!({"total_with_vat": "100.004", "balance": "100.004"})), open);
        // Another payment whose id begins like this one, or is its beginning.
        for other in ["finkare:p-10", "finkare:p-", "finkare:P-1", "p-1"] {
            let with = json!({"balance": "150.0", "settlements": [settlement(1, "100.0", Some(other))]});
            assert_eq!(find(with), open, "{other}");
        }
    }

    #[test]
    fn each_obstacle_is_told() {
        holds(json!({"draft": true}), "is a draft");
        holds(json!({"soft_deleted": true}), "in the bin");
        holds(json!({"hard_delete_on": "2026-12-31"}), "in the bin");
        holds(json!({"refund_id": 3}), "is a credit note");
        holds(json!({"total_with_vat": "-250.0", "balance": "-250.0"}), "is a credit note");
        holds(json!({"currency": "CHF"}), "is in CHF");
        holds(json!({"currency": "eur"}), "is in eur");
        holds(
            json!({"paid_on": "2026-03-01", "payment_mode": 3, "balance": "0.0"}),
            "marked as paid there since 2026-03-01",
        );
        holds(json!({"payment_mode": 999, "balance": "250.0"}), "bad debt");
        holds(json!({"balance": "150.0", "settlements": []}), "is not its balance of 150.00 EUR");
        holds(json!({"balance": "250.0", "settlements": [settlement(1, "1.0", None)]}), "is not its balance");
        holds(json!({"balance": "99.99", "total_with_vat": "99.99"}), "is more than the 99.99 EUR");
        holds(json!({"balance": "99.999", "total_with_vat": "99.999"}), "is more than the 99.999 EUR");
        holds(json!({"balance": "250.005", "total_with_vat": "250.005"}), "has a part of a cent");
        holds(json!({"balance": "0.009", "total_with_vat": "0.009"}), "has nothing due there");
        holds(
            json!({"total_with_vat": "999999999999.999", "balance": "1", "settlements": vec![settlement(1, "999999999999.999", None); 9300]}),
            "cannot be a sum of money",
        );
    }

    #[test]
    fn the_marker_goes_before_all_else() {
        let with = |changes: Value, settlements: &[Value]| {
            let mut changes = changes;
            changes["settlements"] = settlements.into();
            find(changes)
        };
        let ours = settlement(88, "100.0", Some(" finkare:p-1 "));
        let booked = |id: &str| Finding::Booked { target_id: id.into() };
        for changes in
            [json!({}), json!({"draft": true}), json!({"paid_on": "2026-03-15", "payment_mode": 3, "balance": "0"})]
        {
            assert_eq!(with(changes, std::slice::from_ref(&ours)), booked("88"));
        }
        let held = |finding| matches!(finding, Finding::Hold { .. });
        assert!(held(with(json!({}), &[ours.clone(), ours.clone()])));
        assert!(held(with(json!({}), &[settlement(88, "100.001", Some(MARKER))])));
        // On the invoice itself, by somebody who marked it as paid.
        let whole = json!({"payment_ref": MARKER, "paid_on": "2026-03-15", "payment_mode": 3, "balance": "0"});
        assert_eq!(with(whole.clone(), &[settlement(1, "150.0", None)]), booked("invoice 7"));
        assert!(held(with(whole, &[])), "250 were paid, not 100");
        assert!(held(with(json!({"payment_ref": MARKER}), &[settlement(1, "150.0", None)])), "it is not paid");
    }

    #[test]
    fn only_what_is_plainly_paid_is_closed() {
        let close = |changes| matches!(found(changes, false, OnAlreadyPaid::Close), Finding::Paid { .. });
        assert!(close(json!({"paid_on": "2026-03-01", "payment_mode": 3, "balance": "0.0"})));
        assert!(close(json!({"balance": "0.0", "settlements": [settlement(1, "250.0", None)]})));
        assert!(!close(json!({"paid_on": "2026-03-01", "payment_mode": 999, "balance": "0.0"})));
        assert!(!close(json!({"paid_on": "2026-03-01", "payment_mode": 0, "balance": "0.0"})), "half marked");
        assert!(!close(json!({"paid_on": "2026-03-01", "payment_mode": 3, "balance": "1.0"})), "not paid");
        assert!(!close(json!({"balance": "-1.0", "settlements": [settlement(1, "251.0", None)]})), "paid too much");
        assert!(!close(json!({"balance": "0.0"})), "not so by its payments");
    }

    #[test]
    fn in_doubt_what_may_be_ours_is_not_doubled() {
        let doubt = |reference, total| {
            let changes = json!({"balance": "150.0", "settlements": [settlement(1, total, reference)]});
            found(changes, true, OnAlreadyPaid::Hold)
        };
        for reference in [None, Some(""), Some("finkare:"), Some("finkare:p-")] {
            assert!(matches!(doubt(reference, "100.0"), Finding::Hold { .. }), "{reference:?}");
        }
        assert!(matches!(doubt(Some("finkare:p-2"), "100.0"), Finding::Open(_)), "another one of ours");
        assert!(matches!(doubt(Some("VIR 12"), "100.0"), Finding::Open(_)), "somebody else's");
    }

    #[test]
    fn what_was_written_is_compared() {
        let payment = payment();
        let wanted = Wanted {
            payment: &payment,
            number: "F-1",
            date: date(2026, 3, 15),
            booked_before: Cents::ZERO,
            is_uncertain: false,
        };
        let verified = |changes: Value| after(&wanted, MARKER, Some(3), &invoice(changes), "88");
        let ours = settlement(88, "100.0", Some(MARKER));
        let right = json!({"balance": "150.0", "settlements": [ours]});
        assert_eq!(verified(right.clone()), Verified::Right);
        assert_eq!(after(&wanted, MARKER, None, &invoice(right.clone()), "88"), Verified::Right);
        // Somebody else has paid the rest meanwhile.
        let rest = settlement(89, "150.0", None);
        let settled =
            json!({"balance": "0.0", "paid_on": "2026-03-15", "payment_mode": 3, "settlements": [ours, rest]});
        assert_eq!(verified(settled.clone()), Verified::Right);

        assert!(matches!(verified(json!({})), Verified::Missing { .. }));
        assert!(matches!(verified(json!({"settlements": [rest]})), Verified::Missing { .. }));
        let wrong = |changes: Value, words: &str| {
            let Verified::Wrong { what } = verified(changes.clone()) else { panic!("{changes} is taken as right") };
            assert!(what.contains(words), "`{words}` is not in: {what}");
        };
        let with = |settlement: Value| json!({"balance": "150.0", "settlements": [settlement]});
        wrong(with(settlement(88, "100.0", Some("finkare:"))), "its reference is `finkare:`");
        wrong(with(settlement(90, "100.0", Some(MARKER))), "stands at the payment 90");
        wrong(with(settlement(88, "100.01", Some(MARKER))), "it is one of 100.01 EUR");
        wrong(json!({"balance": "50.0", "settlements": [ours, settlement(90, "100.0", Some(MARKER))]}), "twice");
        wrong(
            json!({"balance": "130.0", "settlements": [ours]}),
            "is 130.00 EUR, and by its total and its payments it should be 150.00",
        );
        wrong(json!({"balance": "250.0", "settlements": [ours]}), "balance is 250.00 EUR");
        let mut unmarked = settled;
        unmarked["paid_on"] = Value::Null;
        wrong(unmarked, "is not marked as paid");
        for (field, value, words) in [
            ("paid_on", json!("2026-03-14"), "its date is 2026-03-14"),
            ("payment_mode", json!(2), "`payment_mode` is not 3"),
        ] {
            let mut changed = right.clone();
            changed["settlements"][0][field] = value;
            wrong(changed.clone(), words);
            assert_eq!(
                after(&wanted, MARKER, None, &invoice(changed), "88"),
                Verified::Right,
                "other settings sent it"
            );
        }
    }
}
