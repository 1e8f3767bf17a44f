//! Interprets `RUST_LOG`.
//!
//! The library takes every word for a module. `finkare-relay=debug` (with a hyphen, where Rust has an underscore) would thus
//! match nothing and, being the only directive, would silence everything else. Here, directives that can match nothing are
//! reported, and the default applies to everything that is not mentioned.

use super::DEFAULT_FILTER;

/// The crates that write log lines, the service first.
const CRATES: [&str; 24] = [
    "finkare_relay",
    "finkare",
    "finkare_simulator",
    "outgoing",
    "axum",
    "h2",
    "hickory_resolver",
    "hyper",
    "hyper_util",
    "mio",
    "moka",
    "opentelemetry",
    "opentelemetry_http",
    "opentelemetry_otlp",
    "opentelemetry_sdk",
    "reqwest",
    "rustls",
    "rustls_platform_verifier",
    "sqlx",
    "sqlx_core",
    "tokio",
    "tokio_util",
    "tower",
    "tower_http",
];

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The directives to use, and a sentence about each directive that matches nothing.
pub(super) fn understood(given: &str) -> (String, Vec<String>) {
    let mut says_of_the_rest = false;
    let mut unmatched = Vec::new();
    let mut ours = String::new();
    for directive in split(given) {
        let directive = directive.trim();
        if directive.is_empty() {
            continue;
        }
        // `target[span{field=value}]=level`, each part optional.
        let target = directive.split(['[', '=']).next().unwrap_or_default().trim();
        if is_level(directive) {
            says_of_the_rest = true;
        } else if !target.is_empty() && !is_known(target) {
            unmatched.push(told(directive, target));
        }
        // The calls to Finkare's API are made by a crate of their own, and their lines are the service's all the same. A
        // directive that names that crate counts for itself.
        if target == "finkare_relay" && !split(given).any(|other| other.trim().starts_with("finkare=")) {
            ours = format!(",{}", directive.replacen(target, "finkare", 1));
        }
    }
    // Later directives win over earlier ones for the same target.
    let directives =
        if says_of_the_rest { format!("{given}{ours}") } else { format!("{DEFAULT_FILTER},{given}{ours}") };
    (directives, unmatched)
}

/// A comma inside the braces of a span's fields does not separate directives.
fn split(given: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_u32;
    given.split(move |c| {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

/// Levels may also be written as numbers.
fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level)) || word.parse::<u8>().is_ok_and(|number| number <= 5)
}

/// The library compares prefixes: `finkare_relay::dis` matches `finkare_relay::dispatch`.
fn is_known(target: &str) -> bool {
    let first = target.split("::").next().unwrap_or(target);
    if target == first { CRATES.iter().any(|name| name.starts_with(first)) } else { CRATES.contains(&first) }
}

fn told(directive: &str, target: &str) -> String {
    let with_underscores = target.replace('-', "_");
    let meant = if is_known(&with_underscores) {
        format!("write `{}`", directive.replacen(target, &with_underscores, 1).escape_debug())
    } else if LEVELS.iter().any(|level| strsim::osa_distance(level, target) == 1) {
        format!("levels are {}", LEVELS.join(", "))
    } else {
        "our own lines are those of `finkare_relay`, the database driver's those of `sqlx`".to_owned()
    };
    format!("`{}` matches nothing: {meant}. The rest is logged as by default", directive.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_counts_and_the_rest_stays() {
        for (given, used) in [
            ("finkare-relay=debug", "info,sqlx=warn,finkare-relay=debug"),
            ("finkare_relay=debug", "info,sqlx=warn,finkare_relay=debug,finkare=debug"),
            ("finkare_relay=debug,finkare=info", "info,sqlx=warn,finkare_relay=debug,finkare=info"),
            ("warn", "warn"),
            ("OFF", "OFF"),
            ("finkare_relay=debug,warn", "finkare_relay=debug,warn,finkare=debug"),
            ("", "info,sqlx=warn,"),
        ] {
            assert_eq!(understood(given).0, used, "{given}");
        }
    }

    #[test]
    fn what_matches_nothing_is_told() {
        for (given, told) in [
            ("finkare-relay=debug", "`finkare-relay=debug` matches nothing: write `finkare_relay=debug`"),
            ("finkare-relay::dispatch=debug", "write `finkare_relay::dispatch=debug`"),
            ("finkare-relay", "write `finkare_relay`"),
            ("debgu", "`debgu` matches nothing: levels are off, error, warn, info, debug, trace"),
            ("info,sqlxx=warn", "`sqlxx=warn` matches nothing: our own lines are those of `finkare_relay`"),
        ] {
            let (_, unmatched) = understood(given);
            assert!(unmatched.len() == 1 && unmatched[0].contains(told), "{given}: {unmatched:?}");
        }
        for given in [
            "info",
            "3",
            "finkare_relay=debug,hyper=info",
            "finkare_relay::dispatch=trace,sqlx::query=debug",
            "[span{a=1,b=2}]=debug",
            "finkare=debug",
            "",
        ] {
            assert_eq!(understood(given).1, Vec::<String>::new(), "{given}");
        }
    }
}
