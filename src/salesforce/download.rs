//! Results of any length, taken piece by piece: how much is in memory is for the reader to say.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use crate::salesforce::bulk::rows_announced;
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
    columns: Vec<String>,
    /// The number of rows that the page announced.
    rows: u64,
}

impl Org {
    /// Begins to read a page of results, by the path that [`Org::bulk_page_list`] gave, in pieces of about so many
    /// bytes. It has these columns.
    pub async fn download(
        &self,
        path: &str,
        columns: &[String],
        piece_bytes: usize,
    ) -> Result<Download, Error> {
        let response = self.open(path).await?;
        let rows = rows_announced(response.headers()).map_err(|reason| self.unreadable(path, &reason))?;
        Ok(Download {
            path: path.to_owned(),
            response,
            arrived: Bytes::new(),
            pieces: Some(Pieces::of(piece_bytes)),
            columns: columns.to_vec(),
            rows,
        })
    }
}

impl Download {
    /// The number of rows that the page announced.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The next piece, whole rows below a header; `None` at the end, which is an error where the page is not whole.
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
                Ok(Ok(None)) => {
                    let Some(pieces) = self.pieces.take() else {
                        return Ok(None);
                    };
                    return pieces.finish(&self.columns, self.rows).map_err(lost);
                }
            }
        }
    }
}
