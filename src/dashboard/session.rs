//! Who is asking: the session of a person who has signed in, of a visitor who came by a link, or somebody on this machine
//! while no token is configured.
//!
//! [`identify`] stands before every page but those for signing in. It finds the session by its cookie, checks that the token
//! that it depends on is still configured, and gives the pages an [`Identity`] whose `caller` is the one of the admin API:
//! role and endpoints are those that are configured now. A request that could change something gets no further without the
//! token of a form of this session, and a visitor gets no further than the pages of the link.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{Html, IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rand::{TryRngCore as _, rngs::OsRng};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use super::{
    attempts::Attempts,
    forms::{self, FORM_TOKEN},
};
use crate::{
    config::Role,
    listener::Peer,
    model::{chain::Chain, guest::GuestPage, id::EndpointName},
    store::sessions::{Hash, StoredSession},
    web::{
        admin::{
            Admin,
            auth::{self, Caller},
            links::{SessionSecret, is_backed},
            scope::Scope,
            store_problem,
        },
        error::Problem,
    },
};

/// The cookie that holds a session's secret.
pub const COOKIE: &str = "relay_session";
/// A session that was not used for so long has ended: somebody else may be at the screen.
pub const IDLE: Duration = Duration::from_hours(1);
/// A session ends after so long in any case: a working day. A secret that was stolen is worth no more than that.
pub const LASTS: Duration = Duration::from_hours(12);
/// A browser sends one cookie of the name. One for another path or domain, which somebody else may have set, hides it from no
/// more than so many.
const MOST_COOKIES: usize = 4;

/// The pages of the dashboard that visitors may read, by their routes. Every other route does not exist for them: a new one is
/// hidden until somebody has decided about it.
const FOR_GUESTS: [(GuestPage, &str); 3] = [
    (GuestPage::Statement, "/ui/statement"),
    (GuestPage::Payments, "/ui/payments"),
    (GuestPage::Payments, "/ui/payments/{payment_id}"),
];
/// What a visitor may do beside that.
const SIGN_OUT: &str = "/ui/logout";

/// What a process keeps about signing in, across reloads.
#[derive(Debug)]
pub struct Entrance {
    pub(super) attempts: Mutex<Attempts>,
    /// From which the forms of callers without a session get their token.
    key: Hash,
}

impl Default for Entrance {
    fn default() -> Self {
        let mut key = [0; 32];
        OsRng.try_fill_bytes(&mut key).expect("the operating system gives random bytes");
        Self { attempts: Mutex::default(), key }
    }
}

/// What the pages need to know who is asking.
#[derive(Debug)]
pub struct Access {
    pub(super) admin: Arc<Admin>,
    pub(super) entrance: Arc<Entrance>,
}

/// How somebody got in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignedInBy {
    /// With an admin token.
    Session,
    /// No token is configured, and the caller is on this machine.
    Loopback,
    /// By a link.
    Link,
}

/// Who is asking.
#[derive(Clone)]
pub struct Identity {
    /// The caller, as the admin API knows them.
    pub caller: Caller,
    /// What the field `form_token` of each form has to hold.
    pub form_token: String,
    /// The only pages that a visitor sees; `None` for everybody else.
    pub pages: Option<Vec<GuestPage>>,
    /// How they got in.
    pub signed_in_by: SignedInBy,
    /// The session.
    pub(super) session: Option<Hash>,
}

impl Identity {
    /// Nobody: for the pages that stand before signing in. Sees nothing.
    pub(super) fn nobody() -> Self {
        let caller = Caller { name: "".into(), role: Role::Viewer, scope: Scope::new(Some(&[])) };
        Self {
            caller,
            form_token: String::new(),
            pages: Some(Vec::new()),
            signed_in_by: SignedInBy::Link,
            session: None,
        }
    }

    /// True if the page exists for whoever it is.
    pub(super) fn may_see(&self, path: &str) -> bool {
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let is_below = |of: &str| path == of || path.strip_prefix(of).is_some_and(|rest| rest.starts_with('/'));
        self.pages.as_ref().is_none_or(|pages| {
            pages.iter().any(|page| match page {
                GuestPage::Statement => path == "/ui/statement",
                GuestPage::Payments => is_below("/ui/payments"),
            })
        })
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity")
            .field("caller", &self.caller)
            .field("pages", &self.pages)
            .field("signed_in_by", &self.signed_in_by)
            .finish_non_exhaustive()
    }
}

/// Middleware: lets those through who may see the page, with their [`Identity`] and, of a form, its
/// `Fields`.
pub async fn identify(State(access): State<Arc<Access>>, request: Request, next: Next) -> Response {
    match access.admit(request).await {
        Ok(Admitted::Let(request)) => next.run(*request).await,
        Ok(Admitted::ToSignIn(target)) => see_other(&target),
        Ok(Admitted::Again(target)) => led_on(&target),
        Err(problem) => problem.into_response(),
    }
}

enum Admitted {
    Let(Box<Request>),
    /// To this address.
    ToSignIn(String),
    /// To the same address, from a page of ours.
    Again(String),
}

