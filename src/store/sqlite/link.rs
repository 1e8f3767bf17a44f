//! The link's part of the store: which of the files beside this one does it.

use std::time::Duration;

use async_trait::async_trait;

use super::{SqliteStore, audit, intents, secrets};
use crate::{
    model::{
        audit::{AuditEntry, NewAudit},
        id::{EndpointName, LeaseToken},
        intent::{Begun, Intent, IntentId, Link, NewIntent},
        stored_secret::{SealedSecret, SecretId, StoredSecret},
    },
    store::{
        Page, StoreError,
        link::{Change, Doubt, Ended, Given, LinkStore, Settlement},
    },
};

#[async_trait]
impl LinkStore for SqliteStore {
    fn is_shared(&self) -> bool {
        false
    }

    async fn links(&self) -> Result<Vec<Link>, StoreError> {
        secrets::links(self).await
    }

    async fn secrets(&self, endpoint: &EndpointName) -> Result<Vec<StoredSecret>, StoreError> {
        secrets::list(self, endpoint).await
    }

    async fn seed_secrets(
        &self,
        endpoint: &EndpointName,
        secrets: &[SealedSecret],
        audit: NewAudit,
    ) -> Result<Vec<SecretId>, StoreError> {
        secrets::seed(self, endpoint, secrets, &audit).await
    }

    async fn begin_intent(&self, intent: NewIntent, audit: NewAudit) -> Result<Begun, StoreError> {
        intents::begin(self, &intent, &audit).await
    }

    async fn take_over_intent(&self, token: LeaseToken, lease: Duration) -> Result<Option<Intent>, StoreError> {
        intents::take_over(self, token, lease).await
    }

    async fn renew_intent(&self, id: IntentId, token: LeaseToken, lease: Duration) -> Result<bool, StoreError> {
        intents::renew(self, id, token, lease).await
    }

    async fn finish_intent(
        &self,
        id: IntentId,
        token: LeaseToken,
        change: Change,
        audit: NewAudit,
    ) -> Result<Ended, StoreError> {
        intents::finish(self, id, token, &change, &audit).await
    }

    async fn fail_intent(&self, id: IntentId, token: LeaseToken, audit: NewAudit) -> Result<Ended, StoreError> {
        intents::fail(self, id, token, &audit).await
    }

    async fn doubt_intent(
        &self,
        id: IntentId,
        token: LeaseToken,
        doubt: Doubt,
        audit: NewAudit,
    ) -> Result<Ended, StoreError> {
        intents::doubt(self, id, token, doubt, &audit).await
    }

    async fn settle_intent(
        &self,
        endpoint: &EndpointName,
        given: Given,
        audit: NewAudit,
    ) -> Result<Settlement, StoreError> {
        intents::settle(self, endpoint, &given, &audit).await
    }

    async fn abandon_intents(&self) -> Result<u64, StoreError> {
        intents::abandon(self).await
    }

    async fn adopt_webhook(
        &self,
        endpoint: &EndpointName,
        id: &str,
        url: &str,
        audit: NewAudit,
    ) -> Result<(), StoreError> {
        secrets::adopt(self, endpoint, id, url, &audit).await
    }

    async fn expire_secrets(&self) -> Result<u64, StoreError> {
        secrets::expire(self).await
    }

    async fn reseal_secrets(
        &self,
        old_key_id: &str,
        secrets: &[SealedSecret],
        audit: NewAudit,
    ) -> Result<(), StoreError> {
        secrets::reseal(self, old_key_id, secrets, &audit).await
    }

    async fn audit(&self, audit: NewAudit) -> Result<(), StoreError> {
        audit::write(self, &audit).await
    }

    async fn list_audit(&self, before: Option<i64>, limit: u32) -> Result<Page<AuditEntry>, StoreError> {
        audit::list(self, before, limit).await
    }
}
