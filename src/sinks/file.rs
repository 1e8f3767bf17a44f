//! One JSON line per event in a file.
//!
//! A line counts as delivered once it has been fsynced, together with all lines of its group (see `lines`). The file
//! contains whole lines only: the remains of a failed write are cut off, and a last line that a crash left incomplete is
//! repaired before a new one is appended.
//!
//! Other programs may rename, delete or truncate the file: before each group, the sink checks that the path still leads to
//! the same file, with the same length. (logrotate's `copytruncate` by design loses lines that are written between its two
//! steps; its default, renaming, loses none.) Only one process writes to a file at a time: a lock prevents a second one
//! from mistaking an unfinished line for an incomplete one.
//!
//! A full file is renamed and a new one is begun. A file that cannot be renamed (in a container it may be a mount by
//! itself; or the folder may not be writable) continues to grow with an error in the log, and `check` reports it. Copying
//! the file and truncating it is no alternative: the copy could be on a disk that is deleted with the container. Events
//! must not wait for any of this.
//!
//! The first delivery opens the file, not the construction of the sink, so that a mere check of the configuration leaves
//! no trace.

mod look;

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use jiff::{Timestamp, ToSpan};

use self::look::{advice, explain, look, not_a_file};
use super::{
    Message, Sink,
    lines::{self, Failure, Target, Writer},
    message,
    options::{OpenDesk, SinkOptions, Surroundings},
    preview::Preview,
};
use crate::{
    model::{clock, dispatch::Outcome},
    options::section::Section,
};

/// The largest number of bytes in one write.
const GROUP_BYTES: u64 = 1024 * 1024;

/// How far back the beginning of an incomplete line is searched for, in bytes. A line is at most six times as long as the
/// largest body (every byte escaped), and a little more; in a file of this sink it is found long before this.
const LONGEST_LINE: u64 = 64 * 1024 * 1024;

/// The beginning of every line that this sink writes, see [`message::object`].
const BEGINNING: &[u8] = br#"{"id":""#;

/// The options of a `file` sink.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file; its folder is created if it is missing.
    pub path: PathBuf,
    /// Bytes. A line that would make the file larger goes into a new one, and the full one is
    /// renamed to `<name>.<UTC time>`. 0 never rotates.
    pub max_bytes: u64,
}

#[async_trait]
impl SinkOptions for Options {
    const NAME: &'static str = "file";
    const ABOUT: &'static str = "Writes one JSON line per event to a file, and begins a new file when it is full.";
    const CONCURRENCY: u32 = 256;
    const CALLS_OUT: bool = false;

    fn read(section: &mut Section<'_>, _: Surroundings<'_>) -> Option<Self> {
        let path = section
            .key("path", "The file. Its folder is created if it is missing.")
            .allowed("a path")
            .required("name the file, for example `data/events.jsonl`")
            .text();
        let max_bytes = section
            .key(
                "max_bytes",
                "In bytes. A file that has reached this size is renamed, and a new one is begun; with 0 that never happens. \
                 A file that cannot be renamed, such as one that is mounted by itself, continues to grow with an error in \
                 the log, and `check` fails.",
            )
            .whole_or(0..=u64::MAX, 100 * 1024 * 1024);
        let path = path?;
        if Path::new(&path).file_name().is_none() || path.ends_with('/') {
            section.problem("path", format!("`{path}` does not name a file: write, for example, `data/events.jsonl`"));
        }
        let anchored = section.anchored("path", Path::new(&path));
        if anchored != Path::new(&path) && Path::new(&path).exists() && !anchored.exists() {
            section.notice(
                "path",
                format!(
                    "a relative path starts from the folder of the configuration file: events go to `{}`, and no longer to \
                     `{path}` in the working directory",
                    anchored.display()
                ),
            );
        }
        Some(Self { path: anchored, max_bytes })
    }

    fn build(&self, _: Duration, _: OpenDesk<'_>) -> Result<Arc<dyn Sink>, String> {
        Ok(Arc::new(File::open(self)?))
    }

    async fn check(&self, _: Duration) -> Result<String, String> {
        File::open(self)?.check().await
    }

    fn preview(&self, message: &Message, _: Duration) -> Result<Preview, String> {
        Ok(message::preview(message))
    }

    fn file(&self) -> Option<&Path> {
        Some(&self.path)
    }
}

/// Appends to a file.
#[derive(Debug)]
pub struct File {
    options: Options,
    writer: Writer,
}

