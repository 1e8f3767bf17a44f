//! Lists payments: those of a month, then those of the invoice of the first one, then that one alone.

use finkare::{Client, PaymentFilter, PaymentStatus};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let finkare = Client::from_env()?;

    let filter = PaymentFilter {
        status: Some(PaymentStatus::Completed),
        from_date: Some("2026-01-01T00:00:00Z".parse()?),
        ..PaymentFilter::default()
    };
    let payments = finkare.payments().list_matching(&filter, 100).collect().await?;
    for payment in &payments {
        let method = payment.method.as_deref().unwrap_or("?");
        println!("{} cents by {method}, {}", payment.amount_cents, payment.status);
    }

    let Some(first) = payments.first() else { return Ok(()) };
    let of_invoice = finkare.payments().of_invoice(&first.invoice_id).await?.data;
    println!("{} payments of its invoice, {} unreadable", of_invoice.payments.len(), of_invoice.unreadable.len());
    let again = finkare.payments().get(&first.id).await?.data;
    println!("the same: {}", again == *first);
    Ok(())
}
