//! `[outgoing]`: what is written, what is found in the environment, and what is wrong with either.

use super::{authority_in_pem, endpoint, good, http_sink, read};
use crate::{config::Config, sinks::http};

const PROXIES: [(&str, &str); 4] = [
    ("HTTPS_PROXY", "http://secure.example:3128"),
    ("http_proxy", "plain.example:8080"),
    ("ALL_PROXY", "http://all.example:1"),
    ("NO_PROXY", "erp.internal, 10.0.0.0/8,"),
];

fn with(outgoing: &str) -> String {
    format!("[outgoing]\n{outgoing}\n{}\n{}", endpoint(""), http_sink(""))
}

/// The way as it may be shown; the same for the endpoint and the sink.
fn shown(config: &Config) -> String {
    let options: &http::Options = config.sinks[0].kind.options().unwrap_or_else(|| panic!("{config:?}"));
    assert_eq!(options.egress, config.endpoints[0].egress);
    format!("{:?}", options.egress)
}

fn problems(text: &str, variables: &[(&str, &str)]) -> String {
    read(text, variables).0.unwrap_err().to_string()
}

#[test]
fn variables_count_only_if_the_configuration_says_so() {
    let direct = shown(&good(&with(""), &[]));
    assert_eq!(shown(&good(&with(""), &PROXIES)), direct);
    assert_eq!(direct, "Egress { http: None, https: None, direct: [], authorities: 0 }");
    let config = good(&with("proxy = 'environment'\nno_proxy = ['other.internal']"), &PROXIES);
    assert_eq!(
        shown(&config),
        "Egress { http: Some(http://plain.example:8080), https: Some(http://secure.example:3128), \
         direct: [\"erp.internal\", \"10.0.0.0/8\", \"other.internal\"], authorities: 0 }"
    );
    let all = shown(&good(&with("proxy = 'environment'"), &PROXIES[2..3]));
    assert!(all.contains("http: Some(http://all.example:1), https: Some(http://all.example:1)"), "{all}");
    let config = good(&with("proxy = 'environment'"), &[]);
    assert_eq!(shown(&config), direct);
    assert!(config.notices.iter().any(|notice| notice.contains("names no proxy")), "{:?}", config.notices);
}

#[test]
fn a_proxy_is_for_all_calls_and_its_password_is_never_shown() {
    let config = good(&with("proxy = { env = 'P' }"), &[("P", "https://user:hunter2@proxy.example")]);
    assert!(shown(&config).starts_with("Egress { http: Some(https://proxy.example), https: Some(https://proxy"));
    assert!(!format!("{config:?}{}", shown(&config)).contains("hunter2"));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_without_a_password() {
    for (outgoing, variables, place, what) in [
        ("proxy = 'socks5://user:hunter2@p.example'", &[][..], "outgoing.proxy", "SOCKS"),
        ("proxy = 'http://user:hun/ter2@p.example'", &[], "outgoing.proxy", "%2F"),
        ("proxy = 'hunter2'", &[], "outgoing.proxy", "is not the URL of a proxy"),
        ("proxy = 'environment'", &[("HTTPS_PROXY", "http://p.example/hunter2")], "HTTPS_PROXY", "has a path"),
        ("proxy = 'environment'", &[("no_proxy", "erp.internal:80")], "no_proxy", "has a port"),
        ("no_proxy = ['https://erp.internal']", &[], "outgoing.no_proxy", "without scheme"),
        ("ca_file = '/nowhere/ca.pem'", &[], "outgoing.ca_file", "cannot be read"),
        ("proxi = 'x'", &[], "outgoing.proxi", "did you mean `proxy`?"),
    ] {
        let problems = problems(&with(outgoing), variables);
        assert!(problems.contains(place) && problems.contains(what), "{outgoing}: {problems}");
        assert!(!problems.contains("ter2"), "{problems}");
    }
    let notices = good(&with("no_proxy = ['erp.internal']"), &[]).notices;
    assert!(notices.iter().any(|notice| notice.contains("has no effect without `proxy`")), "{notices:?}");
}

#[test]
fn the_content_of_a_file_with_certificates_counts() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = with(&format!("ca_file = '{}'", file.path().display()));
    std::fs::write(file.path(), "no certificate").unwrap();
    assert!(problems(&text, &[]).contains("holds no certificate"));
    std::fs::write(file.path(), authority_in_pem()).unwrap();
    let one = good(&text, &[]);
    assert!(shown(&one).contains("authorities: 1"));
    std::fs::write(file.path(), authority_in_pem() + &authority_in_pem()).unwrap();
    let two = good(&text, &[]);
    assert!(shown(&two).contains("authorities: 2"));
    assert_eq!(one.written.differing(&two.written).into_iter().collect::<Vec<_>>(), ["outgoing.ca_file"]);
}
