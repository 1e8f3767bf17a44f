//! Looks for a payment in the list of all payments: by our marker, by the remains of one, and for rivals of the same amount.
//!
//! The list is the company's, not the invoice's. It is read back to the payment's day, or as far as rivals are wanted.

use jiff::{ToSpan, civil::Date};

use super::{
    Efactori, MarkerField, READINGS, SYSTEM, capitalised, differences,
    list::Extent,
    marker::{self, Likeness},
    wire::{self, Listed as _},
};
use crate::{
    model::booking::Payment,
    sinks::invoicing::{Finding, Rival, Trouble, Wanted},
};

/// What the list of payments shows about ours.
enum Trace {
    /// It is there, with this id.
    Booked(String),
    /// It is not there. With the payments of the same amount and about the same day.
    Nothing(Vec<Rival>),
    /// It is not among the payments that could be read. Says which these were.
    Unfinished(String),
    /// A person has to look. Says what at.
    Unclear(String),
}

impl Efactori {
    /// Looks for our marker, and for payments of the same amount, in the list of payments, back to the day before the
    /// payment, or as far as rivals are wanted.
    async fn trace(&self, wanted: &Wanted<'_>) -> Result<Trace, Trouble> {
        // One day more, in case the time zone in the settings was a different one.
        let days = wanted.rivals_within_days.unwrap_or(0).max(1);
        let day = wanted.date.checked_sub(i64::from(days).days()).unwrap_or(wanted.date);
        let purpose = format!("looking for Finkare's payment {}", wanted.payment.id);
        let pages = (None, self.options.payments_max_pages, Some(self.newest_first()));
        for _ in 0..READINGS {
            let listing = self.list(&purpose, &self.payments, pages, |payments| is_older(payments, day)).await?;
            match self.recognise(wanted, &listing.items) {
                // A payment that was seen counts; one that was not seen may have been missed.
                Trace::Nothing(_) if !listing.is_steady => {}
                Trace::Nothing(_) if listing.extent == Extent::Part => {
                    return Ok(Trace::Unfinished(format!(
                        "it is not among the {} payments that were read in {SYSTEM}, which do not go back to {day}: raise \
                         `payments_max_pages`",
                        listing.items.len()
                    )));
                }
                clear => return Ok(clear),
            }
        }
        Err(Trouble::Later {
            reason: format!("{SYSTEM}'s payments changed every time they were read: {purpose} was not possible"),
            after: None,
            may_have_happened: false,
        })
    }

    fn recognise(&self, wanted: &Wanted<'_>, payments: &[wire::Payment]) -> Trace {
        let payment = wanted.payment;
        let (marker, prefix) = (self.marker(payment), &self.options.marker_prefix);
        let mut same = vec![];
        let mut remains = vec![];
        for theirs in payments {
            let name = theirs.name.text().unwrap_or_default();
            let has_amount = theirs.amount.cents().is_none_or(|cents| cents == payment.amount_cents);
            let has_day = theirs.day().is_none_or(|day| day == wanted.date);
            match marker::compare(name, marker.trim(), prefix.trim()) {
                Likeness::Same => same.push(theirs),
                Likeness::Remains if wanted.is_uncertain || (has_amount && has_day) => remains.push(theirs),
                // The platform may have lost the marker altogether.
                Likeness::Other
                    if self.options.marker_field == MarkerField::Name
                        && wanted.is_uncertain
                        && name.is_empty()
                        && has_amount
                        && has_day =>
                {
                    remains.push(theirs);
                }
                Likeness::Remains | Likeness::Other => {}
            }
        }
        match same.as_slice() {
            [] => {}
            [one] => {
                let differs = differences(wanted, one, None);
                if differs.is_empty() {
                    return Trace::Booked(one.id().to_string());
                }
                return Trace::Unclear(format!(
                    "payment {} in {SYSTEM} has our marker, but {}. Correct it there, or remove the marker from its name",
                    one.id(),
                    differs.join(", ")
                ));
            }
            several => {
                let ids: Vec<_> = several.iter().map(|theirs| theirs.id().to_string()).collect();
                return Trace::Unclear(format!(
                    "it is {} times in {SYSTEM}, as payments {}. Remove all but one there",
                    ids.len(),
                    ids.join(", ")
                ));
            }
        }
        match remains.first() {
            None => Trace::Nothing(self.rivals(wanted, payments)),
            Some(one) => Trace::Unclear(format!(
                "payment {} in {SYSTEM} may be it: its name of the other party is `{}` instead of `{marker}`. Compare both; \
                 if it is another payment, give it another name there, and {}",
                one.id(),
                one.name.text().unwrap_or_default(),
                self.make_clear(payment)
            )),
        }
    }

