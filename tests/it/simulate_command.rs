//! `simulate`: the command plays Finkare until it is told to stop, and rejects unknown arguments by name.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::support::{
    PATIENCE, eventually,
    finkare::sign,
    http,
    receiver::{Answer, Receiver},
};

const URL: &str = "https://relay.test/webhooks/finkare?tenant=1";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_finkare-relay"));
    command.arg("simulate").args(arguments).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Ends with its test, also if the test panics.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already if the test succeeded.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_plays_finkare_until_it_is_told_to_stop() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let deliver_to = format!("http://{}", receiver.address);
    for signal in ["-TERM", "-INT"] {
        let before = receiver.received().len();
        let child = command(&[
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--deliver-to",
            &deliver_to,
            "--webhook",
            URL,
            "--rate",
            "50",
            "--fault",
            "repeats=1",
            "--variant",
            "signature_prefix=true",
            "--seed",
            "1",
        ])
        .spawn()
        .unwrap();
        let mut child = Running(child);
        let stdout = child.0.stdout.take().unwrap();
        let line = tokio::task::spawn_blocking(move || BufReader::new(stdout).lines().next().unwrap().unwrap());
        let line = tokio::time::timeout(PATIENCE, line).await.unwrap().unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let list = http().get(format!("{}/webhooks", said["api_url"].as_str().unwrap()));
        let list = list.header("X-API-Key", said["api_key"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(list.json::<Value>().await.unwrap()["data"][0]["id"], said["webhooks"][0]["id"]);
        eventually("payments by themselves", async || receiver.received().len() > before + 10).await;
        let secret = said["webhooks"][0]["secret"].as_str().unwrap();
        for post in &receiver.received()[before..] {
            assert_eq!(post.header("x-finkare-signature"), format!("sha256={}", sign(secret, &post.body)));
        }
        let killed = Command::new("/bin/kill").args([signal, &child.0.id().to_string()]).status().unwrap();
        assert!(killed.success());
        eventually("it ends", || std::future::ready(child.0.try_wait().unwrap().is_some())).await;
        let status = child.0.wait().unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_it_does_not_know() {
    for (option, known) in [("--fault", "repeats, reorder"), ("--variant", "signature_over, signature_prefix")] {
        let output = command(&[option, "nothing=1"]).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("`nothing`; known are: ") && said.contains(known), "{said}");
    }
}
