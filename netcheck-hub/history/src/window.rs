//! What became of one path's probes in one step of time, as history keeps it.

use netcheck_common::domain::Outcome;
use netcheck_common::sketch::{Sketch, bucket_of};
use netcheck_common::window::{PathWindow, Steps};

/// Distributions of delays of one window, nanoseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// t5 − t0.
    pub round_trip: Sketch,
    /// (t4 − t1) − (t3 − t2).
    pub network: Sketch,
    /// (t1 − t0) + (t5 − t4).
    pub host: Sketch,
    /// t3 − t2.
    pub responder: Sketch,
    /// Of exchanges over TCP.
    pub steps: Option<Box<Steps>>,
}

impl Delays {
    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sketches().iter().all(|sketch| sketch.is_empty()) && self.steps.is_none()
    }

    /// Round trip, network, host, responder.
    pub(crate) const fn sketches(&self) -> [&Sketch; 4] {
        [&self.round_trip, &self.network, &self.host, &self.responder]
    }

    /// The same.
    pub(crate) const fn sketches_mut(&mut self) -> [&mut Sketch; 4] {
        [&mut self.round_trip, &mut self.network, &mut self.host, &mut self.responder]
    }

    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.sketches_mut().into_iter().zip(other.sketches()) {
            mine.merge(theirs);
        }
        if let Some(steps) = &other.steps {
            self.steps.get_or_insert_default().merge(steps);
        }
    }
}

/// How much of the measured delays a window still holds. Counts are exact always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fidelity {
    /// Every sample, in its bucket.
    #[default]
    Exact,
    /// Quantiles of the window stand for its samples, four of the round trip and two of each share: the sketches give
    /// these quantiles back.
    Quantiles,
    /// The median of the window's round trips stands for its samples; shares are filled in from the ten minutes around.
    /// Readers don't give these: they fill in, and say [`Fidelity::Coarser`].
    Median,
    /// The window's delays were as usual and are not held at this step: they are filled in from the ten minutes around.
    Coarser,
}

/// One path's probes in one step of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Probes that ended with a reply.
    pub reply: u32,
    /// Probes that ended otherwise, as [`Outcome::FAILURES`].
    pub failed: [u32; Outcome::FAILURES.len()],
    /// Probes that could not be judged; in none of the other counts.
    pub suspect: u32,
    /// Delays of the replies; none where there were none, or where they are not held at this step.
    pub delays: Option<Box<Delays>>,
    /// How much the delays are worth.
    pub fidelity: Fidelity,
}

impl Window {
    /// Adds another window of the same path. Counts saturate; the worse fidelity stands.
    pub fn merge(&mut self, other: &Self) {
        self.reply = self.reply.saturating_add(other.reply);
        for (mine, theirs) in self.failed.iter_mut().zip(other.failed) {
            *mine = mine.saturating_add(theirs);
        }
        self.suspect = self.suspect.saturating_add(other.suspect);
        if let Some(theirs) = &other.delays {
            match &mut self.delays {
                Some(mine) => mine.merge(theirs),
                mine @ None => *mine = Some(theirs.clone()),
            }
        }
        self.fidelity = self.fidelity.max(other.fidelity);
    }

    /// Probes that could be judged.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.failed.iter().fold(u64::from(self.reply), |sum, &count| sum + u64::from(count))
    }

    /// Counts alone.
    pub(crate) const fn counts(&self) -> Self {
        let Self { reply, failed, suspect, .. } = *self;
        Self { reply, failed, suspect, delays: None, fidelity: Fidelity::Exact }
    }
}

impl From<PathWindow> for Window {
    fn from(window: PathWindow) -> Self {
        // Flows of their own are kept apart for what stands now; history holds the ordinary probes.
        let PathWindow {
            path: _,
            reply,
            failed,
            suspect,
            new_reply: _,
            new_lost: _,
            round_trip,
            network,
            host,
            responder,
            steps,
        } = window;
        let delays = Delays { round_trip, network, host, responder, steps };
        let delays = (!delays.is_empty()).then(|| Box::new(delays));
        Self { reply, failed, suspect, delays, fidelity: Fidelity::Exact }
    }
}

/// The bucket below or at which a share `q` of the samples lies. None where there are none.
pub(crate) fn quantile(sketch: &Sketch, q: f64) -> Option<u16> {
    sketch.quantile_ns(q).map(bucket_of)
}

/// A sketch of `count` samples that has these quantiles: ascending pairs of a share and a bucket, the last with share 1
/// or standing for all above it.
pub(crate) fn from_quantiles(quantiles: impl IntoIterator<Item = (f64, u16)>, count: u64) -> Sketch {
    let mut sketch = Sketch::new();
    let (mut below, mut last) = (0, None);
    for (q, bucket) in quantiles {
        let rank = ((q * count as f64).ceil() as u64).clamp(below, count);
        sketch.add(bucket, u32::try_from(rank - below).unwrap_or(u32::MAX));
        (below, last) = (rank, Some(bucket));
    }
    if let Some(bucket) = last {
        sketch.add(bucket, u32::try_from(count - below).unwrap_or(u32::MAX));
    }
    sketch
}

/// The same distribution with another number of samples.
pub(crate) fn rescaled(sketch: &Sketch, count: u64) -> Sketch {
    let total = sketch.count();
    let mut seen = 0;
    let quantiles = sketch.entries().iter().map(|&(bucket, n)| {
        seen += u64::from(n);
        (seen as f64 / total as f64, bucket)
    });
    from_quantiles(quantiles.collect::<Vec<_>>(), count)
}
