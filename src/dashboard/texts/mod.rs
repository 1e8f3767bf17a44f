//! What the pages say, in French and in English: one file for each language.
//!
//! Both are a [`Texts`], so a text that is missing in one language is a compile error; a test compares what they leave open.
//! `{name}` in a text is filled in ([`fill`]); `one|many` has a form for one and one for many ([`Texts::count`]).

use std::{borrow::Cow, fmt};

use askama::filters::{Escaper as _, Html, HtmlSafe};

use crate::{french, model::language::Language};

mod en;
mod fr;

macro_rules! texts {
    ($($name:ident),+ $(,)?) => {
        /// What the pages say in one language.
        #[derive(Debug)]
        pub(super) struct Texts {
            language: Language,
            $(pub(super) $name: &'static str),+
        }

        #[cfg(test)]
        impl Texts {
            fn all(&self) -> Vec<(&'static str, &'static str)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

texts! {
    other_language,
    other_language_code,
    colon,
    months,
    unit_day,
    just_now,
    soon,
    ago_span,
    in_span,
    skip,
    nav_label,
    nav_todo,
    nav_payments,
    nav_statement,
    nav_reconciliations,
    nav_events,
    nav_dispatches,
    nav_sinks,
    nav_endpoints,
    nav_refusals,
    nav_audit,
    nav_service,
    role_viewer,
    role_operator,
    role_admin,
    sign_in,
    sign_out,
    login_title,
    login_token,
    login_hint,
    login_wrong,
    login_slow,
    signed_in_as,
    refresh_pause,
    refresh_go,
    refresh_stopped,
    updated_at,
    copy,
    copied,
    back,
    cancel_form,
    undo,
    search,
    search_label,
    search_placeholder,
    reset,
    show,
    all,
    older,
    nothing_found,
    searched_until,
    since,
    since_day,
    until_day,
    col_event,
    col_type,
    col_received,
    col_endpoint,
    col_invoice,
    col_debtor,
    col_amount,
    col_payment,
    col_sink,
    col_kind,
    col_state,
    col_reason,
    col_backlog,
    col_held,
    col_dead,
    col_last_success,
    col_action,
    currency,
    details,
    when,
    by,
    subject,
    place,
    path,
    method,
    why,
    note,
    facts,
    created,
    total,
    state_pending,
    state_leased,
    state_delivered,
    state_held,
    state_dead,
    state_cancelled,
    sink_active,
    sink_paused,
    sink_tripped,
    sink_not_configured,
    booking_reserved,
    booking_sending,
    booking_written,
    booking_booked,
    booking_seen,
    report_running,
    report_done,
    report_failed,
    secret_active,
    secret_retiring,
    secret_expired,
    origin_configured,
    origin_registered,
    origin_rotated,
    trigger_event,
    trigger_replay,
    trigger_reconciliation,
    trigger_test,
    outcome_delivered,
    outcome_hold,
    outcome_rejected,
    outcome_retry,
    method_card,
    method_transfer,
    method_debit,
    method_link,
    next_done,
    next_waits,
    next_paused,
    next_in_doubt,
    next_nothing,
    todo_title,
    todo_nothing,
    todo_incomplete,
    sum_held,
    sum_dead,
    sum_sinks,
    sum_endpoints,
    sum_refusals,
    sum_differences,
    todo_held,
    todo_dead,
    todo_sinks,
    todo_endpoints,
    todo_refusals,
    todo_differences,
    today_title,
    what_to_do,
    newest_reason,
    oldest_one,
    last_one,
    see_n,
    see_them,
    n_held_for,
    n_dead_for,
    n_wait_there,
    n_refused,
    n_differences,
    days_from_to,
    stopped_paused,
    stopped_tripped,
    stopped_not_configured,
    endpoint_silent,
    endpoint_never,
    endpoint_attention,
    endpoint_doubt,
    endpoint_no_secret,
    means_held,
    means_dead,
    do_held_usual,
    do_dead_usual,
    refusals_title,
    refusals_hint,
    no_refusals,
    sender,
    bytes,
    request_id,
    refusal_wrong_secret,
    refusal_retired_secret,
    refusal_secret_known_since,
    refusal_header_missing,
    refusal_header_repeated,
    refusal_header_encoding,
    refusal_body_changed,
    refusal_scheme,
    refusal_no_secret,
    refusal_undecided,
    refusal_too_old,
    refusal_unknown_path,
    refusal_not_examined,
    events_title,
    events_hint,
    event_title,
    event_id,
    id_at_finkare,
    unreadable,
    reconciled,
    delivered_times,
    occurred,
    paid,
    payload,
    payload_gone,
    content_type,
    what_became,
    nobody_gets_it,
    send_again,
    which_sinks,
    which_sinks_hint,
    dispatch,
    attempts,
    attempt,
    next_attempt,
    next_look,
    waits_paused,
    waits_tripped,
    waits_not_configured,
    waits_for,
    retry,
    close_one,
    replay_title,
    replay_to_all,
    replay_to,
    replay_again,
    replay_books,
    replay_button,
    replay_matching,
    replay_n_events,
    replay_n_dispatches,
    replay_n_skipped,
    replay_n_button,
    dispatches_title,
    retry_all,
    close_all,
    retry_matching,
    close_matching,
    retry_ticked,
    close_ticked,
    tick,
    tick_all,
    retry_title,
    retry_means,
    retry_n,
    close_title,
    close_what,
    close_means,
    close_n,
    n_dispatches,
    at_least_n,
    at_least_n_events,
    none_of_the_newest,
    counted_in_part,
    retry_all_button,
    close_all_button,
    replay_all_button,
    sinks_title,
    sink_pause,
    sink_resume,
    sink_try_again,
    sink_test,
    sink_test_hint,
    test_delivered,
    test_failed,
    paused_since,
    next_probe,
    last_error,
    waits_for_person,
    try_title,
    try_hint,
    try_button,
    try_of,
    try_nothing_sent,
    try_gets,
    try_calls,
    try_not_made,
    try_taken,
    try_not_taken,
    try_broken,
    endpoints_title,
    last_delivery,
    secret,
    fingerprint,
    secrets_title,
    stored_at,
    valid_until,
    origin,
    next_rotation,
    every_n_days,
    webhook,
    webhook_unknown,
    registered_at,
    unfinished_change,
    tries,
    heals_itself,
    needs_person,
    in_doubt,
    no_secret,
    silent,
    in_order,
    sandbox,
    history_button,
    history_title,
    further,
    rotate_title,
    rotate_means,
    rotate_overlap,
    rotate_button,
    register_title,
    register_means,
    register_url,
    register_hint,
    register_events,
    register_description,
    register_button,
    registered_with_notes,
    settle_endpoint_title,
    settle_endpoint_means,
    settle_endpoint_question,
    settle_endpoint_current,
    settle_endpoint_other,
    settle_endpoint_button,
    payments_title,
    payments_hint,
    payments_open,
    payments_done,
    announced,
    where_it_stands,
    unknown_invoice,
    payment_title,
    payment_open,
    payment_waits,
    payment_closed,
    at_finkare,
    announced_by,
    announced_late,
    in_books,
    other_sinks,
    no_books,
    ledger,
    amount_there,
    id_there,
    means_booked,
    means_seen,
    means_done,
    means_waits,
    means_paused,
    means_in_doubt,
    means_nothing,
    do_in_doubt,
    settle_button,
    settle_title,
    settle_what,
    settle_question,
    settle_yes,
    settle_no,
    settle_target,
    settle_hint,
    reconciliations_title,
    reconciliations_what,
    reconciliation_title,
    reconcile_button,
    no_reconciliations,
    days,
    differences,
    started_at,
    finished_at,
    with_fill,
    equal,
    equal_long,
    unreadable_payments,
    sums,
    payments_count,
    on_their_way,
    announced_sum,
    cut,
    fill_label,
    fill_title,
    fill_means,
    fill_once,
    fill_offer,
    fill_button,
    difference_never_announced,
    difference_unknown_payment,
    difference_amount,
    difference_not_booked,
    difference_held,
    difference_dead,
    difference_refunded,
    difference_not_in_books,
    do_never_announced,
    do_unknown_payment,
    do_amount,
    do_not_booked,
    do_held,
    do_dead,
    do_refunded,
    do_not_in_books,
    statement_title,
    month,
    month_before,
    month_after,
    in_the_books,
    not_in_the_books,
    none_this_month,
    none_open,
    no_books_configured,
    statement_left_out,
    statement_all,
    statement_cut,
    download_csv,
    download_fec,
    fec_one_endpoint,
    audit_title,
    audit_hint,
    service_title,
    service_admin_only,
    reload_title,
    reload_means,
    reload_button,
    reloaded,
    reloaded_same,
    erase_heading,
    erase_title,
    erase_means,
    erase_never_back,
    erase_button,
    invoice_at_finkare,
    erased_payloads,
    erased_cancelled,
    erased_names,
    links_title,
    links_what,
    link_made,
    link_days,
    link_label,
    link_button,
    link_pages,
    link_seen,
    link_revoke,
    link_ended,
    done_retried,
    done_retried_some,
    done_cancelled,
    done_cancelled_some,
    done_goes_on,
    done_replayed,
    done_paused,
    done_resumed,
    done_tried_again,
    done_settled_recorded,
    done_settled_missing,
    done_rotated,
    done_registered,
    done_adopted,
    done_settled_secret,
    done_reconciling,
    done_revoked,
    done_signed_out,
    error_title,
    not_found_title,
    error_code,
    problem_not_found,
    problem_forbidden,
    problem_unavailable,
    problem_internal,
    problem_input,
    problem_wrong_state,
    problem_busy,
    problem_too_early,
    problem_finished,
    problem_payload_gone,
    problem_reconciling,
    problem_no_api_key,
    problem_not_linked,
    problem_in_flight,
    problem_finkare,
    problem_configuration,
    problem_form,
    problem_not_signed_in,
    problem_no_link,
    problem_no_tokens,
    problem_ambiguous,
    problem_cross_site,
    last_day,
    last_week,
    from_hour,
    pictures_hint,
    chart_numbers,
    chart_received,
    chart_sent,
    chart_backlog,
    chart_ack,
    backlog_most,
    ack_half,
    ack_most,
    series_accepted,
    series_duplicates,
    series_refused,
    series_delivered,
    series_retried,
    series_held,
    series_dead,
    figure_received,
    figure_refused,
    figure_delivered,
    figure_held,
    figure_dead,
    figure_delivered_day,
    figure_delivered_week,
    figure_retried_day,
    spark_says,
}

/// What the service has said elsewhere, for a page. English words on a French page are marked as such, so that a screen
/// reader pronounces them.
#[derive(Debug)]
pub(super) struct Quote<'t> {
    text: Cow<'t, str>,
    is_foreign: bool,
}

impl fmt::Display for Quote<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = if self.is_foreign { ("<span lang=\"en\">", "</span>") } else { ("", "") };
        f.write_str(before)?;
        Html.write_escaped_str(&mut *f, &self.text)?;
        f.write_str(after)
    }
}

impl HtmlSafe for Quote<'_> {}

impl Texts {
    /// The texts of a language.
    pub(super) const fn of(language: Language) -> &'static Self {
        match language {
            Language::Fr => &fr::TEXTS,
            Language::En => &en::TEXTS,
        }
    }

    /// A sentence that the service has said elsewhere: in the reader's language where it is known there.
    pub(super) fn quote<'t>(&self, said: &'t str) -> Quote<'t> {
        match self.language {
            Language::En => Quote { text: Cow::Borrowed(said), is_foreign: false },
            Language::Fr => match french::said(said) {
                Some(french) => Quote { text: Cow::Owned(french), is_foreign: false },
                None => Quote { text: Cow::Borrowed(said), is_foreign: true },
            },
        }
    }

    /// The same as plain text, for a file.
    pub(super) fn told<'t>(&self, said: &'t str) -> Cow<'t, str> {
        self.quote(said).text
    }

    /// A count that has not looked at everything.
    pub(super) fn at_least(&self, text: &str, n: u64) -> String {
        if n == 0 { self.none_of_the_newest.to_owned() } else { self.count(text, n) }
    }

    /// The form of a text for a number, with the number filled in. French says one for none, too.
    pub(super) fn count(&self, text: &str, n: u64) -> String {
        let is_one = n == 1 || (n == 0 && self.language == Language::Fr);
        let form = match text.split_once('|') {
            Some((one, many)) => {
                if is_one {
                    one
                } else {
                    many
                }
            }
            None => text,
        };
        fill(form, &[("n", &self.number(n))])
    }

    /// A number with its thousands apart, as the language writes it.
    pub(super) fn number(&self, n: u64) -> String {
        let digits = n.to_string();
        let mut number = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                number.push(if self.language == Language::Fr { '\u{202f}' } else { ',' });
            }
            number.push(digit);
        }
        number
    }

    /// What was done, by the word in the address; `None` for a word that is not known here.
    pub(super) fn done(&self, word: &str) -> Option<&'static str> {
        Some(match word {
            "retried" => self.done_retried,
            "retried_some" => self.done_retried_some,
            "cancelled" => self.done_cancelled,
            "cancelled_some" => self.done_cancelled_some,
            "goes_on" => self.done_goes_on,
            "replayed" => self.done_replayed,
            "paused" => self.done_paused,
            "resumed" => self.done_resumed,
            "tried_again" => self.done_tried_again,
            "settled_recorded" => self.done_settled_recorded,
            "settled_missing" => self.done_settled_missing,
            "rotated" => self.done_rotated,
            "registered" => self.done_registered,
            "adopted" => self.done_adopted,
            "settled_secret" => self.done_settled_secret,
            "reconciling" => self.done_reconciling,
            "revoked" => self.done_revoked,
            "signed_out" => self.done_signed_out,
            _ => return None,
        })
    }

    /// What a problem means, by its code; `None` for one that has no words of its own.
    pub(super) fn problem(&self, code: &str) -> Option<&'static str> {
        Some(match code {
            "wrong_state" => self.problem_wrong_state,
            "busy" => self.problem_busy,
            "too_early" => self.problem_too_early,
            "finished" | "nothing_to_settle" => self.problem_finished,
            "payload_gone" => self.problem_payload_gone,
            "reconciling" => self.problem_reconciling,
            "no_api_key" => self.problem_no_api_key,
            "endpoint_not_linked" => self.problem_not_linked,
            "rotation_in_flight" | "reload_in_flight" => self.problem_in_flight,
            "finkare_refused" | "finkare_unreachable" | "finkare_unreadable" | "finkare_unusable" => {
                self.problem_finkare
            }
            "bad_configuration" => self.problem_configuration,
            "form_token" | "no_form" => self.problem_form,
            "not_signed_in" => self.problem_not_signed_in,
            "no_such_link" => self.problem_no_link,
            "no_tokens" => self.problem_no_tokens,
            "ambiguous" => self.problem_ambiguous,
            "cross_site" => self.problem_cross_site,
            _ => return None,
        })
    }
}

