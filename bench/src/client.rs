//! The one HTTP client of the tools here: one keep-alive connection to one loopback address.
//!
//! [`Target`] is the guard: it can only be made from a URL whose host is this machine, and a
//! [`Connection`] dials the address that was checked, so no name is looked up a second time.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    str::FromStr,
};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode, Uri,
    client::conn::http1::{self, SendRequest},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::deliveries::{Delivery, SIGNATURE_HEADER};

/// An `http` URL on this machine.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    address: SocketAddr,
    host: HeaderValue,
    path: Uri,
}

impl FromStr for Target {
    type Err = anyhow::Error;

    /// Refuses everything that is not plain HTTP to a loopback address: a load generator with a
    /// mistyped URL is an attack.
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let url: Uri = text.parse().with_context(|| format!("`{text}` is not a URL"))?;
        ensure!(url.scheme_str() == Some("http"), "`{text}` does not begin with http://: only plain HTTP is measured");
        let authority = url.authority().with_context(|| format!("`{text}` names no host"))?;
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<SocketAddr> = (bare, authority.port_u16().unwrap_or(80))
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve the host of `{text}`"))?
            .collect();
        let Some(&address) = addresses.first() else { bail!("the host of `{text}` has no address") };
        if let Some(other) = addresses.iter().find(|address| !address.ip().is_loopback()) {
            bail!("`{text}` leads to {}: load is sent to loopback only, use 127.0.0.1", other.ip());
        }
        let path = url.path_and_query().map_or("/", |path| path.as_str()).parse().context("the path of the URL")?;
        Ok(Self { address, host: HeaderValue::from_str(authority.as_str())?, path })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.address, self.path)
    }
}

/// One keep-alive connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    target: Target,
}

impl Connection {
    /// Dials the target.
    pub(crate) async fn open(target: &Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address)
            .await
            .with_context(|| format!("cannot connect to {target}: is the server running?"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // An error that breaks the connection is reported to the caller that waits for an answer on it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { sender, target: target.clone() })
    }

    /// Posts a delivery; the whole answer is read, so the connection can be used again.
    pub(crate) async fn deliver(&mut self, delivery: Delivery) -> hyper::Result<(StatusCode, Bytes)> {
        let mut request = Request::new(Full::new(delivery.body));
        *request.method_mut() = hyper::Method::POST;
        *request.uri_mut() = self.target.path.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, self.target.host.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(SIGNATURE_HEADER, delivery.signature);
        self.exchange(request).await
    }

    /// Gets `path` of the target's host as JSON.
    pub(crate) async fn get<T: serde::de::DeserializeOwned>(&mut self, path: &str) -> anyhow::Result<T> {
        let body = self.get_as(path, None).await?;
        serde_json::from_slice(&body).with_context(|| format!("the answer to GET {path}"))
    }

    /// Gets `path` of the target's host, with a value for `Authorization`.
    pub(crate) async fn get_as(&mut self, path: &str, authorization: Option<&HeaderValue>) -> anyhow::Result<Bytes> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = path.parse().with_context(|| format!("`{path}` is not a path"))?;
        let headers = request.headers_mut();
        headers.insert(HOST, self.target.host.clone());
        if let Some(authorization) = authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let (status, body) = self.exchange(request).await.with_context(|| format!("no answer to GET {path}"))?;
        ensure!(status.is_success(), "GET {path} was answered {status}: {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<(StatusCode, Bytes)> {
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok((head.status, body.collect().await?.to_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_a_target() {
        for url in
            ["http://127.0.0.1:8080/webhooks/finkare", "http://[::1]:1/", "http://localhost:9", "http://127.9.9.9"]
        {
            assert!(url.parse::<Target>().is_ok(), "{url}");
        }
        for url in [
            "http://192.0.2.1:8080/",
            "http://0.0.0.0:8080/",
            "http://[::ffff:192.0.2.1]/",
            "http://10.0.0.1/#127.0.0.1",
            "http://127.0.0.1@192.0.2.1/",
            "https://127.0.0.1/",
            "127.0.0.1:8080",
            "/webhooks/finkare",
        ] {
            assert!(url.parse::<Target>().is_err(), "{url}");
        }
    }

    #[test]
    fn a_target_keeps_path_and_port() {
        let target: Target = "http://127.0.0.1:81/webhooks/finkare?x=1".parse().unwrap();
        assert_eq!(target.to_string(), "http://127.0.0.1:81/webhooks/finkare?x=1");
        assert_eq!("http://127.0.0.1".parse::<Target>().unwrap().to_string(), "http://127.0.0.1:80/");
    }
}
