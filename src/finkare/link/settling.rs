//! Takes a person's word on which secret Finkare signs with, and ends a doubt by it. Finkare is not asked.

use std::sync::Arc;

use super::{LinkError, Links, actions, in_flight};
use crate::{
    model::{audit::NewAudit, id::EndpointName, intent::IntentKind, secret::Secret, stored_secret::Fingerprint},
    store::link::{Given, Settlement},
    telemetry::RotationResult,
};

/// More bytes than any secret has.
const LONGEST_SECRET: usize = 1024;

/// What a person says.
#[derive(Debug, Clone)]
pub enum Said {
    /// Finkare signs with this secret.
    Secret(Secret),
    /// Finkare signs with the newest secret that we have.
    Current,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The endpoint's newest secret, which is the one that was meant.
    pub fingerprint: Fingerprint,
    /// The unfinished change that has ended by it; `None` if there was none.
    pub ended: Option<IntentKind>,
}

impl Links {
    /// Takes a person's word on which secret Finkare signs with. A given secret is encrypted, stored, and in force on this
    /// process when this returns; the others stay as they are until the next rotation. An unfinished change ends, so that the service
    /// does not rotate because of it.
    ///
    /// # Errors
    /// [`LinkError::InFlight`] while Finkare is being asked, [`LinkError::Invalid`] for what cannot be a secret,
    /// [`LinkError::NothingToSettle`] if there is no secret that could be the right one. None of them repeats what was
    /// given.
    pub async fn settle(
        self: &Arc<Self>,
        endpoint: &EndpointName,
        actor: &str,
        said: Said,
    ) -> Result<Settled, LinkError> {
        if !self.endpoints().iter().any(|known| known.name == *endpoint) {
            return Err(LinkError::NoSuchEndpoint(endpoint.to_string()));
        }
        let is_current = matches!(said, Said::Current);
        let given = match said {
            Said::Secret(secret) => {
                self.usable(endpoint, &secret)?;
                Given::Secret(self.secrets.vault().seal(endpoint, &secret))
            }
            Said::Current => Given::Current,
        };
        let audit =
            NewAudit::new(actor, actions::SECRET_SETTLED, actions::subject(endpoint)).with("current", is_current);
        let (links, name, by) = (self.clone(), endpoint.clone(), actor.to_owned());
        self.to_end("settling", async move {
            match links.store.settle_intent(&name, given, audit).await? {
                Settlement::Settled { fingerprint, ended } => {
                    links.see().await;
                    links.metrics.rotations(name.as_str()).observe(RotationResult::Settled);
                    let ended = ended.map(|intent| intent.kind);
                    tracing::info!(
                        endpoint.name = %name, %fingerprint, actor = by, current = is_current,
                        ended = ended.map(IntentKind::as_str),
                        "a person has said which secret Finkare signs with"
                    );
                    Ok(Settled { fingerprint, ended })
                }
                Settlement::InFlight(intent) => Err(in_flight(intent)),
                Settlement::NoSecret => Err(LinkError::NothingToSettle(format!(
                    "endpoint {name} has no secret, so none of them can be the right one: give the one that Finkare's \
                     dashboard shows"
                ))),
            }
        })
        .await
    }

    /// # Errors
    /// What is wrong with it, never the secret itself.
    fn usable(&self, endpoint: &EndpointName, secret: &Secret) -> Result<(), LinkError> {
        let text = secret.expose();
        let invalid = |problem: &str| LinkError::Invalid(format!("the secret for endpoint {endpoint} {problem}"));
        if text.is_empty() {
            return Err(invalid("is empty: copy it again"));
        }
        if text.len() > LONGEST_SECRET {
            return Err(invalid("is longer than any secret of Finkare's: copy the secret alone"));
        }
        // A masked one (`whsec_****`) is what a dashboard shows of a secret that it shows no more.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*') {
            return Err(invalid(
                "is masked, or has a blank, a line break or another character that no secret has: copy it again",
            ));
        }
        self.secrets.is_usable(endpoint, secret).map_err(|problem| invalid(&format!("cannot be used: {problem}")))
    }
}
