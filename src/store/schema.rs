//! How the schema that a database has compares with the one that this program knows.
//!
//! Migrations only add (`migrations/README.md`), so a program works on the schema of a newer one: while versions are
//! replaced one after the other, `migrate` of the new one comes first, and those of the old one go on, ready, until
//! they are replaced. What must not differ is the history: every migration that both know has the same text.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use sqlx::migrate::{Migration, Migrator};

/// The migrations that a database has, with their checksums, in order.
pub(crate) type Applied = Vec<(i64, Vec<u8>)>;

/// What is to be done about a database's schema.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    /// Nothing: it is ours.
    Ours,
    /// Nothing: it begins with ours, and a newer program has added to it, up to this version.
    Newer(i64),
    /// These are missing. An empty database misses all.
    Behind(Vec<&'a Migration>),
    /// This migration is not the one that we know, or was never applied though later ones that we do not know were.
    Foreign(i64),
}

/// Compares what a database has with what we know.
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

/// Says once that a newer program has been at the database.
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
