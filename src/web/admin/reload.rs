//! `POST /reload`: reads the configuration again and applies it if it is valid.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use axum::{Extension, Json, extract::State};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{super::error::Problem, Admin, auth::Caller};
use crate::config::Role;

/// Replaces the configuration of the running service.
#[async_trait]
pub trait Reload: Send + Sync + std::fmt::Debug {
    /// Reads the configuration again and applies it as a whole or not at all. The audit trail names `actor` as the caller.
    async fn reload(&self, actor: &str) -> Result<Reloaded, ReloadError>;
}

/// The configuration that is in force now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reloaded {
    /// The number of configured endpoints.
    pub endpoints: usize,
    /// The number of configured sinks.
    pub sinks: usize,
    /// Notices: settings that work but may not do what was intended.
    pub notices: Vec<String>,
    /// The file that was read, if any.
    #[schema(required)]
    pub file: Option<String>,
    /// False if the new configuration is the same as the previous one.
    pub differs: bool,
    /// The differences from the previous configuration.
    pub changes: Changes,
}

/// The differences between two configurations: names, never values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Changes {
    /// The sinks. A changed sink gets a new worker as soon as its previous worker has finished its running attempts. An
    /// unchanged sink continues undisturbed.
    pub sinks: Difference,
    /// The endpoints.
    pub endpoints: Difference,
    /// The options whose values differ, such as `sinks.erp.url`. Options of added and removed sinks and endpoints are not
    /// listed.
    pub options: Vec<String>,
}

/// The names of sinks or endpoints, by what happened to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// The names that are new.
    pub added: Vec<String>,
    /// The names that were removed.
    pub removed: Vec<String>,
    /// The names with a different configuration.
    pub changed: Vec<String>,
    /// The names with the same configuration.
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

/// Why the previous configuration stays in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReloadError {
    /// The new configuration is invalid; all problems are listed.
    #[error("the new configuration cannot be used, the old one stays in force: {}", .0.join("; "))]
    Problems(Vec<String>),
    /// Another reload is running.
    #[error("another reload is under way")]
    Busy,
    /// The service is stopping.
    #[error("the service is stopping")]
    Stopping,
}

/// Reads the configuration again and applies it, as a whole or not at all.
///
/// Requires the role admin.
#[utoipa::path(
    post,
    path = "/reload",
    operation_id = "reload",
    tag = "service",
    responses(
        (status = 200, description = "The new configuration is in force", body = Reloaded),
        (status = 404, description = "The token is limited to endpoints: `no_such_path`."),
        (status = 409, description = "Another reload is under way: `reload_in_flight`."),
        (status = 422, description = "The new configuration cannot be used, the old one stays in force: `bad_configuration`. The member `problems` lists all problems."),
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
            let detail = "The new configuration cannot be used; the old one stays in force. See `problems`.";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_configuration", detail).with("problems", problems)
        }
        ReloadError::Busy => Problem::new(StatusCode::CONFLICT, "reload_in_flight", "Another reload is under way."),
        ReloadError::Stopping => Problem::unavailable("stopping", "The service is stopping."),
    })?;
    Ok(Json(reloaded))
}
