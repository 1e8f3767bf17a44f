//! A way to the database that a test can cut or stop.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// What the way does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Passes everything on.
    Open,
    /// Ends every connection and takes no new one.
    Cut,
    /// Keeps connections and passes nothing on: a network that swallows.
    Hanging,
}

/// A proxy to one address.
pub(crate) struct Proxy {
    pub address: SocketAddr,
    way: Arc<watch::Sender<Way>>,
}

impl Proxy {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let way = Arc::new(watch::Sender::new(Way::Open));
        let ways = way.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, ways.subscribe()));
            }
        });
        Self { address, way }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn pass(mut client: TcpStream, target: SocketAddr, mut way: watch::Receiver<Way>) {
    // The first state that is not `Hanging` decides whether there is a connection at all.
    let Ok(first) = way.wait_for(|way| *way != Way::Hanging).await.map(|way| *way) else { return };
    if first == Way::Cut {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    loop {
        let now = *way.borrow_and_update();
        match now {
            Way::Cut => return,
            Way::Hanging => {
                if way.changed().await.is_err() {
                    return;
                }
            }
            Way::Open => tokio::select! {
                // Dropped half-way it may lose bytes: then the connection is of no more use, as in life.
                _ = copy_bidirectional(&mut client, &mut server) => return,
                changed = way.changed() => if changed.is_err() { return },
            },
        }
    }
}
