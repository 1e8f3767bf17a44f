//! Many companies: a folder of files beside the main one, and what they share.

use std::fs;

use super::super::load::load_in;
use super::*;

/// Writes files into a folder and reads the configuration there.
fn read(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).into());
    load_in(folder.path(), None, &lookup).map_err(|problems| problems.lines())
}

const SHARED: &str = r#"
[defaults.endpoints]
path = "/webhooks/{name}"
api_key = { env = "{NAME}_FINKARE_KEY" }

[defaults.sinks]
type = "facturation_pro"
retry = { give_up_after_secs = 604800 }

[defaults.sinks.facturation_pro]
contact = "ops@example.fr"
api_id = { env = "{NAME}_API_ID" }
api_key = { env = "{NAME}_API_KEY" }
"#;

#[test]
fn thirty_companies_are_a_hundred_lines() {
    let mut text = SHARED.to_owned();
    let mut variables = Vec::new();
    for number in 1..=30 {
        let firm = 1000 + number;
        let lines = [
            "[[endpoints]]".to_owned(),
            format!("name = \"client-{number}\""),
            format!("sinks = [{{ firm_id = \"{firm}\" }}]"),
        ];
        text.push_str(&(lines.join("\n") + "\n"));
        for what in ["FINKARE_KEY", "API_ID", "API_KEY"] {
            variables.push((format!("CLIENT_{number}_{what}"), format!("fk_live_{what}_{number}")));
        }
    }
    assert_eq!(text.trim().lines().count(), 102, "{text}");
    let lookup: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let config = read(&[("relay.toml", &text)], &lookup).unwrap();
    assert_eq!((config.endpoints.len(), config.sinks.len()), (30, 30));
    let (endpoint, sink) = (&config.endpoints[16], &config.sinks[16]);
    assert_eq!((endpoint.name.as_str(), endpoint.path.as_str()), ("client-17", "/webhooks/client-17"));
    assert_eq!(endpoint.api_key.as_ref().unwrap().expose(), "fk_live_FINKARE_KEY_17");
    assert_eq!(sink.name.as_str(), "client-17");
    assert_eq!(sink.endpoints.as_ref().unwrap(), std::slice::from_ref(&endpoint.name));
    assert_eq!(sink.retry.give_up_after, Duration::from_hours(7 * 24));
    assert_eq!(sink.retry.max, Duration::from_hours(6), "the rest of `retry` is the usual");
    let company = sink.kind.company().unwrap();
    assert!(company.id.contains("1017"), "{company:?}");
    assert!(sink.kind.options::<facturation_pro::Options>().is_some());
}

#[test]
fn each_company_may_have_a_file_of_its_own() {
    let company = |name: &str| {
        format!(
            "[[endpoints]]\nname = \"{name}\"\npath = \"/{name}\"\nsecret = \"whsec_{name}\"\n[[sinks]]\nname = \"{name}\"\ntype = \"file\"\npath = \"{name}.jsonl\"\nendpoints = [\"{name}\"]\n"
        )
    };
    let config = read(
        &[
            ("relay.toml", "[server]\nmax_body_bytes = 2048\n"),
            ("relay.d/20-beta.toml", &company("beta")),
            ("relay.d/10-acme.toml", &company("acme")),
            ("relay.d/.hidden.toml", "not toml"),
            ("relay.d/acme.toml~", "not toml"),
            ("relay.d/30-admin.toml", "[[admin.tokens]]\nname = \"acme\"\nrole = \"viewer\"\ntoken = \"0123456789abcdef-1\"\n[retention]\npayload_days = 5\n"),
        ],
        &[],
    )
    .unwrap();
    let names: Vec<&str> = config.endpoints.iter().map(|endpoint| endpoint.name.as_str()).collect();
    assert_eq!(names, ["acme", "beta"]);
    assert_eq!((config.server.max_body_bytes, config.sinks.len(), config.admin.tokens.len()), (2048, 2, 1));
    let file = config.sinks[0].kind.file().unwrap();
    let folder = config.file.as_deref().and_then(Path::parent).unwrap();
    assert_eq!(file, folder.join("acme.jsonl"), "paths start from the main file's folder");
    assert_eq!(config.parts.len(), 3);
    // Without a main file as well.
    assert_eq!(read(&[("relay.d/acme.toml", &company("acme"))], &[]).unwrap().endpoints.len(), 1);
}

#[test]
fn what_is_wrong_is_found_in_its_file() {
    let problems = read(
        &[
            ("relay.toml", "[server]\nlisten = \"127.0.0.1:1\"\n[defaults.sinks]\nretri = 1\n"),
            ("relay.d/a.toml", "\n[server]\nlisten = \"127.0.0.1:2\"\n[[sinks]]\nname = \"a\"\ntype = \"file\"\npath = \"x\"\ncolour = 1\n"),
            ("relay.d/b.toml", "[[sinks]\n"),
            ("relay.d/c.toml", "[[endpoints]]\nname = \"c\"\npath = \"/c\"\nsecret = \"whsec_c\"\nsinks = [{ type = \"file\", path = \"y\", endpoints = [\"c\"] }]\n"),
        ],
        &[],
    )
    .unwrap_err();
    let has = |start: &str, part: &str| {
        assert!(
            problems.iter().any(|line| line.starts_with(start) && line.contains(part)),
            "{start} … {part}: {problems:#?}"
        );
    };
    has("relay.d/a.toml, line 3: server.listen", "is written already, in line 2");
    has("relay.d/a.toml, line 8: sinks[0] (a).colour", "unknown key");
    has("relay.d/b.toml, line 1", "");
    has("line 4: defaults.sinks.retri", "did you mean `retry`?");
    has("relay.d/c.toml, line 5: endpoints[0].sinks[0].endpoints", "leave `endpoints` out");
    assert_eq!(problems.len(), 5, "{problems:#?}");
}

#[test]
fn a_default_gives_way_to_what_is_written() {
    let text = r#"
        [defaults.sinks]
        timeout_secs = 33
        retry = { initial_secs = 9, max_secs = 99 }
        [defaults.sinks.http]
        timeout_secs = 44
        secret = { env = "SHARED" }
        [[endpoints]]
        name = "acme"
        path = "/acme"
        secret = "whsec_1"
        [[sinks]]
        name = "one"
        type = "http"
        url = "https://one.example"
        retry = { initial_secs = 1 }
        secret = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz"
        [[sinks]]
        name = "two"
        type = "stdout"
    "#;
    let config = read(&[("relay.toml", text)], &[]).unwrap();
    assert_eq!(config.sinks[0].timeout, Duration::from_secs(44), "the type's own default goes first");
    assert_eq!(config.sinks[1].timeout, Duration::from_secs(33));
    assert_eq!(
        (config.sinks[0].retry.initial, config.sinks[0].retry.max),
        (Duration::from_secs(1), Duration::from_secs(99))
    );
}