impl Access {
    /// For this configuration.
    pub fn new(admin: Arc<Admin>, entrance: Arc<Entrance>) -> Self {
        Self { admin, entrance }
    }

    async fn admit(&self, request: Request) -> Result<Admitted, Problem> {
        let is_safe = forms::is_safe(request.method());
        if !is_safe {
            forms::from_our_own_page(request.headers())?;
        }
        let peer = request.extensions().get::<Peer>().copied();
        let Some(identity) = self.identity(request.headers(), peer).await? else {
            if is_safe {
                let asked = request.uri().path_and_query().map_or("/ui/", |asked| asked.as_str());
                if comes_from_elsewhere(request.headers()) {
                    // A browser sends no cookie when somebody follows a link in another site.
                    return Ok(Admitted::Again(asked.to_owned()));
                }
                let asked: String = form_urlencoded::byte_serialize(asked.as_bytes()).collect();
                return Ok(Admitted::ToSignIn(format!("/ui/login?next={asked}")));
            }
            let detail = "You are not signed in, or your session has ended. Sign in and try again: nothing was done.";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "not_signed_in", detail));
        };
        if let Some(pages) = &identity.pages {
            let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
            if !is_for_guest(pages, request.method(), route) {
                return Err(Problem::no_such_path());
            }
        }
        let mut request = request;
        if !is_safe {
            let (read, fields) = forms::read(request).await?;
            request = read;
            let given = fields.get(FORM_TOKEN).unwrap_or_default();
            if !bool::from(given.as_bytes().ct_eq(identity.form_token.as_bytes())) {
                let detail = "The form is not one of this session: it is older than your sign-in, or another page has sent \
                              it. Open the page again and repeat it: nothing was done.";
                return Err(Problem::new(StatusCode::FORBIDDEN, "form_token", detail));
            }
            request.extensions_mut().insert(fields);
        }
        request.extensions_mut().insert(identity);
        Ok(Admitted::Let(Box::new(request)))
    }

    /// Who is asking; `None` if they have to sign in.
    ///
    /// # Errors
    /// 403 if no token is configured and the caller is not on this machine; 503 if the store does not answer.
    pub async fn identity(&self, headers: &HeaderMap, peer: Option<Peer>) -> Result<Option<Identity>, Problem> {
        if self.admin.tokens.is_empty() {
            return Ok(Some(Identity {
                caller: auth::on_this_machine(peer.as_ref())?,
                form_token: form_token(&self.entrance.key),
                pages: None,
                signed_in_by: SignedInBy::Loopback,
                session: None,
            }));
        }
        for secret in secrets(headers) {
            let hash = secret.hash();
            let Some(stored) = self.admin.store.session(&hash).await.map_err(store_problem)? else { continue };
            let is_due = stored.is_due;
            let Some(found) = self.known(stored, &secret) else { continue };
            if is_due && let Err(error) = self.admin.store.note_session(&hash).await {
                // The page can be shown, and the next look notes it.
                tracing::warn!(error = %Chain(&error), "could not note that a session of the dashboard is used");
            }
            return Ok(Some(found));
        }
        Ok(None)
    }

    /// True while no token is configured: callers on this machine need none.
    pub(super) fn needs_no_sign_in(&self) -> bool {
        self.admin.tokens.is_empty()
    }

    /// The identity of a stored session, if what it depends on is still configured.
    fn known(&self, stored: StoredSession, secret: &SessionSecret) -> Option<Identity> {
        let (form_token, session) = (form_token(secret.expose().as_bytes()), Some(secret.hash()));
        let Some(link) = stored.link else {
            let caller = self.admin.tokens.marked(&stored.token_name, &stored.token_mark)?;
            return Some(Identity { caller, form_token, pages: None, signed_in_by: SignedInBy::Session, session });
        };
        if !is_backed(&self.admin.tokens, &link) {
            return None;
        }
        let endpoint = EndpointName::new(&link.endpoint).ok()?;
        let caller = Caller {
            name: format!("link:{}", link.label.unwrap_or_else(|| link.id.to_string())).into(),
            role: Role::Viewer,
            scope: Scope::new(Some(&[endpoint])),
        };
        Some(Identity { caller, form_token, pages: Some(link.pages), signed_in_by: SignedInBy::Link, session })
    }
}

/// True if a visitor with these pages may use a route.
fn is_for_guest(pages: &[GuestPage], method: &Method, route: &str) -> bool {
    if method == Method::POST {
        return route == SIGN_OUT;
    }
    forms::is_safe(method) && FOR_GUESTS.iter().any(|(page, of)| *of == route && pages.contains(page))
}

/// The token of the forms of a session. It is made from the session's secret, so that nothing more is stored, and says nothing
/// about the secret.
fn form_token(secret: &[u8]) -> String {
    let hash = Sha256::new_with_prefix(b"finkare-relay: the token of a form\0").chain_update(secret).finalize();
    URL_SAFE_NO_PAD.encode(hash)
}

