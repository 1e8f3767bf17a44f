//! A simulated Finkare with books, started as a person starts it: `simulate --books`.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use super::http;

/// The binary, with nothing of the caller's environment.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finkare-relay"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs a command to its end: its status, and what it said and complained of.
pub(crate) async fn run(mut command: Command) -> (i32, String, String) {
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// A running `simulate`; ends with its test.
pub(crate) struct Simulated {
    child: Child,
    /// What it has said of itself.
    pub said: Value,
}

impl Drop for Simulated {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Simulated {
    pub(crate) fn start(more: &[&str]) -> Self {
        let mut command = program();
        command.args(["simulate", "--json", "--listen", "127.0.0.1:0", "--seed", "7"]).args(more);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let said = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        Self { child, said }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.said["address"].as_str().unwrap())
    }

    /// Makes a payment, as `pay` does.
    pub(crate) async fn pay(&self, more: &[&str]) -> (i32, String, String) {
        let mut command = program();
        command.args(["pay", "--to", &self.url()]).args(more);
        run(command).await
    }

    /// What a person sees of the books.
    pub(crate) async fn page(&self) -> String {
        let url = self.said["books"]["url"].as_str().unwrap();
        http().get(url).send().await.unwrap().text().await.unwrap()
    }
}
