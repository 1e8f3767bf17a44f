//! `[[sinks]]`: the targets, with the keys that every kind has in common.

use std::{collections::BTreeSet, num::NonZeroU32, ops::RangeInclusive, time::Duration};

use ::outgoing::Egress;

use super::{Breaker, Endpoint, RateLimit, Sink};
use crate::{
    ingest::route::{Filter, Selection},
    model::{
        dispatch::{Order, RetryPolicy},
        id::{EndpointName, SinkName},
        notice::{self, NoticeType},
    },
    options::{
        problem::{Place, did_you_mean, listed},
        section::{Key, Section},
    },
    sinks::{
        kind::{self, Kind, Row},
        options::{Company, Family, Surroundings},
        stdout,
    },
};

/// The first wait, the longest wait, and three days until a dispatch is given up: a weekend.
const RETRY: (f64, u64, u64) = (5.0, 21_600, 259_200);
/// The number of failures in a row that trips a sink, and the seconds between two probes after that.
const BREAKER: (NonZeroU32, f64) = (NonZeroU32::new(10).unwrap(), 30.0);
/// Fractions are for tests. The relay does not keep shorter waits anyway.
const FRACTIONAL: RangeInclusive<f64> = 0.05..=86_400.0;
/// A year.
const LONGEST_SECS: u64 = 31_536_000;

/// The event types that Finkare documents (<https://docs.finkare.io/api-reference/webhooks>). The
/// list there may not be complete, so an unknown type is not a mistake, but a similar one probably is.
const DOCUMENTED_EVENTS: [&str; 6] = [
    "payment.received",
    "payment.failed",
    "invoice.status_changed",
    "invoice.created",
    "invoice.updated",
    "workflow.action_triggered",
];

/// Reads the sinks. The flag is true if none is configured and standard output takes its place.
///
/// `named` has the names of all endpoints, including those that have a problem; `kinds` has all kinds of sinks.
pub(super) fn read(
    root: &mut Section<'_>,
    endpoints: &[Endpoint],
    named: &[EndpointName],
    egress: &Egress,
    kinds: &[Row],
) -> (Vec<Sink>, bool) {
    let known = Known { endpoints, named, kinds, egress };
    let environment = root.environment();
    let sections = key(root).tables();
    if sections.is_empty() {
        let url = environment.get("RELAY_SINK_URL", root.report());
        let secret = environment.get("RELAY_SINK_SECRET", root.report());
        if url.is_none() {
            if let Some(secret) = secret {
                root.report().problem(&secret.place, "is set without RELAY_SINK_URL: set that too, or unset this");
            }
            return (vec![standard_output()], true);
        }
        let mut section = Section::beside(root, "sinks (default)");
        section.put("name", "default");
        section.put("type", "http");
        section.lay_over("url", url);
        section.lay_over("secret", secret);
        let name = name(&mut section, &[]);
        return (one(section, name, known).into_iter().collect(), false);
    }
    let mut sinks: Vec<Sink> = Vec::new();
    let mut names: Vec<SinkName> = Vec::new();
    for mut section in sections {
        let name = name(&mut section, &names);
        names.extend(name.clone());
        sinks.extend(one(section, name, known));
    }
    one_file_each(root, &sinks);
    one_company_each(root, &sinks);
    for variable in ["RELAY_SINK_URL", "RELAY_SINK_SECRET"] {
        if environment.is_set_in_vain(variable) {
            root.report().notice(&Place::variable(variable), "is set but not used, because [[sinks]] is configured");
        }
    }
    (sinks, false)
}

fn key<'s, 'r>(root: &'s mut Section<'r>) -> Key<'s, 'r> {
    root.key(
        "sinks",
        "One for each target. Without any, `RELAY_SINK_URL` and `RELAY_SINK_SECRET` describe an `http` sink named \
         `default`; without these too, events go to standard output.",
    )
}

/// Describes the keys of every kind, under `sinks[http]` and so on.
pub(super) fn describe(root: &mut Section<'_>, kinds: &[Row]) {
    let _ = key(root).tables();
    for row in kinds {
        let mut section = root.within(&format!("sinks[{}]", row.name), toml::Table::new());
        section.put("type", row.name);
        let name = name(&mut section, &[]);
        let _ = one(section, name, Known { endpoints: &[], named: &[], kinds, egress: &Egress::default() });
    }
}

