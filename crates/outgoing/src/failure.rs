//! Explains to the operator why a request got no answer: what happened, and what to change.
//!
//! An HTTP client's errors are nested, and the useful one is the innermost, so [`explain`] walks down to it. The outer
//! errors print the URL, which may hold a secret, so none of them is repeated.

use std::{error::Error, io, time::Duration};

/// How long a call may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Name resolution, the TCP handshake, the way through a proxy and the TLS handshake.
    pub connect: Duration,
    /// The whole call, from connecting to the last byte of the answer.
    pub whole: Duration,
}

impl Limits {
    /// The same with a little less time for the whole call: the client then gives up before the caller drops the
    /// call, so that the reason of the failure is reported and not lost.
    #[must_use]
    pub fn before_the_caller(self) -> Self {
        Self { whole: self.whole.saturating_sub((self.whole / 20).min(Duration::from_millis(100))), ..self }
    }
}

/// The causes of an error, from the outermost to the innermost. An I/O error hides the error inside of it from `source`, so
/// it is asked for separately.
pub fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
        match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(hidden) => Some(hidden),
            None => error.source(),
        }
    }
    std::iter::successors(Some(error), |error| inner(*error))
}

/// The outermost cause of a type.
pub fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

/// The text of the innermost cause, which states the fact and contains no URL.
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    causes(error)
        .last()
        .filter(|cause| !cause.is::<reqwest::Error>())
        .map_or_else(|| "no cause is known".to_owned(), ToString::to_string)
}

/// What happened and what to change, without the address. `limits` are those that the operator configured.
pub fn explain(error: &reqwest::Error, limits: Limits) -> String {
    if let Some(tls) = find::<rustls::Error>(error) {
        return explain_tls(tls);
    }
    if let Some(problem) = causes(error).find_map(through_a_proxy) {
        return problem;
    }
    if error.is_dns() {
        return format!(
            "its name cannot be resolved ({}): check the host of the address and the DNS",
            innermost(error)
        );
    }
    if error.is_timeout() {
        return if error.is_connect() {
            format!("no connection within {:?}: check the host and port of the address, and firewalls", limits.connect)
        } else {
            format!("no answer within {:?}: see what keeps it busy, or raise `timeout_secs`", limits.whole)
        };
    }
    if let Some(parse) = find::<hyper::Error>(error).filter(|error| error.is_parse()) {
        return unreadable(parse);
    }
    let kind = find::<io::Error>(error).map(io::Error::kind);
    let incomplete =
        find::<hyper::Error>(error).is_some_and(|error| error.is_incomplete_message() || error.is_closed());
    match kind {
        Some(io::ErrorKind::ConnectionRefused) => {
            "the connection was refused: is the service running, and the port of the address right?".to_owned()
        }
        Some(io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable) => {
            "there is no network route to it: check the host of the address and this machine's network".to_owned()
        }
        Some(
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof,
        ) => closed(),
        _ if incomplete => closed(),
        _ => format!("the request failed: {}", innermost(error)),
    }
}

