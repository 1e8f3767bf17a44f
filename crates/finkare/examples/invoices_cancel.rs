//! Takes an invoice back from Finkare, because its debtor has paid directly. The argument is the invoice's id.

use finkare::Client;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let finkare = Client::from_env()?;
    let id = std::env::args_os().nth(1).and_then(|id| id.into_string().ok()).ok_or("name the invoice's id")?;

    let answer = finkare.invoices().cancel(&id, "Paiement reçu directement").await?;
    println!("{}", answer.message.as_deref().unwrap_or("cancelled"));
    Ok(())
}
