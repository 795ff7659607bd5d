use std::time::{Duration, Instant};

use netcheck_proto::v1;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::{Color, Modifier};

use super::draw::draw;
use super::feed::{News, Window};
use super::model::{Command, Model};

fn key(code: KeyCode) -> KeyEvent {
    KeyEvent::new(code, KeyModifiers::NONE)
}

fn node(name: &str, zone: &str) -> v1::Node {
    v1::Node { name: name.to_owned(), zone: zone.to_owned(), ..Default::default() }
}

fn cell(source: &str, target: &str, kind: v1::ProbeKind, verdict: v1::Verdict) -> News {
    let target = v1::Target { name: target.to_owned(), ..Default::default() };
    let path = v1::Path {
        source_node: source.to_owned(),
        target: Some(target),
        kind: kind.into(),
        family: v1::Family::Ipv4.into(),
        ..Default::default()
    };
    let lost = verdict == v1::Verdict::Unreachable;
    let loss = lost.then(|| v1::LocatedLoss { summary: "dropped on n2".to_owned(), ..Default::default() });
    News::Cell(Box::new(v1::MatrixCell {
        path: Some(path),
        verdict: verdict.into(),
        loss,
        ..Default::default()
    }))
}

fn incident(id: &str, state: v1::IncidentState) -> News {
    News::Incident(Box::new(v1::Incident {
        id: id.to_owned(),
        state: state.into(),
        verdict: v1::Verdict::Unreachable.into(),
        headline: "n2 answers nobody".to_owned(),
        path_count: 7,
        ..Default::default()
    }))
}

struct Shown {
    model: Model,
    terminal: Terminal<TestBackend>,
    now: Instant,
}

impl Shown {
    fn begin(colours: bool, nodes: Vec<v1::Node>, (width, height): (u16, u16)) -> Self {
        let terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let mut shown =
            Self { model: Model::new(colours, &v1::PathSelector::default()), terminal, now: Instant::now() };
        shown.take([News::Back, News::Nodes(nodes)]);
        shown.screen();
        shown
    }

    fn take(&mut self, news: impl IntoIterator<Item = News>) {
        news.into_iter().for_each(|news| self.model.take(news, self.now));
    }

    /// What is on the screen now, line by line.
    fn screen(&mut self) -> Vec<String> {
        let (model, now) = (&mut self.model, self.now);
        self.terminal.draw(|frame| draw(frame, model, now)).unwrap();
        let buffer = self.terminal.backend().buffer().clone();
        let line = |y| (0..buffer.area.width).map(|x| buffer[(x, y)].symbol()).collect::<String>();
        (0..buffer.area.height).map(|y| line(y).trim_end().to_owned()).collect()
    }

    fn has(&mut self, words: &str) -> bool {
        self.screen().iter().any(|line| line.contains(words))
    }
}

fn three() -> Shown {
    use v1::ProbeKind::{Icmp, Udp};
    use v1::Verdict::{NoData, Reachable, Unreachable};
    let nodes = vec![node("n3", "b"), node("n1", "a"), node("n2", "a")];
    let mut shown = Shown::begin(true, nodes, (80, 20));
    shown.take([
        News::Cells(Window::default()),
        cell("n1", "n2", Icmp, Reachable),
        cell("n1", "n2", Udp, Unreachable),
        cell("n2", "n1", Icmp, Reachable),
        cell("n3", "n1", Icmp, NoData),
        News::Whole,
    ]);
    shown
}

