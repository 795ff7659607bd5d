//! Flags that prose names: each must be one of netcheck's programs, or stand in the table of others' flags.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use clap::CommandFactory as _;

use super::pages::Page;
use crate::{Cli, cluster};

/// Flags of other programs that the pages name.
const OTHERS: [(&str, &str); 3] =
    [("--namespace", "kubectl"), ("--no-default-features", "cargo"), ("--random-fully", "iptables")];

/// Pages whose flags are others' business: what is no more, and values that are made from elsewhere.
const EXEMPT: [&str; 2] = ["CHANGELOG.md", "deploy/netcheck/README.md"];

/// All flags that can be named.
pub(super) fn known() -> Result<BTreeSet<String>> {
    let mut flags: BTreeSet<String> = OTHERS.iter().map(|(flag, _)| (*flag).to_owned()).collect();
    for program in ["netcheck-hub", "netcheck-agent", "kubectl-netcheck"] {
        let help = help(program, &[])?;
        for subcommand in subcommands(&help) {
            flags.extend(in_text(&self::help(program, &[&subcommand])?));
        }
        flags.extend(in_text(&help));
    }
    of_command(&Cli::command(), &mut flags);
    Ok(flags)
}

fn help(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(cluster::binary(program)?).args(arguments).arg("--help").output()?;
    ensure!(output.status.success(), "{program} {} --help fails", arguments.join(" "));
    String::from_utf8(output.stdout).context("a help text that is no text")
}

/// Names in the list of commands of a help text. A line that is indented further goes on with the text before it.
fn subcommands(help: &str) -> Vec<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = list.take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix("  "));
    let names = names.filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    names
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

fn of_command(command: &clap::Command, flags: &mut BTreeSet<String>) {
    flags.extend(command.get_arguments().filter_map(|flag| Some(format!("--{}", flag.get_long()?))));
    flags.extend(["--help".to_owned(), "--version".to_owned()]);
    for subcommand in command.get_subcommands() {
        of_command(subcommand, flags);
    }
}

/// Flags that a text names.
fn in_text(text: &str) -> Vec<String> {
    let begins = |at: usize| !text[..at].ends_with(|before: char| before.is_alphanumeric() || before == '-');
    let starts = text.match_indices("--").map(|(at, _)| at).filter(|&at| begins(at));
    let flag = |at: usize| {
        let name =
            text[at + 2..].split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'));
        let name = name.into_iter().next()?.trim_end_matches('-');
        name.starts_with(|first: char| first.is_ascii_lowercase()).then(|| format!("--{name}"))
    };
    starts.filter_map(flag).collect()
}

/// Flags in prose that no program has, one line each.
pub(super) fn unknown(pages: &[Page], known: &BTreeSet<String>) -> Vec<String> {
    let pages = pages.iter().filter(|page| !EXEMPT.contains(&page.path.as_str()));
    let wrong = pages.flat_map(|page| {
        page.prose().flat_map(move |line| {
            let unknown = in_text(&line.text).into_iter().filter(|flag| !known.contains(flag));
            unknown.map(|flag| format!("{}:{}: no program has {flag}", page.path, line.number))
        })
    });
    wrong.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_wherever_they_stand() {
        assert_eq!(
            in_text(
                "a `--pods all`, (--tls-cert), --http-target=x; not a--b, not ---, not -- nor 1--2. `--x2`"
            ),
            ["--pods", "--tls-cert", "--http-target", "--x2"]
        );
    }

    #[test]
    fn subcommands_are_those_of_the_list() {
        let help = "About\n\nUsage: x <COMMAND>\n\nCommands:\n  nodes  Show\n  path   All\n         of it\n  help   Print\n\n\
                    Options:\n  -h, --help\n";
        assert_eq!(subcommands(help), ["nodes", "path"]);
    }

    #[test]
    fn an_unknown_flag_is_named_with_its_place() {
        let pages = [
            Page::parse("docs/a.md", "x\nsay `--pods all` or `--pots all`\n```sh\nother --thing\n```\n"),
            Page::parse("CHANGELOG.md", "`--gone` is gone\n"),
        ];
        let known = BTreeSet::from(["--pods".to_owned()]);
        assert_eq!(unknown(&pages, &known), ["docs/a.md:2: no program has --pots"]);
    }
}
