//! The examples at the end of each command's help. A command whose own file brings examples keeps those.
//!
//! How to add a command: give it a row in [`EXAMPLES`]. A test fails for a command without one, and for an example that
//! the command would not accept.

use clap::Command;

/// What a person would type after the name of the program, by command.
const EXAMPLES: [(&str, &[&str]); 40] = [
    ("serve", &["serve", "serve --config /etc/finkare-relay/relay.toml"]),
    ("demo", &["demo", "demo --keep"]),
    ("check", &["check", "check --config new.toml --json"]),
    ("migrate", &["migrate"]),
    (
        "register",
        &[
            "register --url https://relay.example.fr/webhooks/finkare",
            "register --endpoint acme --url https://relay.example.fr/webhooks/acme --event payment.received",
            "register --all --url-base https://relay.example.fr",
        ],
    ),
    ("rotate-secret", &["rotate-secret", "rotate-secret --endpoint acme --overlap-secs 3600", "rotate-secret --all"]),
    ("reload", &["reload", "reload --admin-url 127.0.0.1:8081"]),
    ("rekey", &["rekey"]),
    (
        "send",
        &[
            "send payment.received",
            r#"send payment.received --data '{"invoiceId":"INV-1","amountCents":150000}'"#,
            "send payment.received --count 100 --duplicate 1",
            "send invoice.status_changed --to http://127.0.0.1:8080/webhooks/finkare --forge",
        ],
    ),
    (
        "simulate",
        &[
            "simulate --webhook https://relay.example.fr/webhooks/finkare --deliver-to http://127.0.0.1:8080",
            "simulate --rate 5 --fault repeats=2",
        ],
    ),
    (
        "reconcile",
        &[
            "reconcile",
            "reconcile --since 2026-10-01 --until 2026-10-31",
            "reconcile --endpoint acme --since 2026-10-05 --until 2026-10-05 --fill",
        ],
    ),
    ("link list", &["link list", "link list --all -o csv"]),
    ("link revoke", &["link revoke 019a8c3e-7d10-7c52-9f0a-3b1f5d2c8e44"]),
    ("endpoints list", &["endpoints list", "endpoints list -o json"]),
    ("endpoints secrets", &["endpoints secrets acme"]),
    ("endpoints deliveries", &["endpoints deliveries acme"]),
    ("endpoints settle", &["endpoints settle acme --current", "endpoints settle acme --secret-file secret.txt"]),
    (
        "audit list",
        &[
            "audit list --since 1d",
            "audit list --actor cli --action sink.paused",
            "audit list --endpoint acme --since 2026-11-01 --until 2026-12-01 --all -o csv",
        ],
    ),
    (
        "events list",
        &[
            "events list --since 2h",
            "events list --type payment.received --endpoint acme --watch",
            "events list --q F-2026-001",
            "events list --since 2026-11-26 --all -o jsonl",
        ],
    ),
    ("events show", &["events show 01a21b30-c7c0-74d4-a4ba-fd5e8adcd291"]),
    (
        "events replay",
        &[
            "events replay 01a21b30-c7c0-74d4-a4ba-fd5e8adcd291",
            "events replay --since 2026-11-26 --sink erp --dry-run",
            "events replay --all --sink archive --yes",
        ],
    ),
    (
        "dispatches list",
        &[
            "dispatches list --state dead",
            "dispatches list --sink erp --reason 'answered 503' --since 1d",
            "dispatches list --endpoint acme --state held --all -o csv",
        ],
    ),
    ("dispatches show", &["dispatches show 4711"]),
    (
        "dispatches retry",
        &[
            "dispatches retry 4711",
            "dispatches retry --sink erp --state dead --reason 'answered 503' --dry-run",
            "dispatches retry --state held --endpoint acme --since 2d --yes",
        ],
    ),
    (
        "dispatches cancel",
        &["dispatches cancel 4711", "dispatches cancel --state held,dead --sink erp --until 2026-11-01 --dry-run"],
    ),
    ("refusals list", &["refusals list", "refusals list --endpoint acme -o json"]),
    (
        "bookings list",
        &[
            "bookings list --state sending",
            "bookings list --invoice-number F-2026-001",
            "bookings list --sink books --all -o csv",
        ],
    ),
    (
        "bookings settle",
        &[
            "bookings settle pay_1 --sink books --recorded --target-id 815",
            "bookings settle pay_1 --sink books --not-recorded",
        ],
    ),
    (
        "statement",
        &[
            "statement --month 2026-10",
            "statement --month 2026-10 --endpoint acme --format csv",
            "statement --month 2026-10 --sink books --format fec",
        ],
    ),
    ("sinks list", &["sinks list", "sinks list --watch"]),
    ("sinks pause", &["sinks pause erp"]),
    ("sinks resume", &["sinks resume erp"]),
    ("sinks test", &["sinks test erp"]),
    (
        "try",
        &[
            "try --sink erp --event 01a21b30-c7c0-74d4-a4ba-fd5e8adcd291",
            "try --sink erp --event payment.json",
            "try --sink books --since 1w",
        ],
    ),
    ("erase", &["erase --invoice INV-1 --dry-run", "erase --invoice INV-1 --yes"]),
    ("config schema", &["config schema"]),
    ("config page", &["config page"]),
    ("openapi", &["openapi"]),
    ("version", &["version", "version -o json"]),
    ("health", &["health", "health --ready"]),
];

