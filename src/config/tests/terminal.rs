//! What reaches us through terminals, editors and other people's files: bytes that are no text, line ends, quotes,
//! paths that start somewhere else, and passwords that must not come back out.

use std::{ffi::OsString, os::unix::ffi::OsStringExt, path::Path};

use super::{KEY, good, one_problem, read, wrong};
use crate::{
    config::{self, StoreConfig, VARIABLES},
    options::Problems,
};

const LATIN1: &[u8] = b"caf\xe9";

/// Loads a file in a folder of its own under an environment of bytes.
fn load(file: &Path, variables: &[(&str, &[u8])]) -> Result<config::Config, Problems> {
    let lookup = |name: &str| {
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from_vec(value.to_vec()))
    };
    config::load(Some(file), &lookup)
}

#[test]
fn a_variable_that_is_not_utf8_is_a_problem_whichever_it_is() {
    // Read where they are used, and by the same function: see `env`.
    let elsewhere = ["RELAY_CONFIG", "RELAY_LOG_FORMAT", "RUST_LOG", "RELAY_NEW_MASTER_KEY"];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    // Those of proxies are read only then.
    std::fs::write(&file, "[outgoing]\nproxy = 'environment'").unwrap();
    for variable in VARIABLES.iter().map(|variable| variable.name) {
        if elsewhere.contains(&variable) || variable.starts_with("OTEL_") {
            continue;
        }
        for name in [variable.to_owned(), format!("{variable}_FILE")] {
            let problems = load(&file, &[(&name, LATIN1)]).unwrap_err().to_string();
            assert!(problems.contains(&format!("\n- {name}: holds bytes that are not UTF-8")), "{problems}");
            assert!(!problems.contains("caf") && problems.matches("\n- ").count() == 1, "{problems}");
        }
    }
    std::fs::write(&file, "[[endpoints]]\nname = 'e'\npath = '/e'\nsecret = { env = 'MINE' }").unwrap();
    let problems = load(&file, &[("MINE", LATIN1)]).unwrap_err().to_string();
    let expected = "endpoints[0] (e).secret: the variable MINE: holds bytes that are not UTF-8";
    assert!(problems.contains(expected), "{problems}");
    let configured = |name: &str| (name == "RELAY_CONFIG").then(|| OsString::from_vec(LATIN1.to_vec()));
    assert!(config::load(None, &configured).unwrap_err().to_string().contains("- RELAY_CONFIG: holds bytes"));
}

#[test]
fn a_configuration_that_is_there_and_cannot_be_read_is_not_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    let problem = || super::super::load::load_in(folder.path(), None, &|_| None).unwrap_err().to_string();
    std::os::unix::fs::symlink("gone.toml", &file).unwrap();
    assert!(problem().ends_with("it is a link to `gone.toml`, which does not exist"), "{}", problem());
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(problem().contains("cannot be read: it is a folder"), "{}", problem());
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, LATIN1).unwrap();
    assert!(problem().contains("is not UTF-8 text: save it as UTF-8"), "{}", problem());
    std::fs::remove_file(&file).unwrap();
    assert!(super::super::load::load_in(folder.path(), None, &|_| None).is_ok(), "and without one there is none");
}

