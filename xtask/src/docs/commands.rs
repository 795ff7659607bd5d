//! Commands in blocks of `sh`. Each belongs to a class that says how it is checked; one of no class is an error.

use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser as _;

use super::pages::{Page, PagePart};
use crate::{Cli, cluster, test, tools};

/// Who takes a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// `cargo xtask …`: parsed here.
    Xtask,
    /// `cargo build …`: parsed by cargo, and its packages are the workspace's.
    Cargo,
    /// The hub or an agent: parsed by the program.
    Daemon,
    /// `kubectl netcheck …`: parsed by the program; run by an end-to-end test.
    Reader,
    /// `kubectl …`, `helm …`: parsed by the program; run by a test against a fake cluster.
    Cluster,
    /// `grpcurl …`, `curl …`: run by an end-to-end test.
    Api,
}

/// A command as a page prints it.
#[derive(Clone, Debug)]
pub struct DocCommand {
    /// The page, from the repository's root.
    pub page: String,
    /// The line.
    pub line: usize,
    /// Who takes it.
    pub class: Class,
    /// Its words, without a redirection of its output.
    pub words: Vec<String>,
}

/// All commands of the pages, and what is wrong with others.
pub(super) fn read(pages: &[Page]) -> (Vec<DocCommand>, Vec<String>) {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for page in pages {
        let mut begun: Option<(usize, String)> = None;
        for line in page.lines.iter().filter(|line| line.part == PagePart::Code("sh".to_owned())) {
            let (number, mut text) = begun.take().unwrap_or((line.number, String::new()));
            text += line.text.trim();
            if let Some(open) = text.strip_suffix('\\') {
                begun = Some((number, open.to_owned()));
                continue;
            }
            match one(&page.path, number, &text) {
                Ok(command) => found.extend(command),
                Err(error) => wrong.push(format!("{}:{number}: {error:#}", page.path)),
            }
        }
        wrong.extend(begun.map(|(number, _)| format!("{}:{number}: the command goes on nowhere", page.path)));
    }
    (found, wrong)
}

/// The command of one line; none where it is empty or a comment.
fn one(page: &str, line: usize, text: &str) -> Result<Option<DocCommand>> {
    let mut words = shlex::split(text).with_context(|| format!("a shell would not take `{text}`"))?;
    if words.is_empty() {
        return Ok(None);
    }
    if let Some(at) = words.iter().position(|word| word == ">") {
        ensure!(at + 2 == words.len(), "more than one file behind `>`: `{text}`");
        words.truncate(at);
    }
    let shell = |word: &&String| matches!(word.as_str(), "|" | "&&" | "||" | ";" | "&" | "<" | ">>");
    ensure!(!words.iter().any(|word| shell(&word)), "one command a line, without pipes: `{text}`");
    let start: Vec<&str> = words.iter().map(String::as_str).take(2).collect();
    let class = match start.as_slice() {
        ["cargo", "xtask"] => Class::Xtask,
        ["cargo", "build"] => Class::Cargo,
        ["netcheck-hub" | "netcheck-agent", ..] => Class::Daemon,
        ["kubectl", "netcheck"] => Class::Reader,
        ["kubectl" | "helm", ..] => Class::Cluster,
        ["grpcurl" | "curl", ..] => Class::Api,
        _ => bail!("no class of commands has `{text}`"),
    };
    Ok(Some(DocCommand { page: page.to_owned(), line, class, words }))
}

/// `cargo xtask …` between backticks, where it has no placeholders: what is wrong with it.
pub(super) fn in_prose(pages: &[Page]) -> Vec<String> {
    let mut wrong = Vec::new();
    for page in pages {
        for (line, span) in page.spans().filter(|(_, span)| span.starts_with("cargo xtask ")) {
            if span.contains(['[', '…', '<']) || span.split(' ').any(is_placeholder) {
                continue;
            }
            let checked = one(&page.path, line, span).and_then(|found| found.map_or(Ok(()), |it| it.check()));
            wrong.extend(checked.err().map(|error| format!("{}:{line}: {error:#}", page.path)));
        }
    }
    wrong
}

