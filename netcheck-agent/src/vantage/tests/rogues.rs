//! Whoever connects and does not keep to what was agreed.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use netcheck_common::domain::Family;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg, socket_with,
};

use super::super::frame::{Frame, Hello, VERSION};
use super::pod_net::{Agent, PodNet, V4};

/// A peer that says whatever it likes, one blocking call after the other.
struct Rogue(OwnedFd);

impl Rogue {
    fn new(path: &Path) -> Self {
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
        connect(&socket, &SocketAddrUnix::new(path).unwrap()).unwrap();
        Self(socket)
    }

    fn say(&self, bytes: &[u8], sockets: &[BorrowedFd<'_>]) {
        let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(128))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        if !sockets.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(sockets)));
        }
        // The agent may have closed already.
        let _ = sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
    }

    fn introduce(&self) {
        let hello = Hello {
            version: VERSION,
            pod: "rogue".into(),
            addresses: vec![V4.into()],
            responder_port: 0,
            links: Vec::new(),
            resolv_conf: "".into(),
        };
        self.say(&Frame::Hello(hello).encode(), &[]);
        let asked = self.hear();
        assert!(matches!(asked, Some(Frame::Ask(_))), "{asked:?}");
    }

    /// What it is sent next; none once the connection is closed.
    fn hear(&self) -> Option<Frame> {
        let mut bytes = [0; 8192];
        let mut none = [];
        let mut control = RecvAncillaryBuffer::new(&mut none);
        let heard =
            recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty()).ok()?;
        Frame::decode(&bytes[..heard.bytes]).ok()
    }

    /// Why it was refused; after that the connection is closed.
    fn refusal(&self) -> String {
        let Some(Frame::Refused { why }) = self.hear() else { panic!("not refused") };
        assert_eq!(self.hear(), None);
        why
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_as_agreed_is_refused_and_costs_nobody_anything() {
    let mut agent = Agent::start();
    let mut pod = PodNet::new(true);
    pod.serve(&agent.path);
    agent.wait(|status| !status.pod.is_empty()).await;
    let own = || UdpSocket::bind("127.0.0.1:0").unwrap();
    let none = Frame::Sockets { errno: None }.encode();
    let path = agent.path.clone();
    let rogue = || Rogue::new(&path);

    let speaks_rubbish = rogue();
    speaks_rubbish.say(b"{\"frame\":\"hello\"", &[]);
    assert!(speaks_rubbish.refusal().contains("malformed"));
    let says_too_much = rogue();
    says_too_much.say(&[b'x'; 100_000], &[]);
    assert!(says_too_much.refusal().contains("malformed"));
    let has_files = rogue();
    let files: Vec<_> = (0..100).map(|_| own()).collect();
    let files: Vec<_> = files.iter().map(UdpSocket::as_fd).collect();
    has_files.say(b"{}", &files);
    assert!(has_files.refusal().contains("more sockets"));
    let old = rogue();
    old.say(br#"{"frame":"hello","version":7,"pod":"p","addresses":["10.0.0.1"],"responder_port":0}"#, &[]);
    assert!(old.refusal().contains("version 7"));
    let hands_nothing = rogue();
    hands_nothing.introduce();
    hands_nothing.say(&none, &[]);
    assert!(hands_nothing.refusal().contains("neither sockets nor why"));
    let hands_two = rogue();
    hands_two.introduce();
    hands_two.say(&none, &[own().as_fd(), own().as_fd()]);
    assert!(hands_two.refusal().contains("more sockets"));
    let hands_bound = rogue();
    hands_bound.introduce();
    hands_bound.say(&none, &[own().as_fd()]);
    assert!(hands_bound.refusal().contains("bound"));
    let hands_the_hosts = rogue();
    hands_the_hosts.introduce();
    let fresh = crate::net::socket::open(Family::V4, SocketType::DGRAM, None);
    hands_the_hosts.say(&none, &[fresh.unwrap().as_fd()]);
    assert!(hands_the_hosts.refusal().contains("hostNetwork"));
    // A process of the host's network, or of another pod's, with a socket that it got from the pod's.
    let hands_one_of_another = rogue();
    hands_one_of_another.introduce();
    let of_pod = pod.run(|| {
        let open = crate::net::socket::open(Family::V4, SocketType::DGRAM, None);
        open.unwrap()
    });
    hands_one_of_another.say(&none, &[of_pod.as_fd()]);
    assert!(hands_one_of_another.refusal().contains("than that of the process"));
    let is_gone = rogue();
    drop(is_gone);

    let status = agent.wait(|status| status.refused == 9).await;
    assert_eq!(status.pod, "netcheck/vantage-1", "the true one goes on");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_of_the_pods_network_does_not_take_its_place() {
    let mut agent = Agent::start();
    let mut pod = PodNet::new(true);
    pod.serve(&agent.path);
    agent.wait(|status| !status.pod.is_empty()).await;
    let path = agent.path.clone();
    // Of this thread alone.
    let why = pod.run(move || {
        let nobody = rustix::process::Uid::from_raw(65_534);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
        let rogue = Rogue::new(&path);
        rogue.introduce();
        let fresh = crate::net::socket::open(Family::V4, SocketType::DGRAM, None).unwrap();
        rogue.say(&Frame::Sockets { errno: None }.encode(), &[fresh.as_fd()]);
        loop {
            match rogue.hear() {
                Some(Frame::Ask(ask)) => {
                    let (kind, protocol) = ask.kind.socket(ask.family());
                    let opened = crate::net::socket::open(ask.family(), kind, Some(protocol));
                    let sockets: Vec<_> = opened.iter().map(OwnedFd::as_fd).collect();
                    let errno = sockets.is_empty().then_some(13);
                    rogue.say(&Frame::Sockets { errno }.encode(), &sockets);
                }
                Some(Frame::Refused { why }) => return why,
                other => panic!("{other:?}"),
            }
        }
    });
    assert!(why.contains("another one serves, user 0") && why.contains("this one is user 65534"), "{why}");
    assert_eq!(agent.wait(|status| status.refused == 1).await.pod, "netcheck/vantage-1");
    agent.stop().await;
}
