//! The browser's processes: chromedriver, and the Chromium that it starts.
//!
//! # Nothing stays behind
//!
//! Chromedriver has a process group of its own, which Chromium's processes join. A small shell script (the keeper) waits for
//! its standard input to end. The test holds the other end of that pipe. However the test ends, by returning, by a panic,
//! or by `kill -9`, the kernel closes the pipe; the keeper then kills that group, and removes the folder with the browser's
//! profile. [`Driver`] waits for the keeper when it is dropped.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::support::variable;

/// Its argument is the folder; the first line that it reads is the group. The group is killed at once, as there is nothing
/// to save. A process that is about to die may still write into its profile, hence the second try.
///
/// Chromium's crash handlers leave the group, and end by themselves as soon as the browser has gone.
const KEEPER: &str = r#"
read -r group
read -r _
[ -z "$group" ] || kill -s KILL -- "-$group"
rm -rf "$1" || rm -rf "$1" || rm -rf "$1"
"#;

/// What the processes complain about, in the folder.
const LOG: &str = "driver.log";

/// What chromedriver says last when it has started.
const STARTED: &str = "ChromeDriver was started successfully on port ";

/// A running chromedriver.
pub(super) struct Driver {
    keeper: Child,
    process: Child,
    /// Kept open: chromedriver may have more to say.
    output: BufReader<ChildStdout>,
    folder: PathBuf,
    port: u16,
}

impl Driver {
    /// Starts chromedriver on a free port.
    pub(super) fn start(chromedriver: &Path) -> Self {
        // Removed by the keeper. The path is short, because sockets are made in it.
        let folder = tempfile::Builder::new().prefix("relay-browser-").tempdir().expect("a folder can be made").keep();
        let keeper = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("every system has sh");
        let log = std::fs::File::create(folder.join(LOG)).expect("a file can be made");
        let mut process = Command::new(chromedriver)
            .args(["--port=0", "--allowed-ips=127.0.0.1"])
            .env_clear()
            .env("PATH", variable("PATH").unwrap_or_default())
            .env("HOME", &folder)
            .env("TMPDIR", &folder)
            .env("LANG", "C.UTF-8")
            .env("TZ", "Europe/Paris")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("chromedriver is a program");
        let told = writeln!(keeper.stdin.as_ref().expect("it is piped"), "{}", process.id());
        told.expect("the keeper reads");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        // From here on, a panic ends what was started.
        let mut driver = Self { keeper, process, output, folder, port: 0 };
        let mut said = String::new();
        while driver.port == 0 {
            let before = said.len();
            let length = driver.output.read_line(&mut said).expect("its output can be read");
            assert!(length > 0, "chromedriver has ended: {said}{}", driver.log());
            let port = said[before..].trim().strip_prefix(STARTED);
            driver.port = port.and_then(|port| port.trim_end_matches('.').parse().ok()).unwrap_or(0);
        }
        driver
    }

    /// Where it takes commands.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The folder of its files.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join(LOG)).unwrap_or_default()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // The processes have nothing left to wait for.
        let _ = self.keeper.wait();
        let _ = self.process.wait();
    }
}

/// A program by one of its names, in PATH or in one of these folders.
pub(super) fn program(names: &[&str], folders: &[&str]) -> Option<PathBuf> {
    let path = variable("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain(folders.iter().map(PathBuf::from)).collect();
    let all = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.into_iter().find(|path| path.is_file())
}
