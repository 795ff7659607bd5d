//! A SEQPACKET unix socket with [`Frame`]s and, beside them, sockets (SCM_RIGHTS, unix(7)).

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::frame::{BadFrame, FRAME_MAX, Frame, SOCKETS_MAX};
use super::origin::Netns;
use crate::net::socket;

/// Room for the control message of so many sockets.
const CONTROL: usize = rustix::cmsg_space!(ScmRights(SOCKETS_MAX));

/// One end of the connection.
#[derive(Debug)]
pub(crate) struct Channel(AsyncFd<OwnedFd>);

/// A socket that the runtime waits for.
pub(crate) fn watched(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is the same descriptor until it is dropped, with the AsyncFd that holds it.
    Ok(unsafe { AsyncFd::register_with_interest(socket, interest) }?)
}

/// Who is at the other end, as the kernel reports it: nothing of it is his own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Whose process made the connection (`SO_PEERCRED`, unix(7)): the user as this process sees him. Its process id is of
    /// another namespace, where the agent has its own, and shows nothing.
    pub(crate) uid: u32,
    /// The network namespace that the connection was made in.
    pub(crate) netns: Netns,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.uid)?;
        match self.netns.inode {
            Some(inode) => write!(f, " in network namespace {inode}"),
            None => Ok(()),
        }
    }
}

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    #[error("the other side closed the connection")]
    Closed,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("malformed: {0}")]
    Frame(#[from] BadFrame),
    #[error("malformed: more sockets than were asked for, or than this agent may have open files")]
    TooManySockets,
}

impl Channel {
    /// Takes a connected, non-blocking socket.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        watched(socket, Interest::READABLE | Interest::WRITABLE).map(Self)
    }

    /// Who is at the other end of a connection that was accepted here.
    pub(crate) fn peer(&self) -> io::Result<Peer> {
        let socket = self.0.get_ref();
        // Not by rustix, whose process ids are never 0, as that of a process is which this one can't see.
        let [_pid, uid, _gid]: [u32; 3] = socket::get_as(socket, libc::SOL_SOCKET, libc::SO_PEERCRED)?;
        // The kernel makes the accepting end in the connecting one's namespace (unix_stream_connect() in net/unix/af_unix.c).
        Ok(Peer { uid, netns: Netns::of(socket) })
    }

    /// Sends a frame, and these sockets with it.
    pub(crate) async fn send(&self, frame: &Frame, sockets: &[BorrowedFd<'_>]) -> Result<(), ChannelError> {
        let bytes = frame.encode();
        let sent = self.0.async_io(Interest::WRITABLE, |socket| {
            let mut room = [MaybeUninit::uninit(); CONTROL];
            let mut control = SendAncillaryBuffer::new(&mut room);
            if !sockets.is_empty() {
                control.push(SendAncillaryMessage::ScmRights(sockets));
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            Ok(sendmsg(socket, &[IoSlice::new(&bytes)], &mut control, flags)?)
        });
        sent.await?;
        Ok(())
    }

    /// The next frame, and the sockets that came with it. Safe to cancel.
    pub(crate) async fn receive(&self) -> Result<(Frame, Vec<OwnedFd>), ChannelError> {
        let mut bytes = [0; FRAME_MAX + 1];
        let received = self.0.async_io(Interest::READABLE, |socket| {
            let mut room = [MaybeUninit::uninit(); CONTROL];
            let mut control = RecvAncillaryBuffer::new(&mut room);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let message = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
            let rights = control.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
                _ => None,
            });
            // Whatever came is owned from here on, and closed where nobody wants it.
            let sockets: Vec<OwnedFd> = rights.flatten().collect();
            Ok((message.bytes, message.flags, sockets))
        });
        let (len, flags, sockets) = match received.await {
            Err(error) if error.raw_os_error() == Some(Errno::CONNRESET.raw_os_error()) => {
                return Err(ChannelError::Closed);
            }
            received => received?,
        };
        if flags.contains(ReturnFlags::CTRUNC) {
            return Err(ChannelError::TooManySockets);
        }
        if len == 0 {
            return Err(ChannelError::Closed);
        }
        let frame = Frame::decode(&bytes[..len])?;
        Ok((frame, sockets))
    }
}
