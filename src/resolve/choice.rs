//! Which of an invoice's payments an event announces. Pure: the payments and who has them go in, a choice comes out.
//!
//! Nothing here is decided by a guess that could lose or double money: a payment that another event has is never
//! chosen, and one that is not completed neither. Between payments that are the same to a bookkeeper (time, method,
//! currency) the smallest id is taken; between others that fit equally well nobody but a person chooses.

use std::collections::HashSet;

use jiff::Timestamp;

use super::asked::Asked;
use crate::finkare::client::Payment;

/// The word for a payment that has arrived (<https://docs.finkare.io/api-reference/payments>, as are the next three).
pub(super) const COMPLETED: &str = "completed";
/// For one that is on its way: a SEPA debit may be so for days.
pub(super) const PENDING: &str = "pending";
/// For one that did not come.
pub(super) const FAILED: &str = "failed";
/// For one that went back.
pub(super) const REFUNDED: &str = "refunded";

/// What became of the search.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice<'a> {
    /// This one.
    Take(&'a Payment),
    /// These two fit equally well, and are not the same.
    Ambiguous(&'a Payment, &'a Payment),
    /// This one will do when it is completed.
    Pending(&'a Payment),
    /// Nobody documents what this one's status means.
    Unknown(&'a Payment),
    /// All that is left did not come, or went back; this is one of them.
    Lost(&'a Payment),
    /// The one that the body names is not what the body says, in words.
    Contradicts(String),
    /// Every payment that fits is another event's; this is one of them.
    Taken(&'a Payment),
    /// No payment fits.
    Nothing,
}

/// How a status is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has arrived.
    Completed,
    /// It is on its way.
    Pending,
    /// It did not come, or went back.
    Lost,
    /// Nobody documents the word.
    Unknown,
}

impl Standing {
    /// Of a payment.
    pub(super) fn of(payment: &Payment) -> Self {
        match payment.status.as_str() {
            COMPLETED => Self::Completed,
            PENDING => Self::Pending,
            FAILED | REFUNDED => Self::Lost,
            _ => Self::Unknown,
        }
    }
}

/// Chooses among an invoice's payments. `taken` are the ids of those that other events have; `received_at` stands in
/// where the body tells no time.
pub(super) fn choose<'a>(
    asked: &Asked,
    received_at: Timestamp,
    payments: &'a [Payment],
    taken: &HashSet<String>,
) -> Choice<'a> {
    let fitting: Vec<&Payment> = match &asked.payment_id {
        Some(id) => match payments.iter().find(|payment| payment.id == *id) {
            None => return Choice::Nothing,
            Some(payment) => match contradiction(asked, payment) {
                Some(what) => return Choice::Contradicts(what),
                None => vec![payment],
            },
        },
        None => payments.iter().filter(|payment| contradiction(asked, payment).is_none()).collect(),
    };
    let free: Vec<&Payment> = fitting.iter().copied().filter(|payment| !taken.contains(&payment.id)).collect();
    if free.is_empty() {
        return fitting.first().map_or(Choice::Nothing, |payment| Choice::Taken(payment));
    }
    let standing = |wanted| free.iter().copied().filter(move |payment| Standing::of(payment) == wanted);
    let completed: Vec<&Payment> = standing(Standing::Completed).collect();
    if !completed.is_empty() {
        return nearest(&completed, asked.paid_at.or(asked.timestamp).unwrap_or(received_at));
    }
    if let Some(payment) = standing(Standing::Pending).next() {
        return Choice::Pending(payment);
    }
    if let Some(payment) = standing(Standing::Unknown).next() {
        return Choice::Unknown(payment);
    }
    standing(Standing::Lost).next().map_or(Choice::Nothing, Choice::Lost)
}

/// The completed one that was paid nearest to a time; those without a time come last.
fn nearest<'a>(completed: &[&'a Payment], to: Timestamp) -> Choice<'a> {
    let distance = |payment: &Payment| {
        let distance = payment.paid_at.map(|paid_at| paid_at.duration_since(to).unsigned_abs());
        (distance.is_none(), distance)
    };
    let same = |a: &Payment, b: &Payment| {
        let currency = |payment: &Payment| payment.currency.as_deref().map(str::to_ascii_uppercase);
        (a.paid_at, &a.method, currency(a)) == (b.paid_at, &b.method, currency(b))
    };
    let Some(best) = completed.iter().copied().min_by_key(|payment| (distance(payment), &payment.id)) else {
        return Choice::Nothing;
    };
    let rival = completed.iter().copied().find(|other| distance(other) == distance(best) && !same(other, best));
    rival.map_or(Choice::Take(best), |rival| Choice::Ambiguous(best, rival))
}