#[test]
fn what_stands_around_a_secret_is_told_and_not_the_secret() {
    const QUOTED: &str = "is in quotes, which is taken for a part of the secret";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "\u{feff}whsec_hunter2\r\n").unwrap();
    let text = format!(
        "[admin]\ntokens = [{{ name = 'a', role = 'admin', token = '\"hunter2-hunter2-1\"' }}]\n\
         [[endpoints]]\nname = 'e'\npath = '/e'\nsecret = {{ env = 'S' }}\nsecrets = [{{ file = '{}' }}]\napi_key = \"'hunter2'\"\n\
         [[sinks]]\nname = 's'\ntype = 'http'\nurl = 'https://erp.example'\nheaders = {{ x-key = '\"hunter2\"' }}",
        file.path().display()
    );
    let config = good(&text, &[("S", "\"whsec_hunter2\""), ("RELAY_ADMIN_TOKEN", "'hunter2-hunter2-2'")]);
    let notices = &config.notices;
    for (place, what) in [
        ("admin.tokens[0] (a).token", QUOTED),
        ("RELAY_ADMIN_TOKEN", QUOTED),
        ("endpoints[0] (e).secret", QUOTED),
        ("endpoints[0] (e).secrets[0]", "begins with a byte order mark"),
        ("endpoints[0] (e).api_key", QUOTED),
        ("sinks[0] (s).headers.x-key", QUOTED),
    ] {
        let expected = format!("{place}: {what}");
        assert_eq!(notices.iter().filter(|notice| notice.starts_with(&expected)).count(), 1, "{place}: {notices:#?}");
    }
    assert!(notices.len() == 6 && !notices.iter().any(|notice| notice.contains("hunter2")), "{notices:#?}");
    let default = good("", &[("FINKARE_WEBHOOK_SECRET", "\"whsec_hunter2\"")]);
    assert!(default.notices[0].starts_with(&format!("FINKARE_WEBHOOK_SECRET: {QUOTED}")), "{:?}", default.notices);
    one_problem(
        "",
        &[("RELAY_MASTER_KEY", &format!("\"{KEY}\""))],
        "RELAY_MASTER_KEY: is not base64 (it is in quotes)",
    );
}

#[test]
fn a_database_url_is_taken_as_it_is_written_or_not_at_all() {
    for (url, expected) in [
        ("postgres://relay:hunter2@db/relay\r", "ends in a carriage return: the file that it comes from"),
        ("sqlite://data/relay.db\r", "ends in a carriage return"),
        ("postgres://relay:hun\rter2@db/relay", "has characters that no URL has"),
        ("postgres://relay:hunter2@db\n/relay", "has characters that no URL has"),
        ("\"postgres://relay:hunter2@db/relay\"", "is in quotes: take that out"),
        ("\u{feff}postgres://relay:hunter2@db/relay", "begins with a byte order mark"),
        ("postgres://relay:hunter2@db/relay ", "begins or ends with a blank"),
    ] {
        one_problem("", &[("DATABASE_URL", url), ("RELAY_MASTER_KEY", KEY)], &format!("DATABASE_URL: {expected}"));
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "postgres://relay:hunter2@db/relay\r\n").unwrap();
    let config = good("", &[("DATABASE_URL_FILE", file.path().to_str().unwrap()), ("RELAY_MASTER_KEY", KEY)]);
    let StoreConfig::Postgres { url, .. } = config.store else { panic!("{:?}", config.store) };
    assert_eq!(url.expose(), "postgres://relay:hunter2@db/relay", "a file's last line may end as it likes");
}

