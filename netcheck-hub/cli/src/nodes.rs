//! The table of nodes.

use netcheck_proto::v1;

use crate::style::{Paint, ago, short, trimmed};

pub(crate) fn render(nodes: &[v1::Node], paint: Paint) -> String {
    let mut table = paint.table();
    table.set_header([
        "NODE",
        "ZONE",
        "STATE",
        "AGENT",
        "KERNEL HOOKS",
        "PATHS",
        "SAMPLES",
        "DROPPED",
        "LAST BATCH",
        "VERSION",
        "ADDRESSES",
    ]);
    let mut notes = Vec::new();
    for node in nodes {
        let state = match (node.expected_absent.is_empty(), node.cordoned) {
            (false, _) => paint.cell(v1::Verdict::ExpectedAbsent, "absent"),
            (true, true) => paint.cell(v1::Verdict::Degraded, "cordoned"),
            (true, false) => paint.cell(v1::Verdict::Reachable, "ready"),
        };
        if !node.expected_absent.is_empty() {
            notes.push(node.expected_absent.clone());
        }
        let row = match &node.agent {
            None => vec![
                paint.cell(v1::Verdict::NoData, "never seen"),
                "".into(),
                "".into(),
                "".into(),
                "".into(),
                "".into(),
                "".into(),
            ],
            Some(agent) => {
                notes.extend(Some(agent.contested.clone()).filter(|line| !line.is_empty()));
                if !agent.relay_doubt.is_empty() {
                    notes.push(format!("{}: {}", node.name, agent.relay_doubt));
                }
                notes.extend(
                    agent
                        .status
                        .iter()
                        .flat_map(|status| &status.degraded)
                        .map(|why| format!("{}: {why}", node.name)),
                );
                vec![
                    session(agent, paint),
                    hooks(agent, paint),
                    format!("{} every {}", agent.paths, short(agent.effective_interval.as_ref())).into(),
                    agent.samples.to_string().into(),
                    agent.dropped_samples.to_string().into(),
                    format!("{} ago", ago(agent.last_batch.as_ref())).replace("never ago", "never").into(),
                    format!("{} on {}", agent.version, agent.kernel_release).into(),
                ]
            }
        };
        let mut cells = vec![node.name.clone().into(), node.zone.clone().into(), state];
        cells.extend(row);
        cells.push(node.addresses.join(" ").into());
        table.add_row(cells);
    }
    let mut text = trimmed(&table);
    for note in notes {
        text += &format!("! {note}\n");
    }
    text
}

/// Since when there is one, and through whom it comes.
fn session(agent: &v1::NodeAgent, paint: Paint) -> comfy_table::Cell {
    let since = ago(agent.connected_since.as_ref());
    match (agent.connected, agent.relayed_by.as_str()) {
        (false, _) => paint.cell(v1::Verdict::Unreachable, "away"),
        (true, "") => paint.cell(v1::Verdict::Reachable, &format!("up {since}")),
        (true, by) => paint.cell(v1::Verdict::Degraded, &format!("up {since} through {by}")),
    }
}

fn hooks(agent: &v1::NodeAgent, paint: Paint) -> comfy_table::Cell {
    let Some(status) = &agent.status else { return paint.cell(v1::Verdict::NoData, "not reported") };
    let attached = status.hooks.iter().filter(|hook| hook.state() == v1::HookState::Attached).count();
    let of = format!("{attached} of {}", status.hooks.len());
    match status.ebpf() {
        v1::EbpfState::Attached => paint.cell(v1::Verdict::Reachable, &of),
        v1::EbpfState::Partial => paint.cell(v1::Verdict::Degraded, &format!("partial, {of}")),
        v1::EbpfState::Off => paint.cell(v1::Verdict::Degraded, "off"),
        v1::EbpfState::Failed => paint.cell(v1::Verdict::Unreachable, "failed"),
        v1::EbpfState::Unspecified => paint.cell(v1::Verdict::NoData, "unknown"),
    }
}
