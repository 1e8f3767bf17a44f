//! Links for people without an admin token, such as an accountant: each shows some pages of the dashboard, of one endpoint,
//! until a day. Made, listed and revoked here; `dashboard::links` lets the visitors in.
//!
//! A link depends on the token that made it: it ends when that token is removed or changed, and shows nothing that the token
//! may not see. Its secret is shown once, and only its hash is stored.

use std::{sync::Arc, time::Duration};

use axum::{Extension, Json, body::Body, extract::State};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::StatusCode;
use jiff::Timestamp;
use rand::{TryRngCore as _, rngs::OsRng};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};
use zeroize::Zeroizing;

use super::{
    super::error::Problem, Admin, List, Params, Segment, auth::Caller, auth::Tokens, limit, not_found, parse, payload,
    store_problem,
};
use crate::{
    config::Role,
    model::{
        audit::NewAudit,
        guest::{GuestLinkId, GuestPage},
    },
    store::sessions::{GuestLink, Hash, MOST_LINKS, NewLink},
};

/// Where links lead: the path before their secret.
pub const PATH: &str = "/ui/link/";

/// The longest time for which a link can be made, in days: a financial year and a day.
const MOST_DAYS: u32 = 366;
/// The longest label, in characters.
const LONGEST_LABEL: usize = 100;

/// A secret of 32 random bytes, as it stands in a cookie or an address. Only its hash is stored.
pub struct SessionSecret(Zeroizing<String>);

impl SessionSecret {
    /// A new one.
    pub fn generate() -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        OsRng.try_fill_bytes(&mut *bytes).expect("the operating system gives random bytes");
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes)))
    }

    /// Reads one that a browser sent; `None` if it cannot be one.
    pub fn read(text: &str) -> Option<Self> {
        let fits = text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        fits.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the store knows it by.
    pub fn hash(&self) -> Hash {
        Sha256::digest(self.0.as_bytes()).into()
    }
}

impl std::fmt::Debug for SessionSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// True if the token that made a link is still there and may still make it.
pub fn is_backed(tokens: &Tokens, link: &GuestLink) -> bool {
    tokens
        .marked(&link.token_name, &link.token_mark)
        .is_some_and(|maker| maker.role >= Role::Admin && maker.scope.has(&link.endpoint))
}

/// What a link shows, to whom, for how long.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Make {
    /// The endpoint.
    endpoint: String,
    /// The pages, the first of which is shown first.
    #[schema(min_items = 1)]
    pages: Vec<GuestPage>,
    /// For how many days.
    #[schema(minimum = 1, maximum = 366)]
    days: u32,
    /// Who it is for; at most 100 characters.
    label: Option<String>,
}

/// A link that was made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct MadeLink {
    /// Its id, by which it is revoked.
    pub(crate) id: GuestLinkId,
    /// Its path on the admin listener. Whoever has it sees the pages: it is shown here only.
    pub(crate) path: String,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
}

/// A link, without its secret.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LinkRow {
    /// Its id.
    pub(crate) id: GuestLinkId,
    /// The endpoint that it shows.
    pub(crate) endpoint: String,
    /// The pages that it shows.
    pub(crate) pages: Vec<GuestPage>,
    /// Who it is for.
    #[schema(required)]
    pub(crate) label: Option<String>,
    /// The name of the token that made it, on which it depends.
    pub(crate) made_by: String,
    /// When it was made.
    pub(crate) created_at: Timestamp,
    /// When somebody last used it, to the minute.
    #[schema(required)]
    pub(crate) seen_at: Option<Timestamp>,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
    /// False if the token that made it was removed or changed, or may no longer make it: the link then shows nothing.
    pub(crate) usable: bool,
}

