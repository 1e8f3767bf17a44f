//! Distinguishes errors: Finkare's refusals, a network that fails, and whether a write may have happened.

use std::error::Error as _;

use finkare::{Client, Error, NewDebtor, NewInvoice, Secret, Settings};
use jiff::civil::date;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let finkare = Client::from_env()?;
    match finkare.invoices().get("invalid-uuid").await {
        Ok(invoice) => println!("{}", invoice.data.invoice_number),
        Err(Error::Api { status, code, message, request_id, .. }) => {
            println!("Code: {}", code.unwrap_or_default());
            println!("Message: {message}");
            println!("Status: {status}");
            println!("Request id: {}", request_id.is_some());
        }
        Err(error) => return Err(error.into()),
    }

    // Nobody listens there.
    let api_url = Some("http://127.0.0.1:9".parse()?);
    let nowhere = Client::new(Settings { api_url, ..Settings::new(Secret::new("fk_test_example")) })?;
    let debtor = NewDebtor { name: "Lefebvre SARL".into(), ..NewDebtor::default() };
    let new = NewInvoice::new("FAC-2026-100", 75_000, date(2026, 3, 1), date(2026, 4, 1), debtor);
    if let Err(error) = nowhere.invoices().create(&new).await {
        println!("Network error: {error}");
        println!("Cause: {}", error.source().is_some());
        // The connection was never established, so the invoice can be sent again without a doubt.
        println!("It may have happened: {}", error.may_have_happened());
    }
    Ok(())
}
