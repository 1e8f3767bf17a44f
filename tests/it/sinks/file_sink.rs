//! `file`: whole lines that survive crashes, rotation, and what others do to the file.
//!
//! That a line is synced before it counts as delivered is shown in the sink's own unit tests, where
//! the sync can be held up.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use finkare_relay::{
    model::dispatch::Outcome,
    sinks::{Sink, file, kind::Kind},
};

use super::{BOUND, built, deliver_all, file_at, ids, message, numbered};

fn sink(path: &Path) -> Arc<dyn Sink> {
    built(&Kind::from(file_at(path)))
}

fn events(path: &Path) -> Vec<String> {
    ids(&fs::read_to_string(path).unwrap())
}

/// All files that begin with the name, rotated ones first, in the order of their names.
fn rotated(path: &Path) -> Vec<PathBuf> {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned() + ".";
    let mut files: Vec<PathBuf> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&name))
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn the_file_and_its_folder_are_made_for_this_user_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a").join("b").join("events.jsonl");
    assert_eq!(sink(&path).deliver(&message("{}")).await, Outcome::Delivered);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path) & !0o640, 0);
    assert_eq!(mode(path.parent().unwrap()) & !0o750, 0);
    assert_eq!(events(&path).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rotates_under_load_without_splitting_or_losing_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let options = file::Options { max_bytes: 3000, ..file_at(&path) };
    let sink = built(&Kind::from(options));
    let messages = numbered(500);
    let mut sent: Vec<String> = messages.iter().map(|message| message.event_id.to_string()).collect();
    let outcomes = deliver_all(&sink, messages).await;
    assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Delivered), "{outcomes:?}");

    let full = rotated(&path);
    assert!(full.len() > 20, "{} files", full.len());
    let mut arrived = events(&path);
    for file in &full {
        let length = fs::metadata(file).unwrap().len();
        assert!((2700..=3000).contains(&length), "{length} bytes: full, and not more");
        arrived.extend(events(file));
    }
    arrived.sort();
    sent.sort();
    assert_eq!(arrived, sent);
}

#[tokio::test]
async fn rotated_names_keep_the_order_and_a_long_line_gets_a_file_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let sink = built(&Kind::from(file::Options { max_bytes: 500, ..file_at(&path) }));
    let mut messages = numbered(20);
    messages[7].payload = format!("\"{}\"", "x".repeat(5000)).into();
    for message in &messages {
        assert_eq!(sink.deliver(message).await, Outcome::Delivered);
    }
    let files: Vec<PathBuf> = rotated(&path).into_iter().chain([path]).collect();
    let arrived: Vec<String> = files.iter().flat_map(|file| events(file)).collect();
    let sent: Vec<String> = messages.iter().map(|message| message.event_id.to_string()).collect();
    assert_eq!(arrived, sent);
    let long = files.iter().filter(|file| fs::metadata(file).unwrap().len() > 500).collect::<Vec<_>>();
    assert_eq!(long.len(), 1);
    assert_eq!(events(long[0]).len(), 1);
}

/// What `kill -9` in the middle of a write leaves.
#[tokio::test]
async fn a_torn_last_line_is_cut_off_and_a_whole_one_is_kept() {
    for (keep, lines) in [(20, 1), (1, 1), (usize::MAX, 2)] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let messages = numbered(2);
        assert_eq!(sink(&path).deliver(&messages[0]).await, Outcome::Delivered);
        let whole = fs::read(&path).unwrap();
        let torn = whole[..whole.len() - 1].iter().copied().take(keep);
        fs::write(&path, whole.iter().copied().chain(torn).collect::<Vec<u8>>()).unwrap();

        // As after a restart; the old sink's thread may hold its lock for another moment.
        let restarted = sink(&path);
        let began = std::time::Instant::now();
        while restarted.deliver(&messages[1]).await != Outcome::Delivered {
            assert!(began.elapsed() < BOUND);
            tokio::task::yield_now().await;
        }
        let arrived = events(&path);
        assert_eq!(arrived.len(), lines + 1, "{keep} bytes of a torn line");
        assert_eq!(arrived.last(), Some(&messages[1].event_id.to_string()));
    }
}

