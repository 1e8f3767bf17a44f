//! Creates a webhook, changes it, gives it a new secret, looks at Finkare's history of deliveries, and deletes it.

use finkare::{Client, NewWebhook, WebhookUpdate};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let finkare = Client::from_env()?;

    let url = "https://api.votre-entreprise.fr/webhooks/finkare";
    let new = NewWebhook::new(url, ["payment.received", "invoice.status_changed"]).description("Production webhook");
    let created = finkare.webhooks().create(&new).await?.data;
    // Store the secret: Finkare does not show it again. Nothing prints it by accident.
    println!("created, secret {:?}", created.secret);

    let id = &created.webhook.id;
    let update = WebhookUpdate { description: Some("Webhook de production".into()), ..WebhookUpdate::default() };
    finkare.webhooks().update(id, &update).await?;
    let webhook = finkare.webhooks().get(id).await?.data;
    println!("{}, enabled: {}", webhook.description.unwrap_or_default(), webhook.enabled);

    // If this fails, Finkare may have changed the secret all the same: `error.may_have_happened()`.
    let secret = finkare.webhooks().rotate_secret(id).await?.data;
    println!("rotated, changed: {}", secret != created.secret);

    for delivery in finkare.webhooks().deliveries(id).await?.data {
        let (event, status) = (delivery.event_type.unwrap_or_default(), delivery.status.unwrap_or_default());
        println!("{event} — {status} ({} tentatives)", delivery.attempts.unwrap_or_default());
    }

    finkare.webhooks().delete(id).await?;
    println!("{} webhooks are left", finkare.webhooks().list().await?.data.len());
    Ok(())
}
