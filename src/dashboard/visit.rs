//! One look at one page: who looks, in which language, and how amounts and times are written for this reader.

use std::{collections::HashMap, fmt, sync::Arc};

use askama::Template;
use axum::{
    extract::FromRequestParts,
    response::{Html, IntoResponse, Redirect, Response},
};
use http::{StatusCode, request::Parts};
use jiff::{Timestamp, tz::TimeZone};

use super::{
    api::{Api, encoded},
    assets,
    session::{Identity, SignedInBy},
    texts::{Texts, fill},
};
use crate::{
    config::Role,
    model::{language::Language, money::Cents},
    sinks::wording::format,
    web::{
        admin::{List, endpoints::EndpointRow},
        error::Problem,
    },
};

/// The time zones of the endpoints, and the one for what belongs to none: that of the first endpoint.
#[derive(Debug, Clone)]
pub(super) struct Zones {
    pub(super) of: HashMap<String, TimeZone>,
    pub(super) usual: TimeZone,
}

/// One look at one page.
#[derive(Debug, Clone)]
pub(super) struct Visit {
    pub(super) language: Language,
    pub(super) t: &'static Texts,
    pub(super) identity: Identity,
    pub(super) api: Api,
    /// The path and the query that were asked for.
    pub(super) here: String,
    pub(super) zones: Arc<Zones>,
    pub(super) now: Timestamp,
}

impl<S: Send + Sync> FromRequestParts<S> for Visit {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        // The layer around every page puts it there.
        parts.extensions.get::<Self>().cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// The entry of the navigation that a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nav {
    Todo,
    Payments,
    Events,
    Dispatches,
    Sinks,
    Endpoints,
    Reconciliations,
    Statement,
    Refusals,
    Audit,
    Service,
    None,
}

/// One entry of the navigation.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) href: &'static str,
    pub(super) text: &'static str,
    pub(super) is_current: bool,
}

/// What happened just before, told at the top of the page; with the way back, where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flash {
    pub(super) text: String,
    pub(super) undo: Option<Button>,
}

/// A button that acts: a form of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Button {
    pub(super) action: String,
    pub(super) fields: Vec<(&'static str, String)>,
    pub(super) text: &'static str,
}

/// What surrounds the main part of every page.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what a template asks is answered by yes or no")]
pub(super) struct Page {
    pub(super) language: &'static str,
    pub(super) title: String,
    pub(super) entries: Vec<Entry>,
    /// The first page that exists for the reader.
    pub(super) home: &'static str,
    /// The token's name; empty for nobody.
    pub(super) user: String,
    pub(super) role: &'static str,
    pub(super) form_token: String,
    pub(super) can_operate: bool,
    pub(super) can_administer: bool,
    pub(super) can_sign_out: bool,
    pub(super) flash: Option<Flash>,
    pub(super) other_language: String,
    pub(super) style: &'static str,
    pub(super) script: &'static str,
    pub(super) icon: &'static str,
    /// True for pages whose main part the script reads again from time to time.
    pub(super) is_live: bool,
    /// When the page was made, as the reader's clock shows it.
    pub(super) made_at: String,
}

