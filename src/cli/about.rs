//! `completion`, `man` and `version`: what a package and a shell need of the commands.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;
use serde_json::json;

use super::{
    Failure,
    output::{Output, print},
};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  finkare-relay completion bash\n  finkare-relay completion zsh\n  finkare-relay completion fish"
)]
pub(super) struct Completion {
    /// The shell
    #[arg(value_parser = clap::value_parser!(Shell), value_name = "bash|zsh|fish")]
    shell: Shell,
}

/// Prints the completions for a shell.
pub(super) fn completion(options: &Completion, mut command: Command) -> Result<bool, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, "finkare-relay", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if options.shell == Shell::Bash {
        // clap_complete 4.6 takes the `-` in the program's name for the border of a command in some places and not in others.
        script = script.replace("finkare__subcmd__relay", "finkare__relay");
    }
    print(script.trim_end())?;
    Ok(true)
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  finkare-relay man ./man")]
pub(super) struct Man {
    /// The folder for the manual pages, one for each command
    dir: PathBuf,
}

/// Writes the manual pages.
pub(super) fn man(options: &Man, command: Command, output: Output) -> Result<bool, Failure> {
    let folder = &options.dir;
    std::fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    let mut command = without_help(command);
    command.build();
    let mut pages = Vec::new();
    write_page(&command, None, folder, &mut pages)?;
    let text = format!("{} manual pages were written into {}", pages.len(), folder.display());
    output.say(&json!({"folder": folder, "pages": pages}), &text)?;
    Ok(true)
}

/// The same without the command `help` of each group, which has no page of its own.
fn without_help(command: Command) -> Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

fn write_page(command: &Command, parent: Option<&str>, folder: &Path, pages: &mut Vec<String>) -> anyhow::Result<()> {
    let name =
        parent.map_or_else(|| command.get_name().to_owned(), |parent| format!("{parent}-{}", command.get_name()));
    let mut page = Vec::new();
    // The library keeps names for ever; this process lives for a moment.
    let shown = command.clone().name(&*name.clone().leak());
    clap_mangen::Man::new(shown).render(&mut page).context("a manual page cannot be written")?;
    let file = format!("{name}.1");
    std::fs::write(folder.join(&file), page).with_context(|| format!("{file} cannot be written"))?;
    pages.push(file);
    for command in command.get_subcommands() {
        write_page(command, Some(&name), folder, pages)?;
    }
    Ok(())
}

/// Prints what this program is.
pub(super) fn version(output: Output) -> Result<bool, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let features: Vec<&str> = if cfg!(feature = "otel") { vec!["otel"] } else { Vec::new() };
    let sqlite = rusqlite::version();
    let text = format!(
        "finkare-relay {version}\ntarget    {target}\nfeatures  {}\nsqlite    {sqlite}",
        if features.is_empty() { "none".to_owned() } else { features.join(", ") }
    );
    output.say(&json!({"version": version, "target": target, "features": features, "sqlite": sqlite}), &text)?;
    Ok(true)
}
