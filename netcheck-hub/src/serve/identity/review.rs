//! TokenReview, with a short memory: a hub that restarts sees thousands of sessions begin at once, and again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::sync::Semaphore;

use super::{AUDIENCE, Claims, Refusal};

/// How long what was found of a token holds.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How long a good one is taken without asking again. A deleted pod's token is good for that much longer.
    pub remember: Duration,
    /// How often that of a session is reviewed again, a fifth more or less.
    pub review: Duration,
    /// When it is asked again where the API did not answer, and how soon a token that was replaced is reviewed.
    pub again: Duration,
    /// How long it is borne that the API does not answer. Then the session ends, and none begins before it does.
    pub borne: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            remember: Duration::from_secs(60),
            review: Duration::from_secs(600),
            again: Duration::from_secs(60),
            borne: Duration::from_secs(24 * 3600),
        }
    }
}

/// The same for a bad one: it does not become good, but the API may have been mistaken.
const REMEMBER_BAD: Duration = Duration::from_secs(10);
/// Tokens that are remembered. Beyond, the API is asked every time.
const REMEMBERED: usize = 16_384;
/// A projected token has about 1.2 KiB.
const LONGEST: usize = 16 << 10;
/// Reviews that the API is asked for at the same time; more wait.
const AT_ONCE: usize = 16;
/// How long the API may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// What was found of a token, and when.
type Known = (Instant, Result<Claims, Refusal>);

/// Asks the API.
pub struct Reviewer {
    api: Api<TokenReview>,
    known: Mutex<HashMap<String, Known>>,
    turns: Semaphore,
    pub(super) terms: Terms,
}

impl Reviewer {
    /// Asks by this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self::on_terms(client, Terms::default())
    }

    /// The same on these terms.
    #[must_use]
    pub fn on_terms(client: Client, terms: Terms) -> Self {
        Self { api: Api::all(client), known: Mutex::default(), turns: Semaphore::new(AT_ONCE), terms }
    }

    /// Whose a token is.
    ///
    /// # Errors
    /// It is not good, or the API does not answer.
    pub async fn review(&self, token: &str) -> Result<Claims, Refusal> {
        if token.is_empty() || token.len() > LONGEST {
            return Err(Refusal::BadToken { why: format!("it has {} bytes", token.len()) });
        }
        if let Some(known) = self.recall(token) {
            return known;
        }
        let late = |_elapsed| Refusal::NoAnswer {
            why: format!("the Kubernetes API did not answer within {PATIENCE:?}"),
        };
        let asked = tokio::time::timeout(PATIENCE, async {
            let _turn = self.turns.acquire().await;
            // Somebody else may have asked meanwhile.
            match self.recall(token) {
                Some(known) => known,
                None => self.ask(token).await,
            }
        });
        let result = asked.await.map_err(late)?;
        self.remember(token, &result);
        result
    }

    async fn ask(&self, token: &str) -> Result<Claims, Refusal> {
        let spec =
            TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let answer = self.api.create(&PostParams::default(), &review).await.map_err(|error| {
            let why = match &error {
                kube::Error::Api(status) if status.code == 403 => {
                    format!("the hub's role needs the verb create on tokenreviews ({})", status.message)
                }
                kube::Error::Api(status) => status.message.clone(),
                other => crate::inventory::kubernetes::innermost(other),
            };
            tracing::error!("cannot review an agent's token: {why}");
            Refusal::NoAnswer { why }
        })?;
        judge(answer.status.unwrap_or_default())
    }

    fn recall(&self, token: &str) -> Option<Result<Claims, Refusal>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, result) = known.get(token)?;
        (*until > Instant::now()).then(|| result.clone())
    }

    fn remember(&self, token: &str, result: &Result<Claims, Refusal>) {
        let lasts = match result {
            Ok(_) => self.terms.remember,
            Err(Refusal::BadToken { .. }) => REMEMBER_BAD,
            // Not the token's fault.
            Err(_) => return,
        };
        let now = Instant::now();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.retain(|_, (until, _)| *until > now);
        }
        if known.len() < REMEMBERED {
            known.insert(token.to_owned(), (now + lasts, result.clone()));
        }
    }
}

fn judge(status: TokenReviewStatus) -> Result<Claims, Refusal> {
    if status.authenticated != Some(true) {
        let why = status.error.unwrap_or_else(|| "the Kubernetes API does not know it".to_owned());
        return Err(Refusal::BadToken { why: netcheck_proto::text::line(&why) });
    }
    // An API that does not know of audiences takes a token that was made for it, not for us.
    if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
        return Err(Refusal::BadToken { why: format!("it was not made for the audience {AUDIENCE}") });
    }
    Ok(Claims::read(&status.user.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_authenticated_token_for_this_audience_is_good() {
        let status = |authenticated, audiences: Option<&[&str]>| TokenReviewStatus {
            authenticated,
            audiences: audiences.map(|all| all.iter().map(|&one| one.to_owned()).collect()),
            ..TokenReviewStatus::default()
        };
        assert!(judge(status(Some(true), Some(&["x", AUDIENCE]))).is_ok());
        for (authenticated, audiences) in [
            (Some(true), None),
            (Some(true), Some(&["https://kubernetes.default.svc"][..])),
            (Some(false), Some(&[AUDIENCE][..])),
            (None, Some(&[AUDIENCE][..])),
        ] {
            assert!(judge(status(authenticated, audiences)).is_err(), "{authenticated:?} {audiences:?}");
        }
    }
}
