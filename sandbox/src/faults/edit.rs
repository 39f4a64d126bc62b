//! Answers that are changed on their way: shorter than they say, cut off, or with values that cannot be read.

use serde_json::Value as Json;

use super::Edit;
use crate::http::answer::{Content, Reply};

impl Edit {
    pub fn apply(&self, mut reply: Reply) -> Reply {
        for (name, value) in &self.headers {
            let Some(header) = HEADERS.iter().find(|header| *header == name) else {
                continue;
            };
            reply.headers.retain(|(of, _)| of != header);
            if let Some(value) = value.as_str() {
                reply.headers.push((header, value.to_owned()));
            }
        }
        reply.content = match reply.content {
            Content::Json(json) => self.json(json),
            Content::Csv(csv) => Content::Csv(self.bytes(self.csv(&csv))),
            other => other,
        };
        reply
    }

    fn json(&self, mut json: Json) -> Content {
        if let Json::Object(body) = &mut json {
            for (name, value) in &self.members {
                match value {
                    Json::Null => body.remove(name),
                    value => body.insert(name.clone(), value.clone()),
                };
            }
            if let (Some(rows), Some(Json::Array(records))) = (self.rows, body.get_mut("records")) {
                records.truncate(rows);
            }
        }
        if self.cut_bytes.is_none() && self.replace.is_none() {
            return Content::Json(json);
        }
        Content::Raw(
            "application/json;charset=UTF-8",
            self.bytes(json.to_string().into_bytes()),
        )
    }

    fn csv(&self, csv: &[u8]) -> Vec<u8> {
        let Some(rows) = self.rows else {
            return csv.to_vec();
        };
        let (mut lines, mut quoted) = (0, false);
        let ends = csv.iter().position(|byte| {
            quoted ^= *byte == b'"';
            lines += usize::from(*byte == b'\n' && !quoted);
            lines > rows
        });
        csv[..ends.map_or(csv.len(), |end| end + 1)].to_vec()
    }

    fn bytes(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        if let Some((from, to)) = &self.replace {
            let at = bytes
                .windows(from.len().max(1))
                .position(|part| part == from.as_bytes());
            if let Some(at) = at {
                let to = to
                    .split("\\xff")
                    .map(str::as_bytes)
                    .collect::<Vec<_>>()
                    .join(&0xff);
                bytes.splice(at..at + from.len(), to);
            }
        }
        let left = bytes.len().saturating_sub(self.cut_bytes.unwrap_or(0));
        bytes.truncate(left);
        bytes
    }
}

/// The headers that can be changed.
const HEADERS: [&str; 2] = ["sforce-locator", "sforce-numberofrecords"];
