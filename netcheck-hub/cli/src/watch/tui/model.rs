//! What is shown, and where: nodes by zone, of each pair the worst verdict, incidents, and what changed lately. Pure: it
//! takes `now`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use netcheck_proto::v1;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::feed::{News, Window};
use crate::style::{family, kind};

/// How long what changed is marked.
const LATELY: Duration = Duration::from_secs(10);
/// Incidents that are kept; of more, the worst.
const INCIDENTS: usize = 200;

/// Worst first.
const ORDER: [v1::Verdict; 5] = [
    v1::Verdict::Unreachable,
    v1::Verdict::Degraded,
    v1::Verdict::NoData,
    v1::Verdict::ExpectedAbsent,
    v1::Verdict::Reachable,
];

/// What comes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Go on.
    Go,
    /// End.
    Quit,
}

/// From one node to another.
#[derive(Clone, Debug, Default)]
pub(super) struct Pair {
    /// By what distinguishes the paths: how they are called, the verdict, where losses died.
    paths: BTreeMap<String, (v1::Verdict, String)>,
    changed: Option<Instant>,
}

impl Pair {
    /// The worst of its paths; none where nothing is known.
    pub(super) fn worst(&self) -> Option<v1::Verdict> {
        ORDER.into_iter().find(|worst| self.paths.values().any(|(verdict, _)| verdict == worst))
    }

    /// Its paths: what each is, and its verdict.
    pub(super) fn paths(&self) -> impl Iterator<Item = (&str, v1::Verdict)> {
        self.paths.iter().map(|(path, (verdict, _))| (path.as_str(), *verdict))
    }

    /// Where the probes of the worst of them died; empty where that is not known.
    pub(super) fn place(&self) -> &str {
        let worst = self.worst();
        let mut of_worst = self.paths.values().filter(|(verdict, _)| Some(*verdict) == worst);
        of_worst.find(|(_, place)| !place.is_empty()).map_or("", |(_, place)| place)
    }

    pub(super) fn changed_lately(&self, now: Instant) -> bool {
        lately(self.changed, now)
    }
}

fn lately(at: Option<Instant>, now: Instant) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) <= LATELY)
}

/// One incident.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    pub(super) incident: v1::Incident,
    changed: Option<Instant>,
}

impl Shown {
    pub(super) fn changed_lately(&self, now: Instant) -> bool {
        lately(self.changed, now)
    }

    pub(super) fn is_over(&self) -> bool {
        self.incident.state() == v1::IncidentState::Closed
    }
}

type Pairs = HashMap<(String, String), Pair>;

/// See the file.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) colours: bool,
    /// Nodes that may be rows, and columns; none: all.
    only: (Vec<String>, Vec<String>),
    /// Zone and name, ascending.
    nodes: Vec<(String, String)>,
    pairs: Pairs,
    /// What is sent anew, until it is whole.
    coming: Option<Pairs>,
    pub(super) incidents: Vec<Shown>,
    /// Why the hub is lost, and since when.
    pub(super) lost: Option<(String, Instant)>,
    pub(super) last_news: Option<Instant>,
    /// The zone that alone is shown.
    zone: Option<String>,
    /// The pair that is looked at: row and column.
    pub(super) cursor: (usize, usize),
    /// The first row and column that are shown.
    pub(super) first: (usize, usize),
    /// How many of them fit.
    room: (usize, usize),
    pub(super) help: bool,
}

impl Model {
    pub(super) fn new(colours: bool, selector: &v1::PathSelector) -> Self {
        let bare = |names: &[String]| -> Vec<String> {
            names.iter().map(|name| name.trim_start_matches("node/").to_owned()).collect()
        };
        Self {
            colours,
            only: (bare(&selector.sources), bare(&selector.targets)),
            nodes: Vec::new(),
            pairs: Pairs::new(),
            coming: None,
            incidents: Vec::new(),
            lost: None,
            last_news: None,
            zone: None,
            cursor: (0, 0),
            first: (0, 0),
            room: (0, 0),
            help: false,
        }
    }

    fn axis<'a>(&'a self, only: &'a [String]) -> impl Iterator<Item = &'a (String, String)> {
        let zone = self.zone.as_deref();
        self.nodes.iter().filter(move |(of, name)| {
            zone.is_none_or(|zone| zone == of) && (only.is_empty() || only.contains(name))
        })
    }

    /// Nodes that probe: zone and name.
    pub(super) fn rows(&self) -> Vec<&(String, String)> {
        self.axis(&self.only.0).collect()
    }

    /// Nodes that are probed.
    pub(super) fn columns(&self) -> Vec<&(String, String)> {
        self.axis(&self.only.1).collect()
    }

    pub(super) fn zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    pub(super) fn pair(&self, source: &str, target: &str) -> Option<&Pair> {
        self.pairs.get(&(source.to_owned(), target.to_owned()))
    }

    /// So many rows and columns fit: moves what is shown to where the cursor is.
    pub(super) fn fit(&mut self, room: (usize, usize)) {
        self.room = room;
        let (rows, columns) = (self.rows().len(), self.columns().len());
        let fit = |cursor: &mut usize, first: &mut usize, all: usize, room: usize| {
            *cursor = (*cursor).min(all.saturating_sub(1));
            *first = (*first).min(*cursor).max((*cursor + 1).saturating_sub(room));
            *first = (*first).min(all.saturating_sub(room));
        };
        fit(&mut self.cursor.0, &mut self.first.0, rows, room.0);
        fit(&mut self.cursor.1, &mut self.first.1, columns, room.1);
    }

