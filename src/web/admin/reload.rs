//! `POST /reload`: the configuration is read again, and used if it can be.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use axum::{Extension, Json, extract::State};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::{super::error::Problem, Admin, auth::Caller};
use crate::config::Role;

/// Whoever can put another configuration in place.
#[async_trait]
pub trait Reload: Send + Sync + std::fmt::Debug {
    /// Reads the configuration again and uses it, as a whole or not at all; the audit trail says that `actor` asked for it.
    async fn reload(&self, actor: &str) -> Result<Reloaded, ReloadError>;
}

/// What is in force now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Reloaded {
    /// Endpoints configured.
    pub endpoints: usize,
    /// Sinks configured.
    pub sinks: usize,
    /// What works but may surprise.
    pub notices: Vec<String>,
    /// The file that was read, if there is one.
    #[schema(required)]
    pub file: Option<String>,
    /// False: what was read says the same as what was in force.
    pub differs: bool,
    /// What differs from what was in force.
    pub changes: Changes,
}

/// What differs between two configurations: names, never values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Changes {
    /// Sinks. One that is changed gets a new worker when the one before has finished what it is at; one that is not goes
    /// on undisturbed.
    pub sinks: Difference,
    /// Endpoints.
    pub endpoints: Difference,
    /// Options that say something else, such as `sinks.erp.url`, without those of what was added or removed.
    pub options: Vec<String>,
}

/// What became of things that have names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Difference {
    /// They are new.
    pub added: Vec<String>,
    /// They are gone.
    pub removed: Vec<String>,
    /// Something is different.
    pub changed: Vec<String>,
    /// Nothing is different.
    pub unchanged: Vec<String>,
}

impl Changes {
    /// True if nothing differs.
    pub fn is_empty(&self) -> bool {
        let is_same = |of: &Difference| of.added.is_empty() && of.removed.is_empty() && of.changed.is_empty();
        is_same(&self.sinks) && is_same(&self.endpoints) && self.options.is_empty()
    }
}

/// `nothing`, or `sinks added: a, b; options: server.ack_timeout_secs`.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            ("sinks added", &self.sinks.added),
            ("sinks removed", &self.sinks.removed),
            ("sinks changed", &self.sinks.changed),
            ("endpoints added", &self.endpoints.added),
            ("endpoints removed", &self.endpoints.removed),
            ("endpoints changed", &self.endpoints.changed),
            ("options", &self.options),
        ];
        let told = lists.into_iter().filter(|(_, names)| !names.is_empty());
        let told: Vec<_> = told.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect();
        f.write_str(if told.is_empty() { "nothing" } else { "" })?;
        f.write_str(&told.join("; "))
    }
}

/// Why the old configuration goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The new one cannot be used: everything that is wrong with it.
    #[error("the new configuration cannot be used, the old one goes on: {}", .0.join("; "))]
    Problems(Vec<String>),
    /// Another reload is under way.
    #[error("another reload is under way")]
    Busy,
    /// The service stops.
    #[error("the service is stopping")]
    Stopping,
}

/// Reads the configuration again and uses it, as a whole or not at all.
///
/// Needs the role admin.
#[utoipa::path(
    post,
    path = "/reload",
    operation_id = "reload",
    tag = "service",
    responses(
        (status = 200, description = "The new configuration is in force", body = Reloaded),
        (status = 409, description = "Another reload is under way: `reload_in_flight`."),
        (status = 422, description = "The new configuration cannot be used, the old one goes on: `bad_configuration`, with everything that is wrong in the member `problems`."),
    )
)]
pub async fn reload(
    State(admin): State<Arc<Admin>>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Reloaded>, Problem> {
    caller.needs(Role::Admin)?;
    let reload = admin.reload.upgrade().ok_or_else(|| Problem::unavailable("stopping", "The service is stopping."))?;
    let result =
        tokio::spawn(async move { reload.reload(&caller.name).await }).await.map_err(|_| Problem::internal())?;
    let reloaded = result.map_err(|error| match error {
        ReloadError::Problems(problems) => {
            let detail = "The new configuration cannot be used; the old one goes on. See `problems`.";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_configuration", detail).with("problems", problems)
        }
        ReloadError::Busy => Problem::new(StatusCode::CONFLICT, "reload_in_flight", "Another reload is under way."),
        ReloadError::Stopping => Problem::unavailable("stopping", "The service is stopping."),
    })?;
    Ok(Json(reloaded))
}
