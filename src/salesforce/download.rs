//! Results of any length, taken piece by piece: how much is in memory is for the reader to say.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::salesforce::pieces::{ARRIVAL_BYTES, Pieces};
use crate::salesforce::{Error, Org};

/// A body that says nothing for so long is lost.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// CSV with a header on its way here.
pub struct Download {
    path: String,
    response: reqwest::Response,
    /// Not looked at yet.
    arrived: Bytes,
    pieces: Option<Pieces>,
}

impl Org {
    /// Begins to read a page of results, by the path that [`Org::bulk_page_list`] gave, in pieces of about so many
    /// bytes.
    pub async fn download(&self, path: &str, piece_bytes: usize) -> Result<Download, Error> {
        Ok(Download {
            path: path.to_owned(),
            response: self.open(path).await?,
            arrived: Bytes::new(),
            pieces: Some(Pieces::of(piece_bytes)),
        })
    }
}

impl Download {
    /// The next piece, whole rows below a header; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let Some(pieces) = &mut self.pieces else {
                return Ok(None);
            };
            if let Some(piece) = pieces.take() {
                return Ok(Some(piece));
            }
            if !self.arrived.is_empty() {
                let room = self.arrived.len().min(ARRIVAL_BYTES);
                pieces.push(&self.arrived.split_to(room));
                continue;
            }
            let lost = |reason: String| Error::AnswerLost {
                url: self.path.clone(),
                reason,
            };
            match timeout(SILENCE_MAX, self.response.chunk()).await {
                Err(_) => return Err(lost(format!("nothing came for {} s", SILENCE_MAX.as_secs()))),
                Ok(Err(error)) => return Err(lost(super::client::reason(&error))),
                Ok(Ok(Some(arrived))) => self.arrived = arrived,
                Ok(Ok(None)) => return Ok(self.pieces.take().and_then(Pieces::finish)),
            }
        }
    }
}
