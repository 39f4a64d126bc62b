//! Composite requests and composite graphs: many parts, one answer.
//!
//! With `allOrNone`, and in every graph, the parts share one transaction: all commit together or nothing has
//! happened. Without it each part is a transaction of its own. Parts run in the order they are given; graphs order
//! theirs by what refers to what. `collateSubrequests` is accepted and changes nothing, as running in order is one
//! of the orders it allows.

pub mod batch;
mod reference;
pub mod tree;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value as Json, json};

use self::reference::{Results, references, resolved_address, resolved_body};
use super::faults::http::failed;
use super::faults::{Fault, Occasion};
use super::http::answer::{Answer, Content, Refusal, Reply};
use super::http::call::Call;
use super::rest::{Access, Caller, part, supported};

const PARTS_MAX: usize = 25;
/// Of the parts, queries and collections.
const HEAVY_PARTS_MAX: usize = 5;
const GRAPHS_MAX: usize = 75;
const NODES_MAX: usize = 500;
const NODE_KINDS_MAX: usize = 15;
const HALTED: &str =
    "The transaction was rolled back since another operation in the same transaction failed.";
/// Begins a body that is no JSON; its bytes follow.
const RAW: &str = "\u{1}raw ";
/// Headers that belong to the whole request.
const OUTER_HEADERS: [&str; 3] = ["accept", "authorization", "content-type"];

/// One sub-request as it was sent.
struct Part {
    method: String,
    url: String,
    reference: String,
    body: Option<Json>,
    headers: Map<String, Json>,
}

impl Part {
    fn read(json: &Json) -> Result<Self, Refusal> {
        let text = |key: &str| {
            let missing = || Refusal::parser(format!("a sub-request has no {key}"));
            json[key].as_str().map(str::to_owned).ok_or_else(missing)
        };
        let reference = text("referenceId").or_else(|_| text("referenceID"))?;
        let legal = reference.starts_with(|c: char| c.is_ascii_alphanumeric())
            && reference.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !legal {
            let message = format!(
                "Provided referenceId ('{reference}') must start with a letter or a number, and it can contain only \
                 letters, numbers and underscores ('_')."
            );
            return Err(Refusal::new(400, "INVALID_INPUT", message));
        }
        let headers = json["httpHeaders"].as_object().cloned().unwrap_or_default();
        let outer = headers
            .keys()
            .find(|name| OUTER_HEADERS.contains(&name.to_ascii_lowercase().as_str()));
        if let Some(name) = outer {
            let message = format!("the header {name} cannot be set for a sub-request");
            return Err(Refusal::new(400, "INVALID_INPUT", message));
        }
        let body = json.get("body").filter(|body| !body.is_null()).cloned();
        Ok(Self {
            method: text("method")?,
            url: text("url")?,
            reference,
            body,
            headers,
        })
    }

    /// Path after `/services/data/vNN.N/`.
    fn resource(&self) -> &str {
        self.url
            .trim_start_matches('/')
            .splitn(4, '/')
            .nth(3)
            .unwrap_or_default()
    }

    fn is_heavy(&self) -> bool {
        let resource = self.resource();
        resource.starts_with("query") || resource.starts_with("composite/sobjects")
    }

    fn reads(&self) -> bool {
        self.method == "GET"
    }

    /// Runs over `access`, with the results of the parts before it filled in.
    fn run(&self, caller: &Caller<'_>, access: &mut Access<'_, '_>, results: &Results) -> Answer {
        let halted = |message| Refusal::new(400, "PROCESSING_HALTED", message);
        let mut call = Call::new(&self.method, &self.url);
        resolved_address(&mut call, results).map_err(halted)?;
        if let Some(body) = &self.body {
            let body = resolved_body(body, results).map_err(halted)?;
            call.body = body.to_string().into();
        }
        for (name, value) in &self.headers {
            let name = axum::http::HeaderName::try_from(name.as_str());
            let value = value
                .as_str()
                .and_then(|value| axum::http::HeaderValue::from_str(value).ok());
            if let (Ok(name), Some(value)) = (name, value) {
                call.headers.insert(name, value);
            }
        }
        let fault = self.fault(caller);
        if let Some(Fault::Status(failure)) = &fault {
            return Ok(failed(failure));
        }
        let segments = call.segments();
        let ["services", "data", version, rest @ ..] = segments.as_slice() else {
            return Err(Refusal::not_found());
        };
        let caller = Caller {
            app: caller.app,
            version: supported(version)?,
            origin: caller.origin.clone(),
        };
        let reply = part(&caller, access, &call, rest)?;
        Ok(match fault {
            Some(Fault::Edit { edit }) => edit.apply(reply),
            _ => reply,
        })
    }

