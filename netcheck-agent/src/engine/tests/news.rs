//! Who hears that there is news finds it in the status.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::model::observation::KernelStatus;

/// A kernel side that is another each time it is looked at.
#[derive(Debug, Default)]
struct Restless(AtomicU64);

impl KernelSource for Restless {
    fn news(&mut self) -> bool {
        true
    }
    fn status(&self) -> KernelStatus {
        let looks = self.0.fetch_add(1, Ordering::Relaxed);
        KernelStatus { ring_events_lost: looks, ..KernelStatus::default() }
    }
}

#[test]
fn the_status_has_the_news_when_the_session_hears_of_it() {
    const NEWS: u64 = 300;
    let (handle, mut output, thread) = start_with(Box::<Restless>::default());
    for reported in 1..=NEWS {
        handle.waker().wake();
        let deadline = Instant::now() + PATIENCE;
        // Awake when it comes: another thread that has to be woken would be too slow to see it too early.
        let reply = loop {
            match output.replies.try_recv() {
                Ok(reply) => break reply,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
        };
        let seen = output.status.borrow().kernel.ring_events_lost;
        assert_eq!(reply, EngineReply::StatusChanged);
        assert!(seen >= reported, "{seen} of {reported}");
    }
    handle.stop();
    thread.join().unwrap();
}
