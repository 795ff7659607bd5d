//! Runs a check, with its progress on stderr.

use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use netcheck_proto::v1;
use netcheck_proto::v1::check_service_client::CheckServiceClient;
use netcheck_proto::v1::run_check_response::Message;

use crate::connect::Asking;
use crate::{ANSWER_LIMIT, refused};

/// How much later than its deadline a check's result may come.
const GRACE: Duration = Duration::from_secs(10);

/// Runs it. The bar hides itself where stderr is no terminal.
pub(crate) async fn run(
    channel: Asking,
    request: v1::RunCheckRequest,
    deadline: Duration,
) -> anyhow::Result<v1::CheckResult> {
    let mut client = CheckServiceClient::new(channel).max_decoding_message_size(ANSWER_LIMIT);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} paths probed{msg}  {elapsed}")
        .context("the bar's template is wrong")?;
    let bar = ProgressBar::new(0).with_style(style);
    let checking = async {
        let mut stream = client.run_check(request).await.map_err(refused)?.into_inner();
        while let Some(response) = stream.message().await.map_err(refused)? {
            match response.message {
                Some(Message::Progress(progress)) => {
                    bar.set_length(progress.paths_total);
                    bar.set_position(progress.paths_done);
                    if progress.failed > 0 {
                        bar.set_message(format!(", {} lose probes", progress.failed));
                    }
                }
                Some(Message::Result(result)) => return Ok(result),
                None => {}
            }
        }
        anyhow::bail!("the hub ended the check without a result")
    };
    let result = tokio::time::timeout(deadline + GRACE, checking).await;
    bar.finish_and_clear();
    result.context("the hub did not end the check in time")?
}
