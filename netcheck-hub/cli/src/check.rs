//! `check` and `resume`: asks the hub for a round, holds what comes of it against what is expected, prints and saves it.
//!
//! [`ask`] runs the check at the hub, [`gather`] takes its cells one by one and makes the [`document`] of them, which all
//! [`formats`] print; [`config`] and [`exceptions`] say what is expected. What is kept of a check is bounded: cells of
//! paths that are well are counted and let go.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context as _;
use netcheck_common::domain::ProbeKind;
use netcheck_proto::{convert, v1};

pub(crate) mod ask;
pub(crate) mod config;
pub(crate) mod document;
pub(crate) mod exceptions;
mod expect;
mod formats;
pub(crate) mod gather;
pub(crate) mod init;
mod netdoctor;
pub(crate) mod record;

use crate::args::{CheckArgs, Output, ResumeArgs, Select};
use crate::conclusion::Conclusion;
use crate::connect::Asking;
use crate::style::{Paint, Screen};
use config::Config;
use document::{Document, Selection};
use exceptions::Exceptions;
pub(crate) use expect::Expect;
use gather::{Gather, Gathered};

/// Where a result is saved, and read again by `resume`.
pub(crate) const RESULT: &str = "netcheck-result.json";
/// The file of `init`.
pub(crate) const CONFIG: &str = config::FILE;
/// How and where to print.
pub(crate) struct Printing<'a> {
    pub(crate) output: Output,
    pub(crate) screen: &'a Screen,
    pub(crate) out: &'a mut dyn Write,
}

/// Where results are written beside standard output.
#[derive(Clone, Debug, Default)]
pub(crate) struct Files {
    /// None: the default one, where that can be written.
    pub(crate) result: Option<PathBuf>,
    pub(crate) junit: Option<PathBuf>,
    pub(crate) markdown: Option<PathBuf>,
}

/// A text for standard output, what it comes to, and what went wrong beside it.
pub(crate) struct Checked {
    pub(crate) text: String,
    pub(crate) conclusion: Conclusion,
    pub(crate) trouble: String,
}

pub(crate) fn selection(select: &Select, config: &Config) -> Selection {
    let check = &config.check;
    let or = |flag: Vec<String>, file: &Vec<String>| if flag.is_empty() { file.clone() } else { flag };
    Selection {
        sources: or(select.sources().to_vec(), &check.sources),
        targets: or(select.targets().to_vec(), &check.targets),
        kinds: or(select.kinds(), &check.kinds),
        vantages: or(select.vantages(), &check.vantages),
        ..Selection::default()
    }
}

pub(crate) fn selector(selection: &Selection) -> anyhow::Result<v1::PathSelector> {
    let kind = |word: &String| {
        let known = ProbeKind::ALL.into_iter().find(|kind| kind.as_str() == word.as_str());
        let known = known.with_context(|| format!("{word:?} is no kind of probe"))?;
        Ok(convert::kind_to_wire(known).into())
    };
    let vantage = |word: &String| match word.as_str() {
        "host" => Ok(v1::Vantage::Host.into()),
        "pod" => Ok(v1::Vantage::Pod.into()),
        other => anyhow::bail!("{other:?} is neither host nor pod"),
    };
    Ok(v1::PathSelector {
        sources: selection.sources.clone(),
        targets: selection.targets.clone(),
        kinds: selection.kinds.iter().map(kind).collect::<anyhow::Result<_>>()?,
        vantages: selection.vantages.iter().map(vantage).collect::<anyhow::Result<_>>()?,
        ..Default::default()
    })
}

/// One check, but for what is asked of the hub.
struct Round {
    selection: Selection,
    expect: Expect,
    exceptions: Exceptions,
    files: Files,
}

impl Round {
    fn new(
        selection: Selection,
        expect: Option<Expect>,
        config: &Config,
        files: Files,
    ) -> anyhow::Result<Self> {
        let file: Expect = config.expect.parse().context("the configuration's expect")?;
        let exceptions = Exceptions::new(config.exceptions.clone(), SystemTime::now())?;
        Ok(Self { selection, expect: expect.unwrap_or_default().or(file), exceptions, files })
    }

    /// Asks, prints and saves; what is printed at the end.
    async fn run(
        self,
        channel: Asking,
        request: v1::RunCheckRequest,
        printing: Printing<'_>,
        also_failed: Vec<record::PathRecord>,
    ) -> anyhow::Result<Checked> {
        let Printing { output, screen, out } = printing;
        let mut gather = Gather::new(self.selection, self.expect, self.exceptions);
        match output {
            Output::Wide => gather = gather.with_others(),
            Output::Csv => gather = gather.with_csv(out).context("cannot print")?,
            _ => {}
        }
        let result = ask::run(channel, request, |cell| gather.take(cell)).await?;
        finish(gather.end(&result), also_failed, &self.files, (output, screen))
    }
}

/// Saves and prints what was gathered, with what failed before and was not probed again.
pub(crate) fn finish(
    mut gathered: Gathered,
    also_failed: Vec<record::PathRecord>,
    files: &Files,
    (output, screen): (Output, &Screen),
) -> anyhow::Result<Checked> {
    let document = &mut gathered.document;
    document.failed_total += also_failed.len() as u64;
    document.failed.extend(also_failed);
    let (trouble, saved) = save(document, files)?;
    let text = print(&gathered, output, Paint::on(screen), &saved);
    let Document { exit_code, paths, .. } = gathered.document;
    Ok(Checked { text, conclusion: Conclusion::of_check(exit_code, paths.total), trouble })
}

