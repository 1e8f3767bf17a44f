//! Certificates of Postgres' own making, and what one reads where they do not do: docs/guide/deploy.md, "Postgres over TLS".
//!
//! The files in `tls/` are made as that page says; they are good for a hundred years and secret to nobody.

use std::path::Path;

use base64::{Engine, prelude::BASE64_STANDARD};
use finkare_relay::{
    model::{chain::Chain, secret::Secret},
    store::{BaseStore, postgres::PostgresStore},
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::{eventually, postgres::Server};

fn file(name: &str) -> String {
    format!("{}/tests/it/store/tls/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Has the server show this certificate to whoever connects from now on.
async fn show(connection: &mut PgConnection, name: &str) {
    for end in ["crt", "key"] {
        let content = BASE64_STANDARD.encode(std::fs::read(file(&format!("{name}.{end}"))).unwrap());
        // Written by the server itself, which takes no key that others could read.
        let copy = format!("COPY (SELECT '{content}') TO PROGRAM 'umask 077; base64 -d > server.{end}'");
        sqlx::query(AssertSqlSafe(copy)).execute(&mut *connection).await.unwrap();
    }
    sqlx::query("ALTER SYSTEM SET ssl = on").execute(&mut *connection).await.unwrap();
    sqlx::query("SELECT pg_reload_conf()").execute(&mut *connection).await.unwrap();
}

/// What one reads; empty if it can be used.
async fn told(url: &str) -> String {
    match PostgresStore::connect(&Secret::new(url), 2).await {
        Ok(store) => {
            store.close().await;
            String::new()
        }
        Err(error) => Chain(&error).to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_ones_own_does_or_says_what_is_wrong() {
    if !crate::support::postgres::available() {
        return;
    }
    let server = Server::alone();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut beside = PgConnection::connect(&format!("{}?sslmode=disable", server.url())).await.unwrap();
    for (name, mode, expected) in [
        // Of version 1: the TLS library does not read it, whatever is asked of it.
        ("version_1", "prefer", "UnsupportedCertVersion"),
        ("version_1", "require", "UnsupportedCertVersion"),
        ("version_1", "disable", ""),
        ("as_openssl_makes_it", "verify-full", "CaUsedAsEndEntity"),
        ("as_openssl_makes_it", "require", ""),
        ("no_ca", "verify-full", ""),
        ("no_ca", "verify-ca", ""),
    ] {
        show(&mut beside, name).await;
        let root = file(&format!("{name}.crt"));
        assert!(Path::new(&root).exists());
        let url = format!("{}?sslmode={mode}&sslrootcert={root}", server.url());
        eventually(&format!("{name} with {mode} says `{expected}`"), async || {
            let told = told(&url).await;
            if expected.is_empty() { told.is_empty() } else { told.contains(expected) }
        })
        .await;
    }
    // Without the certificate's own name nobody vouches for it.
    let strict = told(&format!("{}?sslmode=verify-full", server.url())).await;
    assert!(strict.contains("UnknownIssuer"), "{strict}");
}
