//! Lets a person say which secret Finkare signs with. This ends a doubt, and Finkare is not asked.

use std::sync::Arc;

use super::{LinkError, Links, actions, in_flight};
use crate::{
    model::{audit::NewAudit, id::EndpointName, intent::IntentKind, secret::Secret, stored_secret::Fingerprint},
    store::link::{Given, Settlement},
    telemetry::RotationResult,
};

/// The longest secret, in bytes; Finkare's are far shorter.
const LONGEST_SECRET: usize = 1024;

/// What a person says.
#[derive(Debug, Clone)]
pub enum Said {
    /// Finkare signs with this secret.
    Secret(Secret),
    /// Finkare signs with the newest stored secret.
    Current,
}

/// The result of settling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The endpoint's newest secret, which is the one that the person named.
    pub fingerprint: Fingerprint,
    /// The unfinished change that was ended; `None` if there was none.
    pub ended: Option<IntentKind>,
}

impl Links {
    /// Stores which secret Finkare signs with, as a person says. A given secret is encrypted and stored, and this process
    /// accepts it when this returns; the other secrets stay as they are until the next rotation. An unfinished change ends,
    /// so that the service does not rotate because of it.
    ///
    /// # Errors
    /// [`LinkError::InFlight`] while Finkare is being asked, [`LinkError::Invalid`] for a text that cannot be a secret,
    /// [`LinkError::NothingToSettle`] if the endpoint has no secret to confirm. None of them repeats the given secret.
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
                    "endpoint {name} has no secret that could be confirmed: enter the secret that Finkare's dashboard \
                     shows"
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
            return Err(invalid("is longer than any of Finkare's secrets: copy only the secret"));
        }
        // A dashboard shows a mask such as `whsec_****` in place of a secret that it no longer shows.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'*') {
            return Err(invalid(
                "is masked, or has a blank, a line break or another character that no secret has: copy it again",
            ));
        }
        self.secrets.is_usable(endpoint, secret).map_err(|problem| invalid(&format!("cannot be used: {problem}")))
    }
}
