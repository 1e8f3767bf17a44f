//! Every environment variable that the service knows.

use crate::options::env::Variable;

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}

/// Every variable, for `--help` and the configuration page. An empty variable counts as one that is not set.
///
/// The variables for proxies are read only if `[outgoing]` says so, also in lower case. `RELAY_LOG_FORMAT` and `RUST_LOG`
/// are read by the code that sets up logging, the variables for traces (with the names of the OpenTelemetry standard) by
/// the code that sets up traces, `RELAY_NEW_MASTER_KEY` by the command that changes the key, and all others by
/// [`load`](super::load).
pub const VARIABLES: [Variable; 24] = [
    variable("RELAY_CONFIG", "`relay.toml` if it exists", "the configuration file (also `--config`)"),
    variable(
        "DATABASE_URL",
        "`sqlite://data/relay.db`",
        "the database: `sqlite://relative/path`, `sqlite:///absolute/path` or `postgres://user:password@host/database`",
    ),
    variable("RELAY_LISTEN", "`127.0.0.1:8080`", "the public listener; port 0 takes a free port"),
    variable("RELAY_ADMIN_LISTEN", "`127.0.0.1:8081`", "the admin listener"),
    variable(
        "RELAY_ADMIN_TOKEN",
        "on SQLite generated and kept in `admin-token` beside the database",
        "a bearer token for the admin API, named `env`, with the role `admin`; if it is set, commands send this one, whatever \
         other tokens the file has",
    ),
    variable(
        "RELAY_MASTER_KEY",
        "on SQLite generated and kept in `master-key` beside the database; required on Postgres",
        "the key under which the stored webhook secrets are encrypted: 32 bytes in base64",
    ),
    variable("RELAY_NEW_MASTER_KEY", "none", "for `rekey` only: the key that replaces `RELAY_MASTER_KEY`"),
    variable(
        "FINKARE_WEBHOOK_SECRET",
        "on SQLite, without an API key, generated and kept in `webhook-secret` beside the database",
        "the webhook's secret (`whsec_…`) of the endpoint `default`, if no `[[endpoints]]` are configured",
    ),
    variable("FINKARE_WEBHOOK_ID", "what `register` stored", "the webhook's id at Finkare, of the same endpoint"),
    variable(
        "FINKARE_API_KEY",
        "none",
        "the key (`fk_live_…`, `fk_test_…`) for Finkare's API, of the same endpoint: to register, to rotate, and to find \
         payments",
    ),
    variable("FINKARE_API_URL", "from the key's prefix", "Finkare's API, of the same endpoint"),
    variable("RELAY_SINK_URL", "none", "the address of one HTTP sink `default`, if no `[[sinks]]` are configured"),
    variable(
        "RELAY_SINK_SECRET",
        "none: nothing is signed",
        "the signing secret of that sink: `whsec_` and the base64 of 24 to 64 bytes",
    ),
    variable("HTTPS_PROXY", "none", "with `proxy = \"environment\"` only: the proxy for calls to `https://` addresses"),
    variable("HTTP_PROXY", "none", "likewise for calls to `http://` addresses"),
    variable("ALL_PROXY", "none", "likewise for calls for which neither of these two is set"),
    variable("NO_PROXY", "none", "likewise the hosts that are called directly, separated by commas"),
    variable("RELAY_LOG_FORMAT", "`pretty` on a terminal, else `json`", "how log lines look"),
    variable(
        "RUST_LOG",
        "`info`, and `warn` for the database driver",
        "which log lines are written, such as `warn`, or `finkare_relay=debug`, which leaves all others at the default",
    ),
    variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "none: no traces",
        "the collector that gets traces, by OTLP over HTTP, such as `http://127.0.0.1:4318`",
    ),
    variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "`/v1/traces` there", "the whole address for traces instead"),
    variable("OTEL_SERVICE_NAME", "`finkare-relay`", "the service's name in traces"),
    variable(
        "OTEL_TRACES_SAMPLER",
        "`always_on`",
        "which events' traces are exported: `always_on`, `always_off`, `traceidratio`, or one of these after `parentbased_`",
    ),
    variable("OTEL_TRACES_SAMPLER_ARG", "`1`", "the share of events, from 0 to 1, with `traceidratio`"),
];