impl File {
    /// A sink for a file, which the first delivery opens or creates (mode 0640).
    ///
    /// # Errors
    /// The operating system could not start the writing thread.
    pub fn open(options: &Options) -> Result<Self, String> {
        Self::on(options, Disk)
    }

    fn on(options: &Options, disk: impl Storage) -> Result<Self, String> {
        let path = options.path.clone();
        let folder = folder_of(&path).to_owned();
        let log = Log {
            path,
            folder,
            max_bytes: options.max_bytes,
            disk,
            open: None,
            opened_before: false,
            rotated: None,
            try_rotating_at: 0,
        };
        let writer = Writer::spawn("sink-file", log)
            .map_err(|error| format!("the sink's writing thread could not be started: {error}"))?;
        Ok(Self { options: options.clone(), writer })
    }
}

#[async_trait]
impl Sink for File {
    async fn deliver(&self, message: &Message) -> Outcome {
        self.writer.write(message::line(message)).await
    }

    /// Checks whether the file, or else the nearest folder that exists, may be written to. Creates no file and no folder.
    async fn check(&self) -> Result<String, String> {
        let options = self.options.clone();
        tokio::task::spawn_blocking(move || look(&options))
            .await
            .unwrap_or_else(|error| Err(format!("{} could not be checked: {error}", self.options.path.display())))
    }
}

/// The calls whose failures a test cannot cause on a real disk, or not everywhere.
trait Storage: Send + 'static {
    /// Appends all bytes. After an error, any part of them may be in the file.
    fn append(&mut self, file: &fs::File, bytes: &[u8]) -> io::Result<()>;
    /// Returns once the appended bytes would survive a power cut.
    fn sync(&mut self, file: &fs::File) -> io::Result<()>;
    /// Gives a file another name in its folder.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }
}

struct Disk;

impl Storage for Disk {
    fn append(&mut self, mut file: &fs::File, bytes: &[u8]) -> io::Result<()> {
        io::Write::write_all(&mut file, bytes)
    }
    fn sync(&mut self, file: &fs::File) -> io::Result<()> {
        // Includes the file's length, the only metadata that a reader needs.
        file.sync_data()
    }
}

/// The writing thread's state.
struct Log<S> {
    path: PathBuf,
    folder: PathBuf,
    max_bytes: u64,
    disk: S,
    open: Option<Open>,
    /// The folder is created for the first opening only. If it disappears later, it was probably a volume that is no longer
    /// mounted, and nobody would look for events in the folder beneath it.
    opened_before: bool,
    /// The time in the last rotated file's name.
    rotated: Option<Timestamp>,
    /// After a failed rotation, the size in bytes at which the next one is tried.
    try_rotating_at: u64,
}

/// An open file that ends with a whole line.
struct Open {
    file: fs::File,
    /// Bytes, all of them synced.
    len: u64,
}

impl<S: Storage> Target for Log<S> {
    fn write(&mut self, lines: &[&[u8]]) -> Result<(), Failure> {
        let mut safe = 0;
        while safe < lines.len() {
            safe += self.write_to_one_file(&lines[safe..]).map_err(|reason| Failure { safe, reason })?;
        }
        Ok(())
    }
}

impl<S: Storage> Log<S> {
    /// Writes and syncs as many of the lines as fit into one file; returns their number, at least one.
    fn write_to_one_file(&mut self, lines: &[&[u8]]) -> Result<usize, String> {
        let mut open = self.current()?;
        let mut count = self.room(&open, lines);
        if count == 0 && open.len > 0 {
            open = self.rotate(open)?;
            // A file that could not be rotated takes all lines.
            count = if open.len > 0 { lines.len() } else { self.room(&open, lines) };
        }
        // A line that is longer than `max_bytes` gets a file of its own.
        let lines = &lines[..count.max(1)];

        let written = self.append(&open.file, lines).and_then(|()| self.disk.sync(&open.file));
        if let Err(error) = written {
            // Also after a failed sync: the kernel may have dropped the pages and would report the next sync as a success
            // (https://wiki.postgresql.org/wiki/Fsync_Errors). The lines are cut off and written again later. If even the
            // truncation fails, reopening the file repairs its end.
            let _repaired_when_opened = open.file.set_len(open.len);
            return Err(explain("write to", &self.path, &error));
        }
        // The file was deleted after the path was checked: nobody could read these lines.
        if open.file.metadata().is_ok_and(|file| file.nlink() == 0) {
            return Err(format!("{} was deleted while it was written; it will be created again", self.path.display()));
        }
        open.len += lines.iter().map(|line| line.len() as u64).sum::<u64>();
        self.open = Some(open);
        Ok(lines.len())
    }