#[test]
fn no_piece_of_a_password_comes_back() {
    // Each piece can be told from every word of a message.
    let pieces = ["qqa", "qqb", "4711"];
    for password in [
        "qqa@qqb",
        "qqa#qqb",
        "qqa/qqb",
        "qqa?qqb",
        "4711/qqb",
        "4711#qqb",
        "4711?qqb",
        "qqa:qqb#4711",
        "qqa%zzqqb",
        "qqa qqb",
    ] {
        for scheme in ["postgres", "postgresql", "postgre", "mysql", "sqlite"] {
            for end in ["@db/relay", "@/relay", "@db:port/relay", "@[::1/relay"] {
                let url = format!("{scheme}://relay:{password}{end}");
                let in_file = format!("[store]\nurl = '{url}'\n");
                let unquoted = format!("[store]\nurl = {url}\n");
                let half_quoted = format!("[store]\nurl = \"{url}\n");
                let variables = [("DATABASE_URL", url.as_str()), ("RELAY_MASTER_KEY", KEY)];
                for (text, variables) in [
                    ("", &variables[..]),
                    (&in_file, &variables[1..]),
                    (&unquoted, &variables[1..]),
                    (&half_quoted, &variables[1..]),
                ] {
                    let shown = match read(text, variables).0 {
                        Ok(config) => format!("{:?}", config.notices),
                        Err(problems) => format!("{problems} {problems:?}"),
                    };
                    for piece in pieces {
                        assert!(!shown.contains(piece), "{url}: {shown}");
                    }
                }
            }
        }
    }
    // What would be read as a port and a database, and then be repeated by the driver.
    for url in [
        "postgres://relay:4711/qqb@db/relay",
        "postgres://relay:4711#qqb@db/relay",
        "postgres://relay:4711?qqb@db/relay",
    ] {
        let problems = wrong("", &[("DATABASE_URL", url), ("RELAY_MASTER_KEY", KEY)]);
        assert!(problems[0].starts_with("DATABASE_URL: has an `@` behind the host, or a `#`"), "{problems:?}");
    }
    for password in ["qqa#qqb", "4711/qqb", "4711#qqb", "4711?qqb"] {
        let url = format!("https://relay:{password}@erp.example/hook");
        let (key, kind) = (("RELAY_SINK_URL", url.as_str()), "type = 'http'\nname = 's'");
        for (text, variables) in [
            (String::new(), &[key][..]),
            (format!("[[sinks]]\n{kind}\nurl = '{url}'"), &[]),
            (format!("[[endpoints]]\nname = 'e'\npath = '/e'\napi_key = 'k'\napi_url = '{url}'"), &[]),
        ] {
            let problems = wrong(&text, variables);
            assert!(problems.len() == 1 && !pieces.iter().any(|piece| problems[0].contains(piece)), "{problems:?}");
        }
    }
    for url in ["postgres://relay:qqa@qqb@db/relay", "postgres:///relay?host=/run/postgresql&user=relay&password=qqa"] {
        good("", &[("DATABASE_URL", url), ("RELAY_MASTER_KEY", KEY)]);
    }
}

#[test]
fn relative_paths_start_from_the_folder_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    std::fs::write(folder.path().join("secret"), "whsec_beside\n").unwrap();
    let text = "[[endpoints]]\nname = 'e'\npath = '/e'\nsecret = { file = 'secret' }\n\
                [[sinks]]\nname = 'f'\ntype = 'file'\npath = 'out/events.jsonl'\n";
    std::fs::write(&file, text).unwrap();
    let config = load(&file, &[]).unwrap();
    assert_eq!(config.endpoints[0].secrets[0].expose(), "whsec_beside");
    let database = |config: &config::Config| match &config.store {
        StoreConfig::Sqlite { path } => path.clone(),
        other @ StoreConfig::Postgres { .. } => panic!("{other:?}"),
    };
    assert_eq!(database(&config), folder.path().join("data/relay.db"), "the default");
    let options: &crate::sinks::file::Options = config.sinks[0].kind.options().unwrap();
    assert_eq!(options.path, folder.path().join("out/events.jsonl"));

    std::fs::write(&file, "[store]\nurl = 'sqlite://other/relay.db'").unwrap();
    assert_eq!(database(&load(&file, &[]).unwrap()), folder.path().join("other/relay.db"));
    std::fs::write(&file, "[store]\nurl = 'sqlite:///var/lib/relay.db'").unwrap();
    assert_eq!(database(&load(&file, &[]).unwrap()), Path::new("/var/lib/relay.db"));
    // The certificate of a database, too; nothing else of a URL changes.
    let url = "postgres://relay:p%40ss@db/relay?sslmode=verify-full&sslrootcert=";
    let key = [("RELAY_MASTER_KEY", KEY.as_bytes())];
    for (given, used) in [("ca.pem", folder.path().join("ca.pem")), ("/etc/ca.pem", "/etc/ca.pem".into())] {
        std::fs::write(&file, format!("[store]\nurl = '{url}{given}'")).unwrap();
        let StoreConfig::Postgres { url: read, .. } = load(&file, &key).unwrap().store else { panic!("{given}") };
        assert_eq!(read.expose().replace("%2F", "/"), format!("{url}{}", used.display()));
    }
    std::fs::write(&file, "").unwrap();
    // A variable is as the shell has it.
    assert_eq!(database(&load(&file, &[("DATABASE_URL", b"sqlite://x.db")]).unwrap()), Path::new("x.db"));
}

