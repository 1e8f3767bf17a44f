//! Secrets, intents, the audit trail.

use std::time::Duration;

use async_trait::async_trait;

use super::PostgresStore;
use crate::{
    model::{
        audit::{AuditEntry, NewAudit},
        id::{EndpointName, LeaseToken},
        link::{Begun, Intent, IntentId, Link, NewIntent, SealedSecret, SecretId, StoredSecret},
    },
    store::{
        Page, StoreError,
        link::{Change, Ended, LinkStore},
    },
};

#[async_trait]
impl LinkStore for PostgresStore {
    fn is_shared(&self) -> bool {
        true
    }
    async fn links(&self) -> Result<Vec<Link>, StoreError> {
        unimplemented!()
    }
    async fn secrets(&self, _endpoint: &EndpointName) -> Result<Vec<StoredSecret>, StoreError> {
        unimplemented!()
    }
    async fn seed_secrets(
        &self,
        _endpoint: &EndpointName,
        _secrets: &[SealedSecret],
        _audit: NewAudit,
    ) -> Result<Vec<SecretId>, StoreError> {
        unimplemented!()
    }
    async fn begin_intent(&self, _intent: NewIntent, _audit: NewAudit) -> Result<Begun, StoreError> {
        unimplemented!()
    }
    async fn take_over_intent(&self, _token: LeaseToken, _lease: Duration) -> Result<Option<Intent>, StoreError> {
        unimplemented!()
    }
    async fn renew_intent(&self, _id: IntentId, _token: LeaseToken, _lease: Duration) -> Result<bool, StoreError> {
        unimplemented!()
    }
    async fn finish_intent(
        &self,
        _id: IntentId,
        _token: LeaseToken,
        _change: Change,
        _audit: NewAudit,
    ) -> Result<Ended, StoreError> {
        unimplemented!()
    }
    async fn fail_intent(&self, _id: IntentId, _token: LeaseToken, _audit: NewAudit) -> Result<Ended, StoreError> {
        unimplemented!()
    }
    async fn doubt_intent(
        &self,
        _id: IntentId,
        _token: LeaseToken,
        _retry_in: Duration,
        _audit: NewAudit,
    ) -> Result<Ended, StoreError> {
        unimplemented!()
    }
    async fn abandon_intents(&self) -> Result<u64, StoreError> {
        unimplemented!()
    }
    async fn adopt_webhook(
        &self,
        _endpoint: &EndpointName,
        _id: &str,
        _url: &str,
        _audit: NewAudit,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }
    async fn expire_secrets(&self) -> Result<u64, StoreError> {
        unimplemented!()
    }
    async fn reseal_secrets(
        &self,
        _old_key_id: &str,
        _secrets: &[SealedSecret],
        _audit: NewAudit,
    ) -> Result<(), StoreError> {
        unimplemented!()
    }
    async fn audit(&self, _audit: NewAudit) -> Result<(), StoreError> {
        unimplemented!()
    }
    async fn list_audit(&self, _before: Option<i64>, _limit: u32) -> Result<Page<AuditEntry>, StoreError> {
        unimplemented!()
    }
}