/// Tells the test below that it is the child, and where the file is.
const CHILD: &str = "SINK_FILE_CHILD";

/// A process of its own, so that it can be killed in the middle of its work.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_before_kill_9_is_there() {
    if let Some(path) = crate::support::variable(CHILD) {
        let sink = built(&Kind::from(file::Options { max_bytes: 20_000, ..file_at(Path::new(&path)) }));
        println!();
        loop {
            let messages = numbered(20);
            let sent: Vec<String> = messages.iter().map(|message| message.event_id.to_string()).collect();
            let outcomes = deliver_all(&sink, messages).await;
            for (id, _) in sent.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Delivered) {
                println!("delivered {id}");
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sinks::file_sink::what_was_delivered_before_kill_9_is_there"])
        .args(["--nocapture", "--test-threads=1"])
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut delivered = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some(id) = line.unwrap().strip_prefix("delivered ") {
            delivered.push(id.to_owned());
        }
        if delivered.len() == 1000 {
            // SIGKILL; what the child has said until then is still read.
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(delivered.len() >= 1000, "{} lines", delivered.len());

    let last = message("{}");
    assert_eq!(sink(&path).deliver(&last).await, Outcome::Delivered, "the lock has gone with the process");
    let mut arrived = events(&path);
    assert_eq!(arrived.last(), Some(&last.event_id.to_string()));
    arrived.extend(rotated(&path).iter().flat_map(|file| events(file)));
    let arrived: BTreeSet<String> = arrived.into_iter().collect();
    assert!(delivered.iter().all(|id| arrived.contains(id)), "everything that was called delivered is there");
}

/// Tells the test below that it is the child, and where the file is.
const MOUNTED: &str = "SINK_FILE_MOUNTED";

/// A file that is mounted by itself, as `docker run -v ./events.jsonl:/data/events.jsonl` does it, in a mount namespace of
/// the test's own; or else, where no such namespace can be made, in a folder in which the service may not write.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_renamed_takes_events_all_the_same_and_check_says_so() {
    if let Some(path) = crate::support::variable(MOUNTED) {
        return on_a_file_that_cannot_be_renamed(Path::new(&path)).await;
    }
    let (outside, inside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (there, path) = (outside.path().join("events.jsonl"), inside.path().join("events.jsonl"));
    File::create(&there).unwrap();
    File::create(&path).unwrap();
    let program = std::env::current_exe().unwrap();
    let test = "sinks::file_sink::a_file_that_cannot_be_renamed_takes_events_all_the_same_and_check_says_so";
    let mount = format!("mount --bind '{}' '{}'", there.display(), path.display());
    let child = format!("exec '{}' --exact {test} --nocapture --test-threads=1", program.display());
    let run = |way: &[&str], script: &str| {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).args(["sh", "-c", script]).env(MOUNTED, &path);
        command.output().is_ok_and(|output| {
            print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            output.status.success()
        })
    };
    let namespaces: [&[&str]; 2] = [&["unshare", "-m"], &["unshare", "-r", "-m"]];
    if let Some(way) = namespaces.into_iter().find(|way| run(way, &mount)) {
        assert!(run(way, &format!("{mount} && {child}")), "in a namespace made by {way:?}: see above");
        assert!(events(&there).len() >= 60, "outside, too, everything is there");
        return;
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    fs::set_permissions(inside.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // Root may write everywhere.
    let nobody: &[&str] = &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let ways: [&[&str]; 2] = [&["env"], nobody];
    let way = ways.into_iter().find(|way| !run(way, &format!("touch '{}/probe'", inside.path().display())));
    assert!(run(way.expect("a user who may not write there"), &child), "in a folder without permission: see above");
    fs::set_permissions(inside.path(), fs::Permissions::from_mode(0o755)).unwrap();
}

async fn on_a_file_that_cannot_be_renamed(path: &Path) {
    let sink = built(&Kind::from(file::Options { max_bytes: 3000, ..file_at(path) }));
    let messages = numbered(60);
    let sent: Vec<String> = messages.iter().map(|message| message.event_id.to_string()).collect();
    for message in &messages {
        assert_eq!(sink.deliver(message).await, Outcome::Delivered);
    }
    assert_eq!(events(path), sent, "each once, in order, in the same file");
    assert!(fs::metadata(path).unwrap().len() > 6000 && rotated(path).is_empty());
    let problem = sink.check().await.unwrap_err();
    assert!(
        problem.contains("mount its folder") || problem.contains("let the user of this service write"),
        "{problem}"
    );
    let without_rotation = built(&Kind::from(file::Options { max_bytes: 0, ..file_at(path) }));
    assert!(without_rotation.check().await.is_ok(), "what never rotates needs no other name");
}

#[tokio::test]
async fn what_logrotate_does_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let sink = sink(&path);
    let messages = numbered(5);
    let mut deliver = messages.iter();
    let mut next = async || {
        let message = deliver.next().unwrap();
        assert_eq!(sink.deliver(message).await, Outcome::Delivered);
        [message.event_id.to_string()]
    };
    let first = next().await;
    // Renamed, the default.
    let old = folder.path().join("events.jsonl.1");
    fs::rename(&path, &old).unwrap();
    let second = next().await;
    assert_eq!((events(&old), events(&path)), (first.to_vec(), second.to_vec()));
    // Deleted.
    fs::remove_file(&path).unwrap();
    let third = next().await;
    assert_eq!(events(&path), third);
    // Replaced by an empty file, as with its option `create`.
    fs::rename(&path, &old).unwrap();
    File::create(&path).unwrap();
    let fourth = next().await;
    assert_eq!((events(&old), events(&path)), (third.to_vec(), fourth.to_vec()));
    // Truncated, as with its option `copytruncate`.
    File::create(&path).unwrap();
    let fifth = next().await;
    assert_eq!(events(&path), fifth);
}

#[tokio::test]
async fn a_folder_that_vanishes_is_reported_and_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let volume = folder.path().join("volume");
    let path = volume.join("events.jsonl");
    let sink = sink(&path);
    assert_eq!(sink.deliver(&message("1")).await, Outcome::Delivered);
    fs::remove_dir_all(&volume).unwrap();
    let outcome = sink.deliver(&message("2")).await;
    assert!(matches!(&outcome, Outcome::Retry { reason, .. } if reason.contains("mount")), "{outcome:?}");
    assert!(!volume.exists());
    fs::create_dir(&volume).unwrap();
    assert_eq!(sink.deliver(&message("3")).await, Outcome::Delivered);
    assert_eq!(events(&path).len(), 1);
}

#[tokio::test]
async fn what_is_not_a_file_is_refused_without_waiting_for_it() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), "/dev/full".into()] {
        let sink = sink(&path);
        let outcome = tokio::time::timeout(BOUND, sink.deliver(&message("1"))).await.unwrap();
        assert!(matches!(&outcome, Outcome::Retry { reason, .. } if reason.contains("regular")), "{outcome:?}");
        assert!(sink.check().await.unwrap_err().contains("regular"));
    }
}

#[tokio::test]
async fn two_writers_never_share_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    let (one, other) = (sink(&path), sink(&path));
    assert_eq!(one.deliver(&message("1")).await, Outcome::Delivered);
    let outcome = other.deliver(&message("2")).await;
    assert!(matches!(&outcome, Outcome::Retry { reason, .. } if reason.contains("another")), "{outcome:?}");
    assert_eq!(one.deliver(&message("3")).await, Outcome::Delivered);
    assert_eq!(events(&path).len(), 2);
}

#[tokio::test]
async fn checking_says_what_stands_in_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    fs::write(&path, "").unwrap();
    let error = sink(&path.join("x.jsonl")).check().await.unwrap_err();
    assert!(error.contains("`path` is a file"), "{error}");
    assert!(sink(&path).check().await.is_ok());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
