//! Decides what an invoice in the books means for a payment. Pure: it makes no call.
//!
//! The texts are for an accountant. They name the problem, what to do in Facturation.PRO, and what to do here.

use super::{
    OnAlreadyPaid, SYSTEM, one_line,
    wire::{Due, Invoice, Settlement, Thousandths, Whole},
};
use crate::sinks::invoicing::{Finding, Rival, Verified, Wanted};

/// The `payment_mode` of an invoice that was written off as a bad debt.
const BAD_DEBT: u64 = 999;

/// An invoice that takes the payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    pub(super) id: Whole,
}

/// What to do here once the books are correct: the end of an instruction.
const RETRY: &str = "retry this dispatch (`dispatches retry`)";
const CANCEL: &str = "cancel this dispatch (`dispatches cancel`)";

fn hold<I>(instruction: String, recheck: bool) -> Finding<I> {
    #[cfg(test)]
    crate::french::expect(&instruction);
    Finding::Hold { instruction, recheck }
}

/// Judges the invoice before anything is written. Every marker begins with `prefix`.
pub(super) fn before(
    wanted: &Wanted<'_>,
    marker: &str,
    prefix: &str,
    invoice: &Invoice,
    on_paid: OnAlreadyPaid,
) -> Finding<Open> {
    // First of all: a payment that the books already have is not written again, whatever happened to the invoice since.
    if let Some(finding) = marked(wanted, marker, invoice) {
        return finding;
    }
    let (number, payment) = (wanted.number, wanted.in_words());
    let not_shown = |field: &str| {
        hold(unclear(wanted, invoice, &format!("it does not show `{field}`, without which nothing is booked")), true)
    };
    match invoice.is_draft {
        None => return not_shown("draft"),
        Some(false) => {}
        Some(true) => {
            let what = format!(
                "invoice {number} is a draft in {SYSTEM}, and nothing is booked on a draft: the payment of {payment} waits. \
                 Finalise the invoice there and {RETRY}; or book the payment there by hand and {CANCEL}"
            );
            return hold(what, true);
        }
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
    let Some(currency) = invoice.currency.as_deref() else { return not_shown("currency") };
    if currency != wanted.payment.currency {
        let what = format!(
            "invoice {number} is in {currency} in {SYSTEM}, and the payment of {payment} is in another currency, which the relay \
             does not convert. Book it there by hand and {CANCEL}"
        );
        return hold(what, false);
    }
    let Some(due) = invoice.due() else {
        return hold(unclear(wanted, invoice, "its amounts cannot be a sum of money"), true);
    };
    if let Some(why) = marked_as_paid(invoice) {
        return already_paid(wanted, invoice, why, on_paid);
    }
    if invoice.paid_on.is_none() && invoice.payment_mode.is_none() && invoice.balance.is_none() {
        let what = "it does not show whether it is paid (`paid_on`, `payment_mode` or `balance`)";
        return hold(unclear(wanted, invoice, what), true);
    }
    let (balance, is_exact) = match due {
        Due::Exactly(balance) => (balance, true),
        Due::AtLeast(balance) => (balance, false),
        Due::Contradicted(rest) => {
            let what = format!(
                "its total less its payments is {rest} {currency}, and its balance is {}",
                amount_shown(invoice.balance, currency)
            );
            return hold(unclear(wanted, invoice, &what), true);
        }
        Due::Unknown => {
            let what = "it does not show what is due (`balance` or `total_with_vat`)";
            return hold(unclear(wanted, invoice, what), true);
        }
    };
    if is_exact && (balance.is_less_than_a_cent() || balance < Thousandths(0)) {
        return already_paid(wanted, invoice, "has nothing due there", on_paid);
    }
    if wanted.is_uncertain
        && let Some(doubtful) = doubtful(wanted, marker, invoice)
    {
        let what = format!(
            "an earlier attempt to record the payment of {payment} on invoice {number} in {SYSTEM} got no answer, and the payment \
             {} there has the same amount, and either no reference or the beginning of ours. If it is this payment, write \
             `{marker}` as its reference there, or {CANCEL}; if it is another one, book this payment by hand and {CANCEL}",
            doubtful.id
        );
        return hold(what, true);
    }
    let amount = Thousandths::of(wanted.payment.amount_cents);
    match amount.and_then(|amount| balance.minus(amount)) {
        Some(rest) if rest < Thousandths(0) && !is_exact => {
            let what = format!(
                "it shows neither `balance` nor `total_with_vat`, and by its total without VAT only {balance} {currency} are \
                 certainly still due"
            );
            hold(unclear(wanted, invoice, &what), true)
        }
        Some(rest) if rest < Thousandths(0) => {
            let what = format!(
                "the payment of {payment} is more than the {balance} {currency} that are still due on invoice {number} in \
                 {SYSTEM}. Was a part of it booked there by hand, or did the debtor pay too much? Correct the invoice there and \
                 {RETRY}; or book the payment by hand and {CANCEL}"
            );
            hold(what, true)
        }
        // What is left is less than anyone can pay: the invoice is settled.
        Some(rest) if is_exact && balance.has_a_part_of_a_cent() && !rest.is_less_than_a_cent() => {
            let what = format!("its balance of {balance} {currency} has a part of a cent");
            hold(unclear(wanted, invoice, &what), true)
        }
        Some(_) => Finding::Open {
            invoice: Open { id: invoice.id },
            rivals: rivals(wanted, marker, prefix, invoice, currency),
        },
        None => hold(unclear(wanted, invoice, "its amounts are too large to calculate with"), true),
    }
}

/// Payments of the same amount that are dated near this one; a payment without a date counts as near.
fn rivals(wanted: &Wanted<'_>, marker: &str, prefix: &str, invoice: &Invoice, currency: &str) -> Vec<Rival> {
    let Some(days) = wanted.rivals_within_days else { return Vec::new() };
    let amount = Thousandths::of(wanted.payment.amount_cents);
    let is_near = |settlement: &&Settlement| {
        settlement.date().is_none_or(|date| (date - wanted.date).get_days().unsigned_abs() <= days)
    };
    let same = invoice.settlements.iter().filter(|settlement| Some(settlement.total) == amount);
    same.filter(is_near)
        .map(|settlement| {
            let reference = settlement.reference();
            let date = settlement.date().map_or_else(|| "without a date".to_owned(), |date| format!("of {date}"));
            let bears = if reference.is_empty() {
                "without a reference".to_owned()
            } else {
                format!("with the reference `{}`", one_line(reference))
            };
            Rival {
                target_id: settlement.id.to_string(),
                payment_id: reference.strip_prefix(prefix).filter(|_| reference != marker).map(str::to_owned),
                what: format!("a payment of {} {currency} {date} (id {}, {bears})", settlement.total, settlement.id),
            }
        })
        .collect()
}

fn amount_shown(amount: Option<Thousandths>, currency: &str) -> String {
    amount.map_or_else(|| "not shown".to_owned(), |amount| format!("{amount} {currency}"))
}

/// Finds the payment by our marker, if the books have it already.
fn marked(wanted: &Wanted<'_>, marker: &str, invoice: &Invoice) -> Option<Finding<Open>> {
    let (number, payment) = (wanted.number, wanted.in_words());
    let amount = Thousandths::of(wanted.payment.amount_cents);
    let settlements: Vec<&Settlement> =
        invoice.settlements.iter().filter(|settlement| settlement.reference() == marker).collect();
    Some(match settlements[..] {
        [] if invoice.payment_ref != marker => return None,
        // The marker is on the invoice itself: a person has marked the invoice as paid by this payment.
        [] => {
            let rest = invoice.paid().zip(invoice.total).and_then(|(others, total)| total.minus(others));
            let is_its_currency = invoice.currency.as_ref() == Some(&wanted.payment.currency);
            if amount.is_some() && amount == rest && marked_as_paid(invoice).is_some() && is_its_currency {
                Finding::Booked { target_id: format!("invoice {}", invoice.id) }
            } else {
                let what = format!(
                    "invoice {number} bears the reference `{marker}` in {SYSTEM}, but is not paid by the payment of {payment} \
                     alone. Check there what was booked; then {CANCEL}, or remove the reference there and {RETRY}"
                );
                hold(what, true)
            }
        }
        [one] if Some(one.total) == amount => Finding::Booked { target_id: one.id.to_string() },
        [one] => {
            let what = format!(
                "the payment {} on invoice {number} in {SYSTEM} bears the reference `{marker}`, but its amount is {} {}, and the \
                 payment is {payment}. Correct it there and {RETRY}; or {CANCEL} if it is right as it is",
                one.id,
                one.total,
                invoice.currency.as_deref().unwrap_or_default()
            );
            hold(what, true)
        }
        ref several => {
            let ids: Vec<_> = several.iter().map(|settlement| settlement.id.to_string()).collect();
            let what = format!(
                "the payment of {payment} is {} times on invoice {number} in {SYSTEM}: all of {} bear the reference \
                 `{marker}`. Remove the surplus ones there and {RETRY}",
                several.len(),
                ids.join(", ")
            );
            hold(what, true)
        }
    })
}

/// How the invoice is marked as paid, if it is. An unpaid invoice has no date and the mode 0 (<https://facturation.dev>,
/// invoices).
fn marked_as_paid(invoice: &Invoice) -> Option<&'static str> {
    if invoice.payment_mode == Some(BAD_DEBT) {
        Some("was written off there as a bad debt")
    } else if invoice.paid_on.as_ref().is_some_and(|on| !on.is_empty())
        || invoice.payment_mode.is_some_and(|mode| mode != 0)
    {
        Some("is marked as paid there")
    } else {
        None
    }
}

