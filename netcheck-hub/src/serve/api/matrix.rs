//! `GET /api/v1/matrix`: the cells as JSON, node after node, written while they are sent. However large the cluster, one
//! node's cells are in memory at a time; and those are of one moment.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use futures::Stream;
use netcheck_proto::{json, v1};
use prost::Message as _;
use tonic::Status;

use crate::serve::reachability::{invalid, too_many};
use crate::state::Hub;
use crate::view::inactive::Chosen;
use crate::view::report::conclusion;
use netcheck_analysis::matrix::range::Range;
use netcheck_analysis::model::NodeIx;
use netcheck_analysis::model::clock::{timestamp, wire_duration};
use netcheck_analysis::plan::selector::Selector;

/// What is left to be written.
struct Pieces {
    hub: Arc<Hub>,
    selector: Selector,
    range: Range,
    chosen: Chosen,
    sources: std::vec::IntoIter<NodeIx>,
    /// Each verdict that there was, once.
    verdicts: Vec<v1::Verdict>,
    begun: bool,
    /// The last cell that was written has another behind it.
    comma: bool,
    ended: bool,
}

/// The matrix that a request asks for, unless it asks for that of the past.
pub(super) fn of_now(hub: &Arc<Hub>, request: &[u8]) -> Result<Option<Body>, Status> {
    let request = v1::GetMatrixRequest::decode(request);
    let request = request.map_err(|error| Status::invalid_argument(error.to_string()))?;
    if request.at.is_some() || request.from.is_some() || request.to.is_some() {
        return Ok(None);
    }
    let selector = Selector::read(request.selector).map_err(invalid)?;
    hub.fits(&selector).map_err(too_many)?;
    Ok(Some(body(Arc::clone(hub), selector, hub.range(request.range.as_ref()))))
}

/// The matrix that a selector selects.
fn body(hub: Arc<Hub>, selector: Selector, range: Range) -> Body {
    let sources: Vec<NodeIx> = hub.indices().collect();
    let chosen = hub.chosen(&selector);
    let pieces = Pieces {
        chosen,
        hub,
        selector,
        range,
        sources: sources.into_iter(),
        verdicts: Vec::new(),
        begun: false,
        comma: false,
        ended: false,
    };
    Body::from_stream(stream(pieces))
}

fn stream(pieces: Pieces) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
    futures::stream::unfold(pieces, |mut pieces| async move {
        // Making a piece takes the processor for a while; others get their turn before it.
        tokio::task::yield_now().await;
        let piece = pieces.next()?;
        Some((Ok(Bytes::from(piece)), pieces))
    })
}

impl Pieces {
    fn next(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        let mut text = String::new();
        if !self.begun {
            self.begun = true;
            let head = v1::GetMatrixResponse {
                generated_at: Some(timestamp(self.range.now_ns)),
                range: Some(wire_duration(self.range.length())),
                ..Default::default()
            };
            let head = json::value(&head).to_string();
            // The rest stands behind what it begins with.
            text.push_str(head.trim_end_matches('}'));
            text.push_str(",\"cells\":[");
        }
        // Nodes without a cell that is selected make no piece of their own.
        while text.len() < PIECE_BYTES {
            let Some(source) = self.sources.next() else {
                self.ended = true;
                let conclusion = conclusion::of(self.verdicts.iter().copied()).as_str_name();
                text.push_str("],\"conclusion\":\"");
                text.push_str(conclusion);
                text.push_str("\"}");
                break;
            };
            for cell in self.hub.matrix_of(source, &self.selector, &mut self.chosen, &self.range) {
                let verdict = cell.verdict();
                if !self.verdicts.contains(&verdict) {
                    self.verdicts.push(verdict);
                }
                if std::mem::replace(&mut self.comma, true) {
                    text.push(',');
                }
                json::write(&cell, &mut text);
            }
        }
        Some(text)
    }
}

/// A piece is sent once it has so much.
const PIECE_BYTES: usize = 64 << 10;
