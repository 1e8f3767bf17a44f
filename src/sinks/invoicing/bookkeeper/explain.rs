//! Explains what the bookkeeper would do with an event, by reads alone: for the command `try`.

use std::time::Duration;

use super::{
    super::books::{Books, StatusPlan},
    Bookkeeper, End, Ends, Judgement, differs, hold,
    status::StatusStep,
};
use crate::{
    model::{
        booking::{Booking, BookingState},
        dispatch::Outcome,
        money::Cents,
    },
    sinks::{Message, preview::Step},
    store::ledger::Advance,
};

impl<B: Books> Bookkeeper<B> {
    /// What [`Self::payment`] would do, by reading alone.
    pub(super) async fn explain_payment(&self, message: &Message) -> Result<(String, Option<Step>), Ends> {
        let entry = self.entry(message).await?;
        let known = self.ledger.booking(&self.sink, &entry.payment.id).await?;
        let is_uncertain = matches!(&known, Some(Booking { state: BookingState::Sending, .. }));
        let what =
            format!("the payment of {} on invoice {}", entry.wanted(Cents::ZERO, false).in_words(), entry.number);
        if let Some(booking) = known.as_ref().filter(|line| line.state != BookingState::Reserved) {
            if let Some(differs) = differs(booking, &entry) {
                return Err(Ends(hold(differs)));
            }
            if !is_uncertain {
                let as_what = booking.target_id.as_ref().map(|id| format!(" as {id}")).unwrap_or_default();
                let sentence = format!(
                    "{what} is in {} already{as_what} (the ledger says `{}`): nothing would be written",
                    self.system(),
                    booking.state
                );
                return Ok((sentence, None));
            }
        }
        let booked_before = if B::WRITES {
            self.ledger.booked_cents(&self.sink, &entry.number).await?
        } else {
            self.seen_before(&entry).await?
        };
        let wanted = entry.wanted(booked_before, is_uncertain && B::WRITES);
        let found = self.look(&wanted).await?;
        Ok(match self.judge(message, &wanted, found) {
            Judgement::Open(invoice) => {
                let step = self.books.booking(&wanted, &invoice).step();
                (format!("{what} would be recorded in {} and then read back", self.system()), Some(step))
            }
            Judgement::End(End::Done(Advance { target_id: Some(id), .. })) => {
                (format!("{what} is in {} already as {id}: nothing would be written", self.system()), None)
            }
            Judgement::End(End::Done(Advance { note, .. })) => {
                (format!("{what}: {}. Nothing would be written", note.unwrap_or_default()), None)
            }
            Judgement::End(End::Outcome(outcome)) => return Err(Ends(outcome)),
        })
    }

    /// What [`Self::status`] would do, by reading alone.
    pub(super) async fn explain_status(&self, message: &Message) -> Result<(String, Option<Step>), Ends> {
        Ok(match self.plan(message).await? {
            StatusStep::Nothing(why) | StatusStep::Plan(StatusPlan::Done { why }) => (why, None),
            StatusStep::Plan(StatusPlan::Write(request)) => {
                (format!("the change of status would be written to {}", self.system()), Some(request.step()))
            }
            StatusStep::Plan(StatusPlan::Absent { instruction }) => {
                return Err(Ends(self.absent(message, &instruction)));
            }
            StatusStep::Plan(StatusPlan::Hold { instruction, recheck }) => {
                let recheck_after = recheck.then_some(Duration::from_secs(self.options.recheck_secs));
                return Err(Ends(Outcome::Hold { reason: instruction, recheck_after }));
            }
        })
    }
}