/// The command with the examples in the help of each command below it.
pub(super) fn with_examples(command: Command) -> Command {
    below(command, "")
}

fn below(mut command: Command, path: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    for name in names {
        let path = format!("{path} {name}").trim_start().to_owned();
        command = command.mut_subcommand(&name, |command| below(command, &path));
    }
    let examples = EXAMPLES.iter().find(|(of, _)| *of == path).map(|(_, examples)| *examples);
    match examples {
        Some(examples) if command.get_after_help().is_none() => {
            let lines: Vec<String> = examples.iter().map(|example| format!("  finkare-relay {example}")).collect();
            command.after_help(format!("Examples:\n{}", lines.join("\n")))
        }
        _ => command,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::{super::Arguments, *};

    /// Calls `look` with each command that can be run, and its path.
    fn each(command: &Command, path: &str, look: &mut dyn FnMut(&str, &Command)) {
        let mut below = command.get_subcommands().filter(|command| command.get_name() != "help").peekable();
        if below.peek().is_none() {
            look(path, command);
        }
        for command in below {
            each(command, format!("{path} {}", command.get_name()).trim_start(), look);
        }
    }

    /// The words of a line, as a shell reads it; of its quotes only `'` is used.
    fn words(line: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (place, part) in line.split('\'').enumerate() {
            if place % 2 == 1 {
                words.push(part.to_owned());
            } else {
                words.extend(part.split_whitespace().map(str::to_owned));
            }
        }
        words
    }

    #[test]
    fn every_command_has_examples_that_it_accepts() {
        let whole = with_examples(Arguments::command());
        let mut count = 0;
        each(&whole, "", &mut |path, command| {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines: Vec<&str> = help
                .lines()
                .filter_map(|line| line.strip_prefix("  "))
                .filter(|line| line.starts_with("finkare-relay "))
                .collect();
            assert!(help.starts_with("Examples:\n") && !lines.is_empty(), "`{path}` has no examples");
            let mut is_shown = false;
            for line in lines {
                // Some say beside it what it does.
                let line = line.split("  ").next().unwrap_or(line);
                let matches = whole.clone().try_get_matches_from(words(line)).map_err(|error| error.to_string());
                let mut matches = &matches.unwrap_or_else(|error| panic!("{line}: {error}"));
                let mut reached = Vec::new();
                while let Some((name, of)) = matches.subcommand() {
                    reached.push(name);
                    matches = of;
                }
                // Beside its own, `simulate` shows what is called next.
                is_shown |= reached.join(" ") == path;
                count += 1;
            }
            assert!(is_shown, "the examples of `{path}` are all of other commands");
        });
        assert!(count >= EXAMPLES.len());
    }

    #[test]
    fn every_row_is_of_a_command() {
        let mut paths = Vec::new();
        each(&Arguments::command(), "", &mut |path, _| paths.push(path.to_owned()));
        for (path, _) in EXAMPLES {
            assert!(paths.iter().any(|known| known == path), "there is no command `{path}`");
        }
    }
}
