//! The options of plain sinks, and those that all sinks have.

use super::*;

#[test]
fn a_sink_with_everything() {
    let text = http_sink(
        "secret = 'whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz'
headers = { 'X-Team' = 'billing', authorization = { env = 'A' } }
connect_timeout_secs = 2
events = ['payment.received', 'x.y']
endpoints = ['default']
filter = 'data.amountCents >= 10000'
order = 'none'
concurrency = 1024
timeout_secs = 300
rate_limit = { requests = 600, per_secs = 300 }
retry = { initial_secs = 0.05, max_secs = 1, give_up_after_secs = 1 }
breaker = { failures = 1, probe_secs = 0.5 }",
    );
    let config = good(&text, &[("A", "Bearer x")]);
    let sink = &config.sinks[0];
    let options: &http::Options = sink.kind.options().unwrap();
    assert_eq!(options.headers["authorization"].expose(), "Bearer x");
    assert_eq!((options.headers.len(), options.connect_timeout_secs), (2, 2));
    assert_eq!(sink.order, Order::None);
    assert_eq!(sink.retry.initial, Duration::from_millis(50));
    assert_eq!(sink.breaker.probe, Duration::from_millis(500));
    assert_eq!(sink.rate_limit.unwrap().per, Duration::from_mins(5));
    assert_eq!(sink.endpoints.as_ref().unwrap()[0].as_str(), "default");
    assert_eq!(sink.filter, Some(crate::ingest::route::Filter::compile("data.amountCents >= 10000").unwrap()));
    assert_eq!(config.notices, Vec::<String>::new());
}

#[test]
fn enrich_needs_an_api_key_wherever_events_come_from() {
    let two = |first: &str, sink: &str| {
        let second = endpoint("").replace("'e'", "'other'").replace("/hooks", "/other");
        format!("{}{second}{}", endpoint(first), http_sink(&format!("enrich = true\n{sink}")))
    };
    let key = "api_key = 'fk_live_x'";
    assert!(good(&two(key, "endpoints = ['e']"), &[]).sinks[0].enrich);
    assert!(!good(&http_sink(""), &[]).sinks[0].enrich);
    let needs = "sinks[0] (erp).enrich: needs Finkare's API for every endpoint that feeds the sink: set `api_key`, with \
                 the scopes `invoices:read` and `payments:read`, at ";
    one_problem(&two(key, ""), &[], &format!("{needs}`other`; or"));
    one_problem(&two("", ""), &[], &format!("{needs}`e`, `other`; or"));
    one_problem(&http_sink("enrich = 1"), &[], "sinks[0] (erp).enrich: 1 is not `true` or `false`");
}

#[test]
fn a_template_is_read_with_the_configuration() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let key = endpoint("api_key = 'fk_live_x'");
    for options in [
        "template = '{{ payload }}'",
        "template = '{{ event.id }}'\ncontent_type = 'text/plain; charset=utf-8'",
        "enrich = true\ntemplate = '{{ payment.amount_cents | decimal }}'",
    ] {
        let config = good(&format!("{key}{}", http_sink(options)), &[]);
        let http: &http::Options = config.sinks[0].kind.options().unwrap();
        assert!(http.template.is_some());
        http::Http::new(http, config.sinks[0].timeout).unwrap_or_else(|error| panic!("{options}: {error}"));
    }
    for (options, expected) in [
        ("template = \"{\\n{{ event.id }\"", "template: cannot be read: line 2 of the template: "),
        ("template = '{{ payment.id }}'", "template: uses `payment`, which only a sink with `enrich = true` has"),
        ("content_type = 'text/plain'", "content_type: is for the result of `template`"),
        ("template = 'x'\ncontent_type = ''", "content_type: is not a content type"),
        ("template = 'x'\ncontent_type = \"a\\nb\"", "content_type: is not a content type"),
        ("template = 5", "template: is not a text in quotes"),
    ] {
        one_problem(&http_sink(options), &[], &format!("sinks[0] (erp).{expected}"));
    }
}

