//! A mailbox that takes every mail: as much of a mail server (RFC 5321) as the demo needs.

use std::sync::{Arc, Mutex};

use anyhow::Context;
use mail_parser::MessageParser;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

/// The mails that came, each as it was sent.
#[derive(Debug, Clone, Default)]
pub(super) struct Mailbox {
    mails: Arc<Mutex<Vec<String>>>,
}

impl Mailbox {
    /// Opens it on a free port, and answers its address as `smtp_url`.
    pub(super) async fn open() -> anyhow::Result<(Self, String)> {
        let mailbox = Self::default();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("no port is free on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let taking = mailbox.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mailbox = taking.clone();
                // A client that leaves in the middle of a mail has sent none.
                tokio::spawn(async move { mailbox.serve(stream).await });
            }
        });
        Ok((mailbox, format!("smtp://{address}")))
    }

    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        let (reading, mut writing) = stream.into_split();
        let mut lines = BufReader::new(reading).lines();
        writing.write_all(b"220 mail.example.fr\r\n").await?;
        while let Some(line) = lines.next_line().await? {
            let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
            let answer: &[u8] = match verb.as_str() {
                "DATA" => {
                    writing.write_all(b"354 go on\r\n").await?;
                    let mut mail = Vec::new();
                    while let Some(line) = lines.next_line().await?.filter(|line| line != ".") {
                        // A dot at the beginning of a line is sent twice (section 4.5.2).
                        mail.push(line.strip_prefix('.').map_or(line.clone(), str::to_owned));
                    }
                    self.mails.lock().expect("no code panics while it holds this lock").push(mail.join("\r\n"));
                    b"250 taken\r\n"
                }
                "QUIT" => b"221 bye\r\n",
                _ => b"250 yes\r\n",
            };
            writing.write_all(answer).await?;
            if verb == "QUIT" {
                break;
            }
        }
        Ok(())
    }

    /// The mails so far, as a person sees them.
    pub(super) fn mails(&self) -> Vec<Mail> {
        let mails = self.mails.lock().expect("no code panics while it holds this lock");
        mails.iter().filter_map(|mail| read(mail)).collect()
    }
}

/// A mail as a person sees it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mail {
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) text: String,
}

fn read(mail: &str) -> Option<Mail> {
    let mail = MessageParser::default().parse(mail.as_bytes())?;
    Some(Mail {
        to: mail.to()?.first()?.address()?.to_owned(),
        subject: mail.subject()?.to_owned(),
        text: mail.body_text(0)?.replace('\r', ""),
    })
}
