//! `reload`: makes the running service read its configuration again.

use std::fmt::Write as _;

use clap::Args;
use serde_json::Value;

use super::{
    Failure,
    admin::Service,
    client::{Client, Refused},
    output::{Output, cell},
};
use crate::config::Config;

#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    service: Service,
}

/// `reload`: exit 2, with every problem, if the service cannot use the new configuration.
///
/// The service reads its own file and environment, not those of this command.
pub(super) async fn run(config: Config, options: Options, output: Output) -> Result<bool, Failure> {
    let client = Client::new(config, options.service.url())?;
    let answer = match client.decide("/reload", &Value::Null).await {
        Ok(answer) => answer,
        Err(error) => {
            let refused = error.downcast_ref::<Refused>();
            let told = refused.and_then(|refused| Some((refused.problems.as_ref()?, refused.document().clone())));
            return Err(match told {
                Some((problems, document)) => Failure::Refused { text: problems_text(problems), document },
                None => error.into(),
            });
        }
    };
    let count = |key: &str, one: &str| {
        let number = answer[key].as_u64().unwrap_or_default();
        format!("{number} {one}{}", if number == 1 { "" } else { "s" })
    };
    let mut text =
        format!("The configuration was reloaded: {}, {}.", count("endpoints", "endpoint"), count("sinks", "sink"));
    text.push_str(&difference(&answer));
    for notice in answer["notices"].as_array().into_iter().flatten() {
        let _ = write!(text, "\nnotice: {}", cell(notice));
    }
    output.say(&answer, &text)?;
    Ok(true)
}

/// The differences; or, if there are none, what may be the reason.
fn difference(answer: &Value) -> String {
    let names = |list: &Value| {
        let names: Vec<_> = list.as_array().into_iter().flatten().map(cell).collect();
        names.join(", ")
    };
    if answer["differs"] == false {
        let mut text = " Nothing has changed.".to_owned();
        if answer["file"].is_string() {
            let _ = write!(
                text,
                "\nIf you have changed {}, the service does not see the change: a container that mounts a single file keeps \
                 the old file when an editor replaces it. Mount its folder instead, and restart the container.",
                cell(&answer["file"])
            );
        }
        return text;
    }
    let mut text = String::new();
    for (label, key) in [("sinks", "sinks"), ("endpoints", "endpoints")] {
        for what in ["added", "removed", "changed", "unchanged"] {
            let list = names(&answer["changes"][key][what]);
            if !list.is_empty() {
                let _ = write!(text, "\n  {label} {what}: {list}");
            }
        }
    }
    let options = names(&answer["changes"]["options"]);
    if !options.is_empty() {
        let _ = write!(text, "\n  options that differ: {options}");
    }
    text
}

fn problems_text(problems: &[String]) -> String {
    let mut text = String::from("the service cannot use the new configuration; the previous one stays in force:");
    for problem in problems {
        let _ = write!(text, "\n  {}", cell(&Value::from(problem.as_str())));
    }
    text
}