    /// Payments of the same amount that are dated near this one; a payment without a date counts as near. Payments do not
    /// show which invoice they belong to.
    fn rivals(&self, wanted: &Wanted<'_>, payments: &[wire::Payment]) -> Vec<Rival> {
        let Some(days) = wanted.rivals_within_days else { return Vec::new() };
        let Payment { amount_cents, currency, .. } = wanted.payment;
        let is_rival = |theirs: &&wire::Payment| {
            theirs.amount.cents() == Some(*amount_cents)
                && theirs.currency_id.text().is_none_or(|other| other == currency)
                && theirs.day().is_none_or(|day| (day - wanted.date).get_days().unsigned_abs() <= days)
        };
        payments
            .iter()
            .filter(is_rival)
            .map(|theirs| {
                let name = theirs.name.text();
                let date = theirs.day().map_or_else(|| "without a date".to_owned(), |day| format!("of {day}"));
                let named =
                    name.map_or_else(|| "without a name".to_owned(), |name| format!("of `{}`", self.api.quote(name)));
                Rival {
                    target_id: theirs.id().to_string(),
                    payment_id: name.and_then(|name| marker::payment_in(name, &self.options.marker_prefix)),
                    what: format!(
                        "a payment of {} {date} (id {}, {named}; its invoice is not shown)",
                        amount_cents.of(currency),
                        theirs.id()
                    ),
                }
            })
            .collect()
    }

    /// Judges the payments before the invoice is looked for: returns the finding that ends the search, or the rivals.
    pub(super) async fn before<I>(&self, wanted: &Wanted<'_>) -> Result<Result<Vec<Rival>, Finding<I>>, Trouble> {
        let unmarked = self.options.marker_field == MarkerField::None;
        if unmarked && !wanted.is_uncertain {
            // Only the ledger can decide: without markers, our payments look like all others.
            return Ok(Ok(Vec::new()));
        }
        let doubt = |what: &str| {
            let todo = self.make_clear(wanted.payment);
            let instruction = format!(
                "it is not known whether the payment of {} on invoice {} was recorded in {SYSTEM}: {what}. {}; then \
                 `dispatches retry`",
                wanted.in_words(),
                wanted.number,
                capitalised(&todo)
            );
            Finding::Hold { instruction, recheck: true }
        };
        Ok(match self.trace(wanted).await? {
            Trace::Booked(target_id) => Err(Finding::Booked { target_id }),
            Trace::Unclear(what) => Err(Finding::Hold {
                instruction: format!(
                    "the payment of {} on invoice {} has to be checked: {what}; then `dispatches retry`",
                    wanted.in_words(),
                    wanted.number
                ),
                recheck: true,
            }),
            Trace::Nothing(_) | Trace::Unfinished(_) if unmarked && wanted.is_uncertain => {
                Err(doubt("payments are not marked there (`marker_field = \"none\"`)"))
            }
            Trace::Unfinished(what) if wanted.is_uncertain => Err(doubt(&what)),
            Trace::Unfinished(what) if wanted.rivals_within_days.is_some() => Err(Self::hold(
                wanted,
                &format!("it is not known whether a payment of its amount is there already: {what}"),
                "do that, or set `on_same_amount = \"book\"` for this sink, and reload",
            )),
            Trace::Unfinished(what) => {
                tracing::warn!(
                    payment.id = wanted.payment.id,
                    reason = what,
                    "the payments in {SYSTEM} were not read far enough back to look for an earlier booking: the ledger decides"
                );
                Ok(Vec::new())
            }
            Trace::Nothing(rivals) => Ok(rivals),
        })
    }
}

/// True if the list is ordered newest first and has gone beyond this day. The dates have to prove the order: the platform
/// may ignore an order that it does not know, and the newest payment may then be at the end.
fn is_older(payments: &[wire::Payment], day: Date) -> bool {
    let days: Option<Vec<Date>> = payments.iter().map(wire::Payment::day).collect();
    let Some(days) = days else { return false };
    let (Some(first), Some(last)) = (days.first(), days.last()) else { return false };
    *last < day && first > last && days.is_sorted_by(|one, next| one >= next)
}