/// Writes the files. What went wrong with the one that nobody asked for, and the line that says where it is.
fn save(document: &Document, files: &Files) -> anyhow::Result<(String, String)> {
    let write = |path: &Option<PathBuf>, text: &dyn Fn() -> String| match path {
        Some(path) => {
            std::fs::write(path, text()).with_context(|| format!("cannot write {}", path.display()))
        }
        None => Ok(()),
    };
    write(&files.junit, &|| formats::junit::render(document))?;
    write(&files.markdown, &|| formats::markdown::render(document))?;
    let path = files.result.as_deref().unwrap_or(Path::new(RESULT));
    let again = match document.failed_total {
        0 if document.selection.resumed.is_some() => {
            "nothing is left that failed; a whole round is due: `kubectl netcheck check`".to_owned()
        }
        0 => String::new(),
        failed if document.selection.ephemeral => format!(
            "nobody is left to probe the {failed} failed paths again: `kubectl netcheck check --ephemeral` probes all"
        ),
        failed => format!("`kubectl netcheck resume` probes the {failed} failed paths again"),
    };
    match document.save(path) {
        Ok(()) => {
            let again = if again.is_empty() { again } else { format!("; {again}") };
            Ok((String::new(), format!("Saved in {}{again}\n", path.display())))
        }
        Err(error) if files.result.is_some() => {
            Err(error).with_context(|| format!("cannot write {}", path.display()))
        }
        // In the hub's pod, say, whose files can't be written.
        Err(error) => {
            let trouble =
                format!("the result is not saved: {}: {error}; --result says where", path.display());
            Ok((trouble, if again.is_empty() { again } else { format!("{again}\n") }))
        }
    }
}

fn print(gathered: &Gathered, output: Output, paint: Paint, saved: &str) -> String {
    let document = &gathered.document;
    match output {
        Output::Table | Output::Wide => {
            let table = formats::table::render(document, &gathered.others, paint);
            format!("{table}\n{saved}")
        }
        Output::Json => document.json(),
        Output::Yaml => formats::yaml(document),
        Output::Junit => formats::junit::render(document),
        Output::Markdown => formats::markdown::render(document),
        // Its rows are written.
        Output::Csv => String::new(),
    }
}

/// A round over what is selected.
pub(crate) async fn check(
    channel: Asking,
    args: &CheckArgs,
    printing: Printing<'_>,
) -> anyhow::Result<Checked> {
    let config = Config::read(args.config.as_deref())?;
    #[cfg(feature = "kubernetes")]
    let ephemeral = args.ephemeral.ephemeral;
    #[cfg(not(feature = "kubernetes"))]
    let ephemeral = false;
    let selection = Selection {
        rounds: args.rounds.or(config.check.rounds).unwrap_or(1),
        now: args.now,
        ephemeral,
        ..selection(&args.select, &config)
    };
    let request = v1::RunCheckRequest {
        selector: Some(selector(&selection)?),
        rounds: selection.rounds,
        deadline: args.deadline.or(config.deadline()).map(convert::duration),
        take_turns: !args.now,
        stream_cells: true,
        // To be counted by where they go, and held against what is expected.
        all_cells: true,
        ..Default::default()
    };
    let round = Round::new(selection, args.expect, &config, args.files.files())?;
    round.run(channel, request, printing, Vec::new()).await
}

pub(crate) fn last(args: &ResumeArgs) -> Result<Document, document::ReadError> {
    Document::read(args.files.result.as_deref().unwrap_or(Path::new(RESULT)))
}

/// What a resumption comes to where nothing failed: nobody is asked.
pub(crate) fn nothing_left(args: &ResumeArgs) -> anyhow::Result<Option<Checked>> {
    let nothing = last(args)?.failed.is_empty();
    let text = "✓ nothing failed last time; a whole round is due: `kubectl netcheck check`\n".to_owned();
    Ok(nothing.then_some(Checked { text, conclusion: Conclusion::Fine, trouble: String::new() }))
}

/// What failed last time, again.
pub(crate) async fn resume(
    channel: Asking,
    args: &ResumeArgs,
    printing: Printing<'_>,
) -> anyhow::Result<Checked> {
    let config = Config::read(args.config.as_deref())?;
    let before = last(args)?;
    let mut again = before.failed;
    // What does not fit waits for the next time.
    let rest = again.split_off(record::fitting(&again));
    let paths = again.iter().map(record::PathRecord::path).collect::<Result<Vec<v1::Path>, _>>()?;
    let selection = Selection {
        rounds: before.selection.rounds.max(1),
        resumed: Some(paths.len() as u64),
        ..Selection::default()
    };
    let request = v1::RunCheckRequest {
        rounds: selection.rounds,
        deadline: args.deadline.or(config.deadline()).map(convert::duration),
        paths,
        take_turns: true,
        stream_cells: true,
        all_cells: true,
        ..Default::default()
    };
    let round = Round::new(selection, args.expect, &config, args.files.files())?;
    round.run(channel, request, printing, rest).await
}
