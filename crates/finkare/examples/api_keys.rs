//! Creates an API key, replaces it, and revokes it.

use finkare::{Client, NewApiKey};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let finkare = Client::from_env()?;

    let new = NewApiKey {
        name: "Integration ERP".into(),
        scopes: vec!["invoices:read".into(), "invoices:write".into(), "payments:read".into()],
        tier: Some("pro".into()),
    };
    let created = finkare.api_keys().create(&new).await?.data;
    // Store the key: Finkare does not show it again. Nothing prints it by accident.
    println!("created, key {:?}", created.api_key);

    let id = created.id.ok_or("Finkare did not say which key it is")?;
    let rotated = finkare.api_keys().rotate(&id).await?.data;
    println!("rotated, changed: {}", rotated.api_key != created.api_key);

    for key in finkare.api_keys().list().await?.data {
        println!("{}: {}", key.name.unwrap_or_default(), key.scopes.unwrap_or_default().join(", "));
    }

    finkare.api_keys().revoke(&id).await?;
    println!("{} keys are left", finkare.api_keys().list().await?.data.len());
    Ok(())
}
