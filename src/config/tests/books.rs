//! The options of the sinks that keep books, kind by kind.

use super::*;
use crate::sinks::invoicing::efactori;

/// Invoicing software needs Finkare's API.
pub(super) const KEYED: [(&str, &str); 1] = [("FINKARE_API_KEY", "fk_live_1")];

pub(super) fn tiime_sink(options: &str) -> String {
    let required = [("company_id", "'77'"), ("token", "'a.b.c'"), ("i_accept_unofficial_api", "true")];
    with_required("tiime", &required, options)
}

pub(super) fn fastfaktura_sink(options: &str) -> String {
    with_required("fastfaktura", &[("api_key", "'ffk_x'")], options)
}

/// A sink with what it needs, except what the options say themselves.
fn with_required(kind: &str, required: &[(&str, &str)], options: &str) -> String {
    let mut text = format!("[[sinks]]\nname = 's'\ntype = '{kind}'\n{options}\n");
    for (key, value) in required.iter().filter(|(key, _)| !options.starts_with(key)) {
        writeln!(text, "{key} = {value}").unwrap();
    }
    text
}

#[test]
fn a_sink_that_only_looks_has_careful_defaults() {
    let config = good(&tiime_sink(""), &KEYED);
    let sink = &config.sinks[0];
    let options: &tiime::Options = sink.kind.options().unwrap();
    let common = &options.common;
    assert_eq!(common.base_url.as_str(), "https://chronos-api.tiime-apps.com/v1");
    assert_eq!(
        (options.app_version.to_str().unwrap(), options.page_size, options.lookup_max_pages),
        ("4.36.3", 100, 20)
    );
    assert!(options.suggest_transactions && common.status_map.is_empty());
    assert_eq!((sink.concurrency.get(), sink.timeout.as_secs(), common.recheck_secs), (1, 60, 21_600));
    let config = good(&fastfaktura_sink(""), &KEYED);
    let sink = &config.sinks[0];
    let options: &fastfaktura::Options = sink.kind.options().unwrap();
    assert_eq!(options.common.base_url.as_str(), "https://app.fastfaktura.io/api/v1");
    assert_eq!((options.list_key.as_str(), options.lookup_max_pages), ("auto", 50));
    assert_eq!(options.lookup_statuses, ["sent", "opened", "overdue", "paid"]);
    assert_eq!((sink.concurrency.get(), sink.timeout.as_secs()), (4, 60));
}

