//! Every environment variable that the service knows.

use crate::options::env::Variable;

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, default, meaning }
}
/// Every variable, for `--help` and the README. An empty variable counts as one that is not set.
///
/// `RELAY_LOG_FORMAT` and `RUST_LOG` are read where logging is set up, those of traces (the OpenTelemetry
/// standard's names) where traces are, `RELAY_NEW_MASTER_KEY` by the command that changes the key, all others
/// by [`load`](super::load).
pub const VARIABLES: [Variable; 20] = [
    variable("RELAY_CONFIG", "`relay.toml` if it exists", "the configuration file (also `--config`)"),
    variable("DATABASE_URL", "`sqlite://data/relay.db`", "the database: `sqlite://…` or `postgres://…`"),
    variable("RELAY_LISTEN", "`127.0.0.1:8080`", "the public listener"),
    variable("RELAY_ADMIN_LISTEN", "`127.0.0.1:8081`", "the admin listener"),
    variable(
        "RELAY_ADMIN_TOKEN",
        "generated on SQLite, kept beside the database",
        "a bearer token of the admin API, with the role `admin`",
    ),
    variable(
        "RELAY_MASTER_KEY",
        "generated on SQLite, kept beside the database; required on Postgres",
        "32 bytes in base64: what the stored webhook secrets are encrypted under",
    ),
    variable("RELAY_NEW_MASTER_KEY", "none", "for `rekey` only: the key that takes the place of `RELAY_MASTER_KEY`"),
    variable(
        "FINKARE_WEBHOOK_SECRET",
        "generated on SQLite where no API key is set either",
        "the webhook's secret (`whsec_…`) of the endpoint `default`, where no `[[endpoints]]` is configured",
    ),
    variable(
        "FINKARE_WEBHOOK_ID",
        "none",
        "the webhook's id at Finkare, of the same endpoint; what `register` stores needs no setting",
    ),
    variable(
        "FINKARE_API_KEY",
        "none",
        "the key (`fk_live_…`, `fk_test_…`) for Finkare's API, of the same endpoint: to register and to rotate",
    ),
    variable("FINKARE_API_URL", "from the key's prefix", "Finkare's API, of the same endpoint"),
    variable("RELAY_SINK_URL", "none", "one HTTP sink `default`, where no `[[sinks]]` is configured"),
    variable("RELAY_SINK_SECRET", "none: nothing is signed", "the secret (`whsec_` + base64) of that sink"),
    variable("RELAY_LOG_FORMAT", "`pretty` on a terminal, else `json`", "how log lines look"),
    variable("RUST_LOG", "`info`", "which log lines are written"),
    variable("OTEL_EXPORTER_OTLP_ENDPOINT", "none: no traces", "the collector that gets traces, by OTLP over HTTP"),
    variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "`/v1/traces` there", "the whole address for traces instead"),
    variable("OTEL_SERVICE_NAME", "`finkare-relay`", "what the service is called in traces"),
    variable("OTEL_TRACES_SAMPLER", "`always_on`", "which events' traces are exported, such as `traceidratio`"),
    variable("OTEL_TRACES_SAMPLER_ARG", "`1`", "the share of events, from 0 to 1, with `traceidratio`"),
];
