//! What became of what was sent to others: notifications and samples.

use netcheck_outbound::Standing;

use super::collect::Families;
use super::family::Labels;

/// Writes what stands on the hub's board. Families without a receiver have no series.
pub(super) fn write(families: &mut Families, all: &[Standing]) {
    let named = |one: &Standing| -> Labels {
        vec![("receiver", one.receiver.to_owned()), ("target", one.target.clone())]
    };
    let of = |unit: &str| all.iter().filter(move |one| one.unit == unit).collect::<Vec<_>>();
    let results = |one: &&Standing| {
        let counts = [
            ("sent", one.sent),
            ("refused", one.refused),
            ("dropped", one.dropped),
            ("retried", one.retries),
        ];
        let labels = named(one);
        counts.map(|(result, count)| {
            let result = ("result", result.to_owned());
            (labels.iter().cloned().chain([result]).collect::<Labels>(), count as f64)
        })
    };
    let notifications = of("notifications");
    let help = "Notifications by what became of them; retried: attempts that are made again.";
    families.counter("hub_notifications", help, notifications.iter().flat_map(results));
    let help = "Notifications that wait for their receiver.";
    let waiting = notifications.iter().map(|one| (named(one), one.pending as f64));
    families.gauge("hub_notifications_pending", help, waiting);
    let written = of("samples");
    let help = "Samples for remote write by what became of them; retried: requests that are made again.";
    families.counter("hub_remote_write_samples", help, written.iter().flat_map(results));
    let help = "Samples that wait for their receiver.";
    let waiting = written.iter().map(|one| (named(one), one.pending as f64));
    families.gauge("hub_remote_write_pending_samples", help, waiting);
    let help = "Bytes of the queue of samples, on disk and in memory.";
    let bytes = written.iter().map(|one| (named(one), one.queue_bytes as f64));
    families.gauge("hub_remote_write_queue_bytes", help, bytes);
    let help = "1 while a receiver takes nothing.";
    let failing = all.iter().map(|one| (named(one), f64::from(u8::from(one.trouble.is_some()))));
    families.gauge("hub_delivery_failing", help, failing);
}