impl Visit {
    /// What surrounds a page.
    pub(super) fn page(&self, nav: Nav, title: impl Into<String>) -> Page {
        let t = self.t;
        let all = [
            (Nav::Todo, "/ui/", t.nav_todo),
            (Nav::Payments, "/ui/payments", t.nav_payments),
            (Nav::Statement, "/ui/statement", t.nav_statement),
            (Nav::Reconciliations, "/ui/reconciliations", t.nav_reconciliations),
            (Nav::Events, "/ui/events", t.nav_events),
            (Nav::Dispatches, "/ui/dispatches", t.nav_dispatches),
            (Nav::Sinks, "/ui/sinks", t.nav_sinks),
            (Nav::Endpoints, "/ui/endpoints", t.nav_endpoints),
            (Nav::Refusals, "/ui/refusals", t.nav_refusals),
            (Nav::Audit, "/ui/audit", t.nav_audit),
            (Nav::Service, "/ui/service", t.nav_service),
        ];
        let entries: Vec<Entry> = all
            .into_iter()
            .filter(|(_, href, _)| self.identity.may_see(href))
            .map(|(entry, href, text)| Entry { href, text, is_current: entry == nav })
            .collect();
        let role = self.identity.caller.role;
        let [style, script, icon] = assets::names();
        Page {
            language: self.language.as_str(),
            title: title.into(),
            home: entries.first().map_or("/ui/login", |entry| entry.href),
            entries,
            user: self.identity.caller.name.to_string(),
            role: match role {
                Role::Viewer => t.role_viewer,
                Role::Operator => t.role_operator,
                Role::Admin => t.role_admin,
            },
            form_token: self.identity.form_token.clone(),
            can_operate: role >= Role::Operator,
            can_administer: role >= Role::Admin,
            can_sign_out: self.identity.signed_in_by != SignedInBy::Loopback,
            flash: self.flash(),
            other_language: self.in_other_language(),
            style,
            script,
            icon,
            is_live: false,
            made_at: self.clock_time(self.now),
        }
    }

    /// This page in the other language.
    fn in_other_language(&self) -> String {
        let other = match self.language {
            Language::Fr => "en",
            Language::En => "fr",
        };
        let (path, query) = self.here.split_once('?').unwrap_or((&self.here, ""));
        let kept = query
            .split('&')
            .filter(|pair| !pair.is_empty() && !pair.starts_with("lang=") && !pair.starts_with("done="));
        let pairs: Vec<&str> = kept.collect();
        let and = if pairs.is_empty() { "" } else { "&" };
        format!("{path}?{}{and}lang={other}", pairs.join("&"))
    }

    /// What the last form did: `?done=retried&n=3` says so. Only words that are known here are shown.
    fn flash(&self) -> Option<Flash> {
        let query = self.here.split_once('?')?.1;
        let of = |name: &str| {
            query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned()
        };
        let text = self.t.done(&of("done"))?;
        let n: u64 = of("n").parse().unwrap_or(1);
        let undo = match of("done").as_str() {
            "paused" => Some(("resume", self.t.undo)),
            "resumed" => Some(("pause", self.t.undo)),
            _ => None,
        };
        let path = self.here.split_once('?').map_or("", |(path, _)| path);
        let name = path.strip_prefix("/ui/sinks/").filter(|name| !name.is_empty() && !name.contains('/'));
        let undo =
            undo.filter(|_| self.identity.caller.role >= Role::Operator).zip(name).map(|((verb, text), name)| Button {
                action: format!("/ui/sinks/{name}/{verb}"),
                fields: Vec::new(),
                text,
            });
        Some(Flash { text: self.t.count(text, n), undo })
    }

    /// The names of the endpoints that the reader may see.
    pub(super) async fn endpoints(&self) -> Result<Vec<String>, Problem> {
        let List { data, .. } = self.api.get::<List<EndpointRow>>("/endpoints").await?;
        Ok(data.into_iter().map(|endpoint| endpoint.name.as_str().to_owned()).collect())
    }

    /// Answers with a page.
    pub(super) fn show(&self, page: &impl Template) -> Result<Response, Problem> {
        self.show_as(StatusCode::OK, page)
    }

    /// Answers with a page and a status.
    #[expect(clippy::unused_self, reason = "it reads like `show`")]
    pub(super) fn show_as(&self, status: StatusCode, page: &impl Template) -> Result<Response, Problem> {
        match page.render() {
            Ok(text) => Ok((status, Html(text)).into_response()),
            Err(error) => {
                tracing::error!(%error, "a page of the dashboard could not be rendered");
                Err(Problem::internal())
            }
        }
    }

    /// An amount; a dash for none.
    pub(super) fn money(&self, cents: Option<i64>, currency: Option<&str>) -> String {
        cents.map_or_else(|| "–".to_owned(), |cents| format::money(Cents(cents), currency, self.language))
    }