#[test]
fn rows_probe_columns_and_show_the_worst_of_each_pair() {
    let mut shown = three();
    let screen = shown.screen();
    assert!(screen[0].starts_with("netcheck: 3 nodes, 0 incidents"), "{screen:#?}");
    assert_eq!(screen[1].split_whitespace().collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(screen[2].split_whitespace().collect::<Vec<_>>(), ["1", "n1", "(a)", "·", "✗", "·"]);
    assert_eq!(screen[3].split_whitespace().collect::<Vec<_>>(), ["2", "n2", "(a)", "✓", "·", "·"]);
    assert_eq!(screen[4].split_whitespace().collect::<Vec<_>>(), ["3", "n3", "(b)", "?", "·", "·"]);
    shown.model.press(key(KeyCode::Right));
    assert!(shown.has("n1 → n2: unreachable, ✓ icmp4"), "{:#?}", shown.screen());
    assert!(shown.has("dropped on n2"));
    assert!(shown.has("no incidents"));
}

#[test]
fn what_changes_is_marked_for_a_while_and_incidents_are_below() {
    let mut shown = three();
    let row = |shown: &mut Shown| shown.screen()[3].clone();
    assert!(!row(&mut shown).contains('*'), "what is shown first has not changed");
    shown.take([cell("n2", "n1", v1::ProbeKind::Icmp, v1::Verdict::Unreachable)]);
    shown.take([News::Incidents, incident("i-1", v1::IncidentState::Open)]);
    assert!(row(&mut shown).contains("✗*"), "{:#?}", shown.screen());
    assert!(shown.has("*✗ i-1: n2 answers nobody (7 paths)") && shown.has(", 1 incidents"));
    shown.now += Duration::from_secs(11);
    assert!(!row(&mut shown).contains('*') && row(&mut shown).contains('✗'));
    shown.take([incident("i-1", v1::IncidentState::Closed)]);
    assert!(shown.has("✓ i-1 is over: n2 answers nobody"));
    // Sent anew and the same, it has not changed.
    shown.take([
        News::Cells(Window::default()),
        cell("n2", "n1", v1::ProbeKind::Icmp, v1::Verdict::Unreachable),
        News::Whole,
    ]);
    assert!(!row(&mut shown).contains('*'), "{:#?}", shown.screen());
    assert!(!shown.screen()[2].contains('✗'), "what is reported no more is gone: {:#?}", shown.screen());
}

#[test]
fn a_lost_hub_is_said_and_what_it_sent_last_stays() {
    let mut shown = three();
    let red = |shown: &mut Shown| {
        shown.screen();
        let cells = shown.terminal.backend().buffer().content().to_vec();
        cells.iter().any(|cell| cell.symbol() == "✗" && cell.fg == Color::Red)
    };
    assert!(red(&mut shown));
    shown.take([News::Lost("connection refused".to_owned())]);
    shown.now += Duration::from_secs(5);
    assert!(shown.has("the hub is lost for 5 s, asked again and again: connection refused"));
    assert!(shown.has("✗") && !red(&mut shown), "it may be otherwise by now");
    shown.take([News::Lost("still refused".to_owned())]);
    assert!(shown.has("lost for 5 s"), "since it was lost first");
    shown.take([News::Back]);
    assert!(shown.has("netcheck: 3 nodes") && red(&mut shown));
}

#[test]
fn without_colours_there_are_none() {
    let mut shown = three();
    shown.model.colours = false;
    shown.screen();
    let cells = shown.terminal.backend().buffer().content();
    assert!(cells.iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    assert!(cells.iter().any(|cell| cell.modifier.contains(Modifier::REVERSED)), "the cursor is to be seen");
}

/// A thousand nodes: only what fits is asked for, wherever one scrolls, on terminals of any size.
#[test]
fn a_thousand_nodes_are_looked_at_in_parts() {
    let nodes: Vec<_> =
        (0..1000).map(|at| node(&format!("node-{at:04}.example.com"), &format!("z{}", at % 3))).collect();
    for size in [(80, 24), (200, 60), (20, 8), (7, 5), (1, 1)] {
        let mut shown = Shown::begin(true, nodes.clone(), size);
        for code in [
            KeyCode::End,
            KeyCode::PageUp,
            KeyCode::Up,
            KeyCode::Left,
            KeyCode::Char('['),
            KeyCode::Home,
            KeyCode::PageDown,
            KeyCode::Char(']'),
            KeyCode::Char('z'),
            KeyCode::Down,
            KeyCode::Char('?'),
        ] {
            assert_eq!(shown.model.press(key(code)), Command::Go);
            shown.screen();
            let Window { sources, targets } = shown.model.window();
            assert!(sources.len() <= usize::from(size.1) && targets.len() <= usize::from(size.0) / 4);
            assert!(size != (80, 24) || (sources.len() > 10 && targets.len() > 5), "{code}: {size:?}");
        }
        assert_eq!(shown.model.zone(), Some("z0"));
        assert!(shown.model.rows().len() == 334);
    }
    let mut shown = Shown::begin(true, nodes, (80, 24));
    shown.model.press(key(KeyCode::End));
    shown.screen();
    assert_eq!(shown.model.window().sources.last().unwrap(), "node-0998.example.com", "z2 is the last zone");
    for _ in 0..4 {
        shown.model.press(key(KeyCode::Char('z')));
    }
    assert_eq!(shown.model.zone(), None, "after the last zone come all");
}

#[test]
fn keys_that_end_it() {
    let mut model = Model::new(false, &v1::PathSelector::default());
    let control = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for ends in [key(KeyCode::Char('q')), key(KeyCode::Esc), control] {
        assert_eq!(model.press(ends), Command::Quit);
    }
    model.press(key(KeyCode::Char('?')));
    assert_eq!(model.press(key(KeyCode::Esc)), Command::Go, "it closes the help first");
    assert_eq!(model.press(key(KeyCode::Char('c'))), Command::Go);
}
