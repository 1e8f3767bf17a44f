//! [`System`]: an invoicing system's options, from which its kind of sink follows.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use outgoing::Egress;

use super::{
    api::Transcript,
    bookkeeper::Bookkeeper,
    books::Books,
    options::{Common, Defaults},
};
use crate::{
    options::section::Section,
    sinks::{
        Message, Sink,
        options::{Company, Family, OpenDesk, SinkOptions, Surroundings},
        preview::Preview,
    },
};

/// The options of a sink for one invoicing system, including those of every invoicing sink.
pub trait System: fmt::Debug + Send + Sync + Sized + 'static {
    /// See [`SinkOptions::NAME`].
    const NAME: &'static str;
    /// See [`SinkOptions::ABOUT`].
    const ABOUT: &'static str;
    /// See [`SinkOptions::CONCURRENCY`]. Each attempt makes several calls, and a system allows few calls a minute.
    const CONCURRENCY: u32 = 4;
    /// The defaults of the shared options.
    const DEFAULTS: Defaults;
    /// The system's books.
    type Books: Books;

    /// See [`SinkOptions::read`]. Also reads the options that all invoicing sinks have, with [`Common`]; `egress` is how
    /// calls leave.
    fn read(section: &mut Section<'_>, egress: &Egress) -> Option<Self>;

    /// The options that it shares with the other systems.
    fn common(&self) -> &Common;

    /// The id that distinguishes companies in this system; see [`Company::id`].
    fn company_id(&self) -> String;

    /// A client of the books. Makes no call. `timeout` bounds a whole attempt.
    ///
    /// # Errors
    /// Why this machine cannot start a client, such as missing CA certificates.
    fn books(&self, timeout: Duration, transcript: Option<Transcript>) -> Result<Self::Books, String>;
}

#[async_trait]
impl<T: System> SinkOptions for T {
    const NAME: &'static str = T::NAME;
    const ABOUT: &'static str = T::ABOUT;
    const FAMILY: Family = if T::Books::WRITES { Family::Booking } else { Family::Watching };
    const CONCURRENCY: u32 = T::CONCURRENCY;
    // Each attempt makes several calls, none of which must be cut off halfway.
    const TIMEOUT_SECS: u64 = 60;

    fn read(section: &mut Section<'_>, surroundings: Surroundings<'_>) -> Option<Self> {
        T::read(section, surroundings.egress)
    }

    fn build(&self, timeout: Duration, desk: OpenDesk<'_>) -> Result<Arc<dyn Sink>, String> {
        let desk = desk();
        let books = self.books(timeout, desk.transcript.clone())?;
        Ok(Arc::new(Bookkeeper::new(books, desk, self.common().clone())))
    }

    async fn check(&self, timeout: Duration) -> Result<String, String> {
        self.books(timeout, None)?.check().await
    }

    /// There is no preview from the message alone: the action follows from the books ([`Sink::explain`]).
    fn preview(&self, _: &Message, _: Duration) -> Result<Preview, String> {
        Err(format!("what a sink of type `{}` does depends on its books, not only on the event", T::NAME))
    }

    fn company(&self) -> Option<Company> {
        Some(Company { address: canonical(&self.common().base_url), id: self.company_id() })
    }
}

/// An address in one spelling. A [`url::Url`] already has scheme and host in lower case and no default port; this also
/// removes a dot at the end of the host, and slashes at the end of the path.
fn canonical(url: &url::Url) -> String {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path().trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_spelling() {
        for same in [
            "https://API.example",
            "HTTPS://api.example/",
            "https://api.example:443",
            "https://api.example.//",
            "https://api.example:443/",
        ] {
            assert_eq!(canonical(&same.parse().unwrap()), "https://api.example", "{same}");
        }
        assert_eq!(canonical(&"http://API.example:8080/V1/".parse().unwrap()), "http://api.example:8080/V1");
        assert_ne!(canonical(&"http://a.example".parse().unwrap()), canonical(&"https://a.example".parse().unwrap()));
    }
}
