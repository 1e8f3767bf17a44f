//! A copy of the database while it is in use, and its way back.
//!
//! `VACUUM INTO` reads one state of the database, in one read transaction, whoever writes meanwhile
//! (<https://www.sqlite.org/lang_vacuum.html#vacuuminto>). The copy is whole or not there: it is written into a new file,
//! checked, and flushed.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use super::{ProcessLock, SqliteStore};

/// Why there is no copy, in a sentence.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file cannot be used.
    #[error("{0}")]
    File(String),
    /// The database failed.
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// The service, or another command, uses the database.
    #[error(transparent)]
    Busy(#[from] crate::store::StoreError),
}

fn of_file(path: &Path, what: &str) -> impl FnOnce(std::io::Error) -> CopyError {
    let text = format!("{} {what}", path.display());
    move |error| CopyError::File(format!("{text}: {error}"))
}

/// Copies the database into a new file, which only its owner can read. Returns its size in bytes.
///
/// # Errors
/// The file is there already, or cannot be written; the database cannot be read. Nothing is left then.
pub fn backup(database: &Path, to: &Path) -> Result<u64, CopyError> {
    if !database.is_file() {
        return Err(CopyError::File(format!("there is no database at {}", database.display())));
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to);
    let file = made.map_err(of_file(to, "cannot be made"))?;
    let copied = copy(database, to).and_then(|()| {
        file.sync_all().map_err(of_file(to, "cannot be flushed"))?;
        flush_folder(to)?;
        file.metadata().map(|metadata| metadata.len()).map_err(of_file(to, "cannot be read"))
    });
    copied.inspect_err(|_| drop(std::fs::remove_file(to)))
}

fn copy(database: &Path, to: &Path) -> Result<(), CopyError> {
    let from =
        Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    from.busy_timeout(Duration::from_secs(10))?;
    let name = to.to_str().ok_or_else(|| CopyError::File(format!("{} is not UTF-8", to.display())))?;
    from.execute("VACUUM INTO ?1", [name])?;
    sound(to)
}

/// Checks that a file is a database of the relay's, and whole.
fn sound(path: &Path) -> Result<(), CopyError> {
    let broken = |what: String| CopyError::File(format!("{} is no usable copy: {what}", path.display()));
    let on = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    let answer: String =
        on.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(|error| broken(error.to_string()))?;
    if answer != "ok" {
        return Err(broken(answer));
    }
    let tables: i64 = on.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('_sqlx_migrations', 'events', 'audit')",
        [],
        |row| row.get(0),
    )?;
    if tables == 3 { Ok(()) } else { Err(broken("it is not a database of finkare-relay".to_owned())) }
}

/// Puts a copy into the place of the database. What was there is moved aside with `force`, and refused without. Returns where
/// it was moved.
///
/// # Errors
/// The service runs; the copy is not usable; there is a database already.
pub fn restore(from: &Path, database: &Path, force: bool) -> Result<Option<PathBuf>, CopyError> {
    if !from.is_file() {
        return Err(CopyError::File(format!("there is no file {}", from.display())));
    }
    sound(from)?;
    let had_file = database.metadata().is_ok_and(|metadata| metadata.len() > 0);
    if had_file && !force {
        return Err(CopyError::File(format!(
            "there is a database at {} already: add --force to move it aside",
            database.display()
        )));
    }
    // Nobody may use the file meanwhile.
    let lock: ProcessLock = SqliteStore::lock(database)?;
    let beside = |suffix: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let coming = beside(".restoring");
    std::fs::copy(from, &coming).map_err(of_file(&coming, "cannot be written"))?;
    let copied = File::open(&coming).map_err(of_file(&coming, "cannot be opened"))?;
    copied
        .set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .and_then(|()| copied.sync_all())
        .map_err(of_file(&coming, "cannot be flushed"))?;
    let mut aside = None;
    if had_file {
        let name = format!(".before-restore-{}", crate::model::clock::now().as_second());
        for suffix in ["-wal", "-shm", ""] {
            let old = beside(suffix);
            if old.exists() {
                std::fs::rename(&old, beside(&format!("{name}{suffix}"))).map_err(of_file(&old, "cannot be moved"))?;
            }
        }
        aside = Some(beside(&name));
    }
    std::fs::rename(&coming, database).map_err(of_file(database, "cannot be put in place"))?;
    flush_folder(database)?;
    drop(lock);
    Ok(aside)
}

/// Makes a new name in a folder durable.
fn flush_folder(path: &Path) -> Result<(), CopyError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(of_file(folder, "cannot be flushed"))
}