/// A text with its places filled in: `{name}` becomes the value.
pub(super) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        filled.push_str(before);
        let Some((name, behind)) = after.split_once('}') else {
            filled.push('{');
            rest = after;
            continue;
        };
        match values.iter().find(|(known, _)| *known == name) {
            // A value is never looked at again: it may hold braces itself.
            Some((_, value)) => filled.push_str(value),
            None => filled.extend(["{", name, "}"]),
        }
        rest = behind;
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The places of a text.
    fn places(text: &str) -> BTreeSet<&str> {
        text.split('{').skip(1).filter_map(|part| part.split_once('}').map(|(name, _)| name)).collect()
    }

    #[test]
    fn both_languages_say_the_same() {
        let (fr, en) = (Texts::of(Language::Fr), Texts::of(Language::En));
        for ((name, french), (_, english)) in fr.all().into_iter().zip(en.all()) {
            assert!(!french.trim().is_empty() && !english.trim().is_empty(), "{name} is empty");
            // A form for one may say it in a word.
            let whole = |text: &'static str| places(text.rsplit('|').next().unwrap_or(text));
            assert_eq!(whole(french), whole(english), "{name} leaves different places open");
            assert_eq!(french.contains('|'), english.contains('|'), "{name} has forms in one language only");
            assert!(
                french.matches('|').count() <= 1 && !french.contains(['<', '>']) && !english.contains(['<', '>']),
                "{name}"
            );
        }
    }

    /// A sentence that is the same in both was probably forgotten.
    #[test]
    fn no_sentence_was_left_in_the_other_language() {
        let (fr, en) = (Texts::of(Language::Fr), Texts::of(Language::En));
        for ((name, french), (_, english)) in fr.all().into_iter().zip(en.all()) {
            assert!(french != english || french.split(' ').count() <= 2, "{name}: {french}");
        }
    }

    #[test]
    fn french_puts_its_spaces() {
        for (name, text) in Texts::of(Language::Fr).all() {
            for sign in [" :", " ;", " ?", " !"] {
                assert!(!text.contains(sign), "{name}: `{text}` needs a no-break space before `{sign}`");
            }
        }
    }

    #[test]
    fn numbers_have_their_forms() {
        let (fr, en) = (Texts::of(Language::Fr), Texts::of(Language::En));
        assert_eq!(
            (fr.count("{n} refus|{n} refus", 0).as_str(), en.count("{n} event|{n} events", 0).as_str()),
            ("0 refus", "0 events")
        );
        assert_eq!(fr.count("{n} envoi|{n} envois", 0), "0 envoi");
        assert_eq!(en.count("{n} event|{n} events", 1), "1 event");
        assert_eq!(fr.count("{n} envoi|{n} envois", 1_234_567), "1\u{202f}234\u{202f}567 envois");
        assert_eq!(en.number(12_345), "12,345");
    }

    #[test]
    fn what_is_filled_in_is_not_read_again() {
        assert_eq!(fill("{a} and {b} and {c}", &[("a", "{b}"), ("b", "2")]), "{b} and 2 and {c}");
        assert_eq!(fill("open { only", &[]), "open { only");
    }
}