fn already_paid(wanted: &Wanted<'_>, invoice: &Invoice, why: &str, on_paid: OnAlreadyPaid) -> Finding<Open> {
    let (number, payment) = (wanted.number, wanted.in_words());
    let since = match invoice.paid_on.as_deref() {
        None | Some("") => String::new(),
        Some(on) => format!(" since {}", one_line(on)),
    };
    // A person looks at an invoice that was written off and then paid after all, and at one that is marked as paid but has
    // something due, is only half marked, or does not show whether it is paid.
    let is_settled = match invoice.due() {
        Some(Due::Exactly(balance)) => balance.is_less_than_a_cent(),
        // A person marked it as paid, without recording payments.
        Some(Due::Contradicted(_)) => invoice.balance.is_some_and(Thousandths::is_less_than_a_cent),
        Some(Due::AtLeast(_) | Due::Unknown) | None => false,
    };
    let is_plain = match (&invoice.paid_on, invoice.payment_mode) {
        (Some(on), Some(mode)) => mode != BAD_DEBT && on.is_empty() == (mode == 0) && is_settled,
        _ => false,
    };
    if on_paid == OnAlreadyPaid::Close && is_plain {
        let note = format!("invoice {number} {why}{since}, without a payment that bears our reference");
        #[cfg(test)]
        crate::french::expect(&note);
        return Finding::Paid { note };
    }
    let what = format!(
        "invoice {number} {why}{since} (due: {}), and the payment of {payment} is not among its payments in {SYSTEM}. If it was \
         booked there by hand, {CANCEL}; if not, reopen the invoice there and {RETRY}, or see whether the debtor has paid twice",
        amount_shown(invoice.balance, invoice.currency.as_deref().unwrap_or_default())
    );
    hold(what, true)
}