    fn append(&mut self, file: &fs::File, mut lines: &[&[u8]]) -> io::Result<()> {
        while !lines.is_empty() {
            let (group, rest) = lines.split_at(lines::fitting(lines, GROUP_BYTES).max(1));
            match group {
                [line] => self.disk.append(file, line)?,
                group => self.disk.append(file, &group.concat())?,
            }
            lines = rest;
        }
        Ok(())
    }

    /// How many of the lines, from the first on, still fit into the file.
    fn room(&self, open: &Open, lines: &[&[u8]]) -> usize {
        match self.max_bytes {
            0 => lines.len(),
            max_bytes => lines::fitting(lines, max_bytes.saturating_sub(open.len)),
        }
    }

    /// Takes the open file if the path still leads to it and its length is unchanged; otherwise opens the file at the path.
    /// The caller puts it back after a successful write.
    fn current(&mut self) -> Result<Open, String> {
        if let Some(open) = self.open.take()
            && leads_to(&self.path, &open.file, open.len)
        {
            return Ok(open);
        }
        // The old handle is closed by now: its lock would exclude us from a file that was only truncated.
        self.open_anew()
    }

    fn open_anew(&mut self) -> Result<Open, String> {
        let Self { path, folder, .. } = &*self;
        if !self.opened_before {
            make_folder(folder).map_err(|error| explain("create the folder of", path, &error))?;
        }
        // Checked before opening, because opening a pipe would wait for its reader.
        if fs::metadata(path).is_ok_and(|existing| !existing.is_file()) {
            return Err(not_a_file(path));
        }
        let file = fs::OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(path)
            .map_err(|error| explain("open", path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                return Err(format!(
                    "{} is being written by another process or sink; give each its own `path`",
                    path.display()
                ));
            }
            // Some network file systems have no locks.
            Err(fs::TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
            Err(fs::TryLockError::Error(error)) => return Err(explain("lock", path, &error)),
        }
        // The name must survive a power cut as well as the lines.
        sync_folder(folder).map_err(|error| explain("sync the folder of", path, &error))?;
        let len = repair_end(&file, path)?;
        if !leads_to(path, &file, len) {
            return Err(format!("{} was replaced while it was opened", path.display()));
        }
        // It may be another file now, or another program may have emptied it.
        (self.opened_before, self.try_rotating_at) = (true, 0);
        Ok(Open { file, len })
    }

    /// Renames the full file and begins a new one. Returns the same file if it cannot be renamed. All of its lines are
    /// synced already.
    fn rotate(&mut self, open: Open) -> Result<Open, String> {
        if open.len < self.try_rotating_at {
            return Ok(open);
        }
        // Each time is later than the last one, so that the names are unique and sort by time.
        let mut time = clock::now();
        if let Some(last) = self.rotated {
            time = time.max(last.saturating_add(1.microsecond()).unwrap_or(last));
        }
        let mut full = rotated_name(&self.path, time);
        while fs::symlink_metadata(&full).is_ok() {
            time = time.saturating_add(1.microsecond()).unwrap_or(time);
            full = rotated_name(&self.path, time);
        }
        match self.disk.rename(&self.path, &full) {
            Ok(()) => {}
            // Another program renamed it first; the retry checks the path again.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(explain("rotate", &self.path, &error));
            }
            Err(error) => {
                self.try_rotating_at = open.len + self.max_bytes / 8 + 1;
                tracing::error!(
                    path = %self.path.display(), bytes = open.len, max_bytes = self.max_bytes, error = %error,
                    "the file is full and cannot be renamed, so it continues to grow: {}", advice(&error)
                );
                return Ok(open);
            }
        }
        drop(open);
        self.rotated = Some(time);
        tracing::info!(path = %self.path.display(), full = %full.display(), "a full file was rotated");
        self.open_anew()
    }
}