fn is_placeholder(word: &str) -> bool {
    word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte == b':')
}

impl DocCommand {
    /// Where it stands, as `docs/api.md:12`.
    #[must_use]
    pub fn place(&self) -> String {
        format!("{}:{}", self.page, self.line)
    }

    /// Whether it needs what no test has: the certificates of a hub with TLS.
    #[must_use]
    pub fn needs_tls(&self) -> bool {
        self.words.iter().any(|word| word.starts_with("https://") || word.contains("-ca"))
    }

    /// It, ready to run beside the hub of a lab, with its placeholders replaced by what the lab has.
    ///
    /// # Errors
    /// If its program is not there.
    pub fn against(&self, cluster: &cluster::Cluster) -> Result<Command> {
        let hub = cluster.lab.topology().hub_v4;
        let (grpc, http) = (format!("{hub}:{}", cluster::GRPC_PORT), format!("{hub}:8080"));
        let words =
            self.with(&[("HUB:7070", &grpc), ("HUB:8080", &http), ("SOURCE", "n1"), ("TARGET", "n2")]);
        let (program, arguments) = match self.class {
            Class::Reader => (cluster::binary("kubectl-netcheck")?, &words[2..]),
            _ => (tools::which(&words[0]).with_context(|| format!("no {} here", words[0]))?, &words[1..]),
        };
        let mut command = cluster.lab.command("hub", program)?;
        command.args(arguments).env("NETCHECK_HUB", format!("http://{grpc}"));
        Ok(command)
    }

    /// Its words after these replacements.
    fn with(&self, replacements: &[(&str, &str)]) -> Vec<String> {
        let replaced = |word: &String| {
            replacements.iter().fold(word.clone(), |word, (from, to)| {
                // A placeholder is a word of its own, or the host of an address.
                if word == *from || from.starts_with("HUB") { word.replace(from, to) } else { word }
            })
        };
        self.words.iter().map(replaced).collect()
    }

    /// It, ready to run at the repository's root with the project's tools.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = tools::command(&self.words[0]);
        command.args(&self.words[1..]);
        command
    }

    /// Whether its program takes these arguments. Nothing is done.
    pub(super) fn check(&self) -> Result<()> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        match self.class {
            Class::Xtask => xtask(&words[2..]),
            Class::Cargo => cargo(&words),
            Class::Daemon => parsed(&mut Command::new(cluster::binary(words[0])?), &words[1..]),
            Class::Reader => parsed(&mut Command::new(cluster::binary("kubectl-netcheck")?), &words[2..]),
            Class::Cluster => {
                // What follows `--` is for a program in a pod.
                let own = words.split(|word| *word == "--").next().unwrap_or_default();
                parsed(&mut tools::command(own[0]), &own[1..])?;
                let inside = &words[own.len()..];
                match inside {
                    ["--", "/kubectl-netcheck", arguments @ ..] => {
                        parsed(&mut Command::new(cluster::binary("kubectl-netcheck")?), arguments)
                    }
                    [] => Ok(()),
                    other => bail!("no class of commands has `{}`", other.join(" ")),
                }
            }
            Class::Api => Ok(()),
        }
    }
}

/// A program that is asked for help parses what stands before, and refuses what it does not know.
fn parsed(program: &mut Command, arguments: &[&str]) -> Result<()> {
    let output = program.args(arguments).arg("--help").output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    let line = errors.lines().next().unwrap_or_default();
    ensure!(output.status.success(), "`{}` is refused: {line}", arguments.join(" "));
    Ok(())
}

