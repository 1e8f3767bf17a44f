//! `[[sinks]]`: the targets, with the keys that every kind has in common.

use std::{collections::BTreeSet, num::NonZeroU32, ops::RangeInclusive, time::Duration};

use super::{Breaker, Endpoint, RateLimit, Sink, kind};
use crate::{
    ingest::route::{Filter, Selection},
    model::{
        dispatch::{Order, RetryPolicy},
        id::{EndpointName, SinkName},
    },
    options::{
        problem::{Place, did_you_mean, listed},
        section::Section,
    },
    sinks::{Kind, stdout},
};

/// The first wait, the longest wait, and three days until a dispatch is given up: a weekend.
const RETRY: (f64, u64, u64) = (5.0, 21_600, 259_200);
/// Failures in a row before a target counts as sick, and the time between two probes then.
const BREAKER: (u64, f64) = (10, 30.0);
/// Fractions are for tests and for the impatient; shorter waits than this are not kept anyway.
const FRACTIONAL: RangeInclusive<f64> = 0.05..=86_400.0;
/// A year.
const LONGEST_SECS: u64 = 31_536_000;

/// The event types that Finkare documents (<https://docs.finkare.io/api-reference/webhooks>). The
/// list there may not be complete, so another type is no mistake, but a near one most likely is.
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
/// `named` are the names of all endpoints, also of those that have a problem.
pub(super) fn read(root: &mut Section<'_>, endpoints: &[Endpoint], named: &[EndpointName]) -> (Vec<Sink>, bool) {
    let environment = root.environment();
    let sections = root.sections("sinks");
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
        return (one(section, name, endpoints, named).into_iter().collect(), false);
    }
    let mut sinks: Vec<Sink> = Vec::new();
    let mut names: Vec<SinkName> = Vec::new();
    for mut section in sections {
        let name = name(&mut section, &names);
        names.extend(name.clone());
        sinks.extend(one(section, name, endpoints, named));
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

/// Where events go if nobody says where: everybody sees that they arrive.
fn standard_output() -> Sink {
    let kind = Kind::Stdout(stdout::Options::default());
    Sink {
        name: SinkName::new("stdout").expect("the name is good"),
        events: Selection::All,
        endpoints: None,
        enrich: false,
        live: false,
        filter: None,
        order: Order::default(),
        concurrency: default_concurrency(&kind),
        timeout: kind.default_timeout(),
        rate_limit: None,
        retry: RetryPolicy {
            initial: Duration::from_secs_f64(RETRY.0),
            max: Duration::from_secs(RETRY.1),
            give_up_after: Duration::from_secs(RETRY.2),
        },
        breaker: Breaker { failures: non_zero(BREAKER.0), probe: Duration::from_secs_f64(BREAKER.1) },
        kind,
    }
}

fn name(section: &mut Section<'_>, earlier: &[SinkName]) -> Option<SinkName> {
    if !section.has("name") {
        section.problem("name", "is missing: a sink needs a name");
    }
    let text = section.text("name")?;
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
fn one(mut section: Section<'_>, name: Option<SinkName>, known: &[Endpoint], named: &[EndpointName]) -> Option<Sink> {
    let events = events(&mut section);
    if !section.has("endpoints") {
        one_company_alone(&section, known);
    }
    let endpoints = of_endpoints(&mut section, named);
    let live = live(&mut section, endpoints.as_deref(), known);
    let enrich = enrich(&mut section, endpoints.as_deref(), live, known);
    let filter = section.text("filter").and_then(|source| match Filter::compile(&source) {
        Ok(filter) => Some(filter),
        Err(word) => {
            section.problem("filter", format!("`{source}` is no expression: {word}"));
            None
        }
    });
    let order = order(&mut section);
    let concurrency = section.whole_if_set("concurrency", &(1..=1024));
    let timeout = section.whole_if_set("timeout_secs", &(1..=300)).map(Duration::from_secs);
    let rate_limit = rate_limit(&mut section, "rate_limit");
    let retry = retry(section.section("retry"));
    let breaker = breaker(section.section("breaker"));
    // The last reader: it knows the kind's own keys, so that it can tell which keys are unknown.
    let kind = kind::read(section, enrich)?;
    Some(Sink {
        name: name?,
        events,
        endpoints,
        enrich,
        live,
        filter,
        order,
        concurrency: concurrency.map_or_else(|| default_concurrency(&kind), non_zero),
        timeout: timeout.unwrap_or_else(|| kind.default_timeout()),
        rate_limit,
        retry,
        breaker,
        kind,
    })
}

fn default_concurrency(kind: &Kind) -> NonZeroU32 {
    non_zero(kind.default_concurrency().into())
}

/// A number that was checked to be at least 1 and no more than a million.
fn non_zero(number: u64) -> NonZeroU32 {
    u32::try_from(number).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN)
}

fn events(section: &mut Section<'_>) -> Selection {
    // One text is taken only if it is the star, so that nobody takes it for a pattern.
    let types = if section.is_text("events", "*") {
        section.text("events").map(|star| vec![star])
    } else {
        section.texts("events")
    };
    let Some(types) = types else { return Selection::Types(Selection::DEFAULT.map(str::to_owned).to_vec()) };
    if types.is_empty() {
        section.problem("events", "is empty, so that nothing would ever be sent: name event types, or write \"*\"");
    }
    for (index, event) in types.iter().enumerate() {
        let key = format!("events[{index}]");
        if event.is_empty() || (event.contains('*') && event != "*") {
            section
                .problem(&key, format!("`{event}` is no event type: there are no patterns but \"*\" for everything"));
        } else if !DOCUMENTED_EVENTS.contains(&event.as_str()) {
            let meant = did_you_mean(event, DOCUMENTED_EVENTS);
            if !meant.is_empty() {
                section.notice(&key, format!("`{event}` is no type that Finkare documents{meant}"));
            }
        }
    }
    if types.iter().any(|event| event == "*") { Selection::All } else { Selection::Types(types) }
}

fn of_endpoints(section: &mut Section<'_>, known: &[EndpointName]) -> Option<Vec<EndpointName>> {
    let texts = section.texts("endpoints")?;
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

/// The invoices of two companies may have the same numbers, so that books without `endpoints` would get the payments of all.
fn one_company_alone(section: &Section<'_>, known: &[Endpoint]) {
    if known.len() > 1 && is_invoicing(section) {
        let names = listed(known.iter().map(|endpoint| endpoint.name.as_str()));
        section.problem(
            "endpoints",
            format!(
                "is missing: there are several endpoints ({names}), and a payment must not come into the books of another \
                 company, whose invoices may have the same numbers. Name those that belong to these books"
            ),
        );
    }
}

/// A live sink must not be fed by the sandbox: naming such an endpoint is a contradiction, and where all
/// are meant, those of the sandbox are left out. Invoicing software is live unless the operator says otherwise: money
/// that does not exist must not come into the books.
fn live(section: &mut Section<'_>, chosen: Option<&[EndpointName]>, known: &[Endpoint]) -> bool {
    let is_invoicing = is_invoicing(section);
    if !section.flag("live", is_invoicing) {
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
                "is set{}, and `endpoints` names what belongs to Finkare's sandbox: {names}. Take it out there, or {}",
                if is_invoicing { " by default for invoicing software" } else { "" },
                if is_invoicing { "write `live = false` for a test company" } else { "leave out `live`" }
            ),
        );
    } else {
        section.notice("live", format!("events of the sandbox do not go here; of these endpoints: {names}"));
    }
    true
}

