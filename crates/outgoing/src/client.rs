//! Building HTTP clients, all by the policy of this crate, and the way on which their requests leave.
//!
//! An [`Egress`] is made once from the configuration. Every client is made from it by a [`Plan`], so that a proxy or a
//! private authority that the operator configured applies to all of them, and to none by accident.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, pem::PemObject},
};
use url::Url;

use crate::{
    failure::{Limits, explain, find, innermost},
    secret::{Secret, has_split_password},
};

/// The settings of one client that the policy leaves open.
#[derive(Debug, Clone)]
pub struct Plan<'a> {
    /// The `User-Agent` of every request.
    pub agent: &'a str,
    /// Where the requests go, or what all of their addresses begin with; only its scheme matters.
    pub target: &'a Url,
    /// Headers of every request; those with credentials marked as sensitive.
    pub headers: HeaderMap,
    /// How long a call may take.
    pub limits: Limits,
    /// How long an unused connection is kept. It should be shorter than the server keeps it: the outcome of a request that
    /// is sent into a connection that is just being closed is unknown.
    pub idle: Duration,
}

/// Why a client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum NoClient {
    /// The process has not chosen its TLS provider.
    #[error(
        "no TLS provider is installed in this process: call \
         `rustls::crypto::aws_lc_rs::default_provider().install_default()` first"
    )]
    NoProvider,
    /// The system's certificates cannot be used.
    #[error("the HTTPS client cannot start ({0}): install the system's CA certificates (ca-certificates)")]
    NoCertificates(String),
}

impl Way {
    /// The hosts that are called directly, as the library reads them: its `*` stands for names alone.
    fn direct_hosts(&self) -> String {
        let everything = self.direct.iter().any(|host| host == "*").then_some(["0.0.0.0/0", "::/0"]);
        let named = self.direct.iter().map(String::as_str);
        named.chain(everything.into_iter().flatten()).chain(THIS_MACHINE).collect::<Vec<_>>().join(",")
    }
}

/// These hosts are always called directly. A proxy on another machine would connect to itself instead, and data that
/// may only travel unencrypted within this machine must not leave it.
const THIS_MACHINE: [&str; 3] = ["localhost", "127.0.0.0/8", "::1"];

/// How requests leave: directly or through a proxy, and which authorities are trusted in addition to the system's.
///
/// The default is direct, with the system's authorities alone. Cloning it is cheap.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Egress(Arc<Way>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Way {
    /// For `http://` addresses.
    http: Option<Proxy>,
    /// For `https://` addresses.
    https: Option<Proxy>,
    /// Hosts that are called directly.
    direct: Vec<String>,
    authorities: Vec<CertificateDer<'static>>,
}

impl Egress {
    /// Sends requests for `http://` addresses through the first proxy, and those for `https://` addresses through the
    /// second; directly where there is none. Requests to this machine (`localhost`, loopback addresses) are always direct.
    #[must_use]
    pub fn through(self, http: Option<Proxy>, https: Option<Proxy>) -> Self {
        self.change(|way| (way.http, way.https) = (http, https))
    }

    /// Calls these hosts directly, in addition to those that were named before. An entry is a name, which includes
    /// all names below it (`example.internal`, also written `.example.internal` or `*.example.internal`), an IP
    /// address, a network such as `10.0.0.0/8`, or `*` for all hosts.
    ///
    /// # Errors
    /// The entry that has none of these forms, and what to write instead.
    pub fn except(self, hosts: &[String]) -> Result<Self, BadHost> {
        let hosts = hosts.iter().map(|host| direct_host(host)).collect::<Result<Vec<_>, _>>()?;
        Ok(self.change(|way| way.direct.extend(hosts)))
    }