/// The endpoints and kinds that a sink may refer to.
#[derive(Clone, Copy)]
struct Known<'k> {
    endpoints: &'k [Endpoint],
    /// The names of all endpoints, including those that have a problem.
    named: &'k [EndpointName],
    kinds: &'k [Row],
    /// How calls leave.
    egress: &'k Egress,
}

/// The default sink: standard output, where people see that events arrive.
fn standard_output() -> Sink {
    let kind = Kind::from(stdout::Options);
    Sink {
        name: SinkName::new("stdout").expect("the name is good"),
        events: Selection::All,
        endpoints: None,
        enrich: false,
        live: false,
        filter: None,
        order: Order::default(),
        concurrency: concurrency_of(kind.row()),
        timeout: Duration::from_secs(kind.row().timeout_secs),
        rate_limit: None,
        retry: RetryPolicy {
            initial: Duration::from_secs_f64(RETRY.0),
            max: Duration::from_secs(RETRY.1),
            give_up_after: Duration::from_secs(RETRY.2),
        },
        breaker: Breaker { failures: BREAKER.0, probe: Duration::from_secs_f64(BREAKER.1) },
        kind,
    }
}

fn name(section: &mut Section<'_>, earlier: &[SinkName]) -> Option<SinkName> {
    let text = section
        .key("name", "Its name. The database identifies a sink by its name, so a new name is a new sink.")
        .allowed("1 to 63 letters, digits, `-`, `_` and `.`")
        .required("a sink needs a name")
        .text()?;
    match SinkName::new(&text) {
        Ok(name) => {
            section.call(&text);
            if earlier.contains(&name) {
                section.problem("name", format!("there are two sinks `{name}`: give each its own name"));
            }
            Some(name)
        }
        Err(error) => {
            section.problem("name", error.to_string());
            None
        }
    }
}

/// Reads one sink; `None` if it has no usable name, type or options of its kind.
fn one(mut section: Section<'_>, name: Option<SinkName>, known: Known<'_>) -> Option<Sink> {
    let row = kind::named(&mut section, known.kinds);
    // Without a usable type, the other keys are checked as for a plain target.
    let family = row.map_or(Family::Plain, |row| row.family);
    let (concurrency, timeout_secs) = row.map_or((NonZeroU32::MIN, 10), |row| (concurrency_of(row), row.timeout_secs));
    let events = events(&mut section, family.is_invoicing());
    if !section.has("endpoints") {
        one_company_alone(&section, family, known.endpoints);
    }
    let endpoints = of_endpoints(&mut section, known.named);
    let live = live(&mut section, family, endpoints.as_deref(), known.endpoints);
    let enrich = enrich(&mut section, family, endpoints.as_deref(), live, known.endpoints);
    let filter = filter(&mut section);
    let order = order(&mut section, family);
    let concurrency = section
        .key("concurrency", "How many attempts run at the same time, in each process.")
        .whole_or(NonZeroU32::MIN..=const { NonZeroU32::new(1024).unwrap() }, concurrency);
    let timeout =
        section.key("timeout_secs", "How long a whole attempt may take, in seconds.").secs_or(1..=300, timeout_secs);
    let rate_limit = rate_limit(
        section.key(
            "rate_limit",
            "The largest number of attempts in any period of this length, in each process. After a start or a reload the \
             count begins again. An attempt counts until one period after its end, so that the target never counts more.",
        ),
        "attempts",
    );
    let retry = retry(section.key("retry", "When to retry, and when to give up.").table());
    let breaker = breaker(
        section
            .key("breaker", "When to trip the sink because its target fails: then it gets one attempt at a time until one succeeds.")
            .table(),
    );
    // The kind reads its keys last, so that it can report the remaining keys as unknown.
    let kind = row?.read(section, Surroundings { is_enriched: enrich, egress: known.egress })?;
    Some(Sink {
        name: name?,
        events,
        endpoints,
        enrich,
        live,
        filter,
        order,
        concurrency,
        timeout,
        rate_limit,
        retry,
        breaker,
        kind,
    })
}

/// The keys of every sink that `[defaults.sinks]` may have; its name is its own.
pub(super) const COMMON: [&str; 12] = [
    "type",
    "events",
    "endpoints",
    "live",
    "enrich",
    "filter",
    "order",
    "concurrency",
    "timeout_secs",
    "rate_limit",
    "retry",
    "breaker",
];