    /// What a rule does to a part that reads rows, or an object's description or changes.
    fn fault(&self, caller: &Caller<'_>) -> Option<Fault> {
        let path = self.url.split('?').next().unwrap_or_default();
        let reads = ["/describe", "/updated/", "/deleted/", "/query", "/queryAll"]
            .iter()
            .any(|end| path.ends_with(end));
        if !reads {
            return None;
        }
        let org = &caller.app.org;
        let occasion = Occasion::Request {
            method: &self.method,
            path: &self.url,
        };
        org.faults().meet(&occasion, org.clock().now())
    }

    fn shown(&self, reply: &Reply) -> Json {
        let headers = match &reply.location {
            Some(location) => json!({ "Location": location }),
            None => json!({}),
        };
        let body = match &reply.content {
            Content::Raw(_, bytes) => json!(format!("{RAW}{}", URL_SAFE_NO_PAD.encode(bytes))),
            _ => reply.body(),
        };
        json!({
            "body": body, "httpHeaders": headers,
            "httpStatusCode": reply.status, "referenceId": self.reference,
        })
    }
}

pub fn composite(caller: &Caller<'_>, call: &Call) -> Answer {
    let body = call.json()?;
    let parts = parts_of(&body)?;
    if parts.len() > PARTS_MAX {
        return Ok(over_limit("The request can’t contain more than 25 operations."));
    }
    if parts.iter().filter(|part| part.is_heavy()).count() > HEAVY_PARTS_MAX {
        return Ok(over_limit(
            "The request can’t contain more than 5 sObject Collections or query operations.",
        ));
    }
    let all_or_none = body["allOrNone"].as_bool().unwrap_or(false);
    let shown = if all_or_none {
        together(caller, &parts)
    } else {
        apart(caller, &parts)
    };
    let reply = Reply::ok(json!({ "compositeResponse": shown }));
    Ok(with_raw_bodies(reply))
}

/// Puts bodies that a rule broke among the others, byte for byte.
fn with_raw_bodies(reply: Reply) -> Reply {
    let text = reply.body().to_string();
    let mark = format!("\"{}", json!(RAW).to_string().trim_matches('"'));
    let mut pieces = text.split(mark.as_str());
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    let mut is_raw = false;
    for piece in pieces {
        let (raw, rest) = piece.split_once('"').unwrap_or_default();
        bytes.extend(URL_SAFE_NO_PAD.decode(raw).unwrap_or_default());
        bytes.extend(rest.as_bytes());
        is_raw = true;
    }
    if !is_raw {
        return reply;
    }
    Reply {
        content: Content::Raw("application/json;charset=UTF-8", bytes),
        ..reply
    }
}

fn parts_of(json: &Json) -> Result<Vec<Part>, Refusal> {
    let parts = json["compositeRequest"].as_array();
    let parts = parts.ok_or_else(|| Refusal::parser("compositeRequest is no JSON array"))?;
    let parts = parts.iter().map(Part::read).collect::<Result<Vec<_>, _>>()?;
    let mut names: Vec<&str> = parts.iter().map(|part| part.reference.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => {
            let message = format!("Duplicate referenceId ('{}') provided.", pair[0]);
            Err(Refusal::new(400, "INVALID_INPUT", message))
        }
        None => Ok(parts),
    }
}

/// The platform's answer to a request over a limit: one result without a name.
fn over_limit(message: &str) -> Reply {
    Reply::ok(json!({ "compositeResponse": [limit_result(message)] }))
}

fn limit_result(message: &str) -> Json {
    json!({
        "body": [{ "errorCode": "LIMIT_EXCEEDED", "message": message }],
        "httpHeaders": {}, "httpStatusCode": 400, "referenceId": null,
    })
}

/// Each part by itself: what fails fails alone, and so does what refers to it.
fn apart(caller: &Caller<'_>, parts: &[Part]) -> Vec<Json> {
    let org = &caller.app.org;
    let mut results = Results::default();
    let mut shown = Vec::with_capacity(parts.len());
    for part in parts {
        let answer = if part.reads() {
            org.read(|records| part.run(caller, &mut Access::Read(records), &results))
        } else {
            org.transact(&caller.origin, |transaction| {
                part.run(caller, &mut Access::Write(transaction), &results)
            })
        };
        let reply = answer.unwrap_or_else(Reply::from);
        results.note(&part.reference, &reply);
        shown.push(part.shown(&reply));
    }
    shown
}

/// The part that failed, by position, and its answer.
struct Failure {
    at: usize,
    reply: Box<Reply>,
}

/// All parts in one transaction, in this order.
fn run_all(caller: &Caller<'_>, parts: &[Part], order: &[usize]) -> Result<Vec<Reply>, Failure> {
    caller.app.org.transact(&caller.origin, |transaction| {
        let mut results = Results::default();
        let mut replies: Vec<Option<Reply>> = vec![None; parts.len()];
        for at in order {
            let part = &parts[*at];
            let answer = part.run(caller, &mut Access::Write(transaction), &results);
            let reply = answer.unwrap_or_else(Reply::from);
            if reply.status >= 300 || reply.partly_failed {
                return Err(Failure {
                    at: *at,
                    reply: Box::new(reply),
                });
            }
            results.note(&part.reference, &reply);
            replies[*at] = Some(reply);
        }
        Ok(replies.into_iter().flatten().collect())
    })
}

