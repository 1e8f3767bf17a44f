//! Looks at an invoice's workflow, and triggers it. The argument is the invoice's id.

use finkare::{Client, WorkflowAction};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let finkare = Client::from_env()?;
    let id = std::env::args_os().nth(1).and_then(|id| id.into_string().ok()).ok_or("name the invoice's id")?;

    let status = finkare.workflow().status(&id).await?;
    println!("{}", status.data.current_step.as_deref().unwrap_or("no step"));

    finkare.workflow().trigger(&id).await?;
    let status = finkare.workflow().status(&id).await?;
    println!("{}", status.data.current_step.as_deref().unwrap_or("no step"));

    // Not on the vendor's page: see `WorkflowAction`.
    finkare.workflow().trigger_action(&id, &WorkflowAction::Pause, Some("litige")).await?;
    Ok(())
}