/// Each option good, and built; then bad, and told.
#[tokio::test]
async fn the_options_of_a_sink_that_only_looks() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let common = [
        "base_url = 'http://127.0.0.1:9/x'",
        "timezone = 'Europe/Brussels'",
        "number = '\"F-\" ~ invoice.number'",
        "status_map = { paid = 'paid', anything = 'any word' }",
        "settle_secs = 5",
        "not_found_secs = 0",
        "recheck_secs = 60",
        "api_limits = [{ requests = 2, per_secs = 3 }, { requests = 100, per_secs = 3600 }]",
    ];
    let tiime = ["app_version = '5.0.0'", "page_size = 500", "lookup_max_pages = 1000", "suggest_transactions = false"];
    let fast = ["list_key = 'rows'", "lookup_max_pages = 1", "lookup_statuses = []", "lookup_statuses = ['late']"];
    let texts = common.iter().chain(&tiime).map(|option| tiime_sink(option));
    for text in texts.chain(common.iter().chain(&fast).map(|option| fastfaktura_sink(option))) {
        let config = good(&text, &KEYED);
        let folder = tempfile::tempdir().unwrap();
        let sink = &config.sinks[0];
        let ledger = crate::store::sqlite::SqliteStore::open(&folder.path().join("x.db")).await.unwrap();
        let desk = crate::sinks::invoicing::Desk {
            resolver: std::sync::Arc::new(Nobody),
            ledger: std::sync::Arc::new(ledger),
            sink: sink.name.clone(),
            timeout: sink.timeout,
            payment_window_days: std::collections::HashMap::new(),
            transcript: None,
        };
        sink.kind.build(sink.timeout, || desk).unwrap_or_else(|error| panic!("{text}: {error}"));
    }
    for (option, key) in [
        ("base_url = 'ftp://x.example'", "base_url"),
        ("base_url = 'https://anna:hunter2@x.example'", "base_url"),
        ("base_url = 'https://x.example/?a=b'", "base_url"),
        ("base_url = 'x'", "base_url"),
        ("timezone = 'Paris'", "timezone"),
        ("number = '{{'", "number"),
        ("status_map = { paid = ' ' }", "status_map.paid"),
        ("settle_secs = 0", "settle_secs"),
        ("recheck_secs = 0", "recheck_secs"),
        ("api_limits = []", "api_limits"),
        ("lookup_max_pages = 0", "lookup_max_pages"),
        ("lookup_max_pages = 1001", "lookup_max_pages"),
        ("urll = 'x'", "urll"),
        ("headers = {}", "headers"),
    ] {
        for text in [tiime_sink(option), fastfaktura_sink(option)] {
            let problems = wrong(&text, &KEYED);
            let place = format!("sinks[0] (s).{key}: ");
            assert!(problems.len() == 1 && problems[0].starts_with(&place), "{text}\n{problems:#?}");
            assert!(!problems[0].contains("hunter2"), "{problems:?}");
        }
    }
    for (option, expected) in [
        ("company_id = '../x'", "sinks[0] (s).company_id: "),
        ("company_id = ''", "sinks[0] (s).company_id: "),
        ("company_id = 77", "sinks[0] (s).company_id: "),
        ("app_version = '4 30'", "sinks[0] (s).app_version: "),
        ("page_size = 0", "sinks[0] (s).page_size: "),
        ("page_size = 501", "sinks[0] (s).page_size: "),
        ("token = ''", "sinks[0] (s).token: "),
        ("token = \"hunter2\\nx\"", "sinks[0] (s).token: has a character"),
        ("token = { env = 'NOT_SET' }", "sinks[0] (s).token: "),
        (
            "i_accept_unofficial_api = false",
            "sinks[0] (s).i_accept_unofficial_api: `i_accept_unofficial_api` is not true",
        ),
    ] {
        one_problem(&tiime_sink(option), &KEYED, expected);
        assert!(!wrong(&tiime_sink(option), &KEYED)[0].contains("hunter2"));
    }
    for (option, expected) in [
        ("list_key = ''", "sinks[0] (s).list_key: "),
        ("lookup_statuses = ['']", "sinks[0] (s).lookup_statuses[0]: "),
        ("lookup_statuses = 'sent'", "sinks[0] (s).lookup_statuses: "),
        ("api_key = \"hunter2\\u0007\"", "sinks[0] (s).api_key: has a character"),
    ] {
        one_problem(&fastfaktura_sink(option), &KEYED, expected);
        assert!(!wrong(&fastfaktura_sink(option), &KEYED)[0].contains("hunter2"));
    }
    one_problem("[[sinks]]\nname = 's'\ntype = 'fastfaktura'", &KEYED, "sinks[0] (s).api_key: is missing");
    let text = "[[sinks]]\nname = 's'\ntype = 'tiime'\ncompany_id = '7'\ni_accept_unofficial_api = true";
    one_problem(text, &KEYED, "sinks[0] (s).token: is missing");
    // It has to be said, not left out.
    let text = "[[sinks]]\nname = 's'\ntype = 'tiime'\ncompany_id = '7'\ntoken = 'hunter2'";
    one_problem(text, &KEYED, "sinks[0] (s).i_accept_unofficial_api: ");

    for text in [tiime_sink("token = 'hunter2hunter2'"), fastfaktura_sink("api_key = 'hunter2hunter2'")] {
        let config = good(&text, &KEYED);
        let shown = format!("{config:?} {:?}", config.sinks[0].kind);
        assert!(!shown.contains("hunter2") && shown.contains("[redacted]"), "{shown}");
    }
}

/// For sinks that are only built.
#[derive(Debug)]
struct Nobody;

#[async_trait::async_trait]
impl crate::sinks::invoicing::Resolve for Nobody {
    async fn payment(
        &self,
        _: &crate::sinks::Message,
    ) -> Result<crate::model::booking::Payment, crate::sinks::invoicing::Unresolved> {
        unreachable!("nobody asks")
    }

    async fn invoice(
        &self,
        _: &crate::sinks::Message,
    ) -> Result<crate::model::booking::Invoice, crate::sinks::invoicing::Unresolved> {
        unreachable!("nobody asks")
    }
}

fn efactori_sink(options: &str) -> String {
    let credentials = "session_key = 'sessionkeyofours'\ncompany_uuid = 'companyuuidofours'";
    format!("[[sinks]]\nname = 'onfact'\ntype = 'efactori'\n{credentials}\naccounts = {{ card = '4' }}\n{options}\n")
}

