//! Who an agent is: the node that its token proves, before its session gets a seat.
//!
//! In: the bearer token of a session, and the node that it says it is. Out: nothing, or a [`Refusal`]. No task; a
//! review that is asked for runs within the session that wants it, and is dropped with it.

use tonic::{Code, Status};

use crate::state::Hub;

mod claims;
mod review;

pub use claims::Claims;
pub use review::{Reviewer, Terms};

/// For whom agents' tokens must be made.
pub const AUDIENCE: &str = "netcheck-hub";

/// Why an agent is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It brings no token.
    #[error("no bearer token: the agent needs --token-file with a token for the audience {AUDIENCE}")]
    NoToken,
    /// The API does not take the token: forged, expired, for another audience.
    #[error("the token is not good: {why}")]
    BadToken {
        /// What the API says.
        why: String,
    },
    /// The token is somebody's who is no agent.
    #[error("the token is {found}'s, and agents are {wanted}")]
    Account {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// The token is not bound to a pod.
    #[error("the token of {user} is bound to no pod: it must be a projected one")]
    Unbound {
        /// Whose it is.
        user: String,
    },
    /// The pod of the token is not known here (yet).
    #[error("pod {pod} of the token is not known yet")]
    PodUnknown {
        /// `namespace/name`.
        pod: String,
    },
    /// The node in the token is not the one that the pod runs on.
    #[error("the token says that pod {pod} is on {claimed}, but it runs on {found}")]
    PodElsewhere {
        /// `namespace/name`.
        pod: String,
        /// The token's node.
        claimed: String,
        /// The pod's.
        found: String,
    },
    /// It says that it is another node than its token proves.
    #[error("the agent says that it is {said}, but its token is {proven}'s")]
    Foreign {
        /// As it introduced itself.
        said: String,
        /// As the token has it.
        proven: String,
    },
    /// The API did not answer.
    #[error("the token can't be reviewed now: {why}")]
    NoAnswer {
        /// What happened.
        why: String,
    },
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::NoToken | Refusal::BadToken { .. } => Code::Unauthenticated,
            Refusal::PodUnknown { .. } | Refusal::NoAnswer { .. } => Code::Unavailable,
            Refusal::Account { .. }
            | Refusal::Unbound { .. }
            | Refusal::PodElsewhere { .. }
            | Refusal::Foreign { .. } => Code::PermissionDenied,
        };
        Self::new(code, refusal.to_string())
    }
}

/// How agents prove who they are.
pub enum Identity {
    /// Not at all: whoever connects is the node that it says it is.
    Unchecked,
    /// By a token that the Kubernetes API reviews.
    Tokens {
        /// Who asks the API.
        reviewer: Box<Reviewer>,
        /// `namespace/name` of the service account that agents have; none: any that has a token for the audience.
        account: Option<String>,
        /// The roster has all pods, as the API has them: a token of one that it does not have must wait.
        all_pods: bool,
    },
}

impl Identity {
    /// What a session's token says.
    ///
    /// # Errors
    /// No token, or one that is not good for an agent.
    pub async fn review(&self, bearer: Option<&str>) -> Result<Option<Claims>, Refusal> {
        let Self::Tokens { reviewer, account, .. } = self else { return Ok(None) };
        let claims = reviewer.review(bearer.ok_or(Refusal::NoToken)?).await?;
        match account {
            Some(wanted) if claims.account.as_ref() != Some(wanted) => {
                Err(Refusal::Account { found: claims.user, wanted: wanted.clone() })
            }
            _ => Ok(Some(claims)),
        }
    }

    /// How long what was found of a token holds.
    #[must_use]
    pub fn terms(&self) -> Terms {
        match self {
            Self::Unchecked => Terms::default(),
            Self::Tokens { reviewer, .. } => reviewer.terms,
        }
    }

    /// Whether a session with these claims may be `said`.
    ///
    /// # Errors
    /// It is another node's.
    pub fn admit(&self, claims: Option<&Claims>, said: &str, hub: &Hub) -> Result<(), Refusal> {
        let (Self::Tokens { all_pods, .. }, Some(claims)) = (self, claims) else { return Ok(()) };
        let proven = claims.node(&hub.lock().roster, *all_pods)?;
        if proven == said { Ok(()) } else { Err(Refusal::Foreign { said: said.to_owned(), proven }) }
    }
}
