//! What of this node did it: from a place where probes die to the object that ends them.
//!
//! In: the hub's [`v1::CulpritQuestion`]s. Out: one [`v1::CulpritAnswer`] each. `CulpritTask` is the task; it waits for
//! nothing that the probes need, and a question takes it a few seconds at most. Cancelling it closes its sockets, and with
//! them the kernel takes the table away that marks probes (`nft::trace`).
//!
//! Reading changes nothing on the node. Tracing does, for a moment, so the operator may forbid it (`--explain-rules`), and
//! its rate is limited.

mod filter;
#[cfg(test)]
#[path = "../../proto/src/shell/forms.rs"]
mod forms;
pub(crate) mod nft;
mod node;

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use netcheck_proto::{convert, v1};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// From one trace to the next, on average.
const PAUSE: Duration = Duration::from_secs(60);
/// Traces that may follow each other at once: one fault is seldom alone, and the second one is not to wait.
const AT_ONCE: NonZeroU32 = NonZeroU32::new(3).unwrap();
/// How long a question may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// Cases of one question that are looked at.
const CASES: usize = 8;
/// Flows of one case that are looked at.
const FLOWS: usize = 8;

fn limiter() -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::with_period(PAUSE).expect("it is not zero").allow_burst(AT_ONCE))
}

/// Answers the hub's questions.
pub(crate) struct CulpritTask {
    pub(crate) node: String,
    /// When rules may be traced.
    pub(crate) mode: v1::ExplainRules,
    pub(crate) questions: mpsc::Receiver<v1::CulpritQuestion>,
    pub(crate) answers: mpsc::Sender<v1::CulpritAnswer>,
}

impl CulpritTask {
    /// Runs until `shutdown`.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let limiter = limiter();
        loop {
            let question = tokio::select! {
                question = self.questions.recv() => question,
                () = shutdown.cancelled() => None,
            };
            let Some(question) = question else { return };
            let id = question.id;
            let allowed = || self.tracing(question.on_demand, &limiter);
            let found = tokio::select! {
                found = timeout(PATIENCE, find(&self.node, &question, allowed)) => found,
                () = shutdown.cancelled() => return,
            };
            let answer = found.unwrap_or_else(|_elapsed| {
                tracing::debug!(id, "a question for culprits took too long");
                v1::CulpritAnswer { id, ..Default::default() }
            });
            if self.answers.send(answer).await.is_err() {
                return;
            }
        }
    }

    /// Whether rules may be traced now. Spends one of the traces if so.
    fn tracing(&self, on_demand: bool, limiter: &DefaultDirectRateLimiter) -> Tracing {
        let wanted = match self.mode {
            v1::ExplainRules::OnIncident => true,
            v1::ExplainRules::OnDemand => on_demand,
            v1::ExplainRules::Off | v1::ExplainRules::Unspecified => false,
        };
        if !wanted {
            return Tracing::Forbidden(self.mode);
        }
        match limiter.check() {
            Ok(()) => Tracing::Allowed,
            Err(spent) => Tracing::Later(spent.wait_time_from(DefaultClock::default().now())),
        }
    }
}

/// Whether a rule that marks probes may be put into nftables now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracing {
    /// It may.
    Allowed,
    /// After this time.
    Later(Duration),
    /// The operator does not want it.
    Forbidden(v1::ExplainRules),
}

/// Looks for what did it, for each case of a question. A trace is asked for (`allowed`) only where one may show more than what
/// can be read.
pub async fn find(
    node: &str,
    question: &v1::CulpritQuestion,
    allowed: impl FnOnce() -> Tracing,
) -> v1::CulpritAnswer {
    let cases = &question.cases[..question.cases.len().min(CASES)];
    let mut read = Vec::with_capacity(cases.len());
    for case in cases {
        // Where a filter had it, its rule is the answer.
        read.push(if filter::comes_first(case) { None } else { node::find(case).await });
    }
    let open = |at: &usize| {
        let said = read[*at].as_ref().is_some_and(|culprit| !culprit.symptom);
        !said && filter::is_asked(&cases[*at])
    };
    let asked: Vec<usize> = (0..cases.len()).filter(open).collect();
    let mut answer = v1::CulpritAnswer { id: question.id, ..Default::default() };
    let mut traced = vec![Vec::new(); cases.len()];
    if !asked.is_empty() {
        let tracing = allowed();
        if let Tracing::Later(left) = tracing {
            answer.again_after =
                Some(convert::duration_from_ns(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)));
        }
        let of_asked: Vec<&v1::CulpritCase> = asked.iter().map(|&at| &cases[at]).collect();
        for (at, found) in asked.into_iter().zip(filter::find(&of_asked, tracing).await) {
            traced[at] = found;
        }
    }
    for (at, ((case, mut culprits), read)) in cases.iter().zip(traced).zip(read).enumerate() {
        // What a trace saw is better than what was read.
        if culprits.iter().all(|culprit| culprit.kind() == v1::CulpritKind::Untold) {
            let read = if filter::comes_first(case) { node::find(case).await } else { read };
            culprits = read.map_or(culprits, |read| vec![read]);
        }
        answer.found.extend(culprits.into_iter().map(|culprit| {
            let culprit = Some(v1::Culprit { node: node.to_owned(), ..culprit });
            v1::CulpritFound { case: u32::try_from(at).unwrap_or(u32::MAX), culprit }
        }));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_limited_and_only_made_where_the_operator_wants_them() {
        let task = |mode| CulpritTask {
            node: "n1".to_owned(),
            mode,
            questions: mpsc::channel(1).1,
            answers: mpsc::channel(1).0,
        };
        let limiter = limiter();
        let on_incident = task(v1::ExplainRules::OnIncident);
        for _ in 0..AT_ONCE.get() {
            assert_eq!(on_incident.tracing(false, &limiter), Tracing::Allowed);
        }
        let Tracing::Later(left) = on_incident.tracing(false, &limiter) else { panic!("it is not limited") };
        assert!(left <= PAUSE && !left.is_zero(), "{left:?}");
        let limiter = super::limiter();
        let on_demand = task(v1::ExplainRules::OnDemand);
        assert!(matches!(on_demand.tracing(false, &limiter), Tracing::Forbidden(_)));
        assert_eq!(on_demand.tracing(true, &limiter), Tracing::Allowed);
        let off = task(v1::ExplainRules::Off);
        assert!(matches!(off.tracing(true, &limiter), Tracing::Forbidden(_)));
    }

    #[tokio::test]
    async fn a_trace_is_asked_for_only_where_it_may_show_more() {
        let case = |stage: v1::Stage, reason: &str| v1::CulpritCase {
            location: Some(v1::LossLocation {
                stage: stage.into(),
                reason: reason.to_owned(),
                interface: "none0".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        for (stage, reason, expected) in [
            (v1::Stage::NetfilterForward, "NETFILTER_DROP", true),
            (v1::Stage::Ingress, "", true),
            (v1::Stage::Neighbour, "NEIGH_FAILED", false),
            (v1::Stage::Qdisc, "QDISC_DROP", false),
        ] {
            let question = v1::CulpritQuestion { cases: vec![case(stage, reason)], ..Default::default() };
            let mut asked = false;
            let answer = find("n1", &question, || {
                asked = true;
                Tracing::Later(Duration::from_secs(7))
            });
            let answer = answer.await;
            assert_eq!((asked, answer.again_after.is_some()), (expected, expected), "{stage:?}");
        }
    }
}