    /// Also trusts the authorities whose certificates a PEM file holds.
    ///
    /// # Errors
    /// The problem with the file.
    pub fn trusting(self, pem: &[u8]) -> Result<Self, BadCertificates> {
        let certificates: Vec<_> =
            CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|_| BadCertificates::NotPem)?;
        if certificates.is_empty() {
            return Err(BadCertificates::None);
        }
        for (certificate, number) in certificates.iter().zip(1..) {
            let is_read = RootCertStore::empty().add(certificate.clone());
            is_read.map_err(|error| BadCertificates::Unreadable { number, problem: error.to_string() })?;
        }
        Ok(self.change(|way| way.authorities.extend(certificates)))
    }

    /// The authorities that are trusted in addition to the system's, each as its DER certificate.
    pub fn authorities(&self) -> impl Iterator<Item = &[u8]> {
        self.0.authorities.iter().map(AsRef::as_ref)
    }

    /// True if some requests leave through a proxy.
    pub fn has_proxy(&self) -> bool {
        self.0.http.is_some() || self.0.https.is_some()
    }

    /// Texts that a proxy may echo and that must not be shown, for a [`Redactor`](crate::Redactor).
    pub fn private(&self) -> impl Iterator<Item = String> {
        [&self.0.http, &self.0.https].into_iter().flatten().flat_map(Proxy::private)
    }

    /// Builds a client. No request is sent yet.
    ///
    /// The process's TLS provider must be installed
    /// (`rustls::crypto::aws_lc_rs::default_provider().install_default()`).
    ///
    /// # Errors
    /// There is no TLS provider, or the system's certificates cannot be read.
    pub fn client(&self, plan: Plan<'_>) -> Result<reqwest::Client, NoClient> {
        if CryptoProvider::get_default().is_none() {
            return Err(NoClient::NoProvider);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(plan.agent)
            .default_headers(plan.headers)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            // Keeps the library from reading the environment.
            .no_proxy()
            .connect_timeout(plan.limits.connect)
            .timeout(plan.limits.whole)
            .pool_idle_timeout(plan.idle)
            .tcp_keepalive(plan.idle);
        let unusable = |error: reqwest::Error| NoClient::NoCertificates(innermost(&error));
        let direct = reqwest::NoProxy::from_string(&self.0.direct_hosts());
        for proxy in [
            self.0
                .http
                .as_ref()
                .map(|proxy| reqwest::Proxy::http(proxy.address.clone()).map(|made| proxy.with_login(made))),
            self.0
                .https
                .as_ref()
                .map(|proxy| reqwest::Proxy::https(proxy.address.clone()).map(|made| proxy.with_login(made))),
        ] {
            if let Some(proxy) = proxy.transpose().map_err(unusable)? {
                builder = builder.proxy(proxy.no_proxy(direct.clone()));
            }
        }
        let speaks_tls = plan.target.scheme() == "https"
            || self.0.http.as_ref().is_some_and(|proxy| proxy.address.scheme() == "https");
        // Without TLS there is no need for the system's certificates, which a small image may not have.
        let builder = if speaks_tls {
            let authorities = self.0.authorities.iter().map(|der| reqwest::Certificate::from_der(der));
            builder.tls_certs_merge(authorities.collect::<Result<Vec<_>, _>>().map_err(unusable)?)
        } else {
            builder.tls_certs_only([])
        };
        builder.build().map_err(unusable)
    }

    /// [`explain`] for a client of this egress. If a connection failed, it says that the proxy may have been
    /// unreachable, unless the error shows which one it was.
    pub fn explain(&self, error: &reqwest::Error, limits: Limits) -> String {
        let what = explain(error, limits);
        let is_told = what.contains("`outgoing.proxy`") || find::<rustls::Error>(error).is_some();
        if !self.has_proxy() || !error.is_connect() || is_told {
            return what;
        }
        format!("{what} (or, unless it is called directly, the proxy of `outgoing.proxy`)")
    }

    fn change(mut self, change: impl FnOnce(&mut Way)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

/// The proxies without user and password, and how many authorities were added.
impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress")
            .field("http", &self.0.http)
            .field("https", &self.0.https)
            .field("direct", &self.0.direct)
            .field("authorities", &self.0.authorities.len())
            .finish()
    }
}

/// A proxy: its address, and a login if it asks for one.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Without user and password.
    address: Url,
    login: Option<(Secret, Secret)>,
    /// User and password as they were written.
    written: Option<(Secret, Secret)>,
}