/// Explains a failure between a proxy and the service behind it. The library has no public type for these errors, so
/// they are recognised by their texts; a test with a real proxy checks that these texts are still the same.
fn through_a_proxy(error: &(dyn Error + 'static)) -> Option<String> {
    let word = error.to_string();
    let word = word.strip_prefix("tunnel error: ")?;
    Some(match word {
        "proxy authorization required" => {
            "the proxy asks for a user and a password: write them into `outgoing.proxy`".to_owned()
        }
        "failed to create underlying connection" => {
            format!("the proxy cannot be reached ({}): check `outgoing.proxy`", innermost(error))
        }
        _ => format!(
            "the proxy of `outgoing.proxy` did not open a connection to it ({word}): check the host of the address, and \
             whether the proxy allows it; `outgoing.no_proxy` names hosts that are called directly"
        ),
    })
}

/// Explains an answer that the HTTP library cannot read.
///
/// The library says only in words which part of the answer it was. A text that is not known here is reported as it
/// is.
fn unreadable(parse: &hyper::Error) -> String {
    let word = parse.to_string();
    if parse.is_parse_too_large() {
        return "it answered, and the head of its answer is larger than this program reads: see which headers it, or a \
                proxy in between, sends. The event may have arrived"
            .to_owned();
    }
    // The answer does not begin like HTTP.
    if parse.is_parse_status() || parse.is_parse_version_h2() || word.contains("version") {
        return format!("its answer is not HTTP/1.1 ({word}): check the scheme and the port of the address");
    }
    format!(
        "it answered, and our HTTP library cannot read the headers of its answer ({word}): it, or a proxy in between, \
         sends a header line that is not allowed (a blank before the colon, a folded line, a control character, a \
         contradictory length). Have that repaired. The event may have arrived"
    )
}

fn closed() -> String {
    "it closed the connection before it had answered: see its own log".to_owned()
}

fn untrusted() -> String {
    "its TLS certificate is not trusted: add its CA to the system's certificates or name it as `outgoing.ca_file`, or have \
     it send the whole chain"
        .to_owned()
}

fn explain_tls(error: &rustls::Error) -> String {
    use rustls::{CertificateError as Certificate, Error as Tls};
    match error {
        Tls::InvalidCertificate(Certificate::UnknownIssuer) => untrusted(),
        // `openssl req -x509` makes such a certificate, which is signed by itself, as that of a CA. The verifier has
        // no variant for this.
        Tls::InvalidCertificate(Certificate::Other(other)) if other.to_string().contains("CaUsedAsEndEntity") => {
            untrusted()
        }
        Tls::InvalidCertificate(Certificate::NotValidForName | Certificate::NotValidForNameContext { .. }) => {
            "its TLS certificate is for another name: check the host of the address".to_owned()
        }
        Tls::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "its TLS certificate has expired: have it renewed, or check this machine's clock".to_owned()
        }
        Tls::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            "its TLS certificate is not valid yet: check this machine's clock".to_owned()
        }
        Tls::InvalidCertificate(other) => format!("its TLS certificate is not accepted ({other}): have it replaced"),
        Tls::InvalidMessage(_) => {
            "it does not speak TLS: should the address begin with http://, or have another port?".to_owned()
        }
        other => format!("the TLS handshake failed: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As deep as the client's own: a TLS error inside an I/O error inside another error.
    #[derive(Debug, thiserror::Error)]
    #[error("error sending request for url (https://user:password@x.example)")]
    struct Outer(#[source] io::Error);

    #[test]
    fn finds_what_an_io_error_hides() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let error = Outer(io::Error::other(io::Error::other(tls.clone())));
        assert_eq!(find::<rustls::Error>(&error), Some(&tls));
        assert_eq!(innermost(&error), tls.to_string());
        assert!(find::<hyper::Error>(&error).is_none());
    }

    #[test]
    fn gives_up_before_the_caller_does() {
        let ours = |millis| {
            let limits = Limits { connect: Duration::ZERO, whole: Duration::from_millis(millis) };
            limits.before_the_caller().whole.as_millis()
        };
        assert_eq!([0, 100, 1000, 10_000, 60_000].map(ours), [0, 95, 950, 9900, 59_900]);
    }

    #[test]
    fn every_certificate_problem_says_what_to_do() {
        use rustls::CertificateError as Certificate;
        for (problem, word) in [
            (Certificate::UnknownIssuer, "CA"),
            (Certificate::NotValidForName, "address"),
            (Certificate::Expired, "renewed"),
            (Certificate::NotValidYet, "clock"),
            (Certificate::BadSignature, "replaced"),
        ] {
            let text = explain_tls(&rustls::Error::InvalidCertificate(problem));
            assert!(text.contains("certificate") && text.contains(word), "{text}");
        }
    }
}
