//! A proxy for outgoing calls, as a company has one: opens tunnels (`CONNECT`), hands plain requests on, may ask for a
//! login. Whatever host a request names, it goes to one address, so that no name has to exist.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// What it does with what it is asked for.
#[derive(Debug, Clone)]
pub(crate) enum Manner {
    /// Does it.
    Serves,
    /// Does it for those who send this header.
    Asks(&'static str),
    /// Answers with this status.
    Refuses(u16),
}

/// A running proxy; it stops with the test's runtime.
pub(crate) struct ForwardProxy {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    pub(crate) async fn to(target: SocketAddr, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let noted = heads.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, manner.clone(), noted.clone()));
            }
        });
        Self { address, heads }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The first line of every connection's first request.
    pub(crate) fn asked(&self) -> Vec<String> {
        let first = |head: &String| head.lines().next().unwrap_or_default().to_owned();
        self.heads.lock().unwrap().iter().map(first).collect()
    }
}

async fn pass(mut client: TcpStream, target: SocketAddr, manner: Manner, heads: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    heads.lock().unwrap().push(head.clone());
    let refusal = match manner {
        Manner::Serves => None,
        Manner::Asks(header) if head.lines().any(|line| line.eq_ignore_ascii_case(header)) => None,
        Manner::Asks(_) => Some(407),
        Manner::Refuses(status) => Some(status),
    };
    if let Some(status) = refusal {
        let answer = format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        let _ = client.write_all(answer.as_bytes()).await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    let begun = if head.starts_with("CONNECT ") {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await
    } else {
        server.write_all(&bytes).await
    };
    if begun.is_ok() {
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
