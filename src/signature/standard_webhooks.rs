//! Standard Webhooks: how we sign what HTTP sinks send (<https://www.standardwebhooks.com>).
