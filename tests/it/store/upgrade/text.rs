//! What a migration may contain: only what the program before can live with. The rules are in `migrations/README.md`.

use sqlx::migrate::Migrator;

use super::{of_postgres, of_sqlite};

/// From this one on. The first ones made the tables.
const FIRST: i64 = 5;

/// The tables that every accept and every attempt writes.
const HOT: [&str; 5] = ["events", "queue", "history", "attempts", "sinks"];

/// The statements of a migration: without comments, in one case, on one line each.
fn statements(sql: &str) -> Vec<String> {
    let code: Vec<&str> = sql.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
    let code = code.join(" ").to_lowercase();
    code.split(';')
        .map(|one| one.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|one| !one.is_empty())
        .collect()
}

/// Why the program before could not go on after this statement.
fn objection(statement: &str) -> Option<&'static str> {
    let has = |text: &str| statement.contains(text);
    let begins = |text: &str| statement.starts_with(text);
    if begins("drop index") {
        // It may become slow, and no more.
        return None;
    }
    if begins("drop ") || (begins("alter ") && (has(" drop column") || has(" drop default"))) {
        return Some("drops what the program before uses");
    }
    if begins("alter ") && has(" rename ") {
        return Some("renames what the program before uses");
    }
    if begins("alter ") && (has(" type ") || has(" set not null") || has(" add constraint") || has(" add check")) {
        return Some("narrows what the program before may write");
    }
    if begins("alter ") && has(" add column") && has("not null") && !has("default") {
        return Some("adds a column that the program before does not fill");
    }
    if begins("create unique index") && !statement.contains(" where ") {
        return Some("may refuse what the program before writes");
    }
    None
}

/// What would keep accepts waiting.
fn delay(statement: &str, no_transaction: bool) -> Option<&'static str> {
    let on_hot = HOT
        .iter()
        .any(|table| statement.contains(&format!(" on {table} ")) || statement.contains(&format!(" on {table}(")));
    if statement.starts_with("create") && statement.contains(" index ") && on_hot && !no_transaction {
        return Some("builds an index while every write waits: CONCURRENTLY, without a transaction");
    }
    None
}

fn all_add(migrations: &Migrator, is_postgres: bool) {
    let mut objections = Vec::new();
    for migration in migrations.iter().filter(|migration| migration.version >= FIRST) {
        // Every process of the version before is stopped for it.
        if migration.sql.as_str().starts_with("-- alone\n") {
            continue;
        }
        let statements = statements(migration.sql.as_str());
        // A table that this migration makes itself is nobody's yet; SQLite makes one anew to change its constraints.
        let made = statements
            .iter()
            .filter_map(|one| one.strip_prefix("create table "))
            .filter_map(|rest| rest.trim_start_matches("if not exists ").split([' ', '(']).next());
        let mut own: Vec<&str> = made.collect();
        if !is_postgres {
            let made_anew =
                |one: &'_ &String| own.iter().any(|table| one.starts_with(&format!("alter table {table} rename to ")));
            let renamed: Vec<&str> =
                statements.iter().filter(made_anew).filter_map(|one| one.split(" rename to ").nth(1)).collect();
            own.extend(renamed);
        }
        for statement in &statements {
            let on_own = own.iter().any(|table| {
                ["on", "table"].iter().any(|word| format!("{statement} ").contains(&format!(" {word} {table} ")))
            });
            let delay = if is_postgres { delay(statement, migration.no_tx) } else { None };
            if let Some(why) = objection(statement).or(delay).filter(|_| !on_own) {
                objections.push(format!("{} {}: {why}: {statement}", migration.version, migration.description));
            }
        }
        let hot: Vec<_> = HOT
            .iter()
            .filter(|table| statements.iter().any(|one| one.starts_with(&format!("alter table {table} "))))
            .collect();
        if is_postgres && hot.len() > 1 {
            objections.push(format!(
                "{} locks several tables at once, waiting for one with the others in hand: {hot:?}",
                migration.version
            ));
        }
    }
    assert!(objections.is_empty(), "see migrations/README.md:\n{}", objections.join("\n"));
}

#[test]
fn migrations_only_add() {
    all_add(&of_postgres(), true);
    all_add(&of_sqlite(), false);
}

#[test]
fn what_would_break_the_program_before_is_found() {
    for sql in [
        "DROP TABLE bookings",
        "ALTER TABLE events DROP COLUMN payload",
        "ALTER TABLE events RENAME COLUMN type TO kind",
        "ALTER TABLE events RENAME TO happenings",
        "ALTER TABLE events ALTER COLUMN deliveries TYPE bigint",
        "ALTER TABLE events ALTER COLUMN invoice_id SET NOT NULL",
        "ALTER TABLE events ADD COLUMN x bigint NOT NULL",
        "ALTER TABLE events ADD CONSTRAINT few CHECK (deliveries < 9)",
        "CREATE UNIQUE INDEX x ON events (invoice_id)",
    ] {
        assert!(statements(sql).iter().any(|one| objection(one).is_some()), "{sql}");
    }
    for sql in [
        "ALTER TABLE events ADD COLUMN x bigint -- not null",
        "ALTER TABLE events ADD COLUMN x bigint NOT NULL DEFAULT 0",
        "CREATE TABLE x (y bigint NOT NULL)",
        "DROP INDEX x",
    ] {
        assert!(statements(sql).iter().all(|one| objection(one).is_none()), "{sql}");
    }
    assert!(delay("create index x on queue (id)", false).is_some());
    assert!(delay("create index concurrently x on queue (id)", true).is_none());
    assert!(delay("create index x on bookings (id)", false).is_none());
}
