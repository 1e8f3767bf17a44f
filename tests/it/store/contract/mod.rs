//! What every store promises, written against [`Store`] alone.
//!
//! Times are given: [`start`] lies an hour ahead of the clock, so that whatever a store writes by
//! its own clock (new dispatches, retries) is due, and what it writes from a given time is exact.

use std::{sync::Arc, time::Duration};

use finkare_relay::{
    model::{
        clock,
        dispatch::{Dispatch, FinishedAttempt, LeasedDispatch, Next, Order, Outcome, State},
        event::{DedupeKey, NewEvent},
        id::{DispatchId, EndpointName, EventId, SinkName},
    },
    store::{Claim, Claimed, DispatchFilter, EventFilter, Finish, SinkStatus, Store},
};
use jiff::Timestamp;
use uuid::Uuid;

pub(crate) mod activity;
pub(crate) mod breaker;
pub(crate) mod claiming;
pub(crate) mod counting;
pub(crate) mod erasing;
pub(crate) mod finishing;
pub(crate) mod handing_over;
pub(crate) mod keeping;
pub(crate) mod ledger;
pub(crate) mod link;
pub(crate) mod listing;
pub(crate) mod model;
pub(crate) mod noticing;
pub(crate) mod operating;
pub(crate) mod ordering;
pub(crate) mod payments;
pub(crate) mod reconciling;
pub(crate) mod recording;
pub(crate) mod spoiled;
pub(crate) mod visiting;

