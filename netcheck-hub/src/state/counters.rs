//! What happened since the start, counted: nothing is lost without a number.

/// Events since the start.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Batches that were applied.
    pub batches_applied: u64,
    /// Batches that had been applied before.
    pub batches_duplicate: u64,
    /// Window batches whose columns did not hold together, and other parts that made no sense.
    pub parts_refused: u64,
    /// Windows and lost samples of paths that nobody knows (any more).
    pub unknown_path: u64,
    /// Samples that agents' buffers dropped.
    pub samples_dropped: u64,
    /// Samples that were applied.
    pub samples: u64,
    /// Samples that agents were too starved to judge.
    pub suspect: u64,
    /// Samples that found a responder away that had said so: lost, and no loss.
    pub excused: u64,
    /// Lost probes that were reported.
    pub lost_reported: u64,
    /// Lost probes whose evidence was given up before its time.
    pub lost_evicted: u64,
    /// Sessions that began.
    pub sessions: u64,
    /// Sessions that a newer one of the same node ended.
    pub sessions_superseded: u64,
    /// Sessions that were refused.
    pub sessions_refused: u64,
    /// Of those, because another living agent has the node's name.
    pub sessions_contested: u64,
    /// Of those, because their token was missing or not good.
    pub sessions_unproven: u64,
    /// Of those, because their token, or what they say of themselves, is another node's.
    pub sessions_foreign: u64,
    /// Of those, because their token could not be reviewed at that time.
    pub sessions_unreviewed: u64,
    /// Sessions that were taken off the books because the agent neither read nor spoke.
    pub sessions_silent: u64,
    /// Messages from agents that were too large, or no messages.
    pub messages_refused: u64,
    /// Readers that did not show the token.
    pub readers_refused: u64,
    /// Connections beyond a limit.
    pub connections_refused: u64,
    /// Connections that had to go for newer ones.
    pub connections_evicted: u64,
    /// Answers to readers that were put off or broken off: too many at once, or not taken in time.
    pub readers_turned_away: u64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: u64,
    /// Drop records that were received.
    pub drop_records: u64,
    /// Times that one named a lost probe, or its flow, and was not of it: addresses, protocol or time are others.
    pub drop_records_misfit: u64,
    /// Questions that were asked, answered, and answers that nobody had asked for.
    pub questions: u64,
    /// See above.
    pub answers: u64,
    /// See above.
    pub answers_unasked: u64,
    /// Questions for what did it, and their answers.
    pub culprit_questions: u64,
    /// See above.
    pub culprit_answers: u64,
    /// Messages to agents that found their session's queue full.
    pub control_dropped: u64,
    /// Rosters that were taken, and inventories that were refused.
    pub rosters: u64,
    /// See above.
    pub inventory_errors: u64,
    /// Objects of the inventory that did not hold together, each time that they were read.
    pub objects_skipped: u64,
}