fn concurrency_of(row: Row) -> NonZeroU32 {
    NonZeroU32::new(row.concurrency).unwrap_or(NonZeroU32::MIN)
}

fn events(section: &mut Section<'_>, is_invoicing: bool) -> Selection {
    let types = section
        .key(
            "events",
            "The types of events that it gets. `\"*\"` is every event of Finkare's, including unknown and unreadable ones; \
             `\"relay.*\"` is every event of the relay's own.",
        )
        .allowed("event types, or `\"*\"`")
        .texts_or_star(&Selection::DEFAULT);
    let Some(types) = types else { return Selection::Types(Selection::DEFAULT.map(str::to_owned).to_vec()) };
    if is_invoicing && types.iter().any(|event| notice::is_own(event)) {
        section.problem(
            "events",
            "names the relay's own events, which are for people: invoicing software gets none of them",
        );
    }
    if types.is_empty() {
        section.problem("events", "is empty, so that nothing would ever be sent: name event types, or write \"*\"");
    }
    for (index, event) in types.iter().enumerate() {
        let key = format!("events[{index}]");
        if notice::is_own(event) {
            let known = || NoticeType::ALL.iter().map(|kind| kind.as_str()).chain([notice::ALL]);
            if known().all(|known| known != event) {
                let meant = did_you_mean(event, known());
                section.problem(&key, format!("`{event}` is not one of the relay's own events{meant}"));
            }
        } else if event.is_empty() || (event.contains('*') && event != "*") {
            section.problem(
                &key,
                format!("`{event}` is not an event type: the only patterns are \"*\", for everything, and \"relay.*\""),
            );
        } else if !DOCUMENTED_EVENTS.contains(&event.as_str()) {
            let meant = did_you_mean(event, DOCUMENTED_EVENTS);
            if !meant.is_empty() {
                section.notice(&key, format!("`{event}` is not a type that Finkare documents{meant}"));
            }
        }
    }
    let has_own = types.iter().any(|event| notice::is_own(event));
    if !has_own && types.iter().any(|event| event == "*") { Selection::All } else { Selection::Types(types) }
}

fn of_endpoints(section: &mut Section<'_>, known: &[EndpointName]) -> Option<Vec<EndpointName>> {
    let texts = section
        .key("endpoints", "Only events of these endpoints.")
        .allowed("names of endpoints")
        .otherwise("all")
        .texts()?;
    if texts.is_empty() {
        section.problem(
            "endpoints",
            "is empty, so that nothing would ever be sent: name endpoints, or leave it out for all",
        );
    }
    let names = || known.iter().map(EndpointName::as_str).collect::<BTreeSet<_>>();
    let there_is = match names() {
        none if none.is_empty() => "no endpoint has a usable name".to_owned(),
        names => format!("there is {}", listed(names)),
    };
    let mut chosen = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match known.iter().find(|name| name.as_str() == text) {
            Some(name) => chosen.push(name.clone()),
            None => section.problem(
                &format!("endpoints[{index}]"),
                format!("there is no endpoint `{text}`{}; {there_is}", did_you_mean(text, names())),
            ),
        }
    }
    Some(chosen)
}

/// Two companies may have invoices with the same numbers, so books without `endpoints` would get the payments of both.
fn one_company_alone(section: &Section<'_>, family: Family, known: &[Endpoint]) {
    if known.len() > 1 && family.is_invoicing() {
        let names = listed(known.iter().map(|endpoint| endpoint.name.as_str()));
        section.problem(
            "endpoints",
            format!(
                "is missing: there are several endpoints ({names}), and a payment must not be booked for another company, \
                 whose invoices may have the same numbers. Name the endpoints that belong to these books"
            ),
        );
    }
}