#[test]
fn the_example_of_efactori_shows_its_defaults() {
    let of = |config: &Config| {
        let sink = config.sinks.iter().find(|sink| sink.kind.name() == "efactori").unwrap().clone();
        let options = sink.kind.options::<efactori::Options>().unwrap().clone();
        (sink, options)
    };
    let (_, mut shown) = of(&good(EXAMPLE, &EXAMPLE_VARIABLES));
    let (sink, options) = of(&good(&efactori_sink(""), &KEYED));
    assert_eq!((sink.concurrency.get(), sink.timeout, sink.order), (4, Duration::from_mins(1), Order::Invoice));
    assert_eq!(shown.session_key.expose(), "sessionkeyofours");
    shown.session_key = options.session_key.clone();
    shown.company_uuid = options.company_uuid.clone();
    shown.accounts = options.accounts.clone();
    assert_eq!(shown, options);
    assert!(!format!("{sink:?} {:?}", sink.kind).contains("ofours"), "{sink:?}");
}

#[test]
fn options_of_efactori_are_checked_one_by_one() {
    for option in [
        "base_url = 'http://127.0.0.1:9/proxy'",
        "lookup = 'query_then_scan'\nlookup_max_pages = 1\npayments_max_pages = 1",
        "lookup_order_by = 'id:ascend'\nmarker_field = 'none'\nmarker_prefix = 'F '",
        "amount_format = 'object'",
        "amount_format = 'string'\npayments_path = '/payments'\npayment_accounts_path = '/x/y-z'",
        "status_map = { paid = 'paid', other = 'nothing' }\nstatus_paid_value = 'payed'",
        "lookup_max_pages = 1000\napi_limits = [{ requests = 2000, per_secs = 60 }]",
        "timezone = 'Europe/Paris'\nnumber = \"'F' ~ invoice.number\"",
    ] {
        let variables = [KEYED[0], ("FINKARE_WEBHOOK_SECRET", "whsec_x")];
        assert_eq!(good(&efactori_sink(option), &variables).notices, Vec::<String>::new(), "{option}");
    }
    for (option, expected) in [
        ("base_url = 'efactori'", ".base_url: "),
        ("base_url = 'ftp://api5.onfact.be'", ".base_url: does not begin with `https://`"),
        ("base_url = 'https://user:hunter2@api5.onfact.be'", ".base_url: has a user"),
        ("base_url = 'https://api5.onfact.be/?a=b'", ".base_url: has a user, a query"),
        ("lookup = 'guess'", ".lookup: `guess` is not one of `scan`, `query`"),
        ("lookup_max_pages = 0", ".lookup_max_pages: 0 is not from 1 to 1000"),
        ("lookup_max_pages = -1", ".lookup_max_pages: -1 is not from 1 to 1000"),
        ("lookup_max_pages = 46", ".lookup_max_pages: an attempt may need 61 calls"),
        ("api_limits = [{ requests = 34, per_secs = 60 }]", ".lookup_max_pages: an attempt may need 35 calls"),
        ("payments_max_pages = 0", ".payments_max_pages: 0 is not from 1 to 1000"),
        ("lookup_order_by = 'date'", ".lookup_order_by: is not an order"),
        ("lookup_order_by = 'date:down'", ".lookup_order_by: is not an order"),
        ("amount_format = 'float'", ".amount_format: `float` is not one of"),
        ("marker_field = 'iban'", ".marker_field: `iban` is not one of"),
        ("marker_prefix = ' '", ".marker_prefix: must be"),
        ("marker_prefix = ' F'", ".marker_prefix: must be"),
        ("marker_prefix = '0123456789012345678901234567890123456789x'", ".marker_prefix: must be"),
        ("payments_path = 'v1/payments'", ".payments_path: is not a path"),
        ("payments_path = '/v1/payments.json'", ".payments_path: is not a path"),
        ("payment_accounts_path = '/v1//x'", ".payment_accounts_path: is not a path"),
        ("status_paid_value = ''", ".status_paid_value: is empty"),
        ("status_map = { paid = 'payed' }", ".status_map.paid: `payed` is not one of `nothing`, `paid`"),
        ("timezone = 'Brussels'", ".timezone: `Brussels` is not a time zone"),
        ("order = 'none'", ".order: `none` cannot be used with invoicing software"),
        ("lookup_pages = 3", ".lookup_pages: unknown key"),
        ("url = 'https://x'", ".url: unknown key"),
    ] {
        one_problem(&efactori_sink(option), &KEYED, &format!("sinks[0] (onfact){expected}"));
    }
    let bare = |options: &str| format!("[[sinks]]\nname = 'onfact'\ntype = 'efactori'\n{options}");
    let (key, uuid, accounts) = ("session_key = 's'\n", "company_uuid = 'c'\n", "accounts = { other = '3' }\n");
    for (text, expected) in [
        (format!("{uuid}{accounts}"), ".session_key: is missing"),
        (format!("{key}{accounts}"), ".company_uuid: is missing"),
        (format!("{key}{uuid}"), ".accounts: is missing"),
        (format!("{key}{uuid}accounts = {{}}"), ".accounts: is missing"),
        (format!("{key}{uuid}accounts = {{ card = '' }}"), ".accounts: has an empty"),
        (format!("{key}{uuid}accounts = {{ card = 4 }}"), ".accounts.card: 4 is not a text in quotes"),
        (format!("session_key = ''\n{uuid}{accounts}"), ".session_key: is empty"),
        (format!("session_key = \"hunter2\\n\"\n{uuid}{accounts}"), ".session_key: has a character"),
        (format!("session_key = {{ env = 'NOT_SET' }}\n{uuid}{accounts}"), ".session_key: "),
    ] {
        one_problem(&bare(&text), &KEYED, &format!("sinks[0] (onfact){expected}"));
        assert!(!wrong(&bare(&text), &KEYED)[0].contains("hunter2"), "{text}");
    }
    assert_eq!(wrong(&bare(accounts), &KEYED).len(), 2, "both at once");
    let near = good(&efactori_sink("").replace("card =", "bank_tranfer ="), &KEYED);
    assert!(near.notices[0].contains("`bank_transfer`"), "{:?}", near.notices);
}