impl Proxy {
    /// Reads an address such as `http://user:password@proxy.example:3128`. In user and password, characters with a meaning
    /// in URLs are percent-encoded.
    ///
    /// # Errors
    /// The problem, without any of the text, which may hold a password.
    pub fn read(url: &Secret) -> Result<Self, BadProxy> {
        let text = url.expose();
        if has_split_password(text) {
            return Err(BadProxy::Password);
        }
        let mut address = Url::parse(text).map_err(|_| BadProxy::NoUrl)?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err(BadProxy::Scheme);
        }
        if !matches!(address.path(), "" | "/") || address.query().is_some() || address.fragment().is_some() {
            return Err(BadProxy::Path);
        }
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().map(Cow::into_owned);
        let (user, password) = (address.username(), address.password().unwrap_or_default());
        let login = match (decoded(user), decoded(password)) {
            _ if user.is_empty() && password.is_empty() => None,
            (Ok(user), Ok(password)) if !user.contains(':') => Some((Secret::new(user), Secret::new(password))),
            _ => return Err(BadProxy::Password),
        };
        let written = login.is_some().then(|| (Secret::new(user), Secret::new(password)));
        address.set_username("").and_then(|()| address.set_password(None)).map_err(|()| BadProxy::NoUrl)?;
        Ok(Self { address, login, written })
    }

    fn with_login(&self, proxy: reqwest::Proxy) -> reqwest::Proxy {
        match &self.login {
            Some((user, password)) => proxy.basic_auth(user.expose(), password.expose()),
            None => proxy,
        }
    }

    fn private(&self) -> impl Iterator<Item = String> {
        let token = self
            .login
            .iter()
            .map(|(user, password)| BASE64_STANDARD.encode(format!("{}:{}", user.expose(), password.expose())));
        let texts = [&self.login, &self.written].into_iter().flatten();
        token.chain(texts.flat_map(|(user, password)| [user, password].map(|text| text.expose().to_owned())))
    }
}

/// Without user and password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address.origin().ascii_serialization())
    }
}

/// Why a proxy cannot be used. The text follows its place in the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadProxy {
    /// It is not a URL.
    #[error("is not the URL of a proxy: write, for example, `http://proxy.example:3128`")]
    NoUrl,
    /// It is neither HTTP nor HTTPS.
    #[error("does not begin with `http://` or `https://`: other kinds of proxies, such as SOCKS, cannot be used")]
    Scheme,
    /// It has a path, a query or a fragment.
    #[error("has a path, a query or a fragment, which the address of a proxy does not have: leave it out")]
    Path,
    /// A character in user or password has to be encoded.
    #[error(
        "has a user or a password that cannot be read: write `%2F` for `/`, `%3F` for `?`, `%23` for `#`, `%40` for `@` and \
         `%25` for `%`; a user has no `:`"
    )]
    Password,
}

/// An invalid entry in the list of hosts that are called directly. The text follows its place in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {problem}", host.escape_debug())]
pub struct BadHost {
    /// The entry.
    pub host: String,
    problem: &'static str,
}

/// An entry in the library's form.
fn direct_host(written: &str) -> Result<String, BadHost> {
    // Other programs also take names with a star in front, and IPv6 addresses in brackets.
    let host = written.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(written);
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    check_host(host).map(|()| host.to_owned()).map_err(|bad| BadHost { host: written.to_owned(), ..bad })
}

fn check_host(host: &str) -> Result<(), BadHost> {
    let bad = |problem| Err(BadHost { host: host.to_owned(), problem });
    if let Some((address, bits)) = host.split_once('/') {
        let most = match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => {
                return bad("is neither a host nor a network such as `10.0.0.0/8`: write it without scheme and path");
            }
        };
        return match bits.parse::<u8>() {
            Ok(bits) if bits <= most => Ok(()),
            _ => bad("is not a network: the number behind `/` is too large, or is none"),
        };
    }
    if host == "*" || host.parse::<Ipv6Addr>().is_ok() {
        return Ok(());
    }
    if host.contains(':') {
        return bad("has a port: write the host alone, which stands for all of its ports");
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.trim_matches('.').is_empty() || !host.bytes().all(is_name) {
        return bad("is not a host: write a name such as `example.internal`, an IP address, or a network");
    }
    Ok(())
}