/// A live sink must not get events of the sandbox. To name such an endpoint is a contradiction; if all endpoints are meant,
/// those of the sandbox are left out. Invoicing software is live unless the operator says otherwise, because money that
/// does not exist must not be booked.
fn live(section: &mut Section<'_>, family: Family, chosen: Option<&[EndpointName]>, known: &[Endpoint]) -> bool {
    let is_live = section
        .key(
            "live",
            "The sink is for real events only: it gets none from endpoints of Finkare's sandbox (an API key `fk_test_…`, or \
             the sandbox's address). For a test company in invoicing software, write `false`.",
        )
        .flag_or(family.is_invoicing());
    if !is_live {
        return false;
    }
    let is_fed = |name: &EndpointName| chosen.is_none_or(|chosen| chosen.contains(name));
    let sandbox: Vec<_> = known.iter().filter(|endpoint| endpoint.is_sandbox() && is_fed(&endpoint.name)).collect();
    if sandbox.is_empty() {
        return true;
    }
    let names = listed(sandbox.iter().map(|endpoint| endpoint.name.as_str()));
    if chosen.is_some() {
        section.problem(
            "live",
            format!(
                "is set{}, and `endpoints` names endpoints of Finkare's sandbox: {names}. Remove these, or {}",
                if family.is_invoicing() { " by default for invoicing software" } else { "" },
                if family.is_invoicing() { "write `live = false` for a test company" } else { "leave out `live`" }
            ),
        );
    } else {
        section.notice("live", format!("the sink does not get events of the sandbox, which are those of: {names}"));
    }
    true
}

fn filter(section: &mut Section<'_>) -> Option<Filter> {
    let source = section
        .key(
            "filter",
            "The sink gets only events for whose body this expression is true, such as `data.amountCents >= 10000`. Each \
             alternative of an `or` is judged by itself. An alternative that needs a missing field is no match \
             ([exactly](decisions/0008-a-missing-field-is-not-a-match.md)), and neither is one that compares a number with a \
             text ([why](decisions/0030-unlike-kinds-are-not-compared.md)): write `data.amountCents | int >= 10000` if the \
             field is a text with a number.",
        )
        .allowed("an expression over the body")
        .text()?;
    match Filter::compile(&source) {
        Ok(filter) => Some(filter),
        Err(word) => {
            section.problem("filter", format!("`{source}` is not an expression: {word}"));
            None
        }
    }
}

fn order(section: &mut Section<'_>, family: Family) -> Order {
    let default = if family == Family::Watching { Order::None } else { Order::Invoice };
    let is_given = section.has("order");
    let order = section
        .key(
            "order",
            "`invoice`: the next event of an invoice waits until the earlier one is delivered or given up. `none`: no event \
             waits. `facturation_pro` and `efactori` allow only `invoice`; it has no effect for `tiime` and `fastfaktura`.",
        )
        .word_or(&[("invoice", Order::Invoice), ("none", Order::None)], default);
    match family {
        Family::Plain => order,
        Family::Booking => {
            if order == Order::None {
                section.problem(
                    "order",
                    "`none` cannot be used with invoicing software: the payments of an invoice are booked one after the other",
                );
            }
            order
        }
        // There each payment waits for a person, so the next one would wait behind it without being reported.
        Family::Watching => {
            if is_given && order == Order::Invoice {
                section.notice(
                    "order",
                    "`invoice` has no effect here: nothing is written, so each payment is reported at once, and none waits \
                     for another; leave it out",
                );
            }
            Order::None
        }
    }
}

/// Finkare's data about an event is read with the API key of its endpoint. Invoicing software always needs it.
fn enrich(
    section: &mut Section<'_>,
    family: Family,
    chosen: Option<&[EndpointName]>,
    live: bool,
    known: &[Endpoint],
) -> bool {
    let is_set = section
        .key(
            "enrich",
            "Adds Finkare's data about the invoice and the payment: `resolved` in lines, `invoice` and `payment` in a \
             template. An event waits until its data is known. It needs `api_key` at the endpoints, and is not for invoicing \
             software, which always gets both.",
        )
        .flag_or(false);
    if is_set && family.is_invoicing() {
        section.problem("enrich", "is for other targets: invoicing software always gets the invoice and the payment");
        return false;
    }
    let feeds = |endpoint: &&Endpoint| {
        chosen.is_none_or(|chosen| chosen.contains(&endpoint.name)) && !(live && endpoint.is_sandbox())
    };
    let keyless: Vec<&str> = known
        .iter()
        .filter(feeds)
        .filter(|endpoint| endpoint.api_key.is_none())
        .map(|endpoint| endpoint.name.as_str())
        .collect();
    if (is_set || family.is_invoicing()) && !keyless.is_empty() {
        section.problem(
            if is_set { "enrich" } else { "type" },
            format!(
                "needs Finkare's API for every endpoint that feeds the sink: set `api_key`, with the scopes `invoices:read` \
                 and `payments:read`, at {}; or name others in `endpoints`",
                listed(keyless)
            ),
        );
    }
    is_set
}

