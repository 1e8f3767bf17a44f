//! The webhooks, option by option.

use super::*;

#[test]
fn an_endpoint_with_everything() {
    let config = good(
        "[[endpoints]]
name = 'sandbox'
path = '/hooks/sandbox'
secret = 'whsec_a'
secrets = ['whsec_b', { env = 'C' }, 'whsec_a']
webhook_id = 'e5f6a7b8-c1d2-9012-ef01-345678901bcd'
api_key = 'fk_test_1'
api_url = 'https://api-sandbox.finkare.io'
api_rate_limit = { requests = 5, per_secs = 2 }
api_timeout_secs = 7
api_max_retries = 0
api_paths = { rotate_secret = '/webhooks/{id}/rotate', invoice = '/v2/invoices/{id}' }
api_update_method = 'PATCH'
payment_patience_secs = 0
payment_window_days = 31
rotate_every_days = 90
rotate_overlap_secs = 0
dedupe = '/data/a~1b/~0'
signature_over = 'either'
secret_encoding = 'stripped'",
        &[("C", "whsec_c"), ("FINKARE_API_KEY", "fk_live_1")],
    );
    let endpoint = &config.endpoints[0];
    let secrets: Vec<_> = endpoint.secrets.iter().map(crate::model::secret::Secret::expose).collect();
    assert_eq!(secrets, ["whsec_a", "whsec_b", "whsec_c"], "each once");
    assert_eq!(endpoint.dedupe, Dedupe::Pointer("/data/a~1b/~0".into()));
    assert_eq!(endpoint.signature_over, SignatureOver::Either);
    assert_eq!(endpoint.secret_encoding, SecretEncoding::Stripped);
    assert!(endpoint.api_key.is_some() && endpoint.api_url.is_some());
    assert!(config.notices.len() == 1 && config.notices[0].starts_with("FINKARE_API_KEY: is set but not used"));
    let days = |days: u64| Duration::from_secs(days * 86_400);
    assert_eq!((endpoint.rotate_every, endpoint.rotate_overlap), (Some(days(90)), Duration::ZERO));
    let api = endpoint.api().unwrap();
    assert_eq!(api.api_key.expose(), "fk_test_1");
    assert_eq!(api.api_url.unwrap().as_str(), "https://api-sandbox.finkare.io/");
    assert_eq!((api.timeout, api.max_retries), (Duration::from_secs(7), 0));
    assert_eq!((api.rate_limit.0.get(), api.rate_limit.1), (5, Duration::from_secs(2)));
    assert_eq!(
        (api.paths.rotate_secret.as_str(), api.paths.invoice.as_str()),
        ("/webhooks/{id}/rotate", "/v2/invoices/{id}")
    );
    assert_eq!((api.paths.webhook, api.paths.deliveries), (Paths::default().webhook, Paths::default().deliveries));
    assert_eq!(api.update_method, UpdateMethod::Patch);
    assert_eq!((endpoint.payment_patience, endpoint.payment_window), (Duration::ZERO, days(31)));
    assert_eq!(config.payment_window_days(), [(endpoint.name.as_str().to_owned(), 31)].into());
}

#[test]
fn finkares_api_has_careful_defaults() {
    let config = good(&endpoint("api_key = 'fk_live_1'"), &[]);
    let api = config.endpoints[0].api().unwrap();
    assert_eq!((api.timeout, api.max_retries), (Duration::from_secs(30), 3), "as in the vendor's SDK");
    assert_eq!((api.rate_limit.0.get(), api.rate_limit.1), (5, Duration::from_secs(5)));
    assert_eq!((api.paths, api.update_method, api.api_url), (Paths::default(), UpdateMethod::Put, None));
    assert_eq!(config.endpoints[0].rotate_every, None, "never by itself");
    assert_eq!(config.endpoints[0].rotate_overlap, crate::link::DEFAULT_OVERLAP);
    assert!(good(&endpoint(""), &[]).endpoints[0].api().is_none(), "nothing can be asked without a key");
}