/// True when the path leads to this open file, and it has this length.
fn leads_to(path: &Path, file: &fs::File, len: u64) -> bool {
    let (Ok(there), Ok(ours)) = (fs::metadata(path), file.metadata()) else { return false };
    (there.dev(), there.ino()) == (ours.dev(), ours.ino()) && ours.len() == len
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Creates the folder and its missing parents (mode 0750), so that each survives a power cut.
fn make_folder(folder: &Path) -> io::Result<()> {
    if fs::metadata(folder).is_ok() {
        return Ok(());
    }
    let above = folder_of(folder);
    make_folder(above)?;
    match fs::DirBuilder::new().mode(0o750).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_folder(above),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// `<name>.20260315T103000.123456Z`: of fixed width, so that names sort by time.
fn rotated_name(path: &Path, time: Timestamp) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(time.strftime(".%Y%m%dT%H%M%S%.6fZ").to_string());
    name.into()
}

/// Makes sure that the file ends with a whole line, and returns its length.
///
/// A crash may leave a last line without its line break. If that line is a whole object, the line break is added.
/// Otherwise the line is cut off: it was never reported as delivered, so its event is sent again. Any other ending is left
/// alone, because this sink did not write it.
fn repair_end(file: &fs::File, path: &Path) -> Result<u64, String> {
    let failed = |error: io::Error| explain("repair the end of", path, &error);
    let len = file.metadata().map_err(failed)?.len();
    let torn = last_line(file, len).map_err(failed)?;
    if torn.as_ref().is_some_and(Vec::is_empty) {
        return Ok(len);
    }
    let foreign = || {
        format!("{} ends with something that is not an event: move it away or choose another `path`", path.display())
    };
    let torn = torn.ok_or_else(foreign)?;
    if torn.starts_with(BEGINNING) && serde_json::from_slice::<&serde_json::value::RawValue>(&torn).is_ok() {
        io::Write::write_all(&mut &*file, b"\n").and_then(|()| file.sync_data()).map_err(failed)?;
        return Ok(len + 1);
    }
    // After a power cut a file may be longer than what reached the disk; the rest then reads as zeros.
    let zeros = torn.iter().rev().take_while(|byte| **byte == 0).count();
    let text = &torn[..torn.len() - zeros];
    let mut first = [0];
    file.read_exact_at(&mut first, 0).map_err(failed)?;
    let begins_like_ours = text.starts_with(BEGINNING) || BEGINNING.starts_with(text);
    if !begins_like_ours || !matches!(first, [b'{' | 0]) {
        return Err(foreign());
    }
    let whole = len - torn.len() as u64;
    file.set_len(whole).and_then(|()| file.sync_data()).map_err(failed)?;
    tracing::warn!(path = %path.display(), bytes = torn.len(), "a line that a crash left incomplete was cut off");
    Ok(whole)
}

/// The bytes after the last line break; `None` if there is no line break within [`LONGEST_LINE`].
fn last_line(file: &fs::File, len: u64) -> io::Result<Option<Vec<u8>>> {
    const STEP: u64 = 64 * 1024;
    let (mut from, mut parts) = (len, Vec::new());
    loop {
        if from == 0 {
            break;
        }
        if len - from > LONGEST_LINE {
            return Ok(None);
        }
        let size = STEP.min(from);
        from -= size;
        let mut part = vec![0; usize::try_from(size).expect("64 KiB at most")];
        file.read_exact_at(&mut part, from)?;
        if let Some(end) = part.iter().rposition(|byte| *byte == b'\n') {
            parts.push(part.split_off(end + 1));
            break;
        }
        parts.push(part);
    }
    parts.reverse();
    Ok(Some(parts.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{dispatch::Trigger, id::DispatchId, id::EventId};
    use futures_util::FutureExt;
    use std::sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    };

    /// Long enough that only a failure reaches it.
    const BOUND: std::time::Duration = std::time::Duration::from_secs(20);

    fn options(path: PathBuf) -> Options {
        Options { path, max_bytes: 0 }
    }

    fn message(text: &str) -> Message {
        Message {
            event_id: EventId::generate(),
            dispatch_id: DispatchId(1),
            endpoint: "production".into(),
            event_type: "payment.received".into(),
            invoice_id: None,
            received_at: Timestamp::UNIX_EPOCH,
            content_type: None,
            payload: format!("{text:?}").into(),
            attempt: 1,
            trigger: Trigger::Event,
            trace: None,
            resolved: None,
        }
    }

    /// Reports each sync and waits to be let through.
    struct Gated {
        began: Sender<u64>,
        go: Receiver<()>,
    }

    impl Storage for Gated {
        fn append(&mut self, file: &fs::File, bytes: &[u8]) -> io::Result<()> {
            Disk.append(file, bytes)
        }
        fn sync(&mut self, file: &fs::File) -> io::Result<()> {
            self.began.send(file.metadata()?.len()).expect("the test listens");
            self.go.recv().expect("the test answers");
            Disk.sync(file)
        }
    }

    #[tokio::test]
    async fn nothing_is_delivered_before_the_sync_and_one_sync_serves_all_that_waited() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let (began, syncs) = channel();
        let (let_through, go) = channel();
        let sink = File::on(&options(path.clone()), Gated { began, go }).unwrap();
        let messages: Vec<Message> = (0..101).map(|n| message(&n.to_string())).collect();

        let mut first = sink.deliver(&messages[0]);
        assert!(first.as_mut().now_or_never().is_none());
        let written = syncs.recv_timeout(BOUND).unwrap();
        assert_eq!(written, message::line(&messages[0]).len() as u64, "the line is written when the sync begins");
        let mut rest: Vec<_> = messages[1..].iter().map(|message| sink.deliver(message)).collect();
        for deliver in &mut rest {
            assert!(deliver.as_mut().now_or_never().is_none());
        }
        assert!(first.as_mut().now_or_never().is_none(), "written is not delivered");

        let_through.send(()).unwrap();
        assert_eq!(first.await, Outcome::Delivered);
        syncs.recv_timeout(BOUND).unwrap();
        assert!(rest.iter_mut().all(|deliver| deliver.as_mut().now_or_never().is_none()));
        let_through.send(()).unwrap();
        for deliver in rest {
            assert_eq!(deliver.await, Outcome::Delivered);
        }
        assert!(syncs.try_recv().is_err(), "101 lines took two syncs");
        assert_eq!(fs::read_to_string(path).unwrap().lines().count(), 101);
    }

    /// Fails when told to, after half of the bytes.
    #[derive(Clone, Default)]
    struct Failing {
        append: Arc<Mutex<Option<io::ErrorKind>>>,
        sync: Arc<Mutex<Option<io::ErrorKind>>>,
    }

    impl Storage for Failing {
        fn append(&mut self, file: &fs::File, bytes: &[u8]) -> io::Result<()> {
            match self.append.lock().unwrap().take() {
                Some(kind) => Disk.append(file, &bytes[..bytes.len() / 2]).and(Err(kind.into())),
                None => Disk.append(file, bytes),
            }
        }
        fn sync(&mut self, file: &fs::File) -> io::Result<()> {
            self.sync.lock().unwrap().take().map_or_else(|| Disk.sync(file), |kind| Err(kind.into()))
        }
    }

    #[tokio::test]
    async fn a_failed_write_or_sync_leaves_nothing_and_is_retried() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let storage = Failing::default();
        let sink = File::on(&options(path.clone()), storage.clone()).unwrap();
        let messages: Vec<Message> = (0..4).map(|n| message(&n.to_string())).collect();
        assert_eq!(sink.deliver(&messages[0]).await, Outcome::Delivered);
        let before = fs::read(&path).unwrap();

        *storage.append.lock().unwrap() = Some(io::ErrorKind::StorageFull);
        let outcome = sink.deliver(&messages[1]).await;
        let Outcome::Retry { reason, after: None } = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("events.jsonl") && reason.contains("free some space"), "{reason}");
        assert_eq!(fs::read(&path).unwrap(), before, "half a line was cut off");

        *storage.sync.lock().unwrap() = Some(io::ErrorKind::Other);
        assert_eq!(sink.deliver(&messages[2]).await.as_str(), "retry");
        assert_eq!(fs::read(&path).unwrap(), before, "what was not synced was cut off");

        assert_eq!(sink.deliver(&messages[3]).await, Outcome::Delivered);
        assert_eq!(fs::read(&path).unwrap(), [before, message::line(&messages[3])].concat());
    }

    /// A file that cannot be renamed for a while.
    #[derive(Clone, Default)]
    struct Busy(Arc<Mutex<Option<io::ErrorKind>>>);

    impl Storage for Busy {
        fn append(&mut self, file: &fs::File, bytes: &[u8]) -> io::Result<()> {
            Disk.append(file, bytes)
        }
        fn sync(&mut self, file: &fs::File) -> io::Result<()> {
            Disk.sync(file)
        }
        fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.lock().unwrap().map_or_else(|| Disk.rename(from, to), |kind| Err(kind.into()))
        }
    }

    #[tokio::test]
    async fn what_cannot_be_renamed_grows_on_and_is_rotated_when_it_can() {
        use io::ErrorKind::{CrossesDevices, PermissionDenied, ReadOnlyFilesystem, ResourceBusy};
        for kind in [ResourceBusy, CrossesDevices, PermissionDenied, ReadOnlyFilesystem] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("events.jsonl");
            let storage = Busy::default();
            *storage.0.lock().unwrap() = Some(kind);
            let sink = File::on(&Options { path: path.clone(), max_bytes: 1000 }, storage.clone()).unwrap();
            let messages: Vec<Message> = (0..30).map(|n| message(&n.to_string())).collect();
            let (first, second) = messages.split_at(20);
            for message in first {
                assert_eq!(sink.deliver(message).await, Outcome::Delivered, "{kind}");
            }
            let lines = |messages: &[Message]| messages.iter().flat_map(message::line).collect::<Vec<u8>>();
            assert_eq!(fs::read(&path).unwrap(), lines(first), "{kind}: each once, in order");
            assert!(fs::metadata(&path).unwrap().len() > 3000, "far beyond `max_bytes`");

            *storage.0.lock().unwrap() = None;
            for message in second {
                assert_eq!(sink.deliver(message).await, Outcome::Delivered, "{kind}");
            }
            let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
            // The one without a time, the newest, comes first.
            names.sort();
            names.rotate_left(1);
            assert!(names.len() > 1 && fs::metadata(&path).unwrap().len() <= 1000, "{kind}: rotated");
            let all: Vec<u8> = names.iter().flat_map(|name| fs::read(name).unwrap()).collect();
            assert_eq!(all, lines(&messages), "{kind}: nothing lost, nothing doubled");
        }
    }

    /// Deletes the file between the write and the sync.
    struct Deleting(PathBuf);

    impl Storage for Deleting {
        fn append(&mut self, file: &fs::File, bytes: &[u8]) -> io::Result<()> {
            Disk.append(file, bytes)
        }
        fn sync(&mut self, file: &fs::File) -> io::Result<()> {
            fs::remove_file(&self.0)?;
            Disk.sync(file)
        }
    }

    #[tokio::test]
    async fn a_line_in_a_file_that_was_deleted_meanwhile_is_not_delivered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let sink = File::on(&options(path.clone()), Deleting(path)).unwrap();
        let outcome = sink.deliver(&message("1")).await;
        assert!(outcome.reason().is_some_and(|reason| reason.contains("was deleted")), "{outcome:?}");
    }

    fn repaired(content: &[u8]) -> Result<Vec<u8>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        fs::write(&path, content).unwrap();
        let file = fs::OpenOptions::new().read(true).append(true).open(&path).unwrap();
        let result = repair_end(&file, &path);
        let after = fs::read(&path).unwrap();
        match result {
            Ok(len) => {
                assert_eq!(len, after.len() as u64);
                Ok(after)
            }
            Err(reason) => {
                assert_eq!(after, content, "what is refused is not changed");
                Err(reason)
            }
        }
    }

    #[test]
    fn a_torn_end_is_repaired_wherever_it_was_torn() {
        let (one, two) = (message::line(&message("1")), message::line(&message(&"x".repeat(200_000))));
        let both = [one.clone(), two].concat();
        for cut in [0, 1, 5, 8, 40, 70_000, 130_000, both.len() - one.len() - 3] {
            let torn = &both[..one.len() + cut];
            assert_eq!(repaired(torn).unwrap(), one, "{cut} bytes of a second line");
            assert_eq!(repaired(&[torn, &[0; 5000]].concat()).unwrap(), one, "and then zeros");
            assert_eq!(repaired(&both[one.len()..][..cut]).unwrap(), b"", "{cut} bytes of the only line");
        }
        assert_eq!(repaired(&both[..both.len() - 1]).unwrap(), both, "a whole line gets its line break");
        assert_eq!(repaired(&both).unwrap(), both);
        assert_eq!(repaired(b"").unwrap(), b"");
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        for foreign in ["SQLite format 3\0\0\0", "a,b\nc,d", "{\"x\":1}", "x\n{\"id\":\"", "{\"id\":5"] {
            assert!(repaired(foreign.as_bytes()).unwrap_err().contains("move it away"), "{foreign:?}");
        }
    }

    #[test]
    fn rotated_names_sort_by_time() {
        let time: Timestamp = "2026-03-15T10:30:00.000009Z".parse().unwrap();
        let name = |time| rotated_name(Path::new("/x/a.jsonl"), time).into_os_string().into_string().unwrap();
        assert_eq!(name(time), "/x/a.jsonl.20260315T103000.000009Z");
        assert!(name(time) < name(time + 1.microsecond()));
        assert!(name(time) < name(time + 1.second()));
    }
}
