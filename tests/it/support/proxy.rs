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
    /// The same for the connections that there are; new ones pass. A host that is gone, whose address another one has
    /// taken; a firewall that forgot.
    Forgotten,
}

/// What it does, and how often that was changed: connections know by it whether they were there before.
type State = (Way, u64);

/// A proxy to one address.
pub(crate) struct Proxy {
    pub address: SocketAddr,
    way: Arc<watch::Sender<State>>,
}

impl Proxy {
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let way = Arc::new(watch::Sender::new((Way::Open, 0)));
        let ways = way.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target, ways.subscribe()));
            }
        });
        Self { address, way }
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_modify(|state| *state = (way, state.1 + 1));
    }
}

async fn pass(mut client: TcpStream, target: SocketAddr, mut way: watch::Receiver<State>) {
    // The first state that is not `Hanging` decides whether there is a connection at all.
    let Ok((first, born)) = way.wait_for(|(way, _)| *way != Way::Hanging).await.map(|state| *state) else { return };
    if first == Way::Cut {
        return;
    }
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    loop {
        let (now, changes) = *way.borrow_and_update();
        match now {
            Way::Cut => return,
            Way::Hanging | Way::Forgotten if now == Way::Hanging || born < changes => {
                if way.changed().await.is_err() {
                    return;
                }
            }
            _ => tokio::select! {
                // Dropped half-way it may lose bytes: then the connection is of no more use, as in life.
                _ = copy_bidirectional(&mut client, &mut server) => return,
                changed = way.changed() => if changed.is_err() { return },
            },
        }
    }
}