    /// The nodes that are shown.
    pub(super) fn window(&self) -> Window {
        let names = |axis: Vec<&(String, String)>, first: usize, room: usize| {
            axis.into_iter().skip(first).take(room).map(|(_, name)| name.clone()).collect()
        };
        Window {
            sources: names(self.rows(), self.first.0, self.room.0),
            targets: names(self.columns(), self.first.1, self.room.1),
        }
    }

    /// What the hub sent.
    pub(super) fn take(&mut self, news: News, now: Instant) {
        match news {
            News::Nodes(nodes) => {
                self.nodes = nodes.into_iter().map(|node| (node.zone, node.name)).collect();
                self.nodes.sort();
                if self.zone.as_ref().is_some_and(|zone| self.nodes.iter().all(|(of, _)| of != zone)) {
                    self.zone = None;
                }
            }
            News::Cells(_) => self.coming = Some(Pairs::new()),
            News::Cell(cell) => self.cell(&cell, now),
            News::Whole => self.whole(now),
            News::Incidents => self.incidents.clear(),
            News::Incident(incident) => self.incident(*incident, now),
            News::Lost(why) => {
                let since = self.lost.take().map_or(now, |(_, since)| since);
                self.lost = Some((why, since));
                self.coming = None;
                return;
            }
            News::Back => self.lost = None,
        }
        self.last_news = Some(now);
    }

    fn cell(&mut self, cell: &v1::MatrixCell, now: Instant) {
        let Some(path) = &cell.path else { return };
        let Some(target) = &path.target else { return };
        let vantage = if path.vantage() == v1::Vantage::Pod { " from pods" } else { "" };
        let detail = if path.detail.is_empty() { String::new() } else { format!(" {}", path.detail) };
        let name =
            format!("{}{}{vantage} {}{detail}", kind(path.kind()), family(path.family()), path.address);
        let place = cell.loss.as_ref().map(|loss| loss.summary.clone()).unwrap_or_default();
        let key = (path.source_node.clone(), target.name.clone());
        let whole = self.coming.is_none();
        let pair = self.coming.as_mut().unwrap_or(&mut self.pairs).entry(key).or_default();
        let before = pair.worst();
        pair.paths.insert(name, (cell.verdict(), place));
        if whole && before != pair.worst() {
            pair.changed = Some(now);
        }
    }

    /// What was sent anew replaces what there was; a pair that was not shown before has not changed.
    fn whole(&mut self, now: Instant) {
        let Some(mut coming) = self.coming.take() else { return };
        for (key, pair) in &mut coming {
            let Some(before) = self.pairs.get(key) else { continue };
            pair.changed = if before.worst() == pair.worst() { before.changed } else { Some(now) };
        }
        self.pairs = coming;
    }

    fn incident(&mut self, incident: v1::Incident, now: Instant) {
        let id = &incident.id;
        self.incidents
            .retain(|shown| shown.incident.id != *id && (!shown.is_over() || shown.changed_lately(now)));
        self.incidents.push(Shown { incident, changed: Some(now) });
        self.incidents.sort_by_key(|shown| {
            let unreachable = shown.incident.verdict() == v1::Verdict::Unreachable;
            let paths = shown.incident.path_count.max(shown.incident.paths.len() as u64);
            (shown.is_over(), !unreachable, std::cmp::Reverse(paths), shown.incident.id.clone())
        });
        self.incidents.truncate(INCIDENTS);
    }

    /// A key.
    pub(super) fn press(&mut self, key: KeyEvent) -> Command {
        let (rows, columns) = (self.room.0.max(1), self.room.1.max(1));
        let (row, column) = &mut self.cursor;
        match key.code {
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => {
                return Command::Quit;
            }
            KeyCode::Char('q') => return Command::Quit,
            KeyCode::Esc if !self.help => return Command::Quit,
            KeyCode::Char('?') => self.help = !self.help,
            KeyCode::Esc => self.help = false,
            KeyCode::Up | KeyCode::Char('k') => *row = row.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => *row += 1,
            KeyCode::Left | KeyCode::Char('h') => *column = column.saturating_sub(1),
            KeyCode::Right | KeyCode::Char('l') => *column += 1,
            KeyCode::PageUp => *row = row.saturating_sub(rows),
            KeyCode::PageDown => *row += rows,
            KeyCode::Char('[') => *column = column.saturating_sub(columns),
            KeyCode::Char(']') => *column += columns,
            KeyCode::Home => self.cursor = (0, 0),
            KeyCode::End => self.cursor = (usize::MAX - 1, usize::MAX - 1),
            KeyCode::Char('z') => self.next_zone(),
            _ => {}
        }
        self.fit(self.room);
        Command::Go
    }

    /// The next zone alone; after the last, all.
    fn next_zone(&mut self) {
        let zones: BTreeSet<&String> = self.nodes.iter().map(|(zone, _)| zone).collect();
        let next = zones.into_iter().find(|zone| self.zone.as_ref().is_none_or(|now| *zone > now)).cloned();
        self.zone = next;
        (self.cursor, self.first) = ((0, 0), (0, 0));
    }
}