/// Why a file with certificates cannot be used. The text follows its place in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificates {
    /// The PEM is damaged.
    #[error("is not PEM: convert it with `openssl x509 -inform der -in FILE -out FILE.pem`, or copy it again")]
    NotPem,
    /// The file contains no certificate.
    #[error("holds no certificate: it must have a line `-----BEGIN CERTIFICATE-----`")]
    None,
    /// A certificate cannot be read.
    #[error("holds a certificate that cannot be read, number {number} ({problem}): export it again from the authority")]
    Unreadable {
        /// Its place in the file, from 1.
        number: usize,
        /// The library's message.
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str) -> Result<Proxy, BadProxy> {
        Proxy::read(&Secret::new(url))
    }

    #[test]
    fn a_proxy_is_read_with_its_login() {
        let plain = proxy("http://proxy.example:3128").unwrap();
        assert_eq!((plain.login.is_none(), format!("{plain:?}")), (true, "http://proxy.example:3128".to_owned()));
        let with = proxy("https://us%40er:p%2Fss@proxy.example/").unwrap();
        let (user, password) = with.login.clone().unwrap();
        assert_eq!((user.expose(), password.expose()), ("us@er", "p/ss"));
        assert_eq!(with.address.as_str(), "https://proxy.example/");
        let egress = Egress::default().through(None, Some(with));
        let private: Vec<_> = egress.private().collect();
        assert_eq!(private, ["dXNAZXI6cC9zcw==", "us@er", "p/ss", "us%40er", "p%2Fss"]);
        let shown = format!("{egress:?}");
        assert!(shown.contains("proxy.example") && !private.iter().any(|text| shown.contains(text)), "{shown}");
    }

    #[test]
    fn what_is_no_proxy_is_named_without_its_text() {
        for (url, problem) in [
            ("", BadProxy::NoUrl),
            ("proxy.example", BadProxy::NoUrl),
            ("http://", BadProxy::NoUrl),
            ("proxy.example:3128", BadProxy::Scheme),
            ("socks5://proxy.example:1080", BadProxy::Scheme),
            ("http://proxy.example/pac", BadProxy::Path),
            ("http://proxy.example?x=private", BadProxy::Path),
            ("http://user:pri/vate@proxy.example", BadProxy::Password),
            ("http://us%3Aer:private@proxy.example", BadProxy::Password),
            ("http://user:%FF@proxy.example", BadProxy::Password),
        ] {
            assert_eq!(proxy(url).unwrap_err(), problem, "{url}");
        }
    }

    #[test]
    fn hosts_are_names_addresses_and_networks() {
        let except = |host: &str| Egress::default().except(&[host.to_owned()]);
        for host in [
            "erp.internal",
            ".internal",
            "localhost",
            "127.0.0.1",
            "::1",
            "10.0.0.0/8",
            "fd00::/8",
            "*",
            "a_b",
            "*.internal",
            "[::1]",
        ] {
            assert!(except(host).is_ok(), "{host}");
        }
        let written = ["*.internal", "[::1]"].map(str::to_owned);
        assert_eq!(Egress::default().except(&written).unwrap().0.direct, [".internal", "::1"]);
        for host in [
            "",
            ".",
            "**",
            "x*.internal",
            "http://erp.internal",
            "erp.internal:8080",
            "10.0.0.0/33",
            "10.0.0.0/x",
            "a/b",
            "a b",
            "a,b",
        ] {
            assert!(except(host).is_err(), "{host}");
        }
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let trusting = |pem: &str| Egress::default().trusting(pem.as_bytes()).unwrap_err();
        assert_eq!(trusting(""), BadCertificates::None);
        assert_eq!(trusting("some text"), BadCertificates::None);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n";
        assert_eq!(trusting(broken), BadCertificates::NotPem);
        let none = format!("{broken}-----END CERTIFICATE-----\n");
        assert!(matches!(trusting(&none), BadCertificates::Unreadable { number: 1, .. }));
    }
}
