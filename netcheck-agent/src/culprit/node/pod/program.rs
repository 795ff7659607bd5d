//! What takes packets to a port of a pod: its sockets, and whether their program reads.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use netcheck_proto::{text, v1};

use super::{PROCESSES, PodNet, culprit, namespace};
use crate::culprit::node::sockets::{elsewhere, listeners};

impl PodNet {
    /// A process of this network that is stopped (proc_pid_stat(5): T by a signal, t by a debugger), and its name.
    fn stopped(&self, proc: &Path) -> Option<(u32, String)> {
        let own = namespace(&proc.join(self.process.to_string()))?;
        let processes = fs::read_dir(proc).ok()?.filter_map(Result::ok).take(PROCESSES);
        processes.filter(|entry| namespace(&entry.path()).as_ref() == Some(&own)).find_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            // The name may have brackets itself.
            let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
            matches!(rest.split_whitespace().next(), Some("T" | "t")).then(|| (process, text::line(name)))
        })
    }

    /// What takes packets to a port of it: nothing, what listens at other addresses alone, or a program that does not read.
    pub(in crate::culprit::node) fn port(
        &self,
        proc: &Path,
        (kind, port): (&str, u16),
        own: IpAddr,
    ) -> Option<v1::Culprit> {
        let texts = [self.read(kind), self.read(&format!("{kind}6"))];
        if texts.iter().all(String::is_empty) {
            return None;
        }
        let flag = if kind == "tcp" { "t" } else { "u" };
        let see = self.see(&format!("ss -ln{flag}p sport = :{port}"));
        let all: Vec<_> = texts.iter().flat_map(|text| listeners(text, kind == "tcp", port)).collect();
        if !all.is_empty() && !all.iter().any(|listener| listener.takes(own)) {
            return Some(elsewhere(&all, (kind, port), " in the pod", see));
        }
        let waiting =
            all.iter().filter(|listener| listener.takes(own)).map(|listener| listener.waiting).max();
        match waiting {
            None => Some(culprit(
                v1::CulpritKind::Socket,
                format!("nothing in the pod listens on {kind} port {port}"),
                String::new(),
                see,
                "start the program that should, or correct the port".to_owned(),
            )),
            Some(0) => None,
            Some(waiting) => {
                let (object, mut text) = if kind == "tcp" {
                    let full = overflows(&self.read("netstat"))
                        .map(|overflows| format!("; {overflows} found the queue full so far"));
                    (
                        format!(
                            "the listen queue of {kind} port {port} in the pod holds {waiting} connections"
                        ),
                        format!("the program does not accept them{}", full.unwrap_or_default()),
                    )
                } else {
                    (
                        format!("the socket of {kind} port {port} in the pod holds {waiting} bytes"),
                        "the program does not read them".to_owned(),
                    )
                };
                if let Some((process, name)) = self.stopped(proc) {
                    text += &format!("; process {process} ({name}) of the pod is stopped");
                }
                let mend = "look at the program: it hangs, is stopped, or has too few workers; a longer queue helps with \
                            bursts alone";
                Some(culprit(v1::CulpritKind::Socket, object, text, see, mend.to_owned()))
            }
        }
    }
}

/// Connections that found a full listen queue (`TcpExt: ListenOverflows`).
fn overflows(netstat: &str) -> Option<u64> {
    let mut lines = netstat.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "ListenOverflows")?;
    values.split_whitespace().nth(at)?.parse().ok()
}