/// Makes a link, for somebody without a token, to some pages of the dashboard.
///
/// Whoever has the link sees these pages, of this endpoint, until it ends, and can change nothing. It ends at `expires_at`,
/// when it is revoked, and when the token that made it is removed or changed. Its secret is part of `path`, and is shown in
/// this answer only. Requires the role admin.
#[utoipa::path(
    post,
    path = "/links",
    operation_id = "make_link",
    tag = "links",
    request_body(content = Make, description = "What it shows, for how long"),
    responses(
        (status = 201, description = "It is made", body = MadeLink),
        (status = 404, description = "There is no such endpoint: `not_found`."),
        (status = 409, description = "No admin token is configured, so that nobody but this machine gets in: `no_tokens`; there are too many links: `too_many_links`."),
        (status = 422, description = "The body has the wrong shape: `bad_body`."),
    )
)]
pub async fn make(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    body: Body,
) -> Result<(StatusCode, Json<MadeLink>), Problem> {
    caller.needs(Role::Admin)?;
    let unusable = |detail: &str| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_body", format!("The body is not usable: {detail}."))
    };
    let Make { endpoint, pages, days, label } =
        payload::<Make>(body).await?.ok_or_else(|| unusable("it must be a JSON object"))?;
    if !caller.scope.has(&endpoint) || !admin.meters.iter().any(|(name, _)| name.as_str() == endpoint) {
        return Err(not_found("endpoint of this name"));
    }
    let Some(token_mark) = admin.tokens.mark_of(&caller.name) else {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "no_tokens",
            "No admin token is configured, so only callers on this machine are admitted, and a link would let nobody in. \
             Set RELAY_ADMIN_TOKEN.",
        ));
    };
    let mut named = Vec::new();
    for page in pages {
        if !named.contains(&page) {
            named.push(page);
        }
    }
    if named.is_empty() {
        return Err(unusable("`pages` names no page"));
    }
    if !(1..=MOST_DAYS).contains(&days) {
        return Err(unusable(&format!("`days` is {days}; it must be 1 to {MOST_DAYS}")));
    }
    let label = label.map(|label| label.trim().to_owned()).filter(|label| !label.is_empty());
    if label.as_ref().is_some_and(|label| label.chars().count() > LONGEST_LABEL || label.chars().any(char::is_control))
    {
        return Err(unusable(&format!("`label` must have at most {LONGEST_LABEL} characters, in one line")));
    }
    let secret = SessionSecret::generate();
    let link = NewLink {
        id: GuestLinkId::generate(),
        id_hash: secret.hash(),
        token_name: caller.name.to_string(),
        token_mark,
        endpoint,
        pages: named,
        label,
        lasts: Duration::from_hours(24) * days,
    };
    let words: Vec<&str> = link.pages.iter().map(|page| page.as_str()).collect();
    let audit = NewAudit::new(&caller.name, "link.created", format!("endpoint/{}", link.endpoint))
        .with("link", link.id.to_string())
        .with("pages", words)
        .with("days", days)
        .with("label", link.label.clone());
    let expires_at = admin.store.make_link(&link, audit).await.map_err(store_problem)?.ok_or_else(|| {
        let detail = format!("There are {MOST_LINKS} links, which is the most. Revoke one that is not needed.");
        Problem::new(StatusCode::CONFLICT, "too_many_links", detail)
    })?;
    Ok((StatusCode::CREATED, Json(MadeLink { id: link.id, path: format!("{PATH}{}", secret.expose()), expires_at })))
}

/// The parameters of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LinkQuery {
    /// How many rows a page has, by default 50.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page.
    #[param(value_type = Option<uuid::Uuid>)]
    cursor: Option<String>,
}

/// Lists the links that have not ended, newest first, without their secrets. Requires the role admin.
#[utoipa::path(
    get,
    path = "/links",
    operation_id = "list_links",
    tag = "links",
    params(LinkQuery),
    responses((status = 200, description = "A page of links", body = List<LinkRow>))
)]
pub async fn list(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Params(query): Params<LinkQuery>,
) -> Result<Json<List<LinkRow>>, Problem> {
    caller.needs(Role::Admin)?;
    let before = query.cursor.map(|cursor| parse("cursor", &cursor)).transpose()?;
    let endpoints = caller.scope.endpoints();
    let page = admin.store.guest_links(endpoints.as_deref(), before, limit(query.limit)?).await;
    let row = |link: GuestLink| LinkRow {
        usable: is_backed(&admin.tokens, &link),
        id: link.id,
        endpoint: link.endpoint,
        pages: link.pages,
        label: link.label,
        made_by: link.token_name,
        created_at: link.created_at,
        seen_at: link.seen_at,
        expires_at: link.expires_at,
    };
    Ok(Json(List::from_page(page.map_err(store_problem)?, |link| link.id.to_string(), row)))
}

/// The id of a link that was revoked.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct RevokedLink {
    /// The id.
    pub(crate) id: GuestLinkId,
}

/// Revokes a link: from now on neither it nor anybody who came by it is shown anything. Requires the role admin.
#[utoipa::path(
    post,
    path = "/links/{id}/revoke",
    operation_id = "revoke_link",
    tag = "links",
    params(("id" = uuid::Uuid, Path, description = "The id of the link")),
    responses(
        (status = 200, description = "It is revoked", body = RevokedLink),
        (status = 404, description = "There is no such link, or it has ended: `not_found`."),
    )
)]
pub async fn revoke(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
    Segment(id): Segment,
) -> Result<Json<RevokedLink>, Problem> {
    caller.needs(Role::Admin)?;
    let unknown = || not_found("link with this id");
    let id: GuestLinkId = id.parse().map_err(|_| unknown())?;
    let link = admin.store.link_by_id(id).await.map_err(store_problem)?;
    let link = link.filter(|link| caller.scope.has(&link.endpoint)).ok_or_else(unknown)?;
    let audit = NewAudit::new(&caller.name, "link.revoked", format!("endpoint/{}", link.endpoint))
        .with("link", id.to_string())
        .with("label", link.label);
    if !admin.store.revoke_link(id, audit).await.map_err(store_problem)? {
        return Err(unknown());
    }
    Ok(Json(RevokedLink { id }))
}