pub(super) fn facturation_pro_sink(options: &str) -> String {
    let own = "firm_id = '12345'\napi_id = '41837'\napi_key = 'c2f1d9a07be64c35'\ncontact = 'ops@example.fr'";
    let own: String = own.lines().filter(|line| !options.contains(&line[..line.find('=').unwrap()])).fold(
        String::new(),
        |mut kept, line| {
            writeln!(kept, "{line}").expect("a string takes everything");
            kept
        },
    );
    format!("[[sinks]]\nname = 'compta'\ntype = 'facturation_pro'\n{own}{options}\n")
}

#[test]
fn facturation_pro_with_everything() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let config = good(
        &facturation_pro_sink(
            "base_url = 'https://books.example/'
api_key = { env = 'KEY' }
payment_modes = { card = 1, cheque = 4 }
number_field = 'invoice_ref'
on_already_paid = 'close'
payment_ref_prefix = 'fk/'
timezone = 'Indian/Reunion'
number = \"'F' ~ invoice.number\"
status_map = { in_recovery = 'note', paid = 'nothing' }
settle_secs = 1
not_found_secs = 0
recheck_secs = 60
api_limits = [{ requests = 5, per_secs = 10 }]",
        ),
        &[("KEY", "from-the-environment"), KEYED[0]],
    );
    let sink = &config.sinks[0];
    let options: &facturation_pro::Options = sink.kind.options().unwrap();
    let common = &options.common;
    assert_eq!((options.api_id.expose(), options.api_key.expose()), ("41837", "from-the-environment"));
    assert_eq!((options.payment_mode(Some("card")), options.payment_mode(Some("cheque"))), (1, 4));
    assert_eq!((options.payment_mode(Some("sepa_debit")), options.payment_mode(Some("x"))), (8, 99));
    assert_eq!((&*options.payment_ref_prefix, common.settle_secs, common.not_found_secs), ("fk/", 1, 0));
    assert_eq!(common.limits(), [(std::num::NonZeroU32::new(5).unwrap(), Duration::from_secs(10))]);
    assert_eq!((sink.concurrency.get(), sink.timeout), (4, Duration::from_mins(1)));
    let shown = format!("{config:?}");
    assert!(!shown.contains("41837") && !shown.contains("from-the-environment"), "{shown}");
}