/// The secrets that a browser sends.
pub(super) fn secrets(headers: &HeaderMap) -> impl Iterator<Item = SessionSecret> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = pairs.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).filter_map(|(_, value)| SessionSecret::read(value)).take(MOST_COOKIES)
}

/// Sets the cookie; without a secret, deletes it. No script reads it, no other site makes a browser send it, and behind https it
/// is sent by https alone. It goes when the browser is closed.
pub(super) fn set_cookie(response: &mut Response, secret: Option<&SessionSecret>, is_https: bool) {
    let value = secret.map_or("", SessionSecret::expose);
    let (end, secure) = (if secret.is_none() { "; Max-Age=0" } else { "" }, if is_https { "; Secure" } else { "" });
    let cookie = format!("{COOKIE}={value}; Path=/ui; HttpOnly; SameSite=Strict{end}{secure}");
    let mut cookie = HeaderValue::from_str(&cookie).expect("its secret is made of letters and digits");
    cookie.set_sensitive(true);
    response.headers_mut().append(header::SET_COOKIE, cookie);
}

/// Answers with another address, which is then asked for by `GET`.
pub(super) fn see_other(target: &str) -> Response {
    let target = HeaderValue::from_str(target).unwrap_or_else(|_| HeaderValue::from_static("/ui/"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, target), (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))])
        .into_response()
}

/// True if a link was followed in a page of another site, such as a mailbox.
pub(super) fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-site").iter().any(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"))
}

/// Leads on by a page, to an address of this dashboard. After a redirect, the browser would still call the next request one of the other site, and not send
/// the cookie; a page of ours begins anew.
pub(super) fn led_on(target: &str) -> Response {
    let target = target.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0; url={target}\">\
         <title>finkare-relay</title><p><a href=\"{target}\">→</a></p></html>\n"
    );
    ([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Html(page)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_reads_the_pages_of_the_link_and_nothing_else() {
        let both = [GuestPage::Statement, GuestPage::Payments];
        let statement = [GuestPage::Statement];
        let may = |pages: &[GuestPage], method: Method, route: &str| is_for_guest(pages, &method, route);
        for route in ["/ui/statement", "/ui/payments", "/ui/payments/{payment_id}"] {
            assert!(may(&both, Method::GET, route) && may(&both, Method::HEAD, route), "{route}");
            assert!(!may(&both, Method::POST, route) && !may(&both, Method::DELETE, route), "{route}");
            assert_eq!(may(&statement, Method::GET, route), route == "/ui/statement", "{route}");
            assert!(!may(&[], Method::GET, route), "{route}");
        }
        for route in ["", "/ui/", "/ui/events", "/ui/statement/", "/ui/statement/{x}", "/ui/audit", "/ui/logout"] {
            assert!(!may(&both, Method::GET, route), "{route}");
        }
        assert!(may(&statement, Method::POST, "/ui/logout") && !may(&statement, Method::POST, "/ui/"));
    }

    #[test]
    fn a_page_leads_only_to_what_exists_for_its_reader() {
        let guest = Identity { pages: Some(vec![GuestPage::Payments]), ..Identity::nobody() };
        for (path, sees) in [
            ("/ui/payments", true),
            ("/ui/payments?q=1", true),
            ("/ui/payments/p-1?endpoint=acme", true),
            ("/ui/paymentsx", false),
            ("/ui/statement", false),
            ("/ui/", false),
            ("/ui/events/1", false),
        ] {
            assert_eq!(guest.may_see(path), sees, "{path}");
            assert!(!Identity::nobody().may_see(path), "{path}");
            assert!(Identity { pages: None, ..Identity::nobody() }.may_see(path), "{path}");
        }
    }

    #[test]
    fn a_form_token_is_of_one_session() {
        let (one, other) = (SessionSecret::generate(), SessionSecret::generate());
        let token = |secret: &SessionSecret| form_token(secret.expose().as_bytes());
        assert_eq!(token(&one), token(&one));
        assert_ne!(token(&one), token(&other));
        assert!(!token(&one).contains(one.expose()) && token(&one) != hex::encode(one.hash()));
    }

    #[test]
    fn cookies_are_found_among_others() {
        let (one, other) = (SessionSecret::generate(), SessionSecret::generate());
        let mut headers = HeaderMap::new();
        let line = format!("lang=fr; {COOKIE}={}; x_{COOKIE}={}; {COOKIE}=short", one.expose(), other.expose());
        headers.append(header::COOKIE, line.parse().unwrap());
        headers.append(header::COOKIE, format!("{COOKIE}={}", other.expose()).parse().unwrap());
        let found: Vec<Hash> = secrets(&headers).map(|secret| secret.hash()).collect();
        assert_eq!(found, [one.hash(), other.hash()]);
        let many = format!("{COOKIE}={};", one.expose()).repeat(50);
        headers.insert(header::COOKIE, many.parse().unwrap());
        assert_eq!(secrets(&headers).count(), MOST_COOKIES);
    }
}
