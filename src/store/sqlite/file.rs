//! The database's file: created for its owner alone, known by one name, used by one process, and checked after each
//! commit.
//!
//! # One file, many names
//!
//! A symbolic link, a relative path or a hard link is another name of the same file, and SQLite keeps its log beside
//! the name: two services that know one file by two names would not even see each other's log. So a path is resolved
//! before the file is opened, the lock file is beside the resolved name, and the file itself is locked as well, which
//! works under any name.
//!
//! # A file that is gone
//!
//! If the file of a running service is removed, or a backup is moved over it, the service goes on with a file that
//! has no name any more. Every commit succeeds, and the committed data can never be found again. So after each
//! commit, before anything is acknowledged, the names are looked up: the file and its log must still be the ones that
//! are open. That costs two system calls, a few microseconds.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
};

use crate::store::StoreError;

/// Identifies a file under any name: device and inode.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).map(|data| (data.dev(), data.ino()))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Identity> {
    // On these systems an open file cannot be removed or replaced.
    std::fs::metadata(path).map(|_| (0, 0))
}

/// The file with the same name and this ending added.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// The open file, to be compared with the one that has its name now.
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

    /// Notes that the file was opened for writing: on a layered file system it only becomes the final file then.
    pub(super) fn opened(&self) {
        if let Ok(file) = identity(&self.path) {
            self.file.get_or_init(|| file);
        }
    }

    /// The writer has a new connection, which may have another log.
    pub(super) fn forget_log(&self) {
        *self.open_log.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Succeeds as long as the names lead to the open files.
    ///
    /// # Errors
    /// The file that is gone, as a temporary failure: it may be put back, and a sender shall come again.
    pub(super) fn is_there(&self) -> io::Result<()> {
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

fn gone(path: &Path) -> io::Error {
    let name = path.file_name().unwrap_or(path.as_os_str()).display();
    io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "the database's file {name} was removed or replaced while the service has it open, so whatever is written \
             now is lost: nothing is accepted until the service is started again"
        ),
    )
}

/// The files that this process has claimed.
static CLAIMED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// This process's claim on a database file, until it is dropped or the process ends in any way.
#[derive(Debug)]
pub struct ProcessLock {
    path: PathBuf,
    // The operating system keeps the locks as long as these are open.
    _lock_file: File,
    // This must stay open until SQLite is done with the file: closing any of a process's handles on it ends SQLite's
    // own locks, <https://www.sqlite.org/howtocorrupt.html>, section 2.2.
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
        // Other systems have one kind of lock for both, so this lock would conflict with SQLite's own.
        if cfg!(target_os = "linux") {
            locked(&database, given, &path)?;
        }
        CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        Ok(Self { path, _lock_file: lock_file, _database: database })
    }
}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = claimed.iter().position(|path| *path == self.path) {
            claimed.swap_remove(place);
        }
    }
}

/// Makes sure that no other process has claimed the file, or does so until the result is dropped. The database itself
/// is not opened: see [`ProcessLock`].
///
/// # Errors
/// [`StoreError::Open`] if another process has claimed the file, or the lock file cannot be opened.
pub(super) fn keep_others_away(path: &Path) -> Result<Option<File>, StoreError> {
    if CLAIMED.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|claimed| claimed == path) {
        return Ok(None);
    }
    let lock = beside(path, ".lock");
    let lock_file = private()
        .open(&lock)
        .map_err(|error| StoreError::Open(format!("the lock file {} cannot be opened: {error}", lock.display())))?;
    locked(&lock_file, path, &lock)?;
    Ok(Some(lock_file))
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

/// The one resolved name of an existing file.
///
/// # Errors
/// [`StoreError::Open`] if the path cannot be resolved.
pub(super) fn canonical(path: &Path) -> Result<PathBuf, StoreError> {
    std::fs::canonicalize(path).map_err(|error| cannot_open(path, &error))
}

/// Creates the file, and its folder, before SQLite does, in order to choose its mode; SQLite gives the log and the
/// shared memory beside it the same mode.
///
/// # Errors
/// [`StoreError::Open`], with the path.
pub(super) fn make(path: &Path) -> Result<(), StoreError> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|error| StoreError::Open(format!("the folder {} cannot be made: {error}", folder.display())))?;
    }
    if std::fs::metadata(path).is_ok_and(|data| data.is_file()) {
        // Opening and closing it would end the locks of a connection that has it open in this process.
        return Ok(());
    }
    private().open(path).map(drop).map_err(|error| cannot_open(path, &error))
}

fn cannot_open(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Open(format!("the database {} cannot be opened: {error}", path.display()))
}

/// Options to open for writing; the file is created for its owner alone if it does not exist.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