#[test]
fn wrong_options_of_facturation_pro() {
    for (option, expected) in [
        ("base_url = 'ftp://x'", "base_url: does not begin with"),
        ("base_url = 'https://a:b@x'", "base_url: has a user, a query or a fragment"),
        ("base_url = 'https://x/?a=b'", "base_url: has a user, a query or a fragment"),
        ("base_url = 'x'", "base_url: is not a URL"),
        ("firm_id = 'mine'", "firm_id: is not the number of a firm"),
        ("firm_id = 12345", "firm_id: 12345 is not a text in quotes"),
        ("api_id = ''", "api_id"),
        ("api_id = 'a:b'", "api_id: is not an API identifier"),
        ("api_key = \"a\\nb\"", "api_key: is not an API key"),
        ("contact = 'me'", "contact: is not an e-mail address or a URL"),
        ("contact = 'me@example.fr (me)'", "contact: is not"),
        ("contact = 'mé@example.fr'", "contact: is not"),
        ("payment_modes = { card = 0 }", "payment_modes.card: 0 is not from 1 to 998: 0 means unpaid"),
        (
            "payment_modes = { card = 999 }",
            "payment_modes.card: 999 is not from 1 to 998: 0 means unpaid and 999 bad debt",
        ),
        ("payment_modes = { card = '2' }", "payment_modes.card: \"2\" is not a whole number"),
        ("number_field = 'number'", "number_field: `number` is not one of"),
        ("on_already_paid = 'report'", "on_already_paid: `report` is not one of"),
        ("payment_ref_prefix = ''", "payment_ref_prefix: is not 1 to 50"),
        ("payment_ref_prefix = 'a b'", "payment_ref_prefix: is not 1 to 50"),
        ("timezone = 'Paris'", "timezone: `Paris` is not a time zone"),
        ("number = 'invoice.'", "number: `invoice.` is not an expression"),
        ("status_map = { x = 'cancel' }", "status_map.x: `cancel` is not one of `nothing`, `note`"),
        ("settle_secs = 0", "settle_secs: 0 is not from 1 to 3600"),
        ("not_found_secs = 2592001", "not_found_secs: 2592001 is not"),
        ("recheck_secs = 0", "recheck_secs: 0 is not from 1"),
        ("api_limits = []", "api_limits: is empty"),
        ("api_limits = [{ requests = 0, per_secs = 1 }]", "api_limits[0].requests: 0 is not from 1 to"),
        ("session_key = 'x'", "session_key: unknown key"),
        ("fim_id = '1'", "fim_id: unknown key (did you mean `firm_id`?)"),
    ] {
        one_problem(&facturation_pro_sink(option), &KEYED, &format!("sinks[0] (compta).{expected}"));
    }
    one_problem(&facturation_pro_sink("order = 'none'"), &KEYED, "sinks[0] (compta).order: `none` cannot be used");
    for missing in ["firm_id", "api_id", "api_key", "contact"] {
        let text: String = facturation_pro_sink("").lines().filter(|line| !line.starts_with(missing)).fold(
            String::new(),
            |mut kept, line| {
                writeln!(kept, "{line}").expect("a string takes everything");
                kept
            },
        );
        one_problem(&text, &KEYED, &format!("sinks[0] (compta).{missing}: is missing: "));
    }
    // What is wrong with a secret does not show it.
    let problems =
        wrong(&facturation_pro_sink("api_key = 'a key with blanks'\napi_id = 'very:secret'"), &KEYED).join("\n");
    assert!(!problems.contains("blanks") && !problems.contains("very"), "{problems}");
}

/// Two endpoints, the second with a key.
fn two_companies() -> String {
    let endpoint = |name: &str| {
        format!("[[endpoints]]\nname = '{name}'\npath = '/{name}'\nsecret = 's'\napi_key = 'fk_live_{name}'\n")
    };
    endpoint("acme") + &endpoint("beta")
}

fn facturation_sink(name: &str, options: &str) -> String {
    format!(
        "[[sinks]]\nname = '{name}'\ntype = 'facturation_pro'\nfirm_id = '77'\napi_id = 'i'\napi_key = 'k'\n\
         contact = 'ops@acme.example'\n{options}\n"
    )
}

