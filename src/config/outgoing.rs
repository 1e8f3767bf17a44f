//! `[outgoing]`: how calls to sinks, accounting systems and Finkare's API leave, and which certificates they accept.
//!
//! Without this section calls leave directly, even if the environment names proxies: a variable that was set for another
//! program must not send payments through that program's proxy.

use std::path::Path;

use outgoing::{Egress, Proxy, Secret};

use crate::options::{
    env::{self, Found},
    section::Section,
};

/// The word that takes the proxies from the environment.
const ENVIRONMENT: &str = "environment";

/// Reads the section. A key with a problem is reported and left out.
pub(super) fn read(mut section: Section<'_>) -> Egress {
    let given = section
        .key(
            "proxy",
            "The proxy for these calls, with `user:password@` if it requires a login. Calls to an `https://` address go \
             through a tunnel (`CONNECT`), so that the proxy sees only host and port; it can read calls to an `http://` \
             address. `environment` takes `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, also in lower case.",
        )
        .allowed("a secret: `http://…` or `https://…`, or `environment`")
        .otherwise("none: calls leave directly, whatever the environment says")
        .secret();
    let mut egress = Egress::default();
    match &given {
        None => {}
        Some(word) if word.expose() == ENVIRONMENT => egress = from_environment(&section, egress),
        Some(url) => match Proxy::read(url) {
            Ok(proxy) => egress = egress.through(Some(proxy.clone()), Some(proxy)),
            Err(problem) => section.problem("proxy", problem.to_string()),
        },
    }
    if let Some(hosts) = section
        .key(
            "no_proxy",
            "Hosts that are called directly. A name includes all names below it; a network is written `10.0.0.0/8`; no \
             ports. This machine (`localhost`, loopback addresses) is always called directly.",
        )
        .allowed("a list of names, IP addresses, networks and `*`")
        .otherwise("none")
        .texts()
    {
        if given.is_none() {
            section.notice("no_proxy", "has no effect without `proxy`");
        }
        egress = egress.clone().except(&hosts).unwrap_or_else(|bad| {
            section.problem("no_proxy", bad.to_string());
            egress
        });
    }
    if let Some(file) = section
        .key(
            "ca_file",
            "Certificates of authorities in PEM that are trusted in addition to the system's, such as the company's own.",
        )
        .allowed("a path")
        .otherwise("none")
        .text()
    {
        egress = trusting(&section, &file, &egress).unwrap_or_else(|problem| {
            section.problem("ca_file", problem);
            egress
        });
    }
    section.finish();
    egress
}

/// The proxies that the usual variables name. Each is looked for in both spellings, as other programs do.
fn from_environment(section: &Section<'_>, egress: Egress) -> Egress {
    let report = section.report();
    let found = |names: [&str; 2]| {
        let found = names.into_iter().find_map(|name| section.environment().get(name, report));
        found.inspect(|Found { value, .. }| report.written().text(&format!("outgoing.{}", names[0]), value))
    };
    let proxy = |names| {
        let Found { value, place } = found(names)?;
        // Other programs treat a proxy without a scheme as an HTTP proxy.
        let url = if value.contains("://") { value } else { format!("http://{value}") };
        Proxy::read(&Secret::new(url)).map_err(|problem| report.problem(&place, problem.to_string())).ok()
    };
    let all = proxy(["ALL_PROXY", "all_proxy"]);
    let http = proxy(["HTTP_PROXY", "http_proxy"]).or_else(|| all.clone());
    let https = proxy(["HTTPS_PROXY", "https_proxy"]).or(all);
    if http.is_none() && https.is_none() {
        section.notice(
            "proxy",
            "the environment names no proxy (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY): calls leave directly",
        );
    }
    let egress = egress.through(http, https);
    let Some(Found { value, place }) = found(["NO_PROXY", "no_proxy"]) else { return egress };
    let hosts: Vec<String> =
        value.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).collect();
    egress.clone().except(&hosts).unwrap_or_else(|bad| {
        report.problem(&place, bad.to_string());
        egress
    })
}

/// `egress` with the authorities of a file. A reload notices if the content of the file has changed.
///
/// # Errors
/// The problem with the file.
fn trusting(section: &Section<'_>, file: &str, egress: &Egress) -> Result<Egress, String> {
    let path = section.anchored("ca_file", Path::new(file));
    let pem = env::read_text(&path)?;
    section.report().written().text("outgoing.ca_file", &pem);
    egress.clone().trusting(pem.as_bytes()).map_err(|problem| format!("{} {problem}", path.display()))
}
