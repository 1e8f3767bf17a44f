//! The database's file: made for its owner alone, known by one name, had by one process, and looked after.
//!
//! # One file, many names
//!
//! A symbolic link, a relative path or a hard link is another name of the same file, and SQLite keeps its log beside the
//! name: two services that know one file by two names would not even see each other's log. So a path is resolved before
//! anything is opened, the lock file stands beside the resolved name, and the file itself is locked as well, which
//! holds whatever it is called.
//!
//! # A file that is gone
//!
//! Who removes the file of a running service, or moves a backup over it, leaves it with a file that has no name any
//! more. Every commit succeeds, and nobody will ever see what was committed. So after each commit, before anything is
//! acknowledged, the names are looked up: the file and its log must still be the ones that are open. That costs two
//! questions to the system, a few microseconds.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::store::StoreError;

/// What a file is, whatever it is called: device and inode.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|data| (data.dev(), data.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Identity> {
    // An open file cannot be removed or replaced there.
    std::fs::metadata(path).map(|_| (0, 0))
}

/// The file beside another with this ending.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The file that is open, to be compared with the one that has its name now.
#[derive(Debug)]
pub(super) struct OpenFile {
    path: PathBuf,
    log: PathBuf,
    file: OnceLock<Identity>,
    /// The log that the writer's connection has open, once it has written.
    open_log: Mutex<Option<Identity>>,
}

impl OpenFile {
    /// The file of this name, which is about to be opened.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), log: beside(path, "-wal"), file: OnceLock::new(), open_log: Mutex::new(None) }
    }

    /// It was opened for writing: on a layered file system only that makes it the file that it stays.
    pub(super) fn opened(&self) {
        if let Ok(file) = identity(&self.path) {
            self.file.get_or_init(|| file);
        }
    }

    /// The writer's connection is a new one: it may have another log.
    pub(super) fn forget_log(&self) {
        *self.open_log.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Nothing, as long as the names lead to what is open.
    ///
    /// # Errors
    /// What is gone, as a failure that may pass: somebody may put it back, and a sender is to come again.
    pub(super) fn is_there(&self) -> Result<(), sqlx::Error> {
        if let Some(file) = self.file.get()
            && identity(&self.path).ok().as_ref() != Some(file)
        {
            return Err(gone(&self.path));
        }
        let now = identity(&self.log).ok();
        let mut log = self.open_log.lock().unwrap_or_else(PoisonError::into_inner);
        match *log {
            None => *log = now,
            Some(_) if *log == now => {}
            Some(_) => return Err(gone(&self.log)),
        }
        Ok(())
    }
}

fn gone(path: &Path) -> sqlx::Error {
    let name = path.file_name().unwrap_or(path.as_os_str()).display();
    sqlx::Error::Io(io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "the database's file {name} was removed or replaced while the service has it open, so whatever is written \
             now is lost: nothing is accepted until the service is started again"
        ),
    ))
}

/// This process's claim on a database file, until it is dropped or the process ends in any way.
#[derive(Debug)]
pub struct ProcessLock {
    // The operating system keeps the locks as long as these are open.
    _lock_file: File,
    // Not to be closed before SQLite is done with the file: closing any of a process's handles on it ends SQLite's own
    // locks, <https://www.sqlite.org/howtocorrupt.html>, section 2.2.
    _database: File,
}

impl ProcessLock {
    /// See [`super::SqliteStore::lock`].
    pub(super) fn take(path: &Path) -> Result<Self, StoreError> {
        let given = path;
        make(path)?;
        let path = canonical(path)?;
        let lock = beside(&path, ".lock");
        let lock_file = private()
            .open(&lock)
            .map_err(|error| StoreError::Open(format!("the lock file {} cannot be opened: {error}", lock.display())))?;
        locked(&lock_file, given, &lock)?;
        let database = private().open(&path).map_err(|error| cannot_open(&path, &error))?;
        // Other systems have one kind of lock for both, and SQLite's own would meet this one.
        if cfg!(target_os = "linux") {
            locked(&database, given, &path)?;
        }
        Ok(Self { _lock_file: lock_file, _database: database })
    }
}

fn locked(file: &File, path: &Path, held: &Path) -> Result<(), StoreError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(StoreError::Open(format!(
            "another process uses the database {} (it holds {}): stop it, give this one another file by \
             DATABASE_URL, or use Postgres to run several",
            path.display(),
            held.display()
        ))),
        Err(TryLockError::Error(error)) => Err(StoreError::Open(format!(
            "the file {} cannot be locked: {error}; put the database on a local disk",
            held.display()
        ))),
    }
}

/// The one name of a file that is there.
///
/// # Errors
/// [`StoreError::Open`] if it cannot be resolved.
pub(super) fn canonical(path: &Path) -> Result<PathBuf, StoreError> {
    std::fs::canonicalize(path).map_err(|error| cannot_open(path, &error))
}

/// Makes the file, and its folder, before SQLite does, to choose its mode; SQLite gives the log and the shared
/// memory beside it the same one.
///
/// # Errors
/// [`StoreError::Open`], with the name.
pub(super) fn make(path: &Path) -> Result<(), StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| StoreError::Open(format!("the folder {} cannot be made: {error}", folder.display())))?;
    }
    if std::fs::metadata(path).is_ok_and(|data| data.is_file()) {
        // Opened and closed, it would end the locks of whoever has it open in this process.
        return Ok(());
    }
    private().open(path).map(drop).map_err(|error| cannot_open(path, &error))
}

fn cannot_open(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Open(format!("the database {} cannot be opened: {error}", path.display()))
}

/// Opens for writing; makes the file, for its owner alone, if it is not there.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