#[test]
fn books_say_whose_they_are_where_there_are_several_companies() {
    let expected = "sinks[0] (a).endpoints: is missing: there are several endpoints (`acme`, `beta`)";
    one_problem(&(two_companies() + &facturation_sink("a", "")), &[], expected);
    for kind in [tiime_sink(""), fastfaktura_sink("")] {
        one_problem(&(two_companies() + &kind), &[], "sinks[0] (s).endpoints: is missing");
    }
    for named in ["endpoints = ['acme']", "endpoints = ['acme', 'beta']"] {
        good(&(two_companies() + &facturation_sink("a", named)), &[]);
    }
    // One endpoint needs no name, and other sinks never did.
    good(&facturation_sink("a", ""), &KEYED);
    good(&(two_companies() + "[[sinks]]\nname = 'x'\ntype = 'stdout'"), &[]);
    // What is wrong with it is told once.
    assert_eq!(wrong(&(two_companies() + &facturation_sink("a", "endpoints = 'acme'")), &[]).len(), 1);
}

#[test]
fn the_same_books_are_kept_by_one_sink() {
    let two = |one: &str, other: &str| {
        two_companies()
            + &facturation_sink("a", &format!("endpoints = ['acme']\n{one}"))
            + &facturation_sink("b", &format!("endpoints = ['beta']\n{other}"))
    };
    for (one, other) in [
        ("", ""),
        ("", "base_url = 'https://www.facturation.pro'"),
        ("", "base_url = 'HTTPS://WWW.Facturation.PRO:443/'"),
        ("base_url = 'https://www.facturation.pro//'", "live = false"),
    ] {
        let expected =
            "sinks: `a` and `b` keep the same books (facturation_pro at https://www.facturation.pro, the same company)";
        one_problem(&two(one, other), &[], expected);
    }
    for other in ["base_url = 'http://www.facturation.pro'", "base_url = 'https://www.facturation.pro:8443'"] {
        good(&two("", other), &[]);
    }
    let company = |firm: &str| two("", "").replacen("firm_id = '77'", &format!("firm_id = '{firm}'"), 1);
    good(&company("78"), &[]);
    one_problem(&company("0077"), &[], "sinks: `a` and `b` keep the same books");
    // Another system may know the same number.
    let tiime = tiime_sink("base_url = 'https://www.facturation.pro'\nendpoints = ['beta']");
    good(&(two_companies() + &facturation_sink("a", "endpoints = ['acme']") + &tiime), &[]);
    let eu = |name: &str, uuid: &str| {
        format!(
            "[[sinks]]\nname = '{name}'\ntype = 'efactori'\nsession_key = '{name}'\ncompany_uuid = '{uuid}'\n\
             accounts = {{ other = '3' }}\nendpoints = ['acme']\n"
        )
    };
    let problems = wrong(&(two_companies() + &eu("a", "hunter2-AB") + &eu("b", "hunter2-ab")), &[]);
    assert!(problems.len() == 1 && problems[0].contains("`a` and `b` keep the same books"), "{problems:?}");
    assert!(!problems[0].to_lowercase().contains("hunter2"), "{problems:?}");
    good(&(two_companies() + &eu("a", "x") + &eu("b", "y")), &[]);
}

#[test]
fn who_only_looks_keeps_no_order() {
    for text in [tiime_sink, fastfaktura_sink] {
        for options in ["", "order = 'none'"] {
            let config = good(&text(options), &KEYED);
            let is_told = config.notices.iter().any(|notice| notice.contains(".order: "));
            assert_eq!((config.sinks[0].order, is_told), (Order::None, false), "{options}");
        }
        let config = good(&text("order = 'invoice'"), &KEYED);
        assert_eq!(config.sinks[0].order, Order::None);
        let told: Vec<_> = config.notices.iter().filter(|notice| notice.contains(".order: ")).collect();
        let [notice] = told[..] else { panic!("{:?}", config.notices) };
        assert!(notice.starts_with("sinks[0] (s).order: `invoice` has no effect here"), "{notice}");
        one_problem(&text("order = 'date'"), &KEYED, "sinks[0] (s).order: ");
    }
    assert_eq!(good(&facturation_sink("a", ""), &KEYED).sinks[0].order, Order::Invoice);
    one_problem(&facturation_sink("a", "order = 'none'"), &KEYED, "sinks[0] (a).order: `none` cannot be used");
    let read = |options: &str| {
        let config = good(&facturation_sink("a", options), &KEYED);
        config.sinks[0].kind.options::<facturation_pro::Options>().unwrap().common.on_same_amount
    };
    assert_eq!(read(""), crate::sinks::invoicing::OnSameAmount::Hold);
    assert_eq!(read("on_same_amount = 'book'"), crate::sinks::invoicing::OnSameAmount::Book);
    one_problem(&facturation_sink("a", "on_same_amount = 'ask'"), &KEYED, "sinks[0] (a).on_same_amount: ");
}