/// Known before the kind itself is read, because of what it means for the keys that all have in common.
fn is_invoicing(section: &Section<'_>) -> bool {
    Kind::INVOICING.iter().any(|kind| section.is_text("type", kind))
}

fn order(section: &mut Section<'_>) -> Order {
    let given: Option<Order> = section.word("order", &["invoice", "none"]);
    if Kind::LOOKING.iter().any(|kind| section.is_text("type", kind)) {
        // Each payment waits for a person there, so that the next one would wait behind it without a word.
        if given == Some(Order::Invoice) {
            section.notice(
                "order",
                "`invoice` has no effect here: nothing is written, so that each payment is told at once and none waits for \
                 another; leave it out",
            );
        }
        return Order::None;
    }
    let order = given.unwrap_or_default();
    if order == Order::None && is_invoicing(section) {
        section.problem(
            "order",
            "`none` cannot be used with invoicing software: the payments of an invoice are booked one after the other",
        );
    }
    order
}

/// What Finkare says of an event has to be asked for with the key of its endpoint; invoicing software needs it in any
/// case.
fn enrich(section: &mut Section<'_>, chosen: Option<&[EndpointName]>, live: bool, known: &[Endpoint]) -> bool {
    let is_set = section.flag("enrich", false);
    let is_invoicing = is_invoicing(section);
    if is_set && is_invoicing {
        section.problem("enrich", "is for other targets: invoicing software gets invoice and payment in any case");
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
    if (is_set || is_invoicing) && !keyless.is_empty() {
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

/// `{ requests = 5, per_secs = 1 }`, both required.
pub(super) fn rate_limit(section: &mut Section<'_>, key: &'static str) -> Option<RateLimit> {
    let mut limit = section.section_if_set(key)?;
    for part in ["requests", "per_secs"] {
        if !limit.has(part) {
            limit.problem(part, "is missing: write { requests = 600, per_secs = 300 } for 600 requests in 5 minutes");
        }
    }
    let requests = limit.whole_if_set("requests", &(1..=1_000_000));
    let per_secs = limit.whole_if_set("per_secs", &(1..=86_400));
    limit.finish();
    Some(RateLimit { requests: non_zero(requests?), per: Duration::from_secs(per_secs?) })
}

fn retry(mut section: Section<'_>) -> RetryPolicy {
    let initial = section.fractional_secs("initial_secs", &FRACTIONAL, RETRY.0);
    let max = section.secs("max_secs", &(1..=604_800), RETRY.1);
    let give_up_after = section.secs("give_up_after_secs", &(1..=LONGEST_SECS), RETRY.2);
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
    let failures = non_zero(section.whole("failures", &(1..=1_000_000), BREAKER.0));
    let probe = section.fractional_secs("probe_secs", &FRACTIONAL, BREAKER.1);
    section.finish();
    Breaker { failures, probe }
}

/// Two sinks that rotate one file would lose each other's lines.
fn one_file_each(root: &Section<'_>, sinks: &[Sink]) {
    let files = || {
        sinks.iter().filter_map(|sink| match &sink.kind {
            Kind::File(options) => Some((&sink.name, &options.path)),
            _ => None,
        })
    };
    for (index, (name, path)) in files().enumerate() {
        if let Some((other, _)) = files().take(index).find(|(_, earlier)| *earlier == path) {
            root.problem(
                "sinks",
                format!("`{other}` and `{name}` write to the same file, `{}`: give each its own", path.display()),
            );
        }
    }
}

/// Two sinks that keep the same books would book each payment twice; neither knows of what the other did.
fn one_company_each(root: &Section<'_>, sinks: &[Sink]) {
    let books = || sinks.iter().filter_map(|sink| Some((sink, sink.kind.company()?)));
    for (index, (sink, company)) in books().enumerate() {
        let same =
            |(other, theirs): &(&Sink, (String, String))| other.kind.name() == sink.kind.name() && *theirs == company;
        if let Some((other, _)) = books().take(index).find(same) {
            root.problem(
                "sinks",
                format!(
                    "`{}` and `{}` keep the same books ({} at {}, the same company): a payment would be booked there twice. Keep \
                     one of them, and name in its `endpoints` all that belong to that company",
                    other.name,
                    sink.name,
                    sink.kind.name(),
                    company.0
                ),
            );
        }
    }
}
