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
const PAUSE: Duration = Duration::from_secs(120);
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
            let tracing = self.tracing(&question, &limiter);
            let found = tokio::select! {
                found = timeout(PATIENCE, find(&self.node, &question, tracing)) => found,
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

    /// Spends one of the traces where the question needs one.
    fn tracing(&self, question: &v1::CulpritQuestion, limiter: &DefaultDirectRateLimiter) -> Tracing {
        let wanted = match self.mode {
            v1::ExplainRules::OnIncident => true,
            v1::ExplainRules::OnDemand => question.on_demand,
            v1::ExplainRules::Off | v1::ExplainRules::Unspecified => false,
        };
        if !wanted {
            return Tracing::Forbidden(self.mode);
        }
        if !question.cases.iter().any(filter::is_asked) {
            return Tracing::Allowed;
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

/// Looks for what did it, for each case of a question.
pub async fn find(node: &str, question: &v1::CulpritQuestion, tracing: Tracing) -> v1::CulpritAnswer {
    let cases = &question.cases[..question.cases.len().min(CASES)];
    let mut answer = v1::CulpritAnswer { id: question.id, ..Default::default() };
    if let Tracing::Later(left) = tracing
        && cases.iter().any(filter::is_asked)
    {
        answer.again_after =
            Some(convert::duration_from_ns(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX)));
    }
    let filtered = filter::find(cases, tracing).await;
    for (case, mut culprits) in filtered.into_iter().enumerate() {
        // What a trace saw is better than what was read.
        let traced = culprits.iter().any(|culprit| culprit.kind() != v1::CulpritKind::Untold);
        if let Some(read) = node::find(&cases[case]).await.filter(|_| !traced) {
            culprits = vec![read];
        }
        answer.found.extend(culprits.into_iter().map(|culprit| {
            let culprit = Some(v1::Culprit { node: node.to_owned(), ..culprit });
            v1::CulpritFound { case: u32::try_from(case).unwrap_or(u32::MAX), culprit }
        }));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_about_rules_are_limited_and_others_are_not() {
        let task = |mode| CulpritTask {
            node: "n1".to_owned(),
            mode,
            questions: mpsc::channel(1).1,
            answers: mpsc::channel(1).0,
        };
        let question = |stage: v1::Stage, on_demand| v1::CulpritQuestion {
            on_demand,
            cases: vec![v1::CulpritCase {
                location: Some(v1::LossLocation { stage: stage.into(), ..Default::default() }),
                ..Default::default()
            }],
            ..Default::default()
        };
        let rule = question(v1::Stage::NetfilterForward, false);
        let mut limiter = limiter();
        let on_incident = task(v1::ExplainRules::OnIncident);
        for _ in 0..AT_ONCE.get() {
            assert_eq!(on_incident.tracing(&rule, &limiter), Tracing::Allowed);
        }
        assert!(
            matches!(on_incident.tracing(&rule, &limiter), Tracing::Later(left) if left <= PAUSE && !left.is_zero())
        );
        assert_eq!(
            on_incident.tracing(&question(v1::Stage::Neighbour, false), &limiter),
            Tracing::Allowed,
            "it needs no trace"
        );
        limiter = super::limiter();
        let on_demand = task(v1::ExplainRules::OnDemand);
        assert!(matches!(on_demand.tracing(&rule, &limiter), Tracing::Forbidden(_)));
        let asked = question(v1::Stage::NetfilterForward, true);
        assert_eq!(on_demand.tracing(&asked, &limiter), Tracing::Allowed);
        let off = task(v1::ExplainRules::Off);
        assert!(matches!(off.tracing(&asked, &limiter), Tracing::Forbidden(_)));
    }
}
