//! One ManagedSubscribe call: reading as Subscribe does, and commits.
//!
//! Commits are answered one by one. A call without a commit for half an hour is ended, events or not.

use std::sync::Arc;

use futures_util::{Stream, stream};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use super::hub::Hub;
use super::managed::{Opened, RPC};
use super::reader::{Reader, Step};
use super::refusal::rpc_id;
use super::reset::Reset;
use storesync_proto::{
    CommitReplayRequest, CommitReplayResponse, Error, ErrorCode, ManagedFetchRequest, ManagedFetchResponse,
};

/// The state of the call.
pub(super) struct ManagedCall {
    reader: Reader,
    requests: Streaming<ManagedFetchRequest>,
    /// Known from the first request on.
    developer_name: Option<String>,
    committed_at: Instant,
    ended: bool,
}

impl ManagedCall {
    pub(super) fn new(
        hub: Arc<Hub>,
        token: String,
        reset: Option<Reset>,
        requests: Streaming<ManagedFetchRequest>,
    ) -> Self {
        Self {
            reader: Reader::new(hub, RPC, token, reset),
            requests,
            developer_name: None,
            committed_at: Instant::now(),
            ended: false,
        }
    }

    pub(super) fn into_stream(self) -> impl Stream<Item = Result<ManagedFetchResponse, Status>> + Send {
        stream::unfold(self, |mut call| async move {
            if call.ended {
                return None;
            }
            let outcome = call.next().await;
            call.ended = !matches!(outcome, Ok(Some(_)));
            if call.ended {
                // Before the client hears of the end, so that it can come back at once.
                call.close();
            }
            outcome.transpose().map(|response| (response, call))
        })
    }

    /// The next response; none ends the call.
    async fn next(&mut self) -> Result<Option<ManagedFetchResponse>, Status> {
        let patience = self.reader.hub.timings.commit;
        loop {
            let step = tokio::select! {
                step = self.reader.step(&mut self.requests) => step?,
                () = tokio::time::sleep_until(self.committed_at + patience) => {
                    return Err(Status::deadline_exceeded(format!(
                        "No CommitReplayRequests sent in the last {} seconds. Closing managed subscription.",
                        patience.as_secs()
                    )));
                }
            };
            match step {
                Step::Asked(request) => {
                    if let Some(answer) = self.take(request).await? {
                        let mut response = self.response();
                        response.commit_response = Some(answer);
                        return Ok(Some(response));
                    }
                }
                Step::End => return Ok(None),
                Step::Respond(batch) => {
                    return Ok(Some(ManagedFetchResponse {
                        events: batch.events,
                        latest_replay_id: batch.latest,
                        ..self.response()
                    }));
                }
            }
        }
    }

    fn response(&self) -> ManagedFetchResponse {
        ManagedFetchResponse {
            events: Vec::new(),
            latest_replay_id: self.reader.position(),
            rpc_id: rpc_id(),
            pending_num_requested: self.reader.pending(),
            commit_response: None,
        }
    }

    async fn take(&mut self, request: ManagedFetchRequest) -> Result<Option<CommitReplayResponse>, Status> {
        let refused = "managed.subscription.fetch.request.events.invalid";
        let Some(developer_name) = self.developer_name.clone() else {
            self.open(&request, refused).await?;
            return Ok(None);
        };
        // A request that commits need not ask for more.
        if request.num_requested != 0 || request.commit_replay_id_request.is_none() {
            self.reader.ask(request.num_requested, refused)?;
        }
        let commit = request.commit_replay_id_request;
        Ok(commit.map(|commit| self.commit(&developer_name, commit)))
    }

    async fn open(&mut self, request: &ManagedFetchRequest, refused: &str) -> Result<(), Status> {
        self.reader.ask(request.num_requested, refused)?;
        let hub = Arc::clone(&self.reader.hub);
        let epoch = hub.org.bus().epoch();
        let Opened {
            developer_name,
            topic_name,
            position,
        } = hub.managed.open(&hub, request)?;
        self.developer_name = Some(developer_name);
        let channel = hub.readable(RPC, &topic_name)?;
        self.reader.begin(channel, position, epoch).await
    }

    fn commit(&mut self, developer_name: &str, commit: CommitReplayRequest) -> CommitReplayResponse {
        let hub = &self.reader.hub;
        let known = hub.managed.commit(hub, developer_name, &commit.replay_id);
        if known {
            self.committed_at = Instant::now();
        }
        let error = (!known).then(|| Error {
            code: ErrorCode::Commit.into(),
            msg: "The Replay ID validation failed. Ensure that the Replay ID is valid.".to_owned(),
        });
        CommitReplayResponse {
            commit_request_id: commit.commit_request_id,
            replay_id: commit.replay_id,
            error,
            process_time: hub.org.clock().now(),
        }
    }

    fn close(&mut self) {
        if let Some(developer_name) = self.developer_name.take() {
            self.reader.hub.managed.close(&developer_name);
        }
    }
}

impl Drop for ManagedCall {
    fn drop(&mut self) {
        self.close();
    }
}