/// Makes a test of every case for each backend, which is named by the async function that answers a
/// [`super::Fixture`] on it: `contract!(on_sqlite, on_postgres)`.
macro_rules! contract {
    ($($fixture:ident),* $(,)?) => {$(
        mod $fixture {
            cases! { $fixture:
                recording {
                    one_delivery_is_one_event, a_batch_counts_its_own_repetitions, a_repetition_is_counted,
                    stored_once_through_two_stores_at_once, endpoints_do_not_share_keys,
                    a_duplicate_makes_no_dispatch, numbers_follow_the_order_of_the_batch,
                    an_event_for_nobody_is_kept, a_batch_of_any_size_is_whole, new_work_is_announced,
                    unusual_content_comes_back_unchanged, a_dropped_call_is_whole_or_nothing,
                }
                claiming {
                    everything_about_a_lease, the_limit_and_the_sink_are_obeyed, nothing_before_its_time,
                    next_due_says_how_long_to_wait, two_workers_never_hold_one_lease,
                    an_expired_lease_comes_back, a_lease_given_back_leaves_nothing,
                    leases_of_an_earlier_process_end_at_once, a_paused_sink_gives_nothing,
                    what_is_claimed_late_ages_no_more_than_a_wait, a_claim_takes_no_more_bytes_than_it_may,
                    dispatches_without_an_event_hide_nobody,
                }
                finishing {
                    each_answer_leads_to_its_state, an_old_token_changes_nothing, finished_once_however_often_sent,
                    the_answers_follow_the_batch, a_retry_at_once_wakes_the_sink, a_held_one_is_looked_at_again,
                    a_target_that_wants_no_more_pauses_its_sink, a_large_batch_is_whole,
                    what_was_looked_at_for_weeks_does_not_die_of_one_bad_answer, failures_alone_add_up,
                    an_unused_lease_begins_no_age, waiting_is_no_error_of_the_sink,
                    the_last_error_of_a_batch_is_the_latest, a_leased_one_shows_no_next_attempt,
                }
                handing_over {
                    an_offer_that_is_taken_needs_no_claim, what_is_not_taken_is_pending_and_announced,
                    an_unfinished_one_keeps_its_lane, of_one_batch_the_first_of_an_invoice_is_taken,
                    a_known_event_takes_no_offer, without_an_order_nothing_blocks,
                    a_lease_that_nobody_used_comes_back, a_dead_one_tried_again_waits_for_what_is_under_way,
                    the_counts_are_right_at_every_step,
                }
                ordering {
                    the_next_of_an_invoice_waits, the_next_goes_at_once_after_each_end,
                    two_of_one_invoice_are_never_claimed_together, held_and_waiting_ones_block,
                    other_invoices_and_sinks_do_not_wait, order_none_ignores_invoices,
                    a_dead_one_retried_goes_before_later_ones, a_long_queue_does_not_hide_others,
                    an_expired_lease_keeps_its_place,
                    an_expired_lease_that_has_to_wait_is_pending, one_invoices_backlog_lets_others_have_their_turn,
                }
                operating {
                    retry_and_cancel_touch_only_what_they_may, a_replay_is_a_new_dispatch,
                    pausing_and_resuming, the_status_of_sinks, a_retry_without_payload_is_none,
                    many_replays_are_one_change_in_order, a_selection_is_read_at_once,
                    a_large_backlog_is_counted_as_it_changes, counts_that_were_spoiled_are_corrected,
                }
                erasing {
                    an_erased_invoice_keeps_everything_but_its_payloads, what_a_worker_had_is_not_sent_again,
                    a_large_invoice_is_erased_whole, erasing_nothing_writes_nothing,
                }
                listing {
                    events_are_filtered, events_are_paged, dispatches_are_filtered, dispatches_are_paged,
                    an_event_with_all_that_belongs_to_it, what_is_not_there_is_none,
                    a_selection_is_walked_from_the_oldest_on,
                    a_search_says_how_far_it_looked, a_search_for_a_sink_says_how_far_it_looked,
                }
                keeping {
                    payloads_go_first_then_events, unfinished_work_keeps_its_event, a_purge_obeys_its_limit,
                    unfinished_work_is_passed_once_a_round, what_finishes_late_is_purged_later,
                    an_event_of_a_wrong_clock_is_found_after_the_doubt, an_id_alone_makes_nothing_old,
                    a_clock_that_jumped_is_doubted_first,
                    what_was_stored_judges_the_first_clock, what_a_clock_set_back_has_postponed_comes_back,
                    ready_only_with_the_schema, migrating_twice_applies_nothing,
                    everything_survives_reopening,
                }
                link {
                    a_seed_is_kept_once, two_that_seed_at_once_keep_it_once,
                    an_intent_is_the_only_one_of_its_endpoint, of_many_that_begin_at_once_one_begins,
                    a_schedule_is_followed_once, an_intent_that_nobody_holds_is_taken_over,
                    a_slow_holder_may_still_end_it, one_in_doubt_waits_for_its_next_try,
                    of_many_that_take_over_one_gets_it, unreadable_answers_are_left_to_a_person,
                    a_persons_word_ends_what_nobody_holds, a_new_secret_that_is_configured_is_a_persons_word, a_finished_rotation_changes_the_secrets,
                    a_known_secret_becomes_active_again, the_same_change_is_made_once,
                    an_answer_that_comes_late_is_kept, a_late_answer_contests_who_asks_now,
                    a_failed_one_changes_nothing_and_makes_room,
                    the_intents_of_an_earlier_process_are_due_at_once, a_secret_ends_in_time,
                    a_new_master_key_replaces_every_live_text, a_webhook_is_remembered,
                    the_trail_is_read_page_by_page, every_change_is_announced, the_link_survives_reopening,
                }
                activity {
                    the_latest_time_stays, one_that_was_never_heard_of_is_watched_from_the_first_note,
                    a_trial_write_leaves_everything_as_it_is, a_time_from_the_future_becomes_now,
                }
                breaker {
                    a_success_and_a_persons_word_are_signs, who_is_paused_is_told_without_counting,
                }
                ledger {
                    an_event_has_one_payment_and_a_payment_one_event, of_many_events_one_gets_the_payment,
                    a_booking_is_begun_once, who_names_the_token_takes_over, what_has_changed_is_not_taken_over,
                    one_payment_of_an_invoice_at_a_time, only_what_was_not_written_is_withdrawn,
                    what_is_sent_is_said_before, the_line_says_until_when_a_write_may_come, who_lost_it_sends_nothing,
                    a_booking_goes_on_under_its_token, of_many_that_begin_one_begins,
                    of_a_taker_and_a_holder_one_goes_on, of_a_taker_and_a_sender_both_know,
                    a_persons_word_settles_what_is_not_finished, a_word_that_settles_nothing_changes_nothing,
                    of_many_words_one_counts, nobody_sends_behind_a_word, what_was_written_is_added_up,
                    bookings_are_listed_newest_first, finished_bookings_go_when_they_are_old,
                    assignments_stay_as_long_as_the_ledger, an_erasure_keeps_the_ledger,
                    what_is_known_of_a_payment_is_found, what_was_learned_is_kept_with_the_assignment, undecided_events_of_an_invoice_are_told,
                    the_ledger_survives_reopening,
                }
                noticing {
                    what_waits_for_one_cause_is_told_once_with_a_count, only_a_change_is_news,
                    of_many_that_look_one_tells, a_pause_and_its_end_are_told_to_the_others,
                    what_fails_to_tell_tells_nothing, rotations_are_told_from_the_trail, a_digest_is_made_once_a_day,
                }
                payments {
                    payments_are_listed_under_their_events, what_is_unfinished_is_found,
                    everything_about_a_payment_is_read_together, a_late_announcement_is_told_with_the_first_event,
                    a_payment_outlives_its_event,
                }
                reconciling {
                    one_runs_at_a_time_for_each_endpoint, a_pass_is_its_holders_until_its_lease_ends,
                    a_step_that_is_stored_twice_is_one, a_payment_is_filled_once_whoever_fills_it,
                }
                counting {
                    processes_add_to_the_same_counts, a_batch_is_added_once_however_often_it_is_sent,
                    the_largest_backlog_of_an_hour_is_kept, old_counts_are_deleted,
                }
                visiting {
                    a_session_is_found_until_it_ends, a_session_ends_by_itself, a_link_lets_visitors_in_until_it_ends,
                    nobody_fills_the_table,
                }
                spoiled {
                    times_at_both_ends_of_the_calendar_come_back, a_spoiled_event_hides_no_other,
                    a_spoiled_dispatch_hides_no_other, a_spoiled_time_stops_no_claim,
                }
                model { random_operations_agree_with_the_model }
            }
        }
    )*};
}