/// All parts or none: after a failure every other part says that it was halted.
fn together(caller: &Caller<'_>, parts: &[Part]) -> Vec<Json> {
    let order: Vec<usize> = (0..parts.len()).collect();
    match run_all(caller, parts, &order) {
        Ok(replies) => parts
            .iter()
            .zip(&replies)
            .map(|(part, reply)| part.shown(reply))
            .collect(),
        Err(failure) => {
            let halted = json!([{ "errorCode": "PROCESSING_HALTED", "message": HALTED }]);
            let halted = Reply::json(400, halted);
            let mut culprit = *failure.reply;
            culprit.status = culprit.status.max(400);
            let show =
                |(at, part): (usize, &Part)| part.shown(if at == failure.at { &culprit } else { &halted });
            parts.iter().enumerate().map(show).collect()
        }
    }
}

pub fn graph(caller: &Caller<'_>, call: &Call) -> Answer {
    let body = call.json()?;
    let graphs = body["graphs"]
        .as_array()
        .ok_or_else(|| Refusal::parser("graphs is no JSON array"))?;
    if graphs.len() > GRAPHS_MAX {
        let message = format!("Limit of {GRAPHS_MAX} reached for number of Graphs in the payload");
        return Err(Refusal::new(400, "LIMIT_EXCEEDED", message));
    }
    let mut nodes = 0;
    let mut answers = Vec::with_capacity(graphs.len());
    for graph in graphs {
        let id = graph["graphId"]
            .as_str()
            .ok_or_else(|| Refusal::parser("a graph has no graphId"))?;
        let parts = parts_of(graph)?;
        nodes += parts.len();
        let (shown, successful) = one_graph(caller, &parts, nodes);
        answers.push(json!({
            "graphId": id, "graphResponse": { "compositeResponse": shown }, "isSuccessful": successful,
        }));
    }
    Ok(Reply::ok(json!({ "graphs": answers })))
}

fn one_graph(caller: &Caller<'_>, parts: &[Part], nodes: usize) -> (Vec<Json>, bool) {
    if nodes > NODES_MAX {
        let message = format!("Limit of {NODES_MAX} reached for number of Nodes in the Graph");
        return (vec![limit_result(&message)], false);
    }
    let mut kinds: Vec<(&str, &str)> = parts
        .iter()
        .map(|part| (part.method.as_str(), node_type(part)))
        .collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.len() > NODE_KINDS_MAX {
        let message = format!("Limit of {NODE_KINDS_MAX} reached for number of distinct Nodes in the Graph");
        return (vec![limit_result(&message)], false);
    }
    let outcome = match dependency_order(parts) {
        Ok(order) if parts.iter().all(|part| part.resource().starts_with("sobjects/")) => {
            run_all(caller, parts, &order).map_err(|failure| *failure.reply)
        }
        Ok(_) => Err(Refusal::new(
            400,
            "INVALID_INPUT",
            "A graph can contain only sObject Rows resources.",
        )
        .into()),
        Err(refusal) => Err(refusal.into()),
    };
    match outcome {
        Ok(replies) => (
            parts
                .iter()
                .zip(&replies)
                .map(|(part, reply)| part.shown(reply))
                .collect(),
            true,
        ),
        // Every node of a failed graph shows the failure that ended it.
        Err(mut reply) => {
            reply.status = reply.status.max(400);
            (parts.iter().map(|part| part.shown(&reply)).collect(), false)
        }
    }
}

fn node_type(part: &Part) -> &str {
    part.resource().split('/').nth(1).unwrap_or_default()
}

/// Positions such that each part comes after those it refers to; otherwise as given.
fn dependency_order(parts: &[Part]) -> Result<Vec<usize>, Refusal> {
    let needs: Vec<Vec<usize>> = parts
        .iter()
        .map(|part| {
            let names = references(&part.url, part.body.as_ref());
            names
                .iter()
                .filter_map(|name| parts.iter().position(|other| other.reference == *name))
                .collect()
        })
        .collect();
    let mut done = vec![false; parts.len()];
    let mut order = Vec::with_capacity(parts.len());
    while order.len() < parts.len() {
        let before = order.len();
        for at in 0..parts.len() {
            if !done[at] && needs[at].iter().all(|need| done[*need]) {
                done[at] = true;
                order.push(at);
            }
        }
        if order.len() == before {
            return Err(Refusal::new(
                400,
                "INVALID_INPUT",
                "The nodes of the graph refer to each other in a circle.",
            ));
        }
    }
    Ok(order)
}
