use std::net::TcpListener;

use netcheck_common::domain::{PathId, Sequence};
use netcheck_proto::v1;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::host::clock::monotonic_ns;
use crate::model::observation::KernelStatus;
use crate::net::interface_drops::NoKernelSource;
use crate::probe::ports::Quarantine;

fn ports() -> ProbePorts {
    ProbePorts::new(&Sockets::Host, &Quarantine::read())
}

/// Remembers which flows were announced and ended.
#[derive(Debug, Default)]
struct Recorder {
    watched: Vec<OwnFlow>,
    forgotten: Vec<OwnFlow>,
}

impl KernelSource for Recorder {
    fn stamps(&self) -> bool {
        true
    }
    fn watch_flow(&mut self, flow: &OwnFlow) -> bool {
        self.watched.push(*flow);
        true
    }
    fn forget_flow(&mut self, flow: &OwnFlow) {
        self.forgotten.push(*flow);
    }
    fn status(&self) -> KernelStatus {
        KernelStatus::default()
    }
}

const KEY: ProbeKey = ProbeKey { path: PathId(1), sequence: Sequence(2) };

/// Probes once, and says how it ended.
fn probe(prober: &mut TcpProber, target: SocketAddr, kernel: &mut dyn KernelSource) -> Ending {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let (slot, watched) = prober.prepare(KEY, target, monotonic_ns(), kernel).unwrap();
    assert_eq!(watched, kernel.stamps());
    let ending = prober.launch(slot, &epoll, 7).unwrap_or_else(|| {
        let mut events = Vec::with_capacity(1);
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        epoll::wait(&epoll, spare_capacity(&mut events), Some(&timeout)).unwrap();
        assert_eq!(events[0].data.u64(), 7);
        let seen = Seen { at_ns: 0, since_ns: 0, prompt: true };
        let (key, ending) = prober.ready(slot, seen).unwrap();
        assert_eq!(key, KEY);
        ending
    });
    prober.close(slot, KEY, kernel);
    prober.close(slot, KEY, kernel);
    assert_eq!(prober.open_sockets(), 0);
    ending
}

#[test]
fn accepted_and_refused() {
    for (family, host) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0")] {
        let mut prober = TcpProber::open(family, Sockets::Host, ports()).unwrap();
        let listener = TcpListener::bind(host).unwrap();
        let target = listener.local_addr().unwrap();
        let mut absent = NoKernelSource::new(v1::EbpfState::Off, Vec::new());
        let mut recorder = Recorder::default();
        for kernel in [&mut absent as &mut dyn KernelSource, &mut recorder] {
            assert!(matches!(probe(&mut prober, target, kernel), Ending::Reply { .. }));
        }
        let (_connection, peer) = listener.accept().unwrap();
        assert_ne!(peer.port(), 0);
        let (_connection, peer) = listener.accept().unwrap();
        assert_eq!(recorder.watched[0].local, peer, "registered before the SYN left");
        drop(listener);
        let refused = Ending::Failed { outcome: Outcome::Refused, detail: Detail::default() };
        assert_eq!(probe(&mut prober, target, &mut recorder), refused);
        assert_eq!(recorder.watched, recorder.forgotten, "each flow is ended once");
    }
}

#[test]
fn a_connection_leaves_no_time_wait() {
    use std::io::Read as _;

    let mut prober = TcpProber::open(Family::V4, Sockets::Host, ports()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut kernel = NoKernelSource::new(v1::EbpfState::Off, Vec::new());
    probe(&mut prober, listener.local_addr().unwrap(), &mut kernel);
    let (mut connection, _) = listener.accept().unwrap();
    let error = connection.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

/// Its server ends it, and the server's process with all that it has, before anybody looks.
#[test]
fn a_connection_that_is_closed_and_reset_at_once_stood_all_the_same() {
    let mut prober = TcpProber::open(Family::V4, Sockets::Host, ports()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut kernel = NoKernelSource::new(v1::EbpfState::Off, Vec::new());
    let target = listener.local_addr().unwrap();
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let (slot, _) = prober.prepare(KEY, target, monotonic_ns(), &mut kernel).unwrap();
    assert!(prober.launch(slot, &epoll, 7).is_none());
    let (connection, _) = listener.accept().unwrap();
    // A FIN, and once that is there a reset.
    connection.shutdown(std::net::Shutdown::Write).unwrap();
    let mut ended = [PollFd::new(&prober.attempts.get(slot).unwrap().socket, PollFlags::RDHUP)];
    poll(&mut ended, Some(&Timespec { tv_sec: 10, tv_nsec: 0 })).unwrap();
    assert!(ended[0].revents().contains(PollFlags::RDHUP), "the FIN arrives");
    set_socket_linger(&connection, Some(Duration::ZERO)).unwrap();
    drop(connection);
    let is_broken = |event: &epoll::Event| {
        let flags = event.flags;
        flags.contains(epoll::EventFlags::ERR)
    };
    let mut events = Vec::with_capacity(1);
    while !events.iter().any(is_broken) {
        events.clear();
        let timeout = Timespec { tv_sec: 10, tv_nsec: 0 };
        let ready = epoll::wait(&epoll, spare_capacity(&mut events), Some(&timeout)).unwrap();
        assert_ne!(ready, 0, "the reset arrives");
    }
    let seen = Seen { at_ns: 0, since_ns: 0, prompt: true };
    let (_, ending) = prober.ready(slot, seen).unwrap();
    assert!(matches!(ending, Ending::Reply { .. }), "{ending:?}");
    prober.close(slot, KEY, &mut kernel);
}

#[test]
fn an_icmp_error_finds_its_attempt() {
    let mut prober = TcpProber::open(Family::V4, Sockets::Host, ports()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let mut kernel = Recorder::default();
    prober.prepare(KEY, target, monotonic_ns(), &mut kernel).unwrap();
    let port = kernel.watched[0].local.port();
    assert_eq!(prober.quoted(port, target), Some(KEY));
    assert_eq!(prober.quoted(port.wrapping_add(1), target), None);
    assert_eq!(prober.quoted(port, SocketAddr::new(target.ip(), 1)), None);
}

#[test]
fn errors_of_a_handshake() {
    for (errno, outcome) in [
        (Errno::CONNREFUSED, Outcome::Refused),
        (Errno::HOSTUNREACH, Outcome::Unreachable),
        (Errno::NETUNREACH, Outcome::Unreachable),
        (Errno::TIMEDOUT, Outcome::Timeout),
    ] {
        assert_eq!(outcome_of(errno), outcome);
    }
}
