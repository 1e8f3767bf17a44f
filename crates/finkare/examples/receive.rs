//! Checks a delivery: the value of its header and its body, as they came. Arguments: the header's value, then the body.
//!
//! The secret is the one that Finkare showed when the webhook was created.

use finkare::{Secret, signature};

fn main() {
    let mut arguments = std::env::args_os().skip(1).filter_map(|argument| argument.into_string().ok());
    let (header, body) = (arguments.next(), arguments.next().unwrap_or_default());
    let secret = Secret::new("whsec_example");
    match signature::verify(&secret, header.as_deref(), body.as_bytes()) {
        Ok(()) => println!("200 {{\"received\":true}}"),
        // The reason is for the log; the sender learns only that it was refused.
        Err(reason) => {
            eprintln!("{reason}");
            println!("401 {{\"error\":\"Invalid signature\"}}");
        }
    }
}
