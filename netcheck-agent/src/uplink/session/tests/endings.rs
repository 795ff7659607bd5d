//! How sessions end, and what the agent does and says then.

use std::io;

use tokio::time::Instant;
use tracing::subscriber::DefaultGuard;

use super::*;
use crate::net::backoff;

/// What this thread logs from now on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn start() -> (Self, DefaultGuard) {
        // A line that another thread reaches while nobody listens would be left out for all from then on.
        static LISTENER: std::sync::Once = std::sync::Once::new();
        LISTENER.call_once(|| drop(tracing::subscriber::set_global_default(tracing_subscriber::registry())));
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// Lines that hold a word.
    fn lines(&self, word: &str) -> Vec<String> {
        let bytes = self.0.lock().unwrap();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().filter(|line| line.contains(word)).map(ToOwned::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn superseded() -> Status {
    Status::aborted("superseded by a newer session of this node")
}

/// A session in which the hub takes a batch and then, `lived` later, ends it: when it began and ended.
async fn useful_session(rig: &mut Rig, lived: Duration, end: Status) -> (Instant, Instant) {
    // The agent may keep away for as long as it ever does.
    let session = timeout(2 * backoff::LONGEST, rig.sessions.recv()).await;
    let mut hub = session.expect("the agent connects").expect("the hub runs");
    let began = Instant::now();
    hub.welcome(0).await;
    rig.sample();
    let sequence = hub.batch().await.sequence;
    hub.say(FromHub::Ack(v1::BatchAck { sequence })).await;
    rig.until(|rig| rig.outbox.status().batches == 0).await;
    // The clock is paused: this takes no time.
    sleep(lived).await;
    hub.say.send(Err(end)).await.unwrap();
    rig.until(|rig| !rig.hub.borrow().connected()).await;
    (began, Instant::now())
}

#[tokio::test(start_paused = true)]
async fn two_agents_of_one_name_keep_out_of_each_others_way() {
    let (log, _guard) = Log::start();
    let mut rig = Rig::new(Limits::default());
    let mut pauses = Vec::new();
    let (_, mut last) = useful_session(&mut rig, Duration::from_secs(1), superseded()).await;
    for _ in 0..10 {
        let (began, ended) = useful_session(&mut rig, Duration::from_secs(31), superseded()).await;
        pauses.push(began.duration_since(last).as_secs_f64());
        last = ended;
        assert!(rig.hub.borrow().degraded(Instant::now()).unwrap().contains("superseded"));
    }
    // 1.6 ^ 9 s are 69.
    assert!(pauses[0] < 1.3 && pauses[9] > 50.0, "{pauses:?}");
    assert_eq!(log.lines("session with the hub").len(), 1, "{log}", log = log.lines("").join("\n"));
    assert_eq!(rig.hub.borrow().ended["superseded"], 11);
}

#[tokio::test(start_paused = true)]
async fn the_hubs_reason_is_logged_once_until_it_changes() {
    let (log, _guard) = Log::start();
    let mut rig = Rig::new(Limits::default());
    for _ in 0..3 {
        useful_session(&mut rig, Duration::from_secs(1), superseded()).await;
    }
    let mut hub = rig.session().await;
    hub.welcome(0).await;
    let status =
        hub.next_of(|message| if let ToHub::Status(status) = message { Some(status) } else { None }).await;
    assert!(status.degraded.iter().any(|line| line.contains("superseded")), "{:?}", status.degraded);
    hub.say.send(Err(superseded())).await.unwrap();
    rig.until(|rig| !rig.hub.borrow().connected()).await;
    useful_session(&mut rig, Duration::from_secs(1), Status::resource_exhausted("too many agents")).await;
    drop(rig.session().await);
    rig.until(|rig| rig.hub.borrow().ended.values().sum::<u64>() == 6).await;
    let warnings = log.lines("WARN");
    assert_eq!(log.lines("superseded").len(), 1, "{warnings:#?}");
    assert_eq!(log.lines("too many agents").len(), 1, "{warnings:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_steady_session_is_taken_up_again_at_once() {
    let mut rig = Rig::new(Limits::default());
    for _ in 0..4 {
        useful_session(&mut rig, Duration::from_secs(1), Status::unavailable("restarting")).await;
    }
    let (_, ended) =
        useful_session(&mut rig, Duration::from_secs(31), Status::unavailable("restarting")).await;
    let _again = rig.session().await;
    let pause = ended.elapsed();
    assert!(pause <= Duration::from_millis(1300), "{pause:?}");
}

#[tokio::test]
async fn a_hub_that_is_gone_at_shutdown_is_not_retried_for_long() {
    let (log, _guard) = Log::start();
    let mut rig = Rig::new(Limits::default());
    let mut hub = rig.session().await;
    hub.welcome(0).await;
    rig.sample();
    hub.batch().await;
    rig.shutdown.cancel();
    rig.engine.stop();
    rig.outbox.close();
    hub.say.send(Err(Status::unavailable("restarting"))).await.unwrap();
    // One more attempt, for what is left; then it gives up.
    let again = rig.session().await;
    again.say.send(Err(Status::unavailable("still restarting"))).await.unwrap();
    let task = std::mem::replace(&mut rig.task, tokio::spawn(async {}));
    timeout(PATIENCE, task).await.expect("ends").unwrap();
    assert_eq!(rig.outbox.status().batches, 1);
    assert_eq!(log.lines("retry"), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_was_away_for_minutes_is_found_within_fifteen_seconds() {
    let mut rig = Rig::new(Limits::default());
    for _ in 0..12 {
        let hub = rig.session().await;
        hub.say.send(Err(Status::unavailable("starting"))).await.unwrap();
    }
    let ended = |rig: &Rig| rig.hub.borrow().ended.values().sum::<u64>();
    rig.until(|rig| ended(rig) == 12).await;
    let away = Instant::now();
    let mut hub = rig.session().await;
    hub.welcome(0).await;
    assert!(away.elapsed() <= Duration::from_secs(15), "{:?}", away.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_keeps_an_agent_from_its_hub_is_logged_every_minute() {
    let (log, _guard) = Log::start();
    let mut rig = Rig::new(Limits::default());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(600) {
        let hub = rig.session().await;
        let _ = hub.say.send(Err(Status::unavailable("no hub here"))).await;
    }
    let warnings = log.lines("no hub here").len();
    assert!((10..=16).contains(&warnings), "{warnings} in ten minutes");
}

#[tokio::test]
async fn the_hub_knows_that_an_agent_ends_before_it_does() {
    let mut rig = Rig::new(Limits::default());
    let mut hub = rig.session().await;
    hub.welcome(0).await;
    let status = |message| if let ToHub::Status(status) = message { Some(status.leaving) } else { None };
    assert!(!hub.next_of(status).await);
    rig.shutdown.cancel();
    rig.engine.stop();
    rig.outbox.close();
    hub.next_of(|message| status(message).filter(|leaving| *leaving)).await;
    hub.say(FromHub::Ack(v1::BatchAck { sequence: 0 })).await;
    let task = std::mem::replace(&mut rig.task, tokio::spawn(async {}));
    timeout(PATIENCE, task).await.expect("ends").unwrap();
    assert!(!rig.hub.borrow().ended.contains_key("closed"), "it ended by itself");
}

#[tokio::test]
async fn a_hub_that_acknowledges_nothing_keeps_no_agent() {
    let mut rig = Rig::new(Limits::default());
    let mut hub = rig.session().await;
    hub.welcome(0).await;
    rig.shutdown.cancel();
    rig.engine.stop();
    rig.outbox.close();
    let task = std::mem::replace(&mut rig.task, tokio::spawn(async {}));
    timeout(PATIENCE, task).await.expect("ends").unwrap();
}
