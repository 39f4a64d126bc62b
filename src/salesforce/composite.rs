//! Several requests in one call, and the answer to exactly that call.
//!
//! Parts are told apart by names that the caller chooses, and every call of a kind has the same. So each call marks the
//! names that it sends with a random number, and takes the mark off those that come back: an answer to another call, which
//! something on the way has kept or mixed up, has other names. Of it nothing is believed, since the org would seem to
//! have done what it was never asked for.

use reqwest::Method;
use serde_json::{Value, json};

use crate::salesforce::Error;
use crate::salesforce::rest::{Org, PartResult};

/// The beginning of a reference to another part's answer: `@{record.id}`.
const REFERENCE: &str = "@{";

/// Behind the names of the parts of one call.
struct Mark(String);

impl Mark {
    /// One that no other call has. Without random bytes it is that of all such calls.
    fn random() -> Self {
        let mut random = [0; 8];
        // The bytes stay zero where the machine gives none.
        aws_lc_rs::rand::fill(&mut random).unwrap_or_default();
        Self(format!("_{:016x}", u64::from_be_bytes(random)))
    }

    /// The parts with their names marked, and what refers to them.
    fn put_on(&self, parts: &[Value]) -> Vec<Value> {
        let names: Vec<&str> = parts
            .iter()
            .filter_map(|part| part["referenceId"].as_str())
            .collect();
        let marked = |part: &Value| {
            let mut part = part.clone();
            if let Some(name) = part["referenceId"].as_str() {
                part["referenceId"] = format!("{name}{}", self.0).into();
            }
            if let Some(url) = part["url"].as_str() {
                part["url"] = self.referring(&names, url).into();
            }
            if let Some(Value::Object(body)) = part.get_mut("body") {
                // A text of somebody's is never all of a reference by chance, and may have one in it.
                let is_reference = |text: &&str| text.starts_with(REFERENCE) && text.ends_with('}');
                for value in body.values_mut() {
                    if let Some(text) = value.as_str().filter(is_reference) {
                        *value = self.referring(&names, text).into();
                    }
                }
            }
            part
        };
        parts.iter().map(marked).collect()
    }

    /// A text whose references to parts have the mark.
    fn referring(&self, names: &[&str], text: &str) -> String {
        let mut pieces = text.split(REFERENCE);
        let mut marked = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            marked.push_str(REFERENCE);
            let end = piece.find(['.', '[', '}']).unwrap_or(piece.len());
            let (name, rest) = piece.split_at(end);
            marked.push_str(name);
            if names.contains(&name) {
                marked.push_str(&self.0);
            }
            marked.push_str(rest);
        }
        marked
    }

    /// The name of a part as the caller knows it; `None` where it is of another call.
    fn taken_off<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_suffix(self.0.as_str())
    }
}

impl Org {
    /// Sends a composite request; the results are in the order of its parts.
    pub async fn composite(&self, body: &Value) -> Result<Vec<PartResult>, Error> {
        let path = format!("{}/composite", self.data_path());
        let mark = Mark::random();
        let mut body = body.clone();
        if let Some(parts) = body["compositeRequest"].as_array() {
            body["compositeRequest"] = mark.put_on(parts).into();
        }
        let answer = self.call(Method::POST, &path, Some(&body)).await?;
        let mut answer: Value = self.json(&path, &answer.body)?;
        self.results(&mark, &path, answer.pointer_mut("/compositeResponse"))
    }

    /// Sends one graph of the given parts; the results are in their order.
    pub async fn graph(&self, parts: &[Value]) -> Result<Vec<PartResult>, Error> {
        let path = format!("{}/composite/graph", self.data_path());
        let mark = Mark::random();
        let body = json!({"graphs": [{"graphId": "g1", "compositeRequest": mark.put_on(parts)}]});
        let answer = self.call(Method::POST, &path, Some(&body)).await?;
        let mut answer: Value = self.json(&path, &answer.body)?;
        let parts = answer.pointer_mut("/graphs/0/graphResponse/compositeResponse");
        self.results(&mark, &path, parts)
    }

    fn results(&self, mark: &Mark, path: &str, parts: Option<&mut Value>) -> Result<Vec<PartResult>, Error> {
        let Some(Value::Array(parts)) = parts.map(Value::take) else {
            return Err(self.unreadable(path, "it has no compositeResponse"));
        };
        let read = |mut part: Value| {
            let status = part["httpStatusCode"].as_u64();
            let status = status.and_then(|status| u16::try_from(status).ok());
            let status = status.ok_or("a part has no httpStatusCode")?;
            let reference = match part["referenceId"].as_str() {
                Some(name) => Some(
                    mark.taken_off(name)
                        .ok_or("it answers another request")?
                        .to_owned(),
                ),
                None => None,
            };
            Ok(PartResult {
                reference,
                status,
                body: part["body"].take(),
            })
        };
        let results: Result<Vec<_>, &str> = parts.into_iter().map(read).collect();
        results.map_err(|reason| self.unreadable(path, reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_refers_to_them_have_the_mark_and_texts_have_not() {
        let parts = [
            json!({"method": "POST", "url": "/v/sobjects/Order", "referenceId": "record",
                "body": {"Note__c": "see @{record.id}", "AccountId": "@{account.id}", "Other__c": "@{else.id}", "Sum__c": 1}}),
            json!({"method": "PATCH", "url": "/v/sobjects/Order/@{found.records[0].Id}", "referenceId": "found"}),
            json!({"method": "POST", "url": "/v/sobjects/Account", "referenceId": "account"}),
        ];
        let mark = Mark("_7".to_owned());
        assert_eq!(
            mark.put_on(&parts),
            [
                json!({"method": "POST", "url": "/v/sobjects/Order", "referenceId": "record_7",
                    "body": {"Note__c": "see @{record.id}", "AccountId": "@{account_7.id}", "Other__c": "@{else.id}", "Sum__c": 1}}),
                json!({"method": "PATCH", "url": "/v/sobjects/Order/@{found_7.records[0].Id}", "referenceId": "found_7"}),
                json!({"method": "POST", "url": "/v/sobjects/Account", "referenceId": "account_7"}),
            ]
        );
        assert_eq!(mark.taken_off("record_7"), Some("record"));
        assert_eq!(mark.taken_off("record_8"), None);
        assert_eq!(mark.taken_off("record"), None);
        let marks = [Mark::random().0, Mark::random().0];
        assert!(marks[0] != marks[1] && marks[0].len() == 17, "{marks:?}");
    }
}