#[test]
fn a_database_where_paths_started_before_is_not_left_for_an_empty_one() {
    // The tests' working directory is the project's; a file that is surely there stands for a database.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    std::fs::write(&file, "[store]\nurl = 'sqlite://Cargo.toml'").unwrap();
    let problems = load(&file, &[]).unwrap_err().to_string();
    let expected = format!("and `{}` does not exist", folder.path().join("Cargo.toml").display());
    assert!(problems.contains("store.url: a relative path starts from") && problems.contains(&expected), "{problems}");
    std::fs::write(folder.path().join("Cargo.toml"), "").unwrap();
    assert!(load(&file, &[]).is_ok(), "the one beside the file counts");
}

#[test]
fn the_public_address_needs_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("relay.toml");
    let address = |text: &str, variables: &[(&str, &[u8])]| {
        std::fs::write(&file, text).unwrap();
        let lookup = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from_vec(value.to_vec()))
        };
        config::public_address(Some(&file), &lookup)
            .map(|address| address.to_string())
            .map_err(|error| error.to_string())
    };
    let at = |text: &str| address(text, &[]).unwrap();
    assert_eq!(at(""), "127.0.0.1:8080");
    assert_eq!(at("[server]\nlisten = 'localhost:5'"), "127.0.0.1:5");
    assert_eq!(at("[server]\nlisten = '[::]:5'\nlisten_too = 1\n[[sinks]]\nsecret = { env = 'NOT_SET' }"), "[::]:5");
    assert_eq!(at("[server]\nlisten = '0.0.0.0:5'\n[[sinks]]\nname = 'half"), "0.0.0.0:5", "no TOML further down");
    let variable: &[(&str, &[u8])] = &[("RELAY_LISTEN", b"0.0.0.0:6"), ("DATABASE_URL", LATIN1)];
    assert_eq!(address("[server]\nlisten = 'wrong'", variable).unwrap(), "0.0.0.0:6");
    assert!(
        address("[server]\nlisten = 'wrong'", &[]).unwrap_err().contains("server.listen: `wrong` is not an address")
    );
    let unusable: &[(&str, &[u8])] = &[("RELAY_LISTEN", LATIN1)];
    assert!(address("", unusable).unwrap_err().contains("RELAY_LISTEN: holds bytes that are not UTF-8"));
}

#[test]
fn a_sink_is_told_which_endpoints_there_are_and_all_its_problems() {
    let only = "[[endpoints]]\nname = 'c01'\n[[sinks]]\nname = 's'\ntype = 'stdout'\nendpoints = ['nope', 'c01']";
    let problems = wrong(only, &[]);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[1].ends_with("there is no endpoint `nope`; there is `c01`"), "{problems:?}");
    let nameless = "[[endpoints]]\npath = '/e'\n[[sinks]]\nname = 's'\ntype = 'stdout'\nendpoints = ['nope']";
    assert!(wrong(nameless, &[])[1].ends_with("there is no endpoint `nope`; no endpoint has a usable name"));
    let sink = "[[sinks]]\nname = 's'\ntype = 'http'\nurl = 'ftp://x'\ntemplate = '{{ oops'\nconnect_timeout_secs = 0";
    let places: Vec<_> =
        wrong(sink, &[]).iter().map(|problem| problem.split(": ").next().unwrap().to_owned()).collect();
    assert_eq!(places, ["sinks[0] (s).url", "sinks[0] (s).template", "sinks[0] (s).connect_timeout_secs"]);
}
