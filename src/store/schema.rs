//! Compares the schema of a database with the one that this program knows.
//!
//! Migrations only add (`migrations/README.md`), so a program works on the schema of a newer one. While versions are
//! replaced one after the other, `migrate` of the new version comes first; the processes of the old version stay
//! ready until they are replaced. Only the history must agree: every migration that both versions know has the same
//! text.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use sqlx::{
    SqlSafeStr,
    migrate::{Migration, Migrator},
};

/// The migrations that a database has, with their checksums, in order.
pub(crate) type Applied = Vec<(i64, Vec<u8>)>;

/// How a database's schema compares with ours, and what follows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    /// It is ours: nothing to do.
    Ours,
    /// It begins with ours, and a newer program has extended it up to this version: nothing to do.
    Newer(i64),
    /// These migrations are missing. An empty database misses all.
    Behind(Vec<&'a Migration>),
    /// This migration differs from the one that we know, or was never applied although later ones that we do not know
    /// were.
    Foreign(i64),
}

/// Compares the applied migrations with the ones that we know.
pub(crate) fn compare<'a>(ours: &'a Migrator, applied: &Applied) -> Standing<'a> {
    let of = |version: i64| applied.iter().find(|(other, _)| *other == version);
    if let Some(changed) =
        ours.iter().find(|our| of(our.version).is_some_and(|(_, checksum)| checksum[..] != our.checksum[..]))
    {
        return Standing::Foreign(changed.version);
    }
    let missing: Vec<_> = ours.iter().filter(|our| of(our.version).is_none()).collect();
    let unknown = applied.iter().rev().find(|(version, _)| !ours.version_exists(*version));
    match (missing.first(), unknown) {
        (None, None) => Standing::Ours,
        (None, Some((version, _))) => Standing::Newer(*version),
        (Some(_), None) => Standing::Behind(missing),
        (Some(first), Some(_)) => Standing::Foreign(first.version),
    }
}

/// The newest version of a list; 0 if it is empty.
pub(crate) fn newest(applied: &Applied) -> i64 {
    applied.last().map_or(0, |(version, _)| *version)
}

/// The newest version that a program knows.
pub(crate) fn known(ours: &Migrator) -> i64 {
    ours.iter().last().map_or(0, |migration| migration.version)
}

/// How the text of a migration begins that takes from the version before what it uses: every process of that version
/// has to be stopped first (`migrations/README.md`).
const ALONE: &str = "-- alone\n";

/// True if no process of the version before may run beside this migration, or after it.
pub(crate) fn is_alone(migration: &Migration) -> bool {
    migration.sql.as_str().starts_with(ALONE)
}

/// A part of a migration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step<'m> {
    /// What it does, for people.
    pub(crate) words: &'m str,
    pub(crate) sql: &'m str,
    /// Its one statement is repeated until it changes nothing: a large copy in pieces.
    pub(crate) is_repeated: bool,
}

/// The steps of a migration, in their order. Each begins with a line `-- step: words` or `-- repeat: words`.
pub(crate) fn steps(sql: &str) -> Vec<Step<'_>> {
    let mut begins: Vec<usize> =
        ["\n-- step: ", "\n-- repeat: "].iter().flat_map(|mark| sql.match_indices(mark)).map(|(at, _)| at + 1).collect();
    begins.sort_unstable();
    let ends = begins.iter().skip(1).copied().chain([sql.len()]);
    begins
        .iter()
        .zip(ends)
        .filter_map(|(begin, end)| {
            let (title, rest) = sql[*begin..end].split_once('\n')?;
            let (kind, words) = title.split_once(": ")?;
            Some(Step { words, sql: rest, is_repeated: kind == "-- repeat" })
        })
        .collect()
}

/// The same migration with the text of its last step only, under its own name and checksum.
pub(crate) fn with_text(migration: &Migration, sql: &str) -> Migration {
    let mut last = migration.clone();
    last.sql = sqlx::AssertSqlSafe(sql.to_owned()).into_sql_str();
    last
}

/// Logs once that a newer program has extended the schema.
#[derive(Debug, Default)]
pub(crate) struct Notice(AtomicBool);

impl Notice {
    pub(crate) fn newer(&self, theirs: i64, ours: i64) {
        if !self.0.swap(true, Relaxed) {
            tracing::warn!(
                schema = theirs,
                known = ours,
                "a newer version of the program has extended the schema: this version still works with it, but replace it soon"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::{SqlStr, migrate::MigrationType};

    use super::*;

    fn ours(versions: &[(i64, &'static str)]) -> Migrator {
        let migration = |(version, sql): &(i64, &'static str)| {
            Migration::new(*version, "m".into(), MigrationType::Simple, SqlStr::from_static(sql), false)
        };
        Migrator::with_migrations(versions.iter().map(migration).collect())
    }

    fn applied(of: &Migrator) -> Applied {
        of.iter().map(|migration| (migration.version, migration.checksum.to_vec())).collect()
    }

    #[test]
    fn a_migration_is_read_step_by_step() {
        let text = "-- alone\n--\n-- story\n\n-- step: one\nA;\n-- why\nB;\n-- repeat: two, in pieces\nC;\n-- step: three\nD;\n";
        assert!(is_alone(ours(&[(1, text)]).iter().next().unwrap()));
        assert!(!is_alone(ours(&[(1, "A; -- alone\n")]).iter().next().unwrap()));
        let step = |words, sql, is_repeated| Step { words, sql, is_repeated };
        assert_eq!(
            steps(text),
            [
                step("one", "A;\n-- why\nB;\n", false),
                step("two, in pieces", "C;\n", true),
                step("three", "D;\n", false)
            ]
        );
    }

    #[test]
    fn a_schema_is_ours_newer_behind_or_foreign() {
        let two = ours(&[(1, "a"), (2, "b")]);
        let three = ours(&[(1, "a"), (2, "b"), (3, "c")]);
        assert_eq!(compare(&two, &applied(&two)), Standing::Ours);
        assert_eq!(compare(&two, &applied(&three)), Standing::Newer(3));
        assert!(
            matches!(compare(&three, &applied(&two)), Standing::Behind(missing) if missing.len() == 1 && missing[0].version == 3)
        );
        assert!(matches!(compare(&three, &Vec::new()), Standing::Behind(missing) if missing.len() == 3));
        assert_eq!(compare(&two, &applied(&ours(&[(1, "a"), (2, "changed"), (3, "c")]))), Standing::Foreign(2));
        assert_eq!(compare(&two, &applied(&ours(&[(1, "a"), (3, "c")]))), Standing::Foreign(2));
    }
}
