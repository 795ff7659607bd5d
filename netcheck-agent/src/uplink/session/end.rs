//! Why a session ended.

use tonic::Code;

use crate::plan::PlanGap;
use crate::uplink::session::CONNECT_TIMEOUT;
use crate::uplink::session::connect::ConnectError;
use crate::uplink::token::TokenError;

/// Why a session ended, or did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionEnd {
    /// No connection.
    #[error("can't connect: {}", cause(.0))]
    Connect(#[source] ConnectError),
    /// There is no token to show.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Another agent took this node's place.
    #[error("the hub ended the session: {message}; does another agent run with this --node?")]
    Superseded {
        /// What the hub said.
        message: String,
    },
    /// The hub ended it. tonic's own timeouts show as `Cancelled` here.
    #[error("the hub ended the session: {code:?}: {}", message)]
    Refused {
        /// gRPC status.
        code: Code,
        /// What the hub said.
        message: String,
    },
    /// The hub closed the stream without an error.
    #[error("the hub closed the session")]
    Closed,
    /// The hub did not speak in time.
    #[error("the hub did not answer within {CONNECT_TIMEOUT:?}")]
    Silent,
    /// The hub spoke out of turn.
    #[error("the hub began with something else than a welcome")]
    NoWelcome,
    /// A plan that builds on one that is not held here: a new session begins with a full one.
    #[error(transparent)]
    Gap(#[from] PlanGap),
    /// The engine's thread is gone.
    #[error("the probe engine has ended")]
    Engine,
    /// Nobody acknowledges what is sent: the way is dead, whatever becomes of it later.
    #[error("nothing that is sent to the hub arrives any more")]
    Stalled,
    /// It went through another agent, and a direct connection was made: the next one begins on that.
    #[error("the hub is reached directly again")]
    Returned,
    /// Everything is acknowledged, and nothing will come any more.
    #[error("done")]
    Done,
}

impl SessionEnd {
    /// One word for it, of few.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Connect(_) => "unreachable",
            Self::Token(_) => "no_token",
            Self::Superseded { .. } => "superseded",
            // What a transport or a hub that goes away leaves behind; all else is the hub's own decision.
            Self::Refused { code, .. } => match code {
                Code::Cancelled
                | Code::Unknown
                | Code::Unavailable
                | Code::Internal
                | Code::DeadlineExceeded => "broken",
                _ => "refused",
            },
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::NoWelcome => "no_welcome",
            Self::Gap(_) => "plan_gap",
            Self::Engine => "engine",
            Self::Stalled => "stalled",
            Self::Returned => "returned",
            Self::Done => "done",
        }
    }

    /// Whether the hub itself had something to say, or ended it.
    pub(crate) fn is_of_hub(&self) -> bool {
        matches!(self.reason(), "superseded" | "refused" | "closed" | "no_welcome" | "plan_gap")
    }

    /// Whether another node's agent has the probe session of this one: only a new start has another.
    pub(crate) const fn is_session_taken(&self) -> bool {
        matches!(self, Self::Refused { code: Code::FailedPrecondition, .. })
    }

    /// Whether another agent took this node's place.
    pub(crate) const fn is_superseded(&self) -> bool {
        matches!(self, Self::Superseded { .. })
    }

    /// The same, or it has the place and the hub lets nobody else in.
    pub(crate) const fn is_contested(&self) -> bool {
        matches!(self, Self::Superseded { .. } | Self::Refused { code: Code::AlreadyExists, .. })
    }
}

/// tonic says "transport error"; the reason is at the end of the chain.
pub(super) fn cause(error: &ConnectError) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

impl From<tonic::Status> for SessionEnd {
    fn from(status: tonic::Status) -> Self {
        let (code, message) = (status.code(), status.message().to_owned());
        if code == Code::Aborted { Self::Superseded { message } } else { Self::Refused { code, message } }
    }
}