#[test]
fn the_kinds_have_their_own_concurrency() {
    let text = format!(
        "{}[[sinks]]\nname = 's'\ntype = 'stdout'\n[[sinks]]\nname = 'f'\ntype = 'file'\npath = 'x'",
        http_sink("")
    );
    let concurrency: Vec<_> = good(&text, &[]).sinks.iter().map(|sink| sink.concurrency.get()).collect();
    assert_eq!(concurrency, [8, 256, 256]);
}

/// What configuration takes, the sink takes too: nothing is left for a second round of mistakes.
#[test]
fn an_http_sink_that_is_configured_can_be_built() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    for option in ["", "secret = 'whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz'", "headers = { accept = 'x', x-team = 'y' }"]
    {
        let config = good(&http_sink(option), &[]);
        let sink = &config.sinks[0];
        sink.kind
            .build(sink.timeout, || unreachable!("it is no invoicing sink"))
            .unwrap_or_else(|error| panic!("{option}: {error}"));
    }
    for name in [
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "webhook-id",
    ] {
        let option = format!("headers = {{ {name} = 'v' }}");
        one_problem(&http_sink(&option), &[], &format!("sinks[0] (erp).headers.{name}: is set"));
    }
}

#[test]
fn stars() {
    for all in ["'*'", "['*']", "['payment.received', '*']"] {
        assert_eq!(good(&http_sink(&format!("events = {all}")), &[]).sinks[0].events, Selection::All);
    }
    let config = good(&http_sink("events = ['payment.recieved']"), &[]);
    assert!(config.notices[0].contains("(did you mean `payment.received`?)"), "{:?}", config.notices);
}