/// `{ requests = 5, per_secs = 1 }`, both required. `what` is the thing that is counted.
pub(super) fn rate_limit(key: Key<'_, '_>, what: &str) -> Option<RateLimit> {
    const EXAMPLE: &str = "write { requests = 600, per_secs = 300 } for 600 requests in 5 minutes";
    let mut limit = key.table_if_set()?;
    let meaning = if what == "calls" { "The number of calls." } else { "The number of attempts." };
    let requests = limit
        .key("requests", meaning)
        .required(EXAMPLE)
        .whole(NonZeroU32::MIN..=const { NonZeroU32::new(1_000_000).unwrap() });
    let per_secs = limit.key("per_secs", "The period, in seconds.").required(EXAMPLE).whole(1..=86_400_u64);
    limit.finish();
    Some(RateLimit { requests: requests?, per: Duration::from_secs(per_secs?) })
}

fn retry(mut section: Section<'_>) -> RetryPolicy {
    let initial = section
        .key(
            "initial_secs",
            "The first wait is a random part of this time, in seconds; the time doubles with each retry. Not above `max_secs`.",
        )
        .fractional_secs_or(FRACTIONAL, RETRY.0);
    let max = section
        .key(
            "max_secs",
            "The longest wait that the relay chooses by itself, in seconds. Not above `give_up_after_secs`.",
        )
        .secs_or(1..=604_800, RETRY.1);
    let give_up_after = section
        .key(
            "give_up_after_secs",
            "An event is given up this long after its first attempt, in seconds. A time without attempts (the sink was paused \
             or tripped, the service was off) counts as `max_secs` at most.",
        )
        .secs_or(1..=LONGEST_SECS, RETRY.2);
    let secs = |duration: Duration| duration.as_secs_f64();
    if initial > max {
        section.problem("initial_secs", format!("{} is more than max_secs ({})", secs(initial), secs(max)));
    }
    if max > give_up_after {
        section.problem("max_secs", format!("{} is more than give_up_after_secs ({})", secs(max), secs(give_up_after)));
    }
    section.finish();
    RetryPolicy { initial, max, give_up_after }
}

fn breaker(mut section: Section<'_>) -> Breaker {
    let failures = section
        .key("failures", "How many failures in a row trip the sink.")
        .whole_or(NonZeroU32::MIN..=const { NonZeroU32::new(1_000_000).unwrap() }, BREAKER.0);
    let probe = section
        .key("probe_secs", "A tripped sink gets one attempt per this time, in seconds.")
        .fractional_secs_or(FRACTIONAL, BREAKER.1);
    section.finish();
    Breaker { failures, probe }
}

/// Two sinks that rotate one file would lose each other's lines.
fn one_file_each(root: &Section<'_>, sinks: &[Sink]) {
    let files = || sinks.iter().filter_map(|sink| Some((&sink.name, sink.kind.file()?)));
    for (index, (name, path)) in files().enumerate() {
        if let Some((other, _)) = files().take(index).find(|(_, earlier)| *earlier == path) {
            root.problem(
                "sinks",
                format!("`{other}` and `{name}` write to the same file, `{}`: give each its own", path.display()),
            );
        }
    }
}

/// Two sinks that keep the same books would book each payment twice, because neither knows about the other's bookings.
fn one_company_each(root: &Section<'_>, sinks: &[Sink]) {
    let books = || sinks.iter().filter_map(|sink| Some((sink, sink.kind.company()?)));
    for (index, (sink, company)) in books().enumerate() {
        let same = |(other, theirs): &(&Sink, Company)| other.kind.name() == sink.kind.name() && *theirs == company;
        if let Some((other, _)) = books().take(index).find(same) {
            root.problem(
                "sinks",
                format!(
                    "`{}` and `{}` keep the same books ({} at {}, the same company): a payment would be booked there twice. Keep \
                     one of them, and name in its `endpoints` all that belong to that company",
                    other.name,
                    sink.name,
                    sink.kind.name(),
                    company.address
                ),
            );
        }
    }
}