/// A payment that may be ours although it lacks our reference: the system may have dropped the reference, or cut it off.
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

/// Judges the invoice after the write. `payment_mode` is the one that was sent; `None` if an earlier attempt sent it,
/// perhaps with other settings.
pub(super) fn after(
    wanted: &Wanted<'_>,
    marker: &str,
    payment_mode: Option<u64>,
    invoice: &Invoice,
    target_id: &str,
) -> Verified {
    let wrong = |what: String| {
        #[cfg(test)]
        crate::french::expect(&what);
        Verified::Wrong { what }
    };
    let currency = invoice.currency.as_deref().unwrap_or_default();
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
        return wrong(format!("it is there twice, as {} and as {}", ours.id, again.id));
    }
    if ours.id.to_string() != target_id {
        return wrong(format!("its reference `{marker}` is on the payment {}", ours.id));
    }
    if Some(ours.total) != Thousandths::of(wanted.payment.amount_cents) {
        return wrong(format!("its amount is {} {currency}", ours.total));
    }
    if let Some(payment_mode) = payment_mode {
        if let Some(on) = ours.paid_on.as_ref().filter(|_| !ours.is_on(wanted.date)) {
            return wrong(format!("its date is {}", one_line(on)));
        }
        if ours.payment_mode.is_some_and(|mode| mode != Whole(payment_mode)) {
            return wrong(format!("its `payment_mode` is not {payment_mode} (`payment_modes`)"));
        }
    }
    // The same equation held before the write. So the balance has fallen by exactly this amount, plus the exact amounts of
    // any payments that other people booked in the meantime. Fields that are not shown cannot be compared.
    let due = match invoice.due() {
        None => return wrong("the invoice's payments no longer add up to an amount of money".to_owned()),
        Some(Due::Contradicted(due)) => {
            return wrong(format!(
                "the invoice's balance is {}, and by its total and its payments it should be {due} {currency}",
                amount_shown(invoice.balance, currency)
            ));
        }
        Some(Due::Exactly(due)) => Some(due),
        Some(Due::AtLeast(_) | Due::Unknown) => None,
    };
    if due.is_some_and(|due| due <= Thousandths(0)) && invoice.paid_on.as_deref() == Some("") {
        return wrong("nothing is due on the invoice any more, but it is not marked as paid".to_owned());
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
                debtor: None,
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
        serde_json::from_str::<Shown>(&invoice.to_string()).unwrap().invoice().unwrap()
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
            rivals_within_days: Some(7),
        };
        before(&wanted, MARKER, "finkare:", &invoice(changes), on_paid)
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
        let open = Finding::Open { invoice: Open { id: Whole(7) }, rivals: Vec::new() };
        assert_eq!(find(json!({})), open);
        assert_eq!(find(json!({"balance": "100.0", "settlements": [settlement(1, "150", Some("x"))]})), open);
        // What remains due has a part of a cent, and less than one remains.
        assert_eq!(find(json!({"total_with_vat": "100.004", "balance": "100.004"})), open);
        // Another payment whose id begins with this one's id, or is the beginning of it.
        for other in ["finkare:p-10", "finkare:p-", "finkare:P-1", "p-1"] {
            let with = json!({"balance": "150.0", "settlements": [settlement(1, "100.0", Some(other))]});
            let Finding::Open { rivals, .. } = find(with) else { panic!("{other}") };
            assert_eq!(rivals[0].payment_id.as_deref(), other.strip_prefix("finkare:"), "of its amount and its day");
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
        holds(json!({"balance": "150.0", "settlements": []}), "is 250.00 EUR, and its balance is 150.00 EUR");
        holds(json!({"balance": "250.0", "settlements": [settlement(1, "1.0", None)]}), "its balance is 250.00 EUR");
        holds(json!({"balance": "99.99", "total_with_vat": "99.99"}), "is more than the 99.99 EUR");
        holds(json!({"balance": "99.999", "total_with_vat": "99.999"}), "is more than the 99.999 EUR");
        holds(json!({"balance": "250.005", "total_with_vat": "250.005"}), "has a part of a cent");
        holds(json!({"balance": "0.009", "total_with_vat": "0.009"}), "has nothing due there");
        holds(
            json!({"total_with_vat": "999999999999.999", "balance": "1", "settlements": vec![settlement(1, "999999999999.999", None); 9300]}),
            "cannot be a sum of money",
        );
    }

    /// An unpaid invoice of 250 euros, without these fields.
    fn less(fields: &[&str]) -> Invoice {
        let mut invoice = json!({
            "id": 7, "draft": false, "currency": "EUR", "total_with_vat": "250.0", "total": "208.33", "balance": "250.0",
            "paid_on": null, "payment_mode": 0, "internal_note": null, "settlements": [],
        });
        for field in fields {
            invoice.as_object_mut().unwrap().remove(*field);
        }
        serde_json::from_str::<Shown>(&invoice.to_string()).unwrap().invoice().unwrap()
    }

    fn of_cents(cents: i64, invoice: &Invoice) -> Finding<Open> {
        let payment = Payment { amount_cents: Cents(cents), ..payment() };
        let wanted = Wanted {
            payment: &payment,
            number: "F-1",
            date: date(2026, 3, 15),
            booked_before: Cents::ZERO,
            is_uncertain: false,
            rivals_within_days: Some(7),
        };
        before(&wanted, MARKER, "finkare:", invoice, OnAlreadyPaid::Hold)
    }

    #[test]
    fn what_is_not_shown_is_done_without_or_told() {
        for fields in [
            &["internal_note"][..],
            &["balance"],
            &["total_with_vat"],
            &["total"],
            &["paid_on"],
            &["payment_mode"],
            &["paid_on", "payment_mode"],
            &["internal_note", "balance", "payment_mode", "total"],
        ] {
            let found = of_cents(25_000, &less(fields));
            assert!(matches!(found, Finding::Open { .. }), "without {fields:?}: {found:?}");
            let Finding::Hold { instruction, .. } = of_cents(25_001, &less(fields)) else { panic!("{fields:?}") };
            assert!(instruction.contains("more than the 250.00 EUR"), "{instruction}");
        }
        // Neither of the two: the total without VAT is the least that is due.
        let neither = ["balance", "total_with_vat"];
        assert!(matches!(of_cents(20_833, &less(&neither)), Finding::Open { .. }));
        for (cents, fields, words) in [
            (20_834, &neither[..], "only 208.33 EUR are certainly still due"),
            (1, &["balance", "total_with_vat", "total"], "does not show what is due"),
            (1, &["draft"], "does not show `draft`"),
            (1, &["currency"], "does not show `currency`"),
            (1, &["paid_on", "payment_mode", "balance"], "does not show whether it is paid"),
        ] {
            let Finding::Hold { instruction, .. } = of_cents(cents, &less(fields)) else { panic!("{fields:?}") };
            assert!(instruction.contains(words), "`{words}` is not in: {instruction}");
        }
    }

    #[test]
    fn what_is_not_shown_after_the_write_is_not_compared() {
        let payment = payment();
        let wanted = Wanted {
            payment: &payment,
            number: "F-1",
            date: date(2026, 3, 15),
            booked_before: Cents::ZERO,
            is_uncertain: false,
            rivals_within_days: None,
        };
        let ours = settlement(88, "100.0", Some(MARKER));
        for field in ["balance", "total_with_vat", "paid_on", "payment_mode", "internal_note", "draft", "currency"] {
            let mut after_it = json!({
                "id": 7, "draft": false, "currency": "EUR", "total_with_vat": "250.0", "balance": "150.0", "paid_on": null,
                "payment_mode": 0, "internal_note": null, "settlements": [ours],
            });
            after_it.as_object_mut().unwrap().remove(field);
            let invoice = serde_json::from_str::<Shown>(&after_it.to_string()).unwrap().invoice().unwrap();
            assert_eq!(after(&wanted, MARKER, Some(3), &invoice, "88"), Verified::Right, "{field}");
        }
        let mut less = ours;
        for field in ["paid_on", "payment_mode"] {
            less.as_object_mut().unwrap().remove(field);
            let changes = json!({"balance": "150.0", "settlements": [less]});
            assert_eq!(after(&wanted, MARKER, Some(3), &invoice(changes), "88"), Verified::Right, "{field} of ours");
        }
    }

    #[test]
    fn what_has_its_amount_and_about_its_day_is_a_rival() {
        let rivals = |settlements: &[Value], days: Option<u32>| {
            let payment = payment();
            let wanted = Wanted {
                payment: &payment,
                number: "F-1",
                date: date(2026, 3, 15),
                booked_before: Cents::ZERO,
                is_uncertain: false,
                rivals_within_days: days,
            };
            let changes = json!({"total_with_vat": "2000.0", "balance": null, "settlements": settlements});
            let found = before(&wanted, MARKER, "finkare:", &invoice(changes), OnAlreadyPaid::Hold);
            let Finding::Open { rivals, .. } = found else { panic!("{found:?}") };
            rivals.into_iter().map(|rival| (rival.target_id, rival.payment_id, rival.what)).collect::<Vec<_>>()
        };
        let on = |id: u64, total: &str, day: Value, reference: Option<&str>| json!({"id": id, "total": total, "paid_on": day, "payment_ref": reference, "payment_mode": 3});
        let all = [
            on(1, "100.0", json!("2026-03-08"), Some("VIR 4711")),
            on(2, "100.0", json!("2026-03-22"), None),
            on(3, "100.0", json!("2026-03-07"), None),
            on(4, "100.0", json!("2026-03-23"), None),
            on(5, "100.01", json!("2026-03-15"), None),
            on(6, "100.0", Value::Null, Some("finkare:p-2")),
        ];
        let expected = [
            ("1", None, "a payment of 100.00 EUR of 2026-03-08 (id 1, with the reference `VIR 4711`)"),
            ("2", None, "a payment of 100.00 EUR of 2026-03-22 (id 2, without a reference)"),
            ("6", Some("p-2"), "a payment of 100.00 EUR without a date (id 6, with the reference `finkare:p-2`)"),
        ];
        let expected = expected.map(|(id, of, what)| (id.to_owned(), of.map(str::to_owned), what.to_owned()));
        assert_eq!(rivals(&all, Some(7)), expected);
        assert_eq!(rivals(&all, Some(0)).len(), 1, "only the one without a date");
        assert_eq!(rivals(&all, None), []);
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
        // On the invoice itself, by a person who marked it as paid.
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
        for other in ["finkare:p-2", "VIR 12"] {
            let Finding::Open { rivals, .. } = doubt(Some(other), "100.0") else { panic!("{other}") };
            assert_eq!(rivals.len(), 1, "whose it is, the ledger says");
        }
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
            rivals_within_days: None,
        };
        let verified = |changes: Value| after(&wanted, MARKER, Some(3), &invoice(changes), "88");
        let ours = settlement(88, "100.0", Some(MARKER));
        let right = json!({"balance": "150.0", "settlements": [ours]});
        assert_eq!(verified(right.clone()), Verified::Right);
        assert_eq!(after(&wanted, MARKER, None, &invoice(right.clone()), "88"), Verified::Right);
        // Another payment has covered the rest in the meantime.
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
        wrong(with(settlement(90, "100.0", Some(MARKER))), "is on the payment 90");
        wrong(with(settlement(88, "100.01", Some(MARKER))), "its amount is 100.01 EUR");
        wrong(json!({"balance": "50.0", "settlements": [ours, settlement(90, "100.0", Some(MARKER))]}), "twice");
        wrong(
            json!({"balance": "130.0", "settlements": [ours]}),
            "is 130.00 EUR, and by its total and its payments it should be 150.00 EUR",
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