#[test]
fn wrong_sinks() {
    for (option, expected) in [
        ("events = []", "events: is empty"),
        ("events = 'payment.received'", "events: \"payment.received\" is not a list of texts"),
        ("events = ['payment.*']", "events[0]: `payment.*` is not an event type"),
        ("events = [1]", "events[0]: 1 is not a text in quotes"),
        ("endpoints = []", "endpoints: is empty"),
        (
            "endpoints = ['defualt']",
            "endpoints[0]: there is no endpoint `defualt` (did you mean `default`?); there is `default`",
        ),
        ("filter = 'data.amountCents >='", "filter: `data.amountCents >=` is not an expression: "),
        ("order = 'fifo'", "order: `fifo` is not one of `invoice`, `none`"),
        ("concurrency = 0", "concurrency: 0 is not from 1 to 1024"),
        ("concurrency = 1025", "concurrency: 1025 is not"),
        ("timeout_secs = 0", "timeout_secs: 0 is not from 1 to 300"),
        ("timeout_secs = 1.5", "timeout_secs: 1.5 is not a whole number"),
        ("rate_limit = { requests = 0, per_secs = 1 }", "rate_limit.requests: 0 is not from"),
        ("rate_limit = 5", "rate_limit: 5 is not a table"),
        ("retry = { initial_secs = 0.01 }", "retry.initial_secs: 0.01 is not from 0.05"),
        ("retry = { initial_secs = 5, max_secs = 4 }", "retry.initial_secs: 5 is more than max_secs (4)"),
        (
            "retry = { max_secs = 100, give_up_after_secs = 99 }",
            "retry.max_secs: 100 is more than give_up_after_secs (99)",
        ),
        ("retry = { inital_secs = 1 }", "retry.inital_secs: unknown key (did you mean `initial_secs`?)"),
        ("breaker = { failures = 0 }", "breaker.failures: 0 is not from 1"),
        ("breaker = { probe_secs = nan }", "breaker.probe_secs: NaN is not from 0.05"),
        ("secret = 'abc'", "secret: the signing secret does not begin with `whsec_`: make one with"),
        ("secret = 'whsec_a*b'", "secret: the signing secret is not base64 behind its `whsec_`"),
        ("secret = 'whsec_'", "secret: the signing secret has 0 bytes, not 24 to 64"),
        ("secret = 'whsec_YWJjZA=='", "secret: the signing secret has 4 bytes, not 24 to 64"),
        ("headers = { 'x y' = 'v' }", "headers.x y: is not a header's name"),
        ("headers = { x = \"a\\nb\" }", "headers.x: has a character that no header may have"),
        ("headers = { Webhook-Id = 'v' }", "headers.Webhook-Id: is set by the relay itself"),
        ("headers = { x-relay-event = 'v' }", "headers.x-relay-event: is set by the relay itself"),
        ("headers = { Content-Type = 'v' }", "headers.Content-Type: is set by the relay itself"),
        ("headers = { webhook-anything = 'v' }", "headers.webhook-anything: is set by the relay itself"),
        ("headers = { x-a = '1', X-A = '2' }", "headers.x-a: is there twice"),
        ("connect_timeout_secs = 0", "connect_timeout_secs: 0 is not 1 or more: nothing could connect"),
        ("connect_timeout_secs = 'x'", "connect_timeout_secs: \"x\" is not a whole number"),
        ("path = 'x'", "path: unknown key; known are "),
        ("time_out_secs = 5", "time_out_secs: unknown key (did you mean `timeout_secs`?)"),
    ] {
        one_problem(&http_sink(option), &[], &format!("sinks[0] (erp).{expected}"));
    }
    let sink = |rest: &str| format!("[[sinks]]\nname = 's'\n{rest}");
    for (rest, expected) in [
        (
            "",
            "type: is missing: write one of `stdout`, `file`, `http`, `email`, `chat`, `facturation_pro`, `efactori`, `tiime`, `fastfaktura`",
        ),
        (
            "type = 'htp'",
            "type: `htp` is not one of `stdout`, `file`, `http`, `email`, `chat`, `facturation_pro`, `efactori`, `tiime`, `fastfaktura` (did you mean `http`?)",
        ),
        ("type = 'nats'\nsubject = 'x'", "type: `nats` is not in this version: it has `stdout`"),
        ("type = 'http'", "url: is missing"),
        ("type = 'http'\nurl = 'erp'", "url: is not a URL: relative URL without a base"),
        ("type = 'http'\nurl = 'ftp://erp'", "url: does not begin with `https://` or `http://`"),
        (
            "type = 'http'\nurl = 'http://a:b@c'\nheaders = { Authorization = 'x' }",
            "url: contains a user, and `headers`",
        ),
        ("type = 'file'\npath = ''", "path: `` does not name a file"),
        ("type = 'stdout'\nurl = 'x'", "url: unknown key"),
    ] {
        one_problem(&sink(rest), &[], &format!("sinks[0] (s).{expected}"));
    }
    one_problem(&sink("type = 'file'"), &[], "sinks[0] (s).path: is missing: name the file");
    for path in ["/", "..", "folder/"] {
        one_problem(&sink(&format!("type = 'file'\npath = '{path}'")), &[], "sinks[0] (s).path: `");
    }
    // All of a kind's own options are looked at, not only up to the first that is wrong.
    assert_eq!(wrong(&sink("type = 'file'\npath = 5\nmax_bytes = -1\nmxa_bytes = 1"), &[]).len(), 3);
    one_problem(&http_sink("").repeat(2), &[], "sinks[1] (erp).name: there are two sinks `erp`");
    let file = sink("type = 'file'\npath = 'x'\n");
    one_problem(
        &format!("{file}{}", file.replace("'s'", "'t'")),
        &[],
        "sinks: `s` and `t` write to the same file, `x`",
    );
    one_problem("", &[("RELAY_SINK_URL", "erp")], "RELAY_SINK_URL: is not a URL");
    one_problem("", &[("RELAY_SINK_SECRET", "whsec_abcd")], "RELAY_SINK_SECRET: is set without RELAY_SINK_URL");
}
