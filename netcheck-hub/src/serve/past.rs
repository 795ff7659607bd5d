//! Questions about the past: answered on a thread that nobody waits for, since history is on a disk, and not many at a time.

use std::sync::Arc;

use netcheck_analysis::model::clock::unix_now_ns;
use netcheck_analysis::plan::selector::Selector;
use netcheck_proto::convert::InvalidField;
use netcheck_proto::v1;
use prost_types::Timestamp;
use tokio::sync::Semaphore;
use tonic::Status;

use crate::state::Hub;
use crate::view::past::{PastError, When};

/// Questions that are answered at the same time. Each may read some ten MiB, and takes a core.
const AT_ONCE: usize = 2;
static ASKING: Semaphore = Semaphore::const_new(AT_ONCE);

/// One conversion from what can be wrong with such a question.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
pub(crate) fn status(error: PastError) -> Status {
    let text = error.to_string();
    match error {
        PastError::NoHistory => Status::failed_precondition(text),
        PastError::Future { .. }
        | PastError::NoInstant { .. }
        | PastError::Backwards
        | PastError::Both
        | PastError::TooManySteps { .. } => Status::invalid_argument(text),
        PastError::TooManyPaths { .. } => Status::resource_exhausted(text),
        PastError::NoSuchPath => Status::not_found(text),
        PastError::Unreadable(_) => Status::unavailable(text),
    }
}

/// Which time in the past is meant; none: now.
pub(crate) fn when(
    hub: &Hub,
    at: Option<&Timestamp>,
    span: (Option<&Timestamp>, Option<&Timestamp>),
    range: Option<&prost_types::Duration>,
) -> Result<Option<When>, Status> {
    hub.when(at, span, range, unix_now_ns()).map_err(status)
}

/// Asks history.
pub(crate) async fn in_the_past<Q: Send + 'static, A: Send + 'static>(
    hub: &Arc<Hub>,
    question: Q,
    ask: impl FnOnce(&Hub, Q) -> Result<A, PastError> + Send + 'static,
) -> Result<A, Status> {
    let _permit = ASKING.acquire().await.map_err(|_| Status::unavailable("the hub is shutting down"))?;
    let hub = Arc::clone(hub);
    let answer = tokio::task::spawn_blocking(move || ask(&hub, question)).await;
    answer.map_err(|_| Status::internal("the question failed"))?.map_err(status)
}

/// The incidents of a time in the past; none: those of now are meant, and nobody waits for a disk.
pub(crate) async fn past_incidents(
    hub: &Arc<Hub>,
    request: v1::ListIncidentsRequest,
) -> Result<Option<v1::ListIncidentsResponse>, Status> {
    if request.at.is_none() && request.from.is_none() && request.to.is_none() {
        return Ok(None);
    }
    in_the_past(hub, request, |hub, request| hub.past_incidents(&request)).await
}

/// Which paths the series are of.
pub(crate) fn history_selector(request: &v1::GetPathHistoryRequest) -> Result<Selector, InvalidField> {
    let mut wire = request.selector.clone().unwrap_or_default();
    let named = [(&request.source, &mut wire.sources), (&request.target, &mut wire.targets)];
    for (name, names) in named.into_iter().filter(|(name, _)| !name.is_empty()) {
        *names = vec![name.clone()];
    }
    Selector::read(Some(wire))
}
