//! An HTTP/1.1 service that does what a test tells it to, byte by byte: it records requests as they
//! came over the wire, and can answer in ways that no proper server would.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) path: String,
    /// Names in lower case, in their order.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header that must be there once.
    pub(crate) fn header(&self, name: &str) -> String {
        let values: Vec<_> = self.headers.iter().filter(|(given, _)| given == name).collect();
        assert_eq!(values.len(), 1, "{name} is there once: {:?}", self.headers);
        values[0].1.clone()
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(given, _)| given == name)
    }
}

/// What to do with a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Sends these bytes and keeps the connection.
    Send(String),
    /// Sends these bytes and closes the connection.
    Cut(String),
    /// Sends these bytes and then nothing more, for ever.
    Hang(String),
    /// Sends a head and then a body that never ends.
    Endless(String),
}

impl Answer {
    pub(crate) fn status(status: u16) -> Self {
        Self::with(status, "", "")
    }

    /// `headers` are whole lines.
    pub(crate) fn with(status: u16, headers: &str, body: &str) -> Self {
        let length = if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        Self::Send(format!("HTTP/1.1 {status} Scripted\r\n{length}{headers}\r\n{body}"))
    }
}

/// A running service; it ends with the value.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
    endless: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Receiver {
    /// Listens on a free port and answers every request by the script.
    pub(crate) async fn start(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let endless = Arc::new(AtomicUsize::new(0));
        let (script, record, count) = (Arc::new(script), Arc::clone(&requests), Arc::clone(&connections));
        let sent = Arc::clone(&endless);
        let task = tokio::spawn(async move {
            // Dropped with the task, which ends the connections as well.
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, SeqCst);
                let (script, record, sent) = (Arc::clone(&script), Arc::clone(&record), Arc::clone(&sent));
                open.spawn(async move { serve(stream, &*script, &record, &sent).await });
            }
        });
        Self { address, requests, connections, endless, task }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far.
    pub(crate) fn received(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How many connections were made so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }

    /// How many bytes of endless bodies the client's side has taken so far.
    pub(crate) fn endless_bytes(&self) -> usize {
        self.endless.load(SeqCst)
    }
}

/// Serves a connection until either side closes it; an error is the client's leaving.
async fn serve(
    mut stream: TcpStream,
    script: &(dyn Fn(&Request) -> Answer + Send + Sync),
    record: &Mutex<Vec<Request>>,
    endless: &AtomicUsize,
) {
    let mut bytes = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut bytes).await {
        let answer = script(&request);
        record.lock().unwrap().push(request);
        let (Answer::Send(text) | Answer::Cut(text) | Answer::Hang(text) | Answer::Endless(text)) = &answer;
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        match answer {
            Answer::Send(_) => {}
            Answer::Cut(_) => return,
            Answer::Hang(_) => std::future::pending().await,
            Answer::Endless(_) => {
                while let Ok(bytes) = stream.write(&[b'x'; 16 * 1024]).await {
                    endless.fetch_add(bytes, SeqCst);
                }
            }
        }
    }
}

async fn read_request(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Option<Request> {
    let head_end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).expect("our heads are ASCII");
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .map(|line| line.split_once(':').expect("a header line"))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length =
        headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, value)| value.parse().unwrap());
    bytes.drain(..head_end + 4);
    while bytes.len() < length {
        if stream.read_buf(bytes).await.ok()? == 0 {
            return None;
        }
    }
    let body = bytes.drain(..length).collect();
    Some(Request { method, path, headers, body })
}