fn xtask(arguments: &[&str]) -> Result<()> {
    let cli = Cli::try_parse_from(std::iter::once("cargo xtask").chain(arguments.iter().copied()));
    let cli = cli.map_err(|error| anyhow::anyhow!("{}", error.to_string().replace('\n', " ")))?;
    match cli.command {
        Some(crate::Command::Test(args)) => test::known(&args),
        _ => Ok(()),
    }
}

fn cargo(words: &[&str]) -> Result<()> {
    parsed(&mut tools::cargo(), &words[1..])?;
    let metadata = tools::output(tools::cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let packages = metadata["packages"].as_array().context("cargo names no packages")?;
    for pair in words.windows(2).filter(|pair| matches!(pair[0], "--package" | "-p")) {
        let known = packages.iter().any(|package| package["name"] == pair[1]);
        ensure!(known, "the workspace has no package {}", pair[1]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(block: &str) -> (Vec<DocCommand>, Vec<String>) {
        read(&[Page::parse("a.md", &format!("text\n```sh\n{block}\n```\n"))])
    }

    #[test]
    fn commands_are_read_as_a_shell_does() {
        let (found, wrong) =
            of("# a comment\n\ncargo xtask test \\\n  fmt   # quick\ncurl -fsS 'http://HUB:8080/a?b=c&d'\n\
             kubectl get nodes > file.yaml");
        assert_eq!(wrong, [] as [&str; 0]);
        let shown: Vec<_> =
            found.iter().map(|command| (command.place(), command.class, command.words.join("|"))).collect();
        assert_eq!(
            shown,
            [
                ("a.md:5".to_owned(), Class::Xtask, "cargo|xtask|test|fmt".to_owned()),
                ("a.md:7".to_owned(), Class::Api, "curl|-fsS|http://HUB:8080/a?b=c&d".to_owned()),
                ("a.md:8".to_owned(), Class::Cluster, "kubectl|get|nodes".to_owned()),
            ]
        );
    }

    #[test]
    fn what_no_test_runs_is_an_error() {
        for block in
            ["apt install netcheck", "kubectl get nodes | head", "cargo xtask demo && ls", "curl 'x", "ls \\"]
        {
            let (found, wrong) = of(block);
            assert_eq!((found.len(), wrong.len()), (0, 1), "{block}: {wrong:?}");
            assert!(wrong[0].starts_with("a.md:3: "), "{wrong:?}");
        }
    }

    #[test]
    fn xtask_and_cargo_refuse_what_they_do_not_know() {
        let check = |text: &str| one("a.md", 1, text).unwrap().unwrap().check();
        check("cargo xtask test fmt unit").unwrap();
        assert!(check("cargo xtask test fmtt").unwrap_err().to_string().contains("`fmtt`"));
        assert!(check("cargo xtask test --quick").is_err());
        assert!(check("cargo xtask bench idle --second 3").is_err());
        check("cargo build --release --package netcheck-hub").unwrap();
        assert!(
            check("cargo build --package netcheck-pub").unwrap_err().to_string().contains("netcheck-pub")
        );
        assert!(check("cargo build --fast").is_err());
    }

    #[test]
    fn prose_is_checked_where_it_is_a_whole_command() {
        let page = Page::parse(
            "a.md",
            "`cargo xtask demo` `cargo xtask dem` `cargo xtask e2e --kubeconfig PATH` `cargo xtask test [PART…]`\n",
        );
        let wrong = in_prose(&[page]);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert!(wrong[0].starts_with("a.md:1: ") && wrong[0].contains("dem"));
    }

    #[test]
    fn placeholders_are_whole_words_or_hosts() {
        let words = |text: &str| {
            let table = [("HUB:7070", "10.0.0.1:7070"), ("SOURCE", "n1")];
            one("a.md", 1, text).unwrap().unwrap().with(&table).join(" ")
        };
        assert_eq!(
            words("kubectl netcheck path SOURCE SOURCES --hub http://HUB:7070"),
            "kubectl netcheck path n1 SOURCES --hub http://10.0.0.1:7070"
        );
    }
}