/// Why a payment is not the one that a body speaks of; `None` if it may be.
pub(super) fn contradiction(asked: &Asked, payment: &Payment) -> Option<String> {
    let id = &payment.id;
    if payment.invoice_id != asked.invoice_id {
        return Some(format!(
            "payment {id} is of invoice {} at Finkare, and the event says invoice {}",
            payment.invoice_id, asked.invoice_id
        ));
    }
    if payment.amount_cents != asked.amount.0 {
        return Some(format!(
            "payment {id} has {} cents at Finkare, and the event says {} cents",
            payment.amount_cents, asked.amount.0
        ));
    }
    match (&payment.currency, &asked.currency) {
        (Some(theirs), Some(said)) if !theirs.eq_ignore_ascii_case(said) => {
            Some(format!("payment {id} is in {theirs} at Finkare, and the event says {said}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::money::Cents;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(minute: u64) -> Timestamp {
        "2026-03-15T10:00:00Z".parse::<Timestamp>().unwrap() + Duration::from_secs(60 * minute)
    }

    fn asked() -> Asked {
        Asked {
            invoice_id: "i".into(),
            amount: Cents(100),
            payment_id: None,
            currency: None,
            method: None,
            paid_at: None,
            timestamp: Some(at(10)),
        }
    }

    fn payment(id: &str, minute: Option<u64>, status: &str) -> Payment {
        Payment {
            id: id.into(),
            invoice_id: "i".into(),
            amount_cents: 100,
            currency: Some("EUR".into()),
            status: status.into(),
            method: Some("card".into()),
            paid_at: minute.map(at),
        }
    }

    fn of<'a>(asked: &Asked, payments: &'a [Payment], taken: &[&str]) -> Choice<'a> {
        choose(asked, at(0), payments, &taken.iter().map(|id| (*id).to_owned()).collect())
    }

    #[test]
    fn the_nearest_completed_one_that_nobody_has_is_taken() {
        let all = [
            payment("far", Some(30), COMPLETED),
            payment("near", Some(12), COMPLETED),
            payment("timeless", None, COMPLETED),
            payment("at", Some(10), PENDING),
            Payment { amount_cents: 99, ..payment("less", Some(10), COMPLETED) },
            Payment { invoice_id: "j".into(), ..payment("other", Some(10), COMPLETED) },
        ];
        assert_eq!(of(&asked(), &all, &[]), Choice::Take(&all[1]));
        assert_eq!(of(&asked(), &all, &["near"]), Choice::Take(&all[0]));
        assert_eq!(of(&asked(), &all, &["near", "far"]), Choice::Take(&all[2]));
        assert_eq!(of(&asked(), &all, &["near", "far", "timeless"]), Choice::Pending(&all[3]));
        assert_eq!(of(&asked(), &all, &["near", "far", "timeless", "at"]), Choice::Taken(&all[0]));
        let paid_late = Asked { paid_at: Some(at(31)), ..asked() };
        assert_eq!(of(&paid_late, &all, &[]), Choice::Take(&all[0]), "the body's own `paidAt` counts most");
        let no_time = Asked { timestamp: None, ..asked() };
        assert_eq!(of(&no_time, &all, &[]), Choice::Take(&all[1]), "then the time of receipt");
    }

    #[test]
    fn what_is_the_same_is_taken_by_id_and_what_is_not_by_nobody() {
        let same = [payment("b", Some(11), COMPLETED), payment("a", Some(11), COMPLETED)];
        assert_eq!(of(&asked(), &same, &[]), Choice::Take(&same[1]));
        let sides = [payment("b", Some(9), COMPLETED), payment("a", Some(11), COMPLETED)];
        assert_eq!(of(&asked(), &sides, &[]), Choice::Ambiguous(&sides[1], &sides[0]));
        let by_card = payment("a", Some(11), COMPLETED);
        let methods =
            [by_card.clone(), Payment { method: Some("sepa_debit".into()), ..payment("b", Some(11), COMPLETED) }];
        assert_eq!(of(&asked(), &methods, &[]), Choice::Ambiguous(&methods[0], &methods[1]));
        let currencies = [by_card, Payment { currency: Some("CHF".into()), ..payment("b", Some(11), COMPLETED) }];
        assert_eq!(of(&asked(), &currencies, &[]), Choice::Ambiguous(&currencies[0], &currencies[1]));
        let in_francs = Asked { currency: Some("chf".into()), ..asked() };
        assert_eq!(of(&in_francs, &currencies, &[]), Choice::Take(&currencies[1]));
        let timeless = [payment("b", None, COMPLETED), payment("a", None, COMPLETED)];
        assert_eq!(of(&asked(), &timeless, &[]), Choice::Take(&timeless[1]));
    }

    #[test]
    fn what_is_not_completed_is_never_taken() {
        let mut all = vec![payment("lost", Some(10), FAILED), payment("back", Some(10), REFUNDED)];
        assert_eq!(of(&asked(), &all, &[]), Choice::Lost(&all[0]));
        all.push(payment("odd", Some(10), "Completed"));
        assert_eq!(of(&asked(), &all, &[]), Choice::Unknown(&all[2]), "words are compared as they are documented");
        all.push(payment("later", Some(10), PENDING));
        assert_eq!(of(&asked(), &all, &[]), Choice::Pending(&all[3]));
        assert_eq!(of(&asked(), &[], &[]), Choice::Nothing);
    }

    #[test]
    fn the_one_that_the_body_names_has_to_agree() {
        let all = [payment("a", Some(10), COMPLETED), payment("b", Some(50), COMPLETED)];
        let named = Asked { payment_id: Some("b".into()), ..asked() };
        assert_eq!(of(&named, &all, &[]), Choice::Take(&all[1]));
        assert_eq!(of(&named, &all, &["b"]), Choice::Taken(&all[1]));
        assert_eq!(of(&named, &all[..1], &[]), Choice::Nothing, "another one of this amount is not it");
        for (wrong, both) in [
            (Asked { amount: Cents(99), ..named.clone() }, ["100", "99"]),
            (Asked { invoice_id: "j".into(), ..named.clone() }, ["invoice i", "invoice j"]),
            (Asked { currency: Some("CHF".into()), ..named.clone() }, ["EUR", "CHF"]),
        ] {
            let Choice::Contradicts(what) = of(&wrong, &all, &[]) else { panic!("{wrong:?}") };
            assert!(both.iter().all(|value| what.contains(value)), "{what}");
        }
    }

    proptest! {
        #[test]
        fn only_a_free_and_completed_payment_of_the_invoice_and_amount_is_ever_taken(
            payments in prop::collection::vec(
                ("[a-f]", prop::option::of(0u64..20), prop::sample::select(vec![COMPLETED, PENDING, FAILED, REFUNDED, "x"]),
                 prop::sample::select(vec!["i", "j"]), 99i64..102), 0..8),
            taken in prop::collection::hash_set("[a-f]", 0..4),
            named in prop::option::of("[a-f]"),
        ) {
            let payments: Vec<_> = payments.into_iter().map(|(id, minute, status, invoice, cents)| Payment {
                invoice_id: invoice.into(), amount_cents: cents, ..payment(&id, minute, status)
            }).collect();
            let asked = Asked { payment_id: named.clone(), ..asked() };
            let fits = |payment: &Payment| {
                payment.status == COMPLETED && payment.invoice_id == "i" && payment.amount_cents == 100
                    && !taken.contains(&payment.id) && named.as_ref().is_none_or(|id| *id == payment.id)
            };
            match choose(&asked, at(0), &payments, &taken) {
                Choice::Take(payment) => prop_assert!(fits(payment)),
                Choice::Ambiguous(one, other) => prop_assert!(fits(one) && fits(other) && one != other),
                Choice::Contradicts(_) => prop_assert!(named.is_some()),
                _ if named.is_none() => prop_assert!(!payments.iter().any(fits), "one that fits was passed over"),
                _ => {}
            }
        }
    }
}