macro_rules! cases {
    ($fixture:ident: $($subject:ident { $($case:ident),* $(,)? })*) => {$(
        mod $subject {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let fixture = crate::store::$fixture().await;
                crate::store::contract::$subject::$case(&fixture).await;
            }
        )*}
    )*};
}

/// The lease of [`claim`].
const LEASE: Duration = Duration::from_mins(1);

/// A time at which everything is due that a store has written by its own clock.
fn start() -> Timestamp {
    clock::now() + Duration::from_hours(1)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn sink(name: &str) -> SinkName {
    SinkName::new(name).unwrap()
}

/// An event for the sink `erp`, without an invoice; the key is its identity.
fn event(key: &str) -> NewEvent {
    received(key, clock::now())
}

/// The same, received at a certain time.
fn received(key: &str, at: Timestamp) -> NewEvent {
    let millis = u64::try_from(at.as_millisecond()).unwrap();
    let time =
        uuid::Timestamp::from_unix(uuid::NoContext, millis / 1000, u32::try_from(millis % 1000).unwrap() * 1_000_000);
    NewEvent {
        id: EventId(Uuid::new_v7(time)),
        endpoint: EndpointName::new("main").unwrap(),
        dedupe_key: DedupeKey::of_message(key.as_bytes()),
        event_type: "payment.received".into(),
        invoice_id: None,
        occurred_at: None,
        // What a store keeps: microseconds.
        received_at: clock::from_micros(clock::to_micros(at)).unwrap(),
        readable: true,
        content_type: Some("application/json".into()),
        payload: format!(r#"{{"event":"payment.received","key":"{key}"}}"#).into_bytes().into(),
        sinks: vec![sink("erp")],
    }
}

/// An event of an invoice.
fn of_invoice(invoice: &str, key: &str) -> NewEvent {
    NewEvent { invoice_id: Some(invoice.into()), ..event(key) }
}

/// Claims for a sink, in order per invoice.
async fn claim_of(store: &dyn Store, name: &str, limit: u32, now: Timestamp) -> Claimed {
    let sink = sink(name);
    store
        .claim_due(Claim {
            sink: &sink,
            order: Order::Invoice,
            limit,
            lease: LEASE,
            longest_wait: Duration::MAX,
            now: Some(now),
        })
        .await
        .unwrap()
}

/// Claims what is due for `erp`.
async fn claim(store: &dyn Store, now: Timestamp) -> Vec<LeasedDispatch> {
    claim_of(store, "erp", 1000, now).await.dispatches
}

/// Claims what must be exactly one.
async fn claim_one(store: &dyn Store, now: Timestamp) -> LeasedDispatch {
    let claimed = claim(store, now).await;
    let [one] = <[LeasedDispatch; 1]>::try_from(claimed).unwrap_or_else(|all| panic!("claimed {}, not 1", all.len()));
    one
}

/// Which keys were claimed; [`event`] writes them into the payload.
fn keys(claimed: &[LeasedDispatch]) -> Vec<String> {
    let key = |dispatch: &LeasedDispatch| {
        let body: serde_json::Value = serde_json::from_slice(&dispatch.payload).unwrap();
        body["key"].as_str().unwrap().to_owned()
    };
    claimed.iter().map(key).collect()
}

fn attempt(lease: &LeasedDispatch, outcome: Outcome, next: Next) -> FinishedAttempt {
    FinishedAttempt {
        id: lease.id,
        token: lease.token,
        sink: sink("erp"),
        started_at: clock::from_micros(1_700_000_000_000_001).unwrap(),
        duration: Duration::from_micros(1234),
        outcome,
        next,
    }
}

fn delivered(lease: &LeasedDispatch) -> FinishedAttempt {
    attempt(lease, Outcome::Delivered, Next::Delivered)
}

fn retried(lease: &LeasedDispatch, after: Duration) -> FinishedAttempt {
    attempt(lease, Outcome::Retry { reason: "503 from the target".into(), after: None }, Next::Pending { after })
}

fn rejected(lease: &LeasedDispatch) -> FinishedAttempt {
    attempt(lease, Outcome::Rejected { reason: "400 from the target".into() }, Next::Dead)
}

fn held(lease: &LeasedDispatch, recheck_after: Option<Duration>) -> FinishedAttempt {
    let outcome = Outcome::Hold { reason: "look at it".into(), recheck_after };
    attempt(lease, outcome, Next::Held { recheck_after })
}

fn waiting(lease: &LeasedDispatch, after: Duration) -> FinishedAttempt {
    let outcome = Outcome::Wait { reason: "the payment is still pending".into(), after };
    attempt(lease, outcome, Next::Pending { after })
}

/// Records attempts that must all be recorded.
async fn finish(store: &dyn Store, attempts: &[FinishedAttempt], now: Timestamp) {
    let answers = store.finish_attempts(attempts, Some(now)).await.unwrap();
    assert_eq!(answers, vec![Finish::Recorded; attempts.len()]);
}

/// A dispatch that is there.
async fn dispatch(store: &dyn Store, id: DispatchId) -> Dispatch {
    store.dispatch(id).await.unwrap().expect("the dispatch is there").0
}

async fn state(store: &dyn Store, id: DispatchId) -> State {
    dispatch(store, id).await.state
}

/// Every dispatch of the store, oldest first.
async fn all_dispatches(store: &dyn Store) -> Vec<Dispatch> {
    let page = store.list_dispatches(&DispatchFilter::default(), 100_000).await.unwrap();
    assert!(!page.more);
    page.rows.into_iter().rev().collect()
}

/// What a purge answers that found nothing.
fn nothing() -> finkare_relay::store::Purged {
    finkare_relay::store::Purged::default()
}

async fn count_events(store: &dyn Store) -> usize {
    store.list_events(&EventFilter::default(), 100_000).await.unwrap().rows.len()
}

async fn status(store: &dyn Store, name: &str) -> SinkStatus {
    let all = store.sink_statuses().await.unwrap();
    all.into_iter().find(|status| status.name == name).expect("the sink is known")
}

/// Waits for a wake-up of `erp`, with a bound.
async fn woken(notify: &Arc<tokio::sync::Notify>) {
    tokio::time::timeout(secs(10), notify.notified()).await.expect("the sink was woken");
}

/// Empties what an earlier announcement left behind, so that the next one can be seen.
async fn quiet(notify: &Arc<tokio::sync::Notify>) {
    while tokio::time::timeout(Duration::from_millis(50), notify.notified()).await.is_ok() {}
}