    /// The time zone of an endpoint.
    pub(super) fn zone(&self, endpoint: Option<&str>) -> &TimeZone {
        endpoint.and_then(|endpoint| self.zones.of.get(endpoint)).unwrap_or(&self.zones.usual)
    }

    /// A time, and how long ago it was.
    pub(super) fn time(&self, at: Timestamp, endpoint: Option<&str>) -> Time {
        let zone = self.zone(endpoint);
        let local = at.to_zoned(zone.clone());
        let months = self.t.months.split(' ').nth(usize::try_from(local.month() - 1).unwrap_or(0)).unwrap_or("");
        let year = if local.year() == self.now.to_zoned(zone.clone()).year() {
            String::new()
        } else {
            format!(" {}", local.year())
        };
        let short = format!("{} {months}{year} {:02}:{:02}", local.day(), local.hour(), local.minute());
        // HTML knows no more than milliseconds, and people no more than seconds.
        let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
        Time { at, short, whole: format::moment(at, zone, self.language), ago: self.ago(at) }
    }

    /// The same, where there may be none.
    pub(super) fn time_or_dash(&self, at: Option<Timestamp>, endpoint: Option<&str>) -> Maybe {
        Maybe(at.map(|at| self.time(at, endpoint)))
    }

    /// `14:05:09`, by the reader's clock.
    fn clock_time(&self, at: Timestamp) -> String {
        let local = at.to_zoned(self.zones.usual.clone());
        format!("{:02}:{:02}:{:02}", local.hour(), local.minute(), local.second())
    }

    /// `5 min ago`, `in 2 h`.
    pub(super) fn ago(&self, at: Timestamp) -> String {
        let seconds = at.duration_since(self.now).as_secs();
        let t = self.t;
        let span = match seconds.unsigned_abs() {
            0..60 => return if seconds > 0 { t.soon } else { t.just_now }.to_owned(),
            minutes @ 60..3600 => format!("{} min", minutes / 60),
            hours @ 3600..172_800 => format!("{} h", hours / 3600),
            days => format!("{} {}", days / 86_400, t.unit_day),
        };
        fill(if seconds > 0 { t.in_span } else { t.ago_span }, &[("span", &span)])
    }

    /// A day: `27 novembre 2026`.
    pub(super) fn day(&self, day: jiff::civil::Date) -> String {
        format::date(day, self.language)
    }

    /// When something was paid, as Finkare says: a time or only a day.
    pub(super) fn paid_at(&self, text: Option<&str>, endpoint: Option<&str>) -> String {
        let Some(text) = text else { return "–".to_owned() };
        if let Ok(at) = text.parse::<Timestamp>() {
            format::moment(at, self.zone(endpoint), self.language)
        } else if let Ok(day) = text.parse::<jiff::civil::Date>() {
            self.day(day)
        } else {
            text.to_owned()
        }
    }
}

/// A time on a page.
#[derive(Debug, Clone)]
pub(super) struct Time {
    at: Timestamp,
    short: String,
    whole: String,
    ago: String,
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Digits, letters and signs of our own: nothing here needs to be escaped.
        let Self { at, short, whole, ago } = self;
        write!(
            f,
            "<time datetime=\"{at}\" title=\"{whole}\">{short}</time> <span class=\"ago\" data-at=\"{at}\">{ago}</span>"
        )
    }
}

impl askama::filters::HtmlSafe for Time {}

/// A time, or a dash.
#[derive(Debug, Clone)]
pub(super) struct Maybe(Option<Time>);

impl fmt::Display for Maybe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(time) => time.fmt(f),
            None => f.write_str("–"),
        }
    }
}

impl askama::filters::HtmlSafe for Maybe {}

/// After a form: look at this page.
pub(super) fn see(path: &str) -> Response {
    Redirect::to(path).into_response()
}

/// The page of a sink.
pub(super) fn sink_href(name: &str) -> String {
    format!("/ui/sinks/{}", encoded(name))
}