#[test]
fn age_and_silence_have_their_bounds() {
    let read = |options: &str| good(&endpoint(options), &[]).endpoints.remove(0);
    assert_eq!((read("").max_age, read("").silence_alarm), (None, None), "off");
    assert_eq!(read("max_age_days = 399").max_age, Some(Duration::from_hours(24 * 399)));
    assert_eq!(read("silence_alarm_hours = 8760").silence_alarm, Some(Duration::from_hours(8760)));
    for (options, problem) in [
        ("max_age_days = 0", "max_age_days: 0 is not from 1"),
        ("max_age_days = 400", "max_age_days: 400 is not less than retention.dedupe_days (400)"),
        ("silence_alarm_hours = 0", "silence_alarm_hours: 0 is not from 1"),
        ("silence_alarm_hours = 8761", "silence_alarm_hours: 8761 is not from 1"),
    ] {
        one_problem(&endpoint(options), &[], &format!("endpoints[0] (e).{problem}"));
    }
    let kept = "[retention]\npayload_days = 7\ndedupe_days = 8\n";
    assert!(good(&format!("{kept}{}", endpoint("max_age_days = 7")), &[]).endpoints[0].max_age.is_some());
    one_problem(
        &format!("{kept}{}", endpoint("max_age_days = 8")),
        &[],
        "endpoints[0] (e).max_age_days: 8 is not less than retention.dedupe_days (8)",
    );
}

#[test]
fn the_sandbox_is_known_by_its_key_or_its_address() {
    for (options, expected) in [
        ("", false),
        ("api_key = 'fk_live_1'", false),
        ("api_key = 'fk_test_1'", true),
        ("api_key = 'fk_live_1'\napi_url = 'https://api-sandbox.finkare.io/api/v1'", true),
        ("api_url = 'https://API-Sandbox.finkare.io'", true),
        ("api_url = 'https://api-sandbox.finkare.io.example.com'", false),
        ("api_key = 'x_fk_test_1'", false),
    ] {
        assert_eq!(good(&endpoint(options), &[]).endpoints[0].is_sandbox(), expected, "{options}");
    }
}

#[test]
fn a_live_sink_is_not_fed_by_the_sandbox() {
    let two = format!(
        "{}[[endpoints]]\nname = 'real'\npath = '/real'\nsecret = 's'\n{{sink}}",
        endpoint("api_key = 'fk_test_1'")
    );
    let with = |options: &str| two.replace("{sink}", &http_sink(options));
    assert!(!good(&with(""), &[]).sinks[0].live, "it is asked for");
    let named = good(&with("live = true\nendpoints = ['real']"), &[]);
    assert!(named.sinks[0].live && named.notices.is_empty(), "{:?}", named.notices);
    let all = good(&with("live = true"), &[]);
    assert_eq!(
        all.notices,
        ["sinks[0] (erp).live: the sink does not get events of the sandbox, which are those of: `e`"]
    );
    assert!(good(&with("live = false\nendpoints = ['e']"), &[]).notices.is_empty());
    one_problem(
        &with("live = true\nendpoints = ['real', 'e']"),
        &[],
        "sinks[0] (erp).live: is set, and `endpoints` names endpoints of Finkare's sandbox: `e`. Remove these",
    );
    one_problem(&with("live = 'yes'"), &[], "sinks[0] (erp).live: \"yes\" is not `true` or `false`");
}

#[test]
fn with_an_api_key_no_secret_is_made_up() {
    let config = good("", &[("FINKARE_API_KEY", "fk_live_1")]);
    assert!(!config.made_up.secret && config.made_up.admin_token);
    assert_eq!(config.notices, Vec::<String>::new(), "the store may have one");
    assert!(good("", &[("FINKARE_API_KEY", "fk_live_1"), ("FINKARE_WEBHOOK_SECRET", "s")]).notices.is_empty());
    assert!(good("", &[]).made_up.secret);
}

#[test]
fn an_endpoint_without_a_secret_is_allowed() {
    let config = good("[[endpoints]]\nname = 'e'\npath = '/e'", &[]);
    assert!(config.endpoints[0].secrets.is_empty() && !config.made_up.secret);
    let pasted = good("", &[("FINKARE_WEBHOOK_SECRET", "whsec_x\n")]);
    assert!(pasted.notices[0].starts_with("FINKARE_WEBHOOK_SECRET: begins or ends with"), "{:?}", pasted.notices);
    // Whether the store has one is not known here; who has looked tells it.
    assert_eq!(config.notices, Vec::<String>::new());
    let with_key = good("[[endpoints]]\nname = 'e'\npath = '/e'\napi_key = 'fk_live_1'", &[]);
    assert_eq!(with_key.notices, Vec::<String>::new());
}

#[test]
fn wrong_endpoints() {
    for (option, expected) in [
        ("dedupe = 'id'", "dedupe: `id` is neither `message` nor a JSON pointer"),
        ("dedupe = '/a~2'", "dedupe: `/a~2` is neither"),
        ("dedupe = ''", "dedupe: `` is neither"),
        ("signature_over = 'body'", "signature_over: `body` is not one of `raw`, `reserialized`, `either`"),
        ("secret_encoding = 'Literal'", "secret_encoding: `Literal` is not one of"),
        ("webhook_id = '../x'", "webhook_id: is not an id"),
        ("webhook_id = ''", "webhook_id: is not an id"),
        ("api_url = 'http://api.finkare.io'", "api_url: is not https"),
        ("api_url = 'ftp://localhost'", "api_url: is not https"),
        ("api_url = 'api.finkare.io'", "api_url: is not a URL (relative URL without a base)"),
        ("api_url = 'https://api.finkare.io?x=1'", "api_url: has a `?`"),
        ("api_rate_limit = { requests = 5 }", "api_rate_limit.per_secs: is missing"),
        ("rotate_every_days = 0\napi_key = 'k'", "rotate_every_days: 0 is not from 1"),
        ("rotate_every_days = 90", "rotate_every_days: needs an `api_key`"),
        ("rotate_overlap_secs = 2592001", "rotate_overlap_secs: 2592001 is not from 0 to 2592000"),
        ("rotate_overlap_secs = -1", "rotate_overlap_secs: -1 is not from 0"),
        ("api_timeout_secs = 0", "api_timeout_secs: 0 is not from 1 to 300"),
        ("api_max_retries = 11", "api_max_retries: 11 is not from 0 to 10"),
        ("payment_patience_secs = 604801", "payment_patience_secs: 604801 is not from 0 to 604800"),
        ("payment_window_days = 0", "payment_window_days: 0 is not from 1 to 365"),
        ("payment_window_days = 366", "payment_window_days: 366 is not from 1 to 365"),
        ("api_update_method = 'put'", "api_update_method: `put` is not one of `PUT`, `PATCH`"),
        ("api_paths = '/x'", "api_paths: \"/x\" is not a table"),
        ("api_paths = { webhook = 'webhooks/{id}' }", "api_paths.webhook: `webhooks/{id}` does not begin with `/`"),
        ("api_paths = { deliveries = '/deliveries' }", "api_paths.deliveries: `/deliveries` has no `{id}`"),
        ("api_paths = { invoice = 5 }", "api_paths.invoice: 5 is not a text in quotes"),
        ("api_paths = { invoices = '/{id}' }", "api_paths.invoices: unknown key (did you mean `invoice`?)"),
        ("secrets = ['']", "secrets[0]: is empty"),
        ("secretes = ['a']", "secretes: unknown key (did you mean `secrets`?)"),
    ] {
        one_problem(&endpoint(option), &[], &format!("endpoints[0] (e).{expected}"));
    }
    let two = |name: &str, path: &str| {
        format!("{}[[endpoints]]\nname = '{name}'\npath = '{path}'\nsecret = 's'", endpoint(""))
    };
    good(&two("f", "/other"), &[]);
    one_problem(&two("e", "/other"), &[], "endpoints[1] (e).name: there are two endpoints `e`");
    one_problem(&two("f", "/hooks"), &[], "endpoints[1] (f).path: `/hooks` is also the path of the endpoint `e`");
    one_problem(&two("f g", "/other"), &[], "endpoints[1].name: `f g` is not a usable name");
    one_problem(&two("f", "/api/v1"), &[], "endpoints[1] (f).path: `/api/v1` is used by the service itself");
    assert_eq!(wrong("[[endpoints]]\nsecret = 's'", &[]).len(), 2, "name and path are missing");
    one_problem("endpoints = 5", &[], "endpoints: 5 is not a list of tables: begin each with [[endpoints]]");
    one_problem("[endpoints]\nname = 'e'", &[], "endpoints: a table is not a list of tables");
    one_problem("", &[("FINKARE_API_URL", "nonsense")], "FINKARE_API_URL: is not a URL");
}
