//! Tells from an answer what to do with a write next. One table, pure.
//!
//! Only the org's own error body for the record, or for the body that was sent, counts against a write. All else is
//! nobody's fault that is known: an answer that was lost, a page of a proxy, a gateway or a sign-in, a refusal of the user
//! or of the API. The write waits then, no attempt of it is spent, and it is looked up before it is sent again where it
//! may have arrived.
//!
//! Of an error body the code decides, then its text, the HTTP status last: the org sends one code with different
//! statuses. Codes are open-ended, so what is not listed goes by the status: a refusal needs a person, and
//! whatever may have been done in part or in whole is looked up before it is sent again.

mod codes;

use serde_json::Value;

use crate::model::order::Problem;
use crate::outbound::outcome::codes::{CODES, Class};
use crate::salesforce::error::record_ids;
use crate::salesforce::rest::PartResult;
use crate::salesforce::{ApiError, Error};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was written; the cause passes within seconds.
    RetrySoon {
        problem: Problem,
        attempts_max: Option<u32>,
    },
    /// Nothing was written; the cause passes within minutes or hours.
    RetryLater {
        problem: Problem,
        attempts_max: Option<u32>,
    },
    /// It may have been written: look it up before sending it again.
    ReadBack {
        problem: Problem,
        attempts_max: Option<u32>,
    },
    /// Nothing was written and no order would fare better now.
    PauseLane { problem: Problem },
    /// The org has not said what became of it: it may have been written, and it may be to blame or not.
    Unanswered { problem: Problem },
    /// It may still arrive, and would then undo what came after it: neither it nor what follows it is sent meanwhile.
    Hold { problem: Problem },
    /// The org has a later change of the record and refuses this one.
    Overtaken { problem: Problem },
    /// Trying again cannot help.
    NeedsAttention { problem: Problem },
}

/// How often an order is looked up that the org calls a duplicate and then does not find.
const DUPLICATE_ATTEMPTS_MAX: u32 = 5;
/// How often a write is tried that alone makes the org fail; trouble of the whole org does not count.
const AMBIGUOUS_ATTEMPTS_MAX: u32 = 10;
/// How often a parent that is not there yet is waited for.
const PARENT_ATTEMPTS_MAX: u32 = 10;

/// Most records that a sentence names.
const MATCHES_MAX: usize = 3;

/// Codes of trouble that is the org's rather than the write's. Where several writes meet it one after the other,
/// nothing is sent for a while.
const SERVER_TROUBLE: [&str; 4] = [
    "SERVER_UNAVAILABLE",
    "UNKNOWN_EXCEPTION",
    "QUERY_TIMEOUT",
    "TXN_SECURITY_METERING_ERROR",
];

/// Whether a problem may be one of the whole org.
pub fn is_server_trouble(code: &str) -> bool {
    SERVER_TROUBLE.contains(&code)
}

/// Whether what is known of the org's objects may be out of date.
pub fn is_outdated_shape(code: &str) -> bool {
    matches!(
        code,
        "INVALID_FIELD"
            | "INVALID_FIELD_FOR_INSERT_UPDATE"
            | "INVALID_TYPE"
            | "NOT_FOUND"
            | "FIELD_NOT_WRITABLE"
            | "NO_PERSON_TYPE"
            | "NO_OBJECT"
            | "NO_KEY_FIELD"
            | "FAILED_ACTIVATION"
            | "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST"
            | "STRING_TOO_LONG"
    )
}

/// Codes that tell of another part's failure.
const BYSTANDERS: [&str; 2] = ["PROCESSING_HALTED", "ALL_OR_NONE_OPERATION_ROLLED_BACK"];

/// The answer to the parts of a request that is all or none: nothing to say where all was done. `key_field` is
/// that of the record.
pub fn of_results(results: &[PartResult], key_field: &str) -> Result<(), Verdict> {
    let failed = |part: &&PartResult| !(200..300).contains(&part.status);
    let mut any_failed = results.is_empty();
    for part in results.iter().filter(failed) {
        any_failed = true;
        let records = record_ids(&part.body);
        if part.status == 300 && !records.is_empty() {
            return Err(several(&records));
        }
        let own = ApiError::all_of(&part.body)
            .into_iter()
            .find(|error| !BYSTANDERS.contains(&error.code.as_str()));
        if let Some(error) = own {
            return Err(of_api_error(part.status, &error, key_field));
        }
    }
    if any_failed { Err(unclear()) } else { Ok(()) }
}

/// The id that a part made or found.
pub fn id_of(results: &[PartResult], reference: &str) -> Option<String> {
    let part = results
        .iter()
        .find(|part| part.reference.as_deref() == Some(reference))?;
    let id = part.body.get("id").and_then(Value::as_str)?;
    Some(id.to_owned())
}

/// The ids of all records that parts made or found.
pub fn ids(results: &[PartResult]) -> impl Iterator<Item = String> {
    let ids = results.iter().filter_map(|part| part.body.get("id"));
    ids.filter_map(Value::as_str).map(str::to_owned)
}

/// Of an answer that tells neither an id nor an error.
pub fn unclear() -> Verdict {
    Verdict::Unanswered {
        problem: Problem::new(
            "ANSWER_UNCLEAR",
            "the org's answer tells neither the record's id nor an error; it is looked up and tried again",
        ),
    }
}

/// Of an external id that is not unique after all.
fn several(records: &[String]) -> Verdict {
    let shown = records.iter().take(MATCHES_MAX).cloned().collect::<Vec<_>>();
    let more = match records.len().saturating_sub(MATCHES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Verdict::NeedsAttention {
        problem: Problem::new(
            "SEVERAL_RECORDS",
            format!(
                "the org has {} records under one external id ({}{more}): merge them or take the id off all but one, make the field unique, then retry",
                records.len(),
                shown.join(", "),
            ),
        ),
    }
}

/// The verdict on a request that failed as a whole.
pub fn of_error(error: &Error, key_field: &str) -> Verdict {
    let problem = |code: &str| Problem::new(code, error.to_string());
    match error {
        Error::Unreachable { .. } => Verdict::PauseLane {
            problem: problem("UNREACHABLE"),
        },
        Error::LoginPaused {
            is_refused: false, ..
        } => Verdict::PauseLane {
            problem: problem("UNREACHABLE"),
        },
        Error::Login { .. } | Error::LoginPaused { .. } | Error::OtherOrg { .. } => Verdict::PauseLane {
            problem: problem("LOGIN_REFUSED"),
        },
        Error::Secret(_) => Verdict::PauseLane {
            problem: problem("SECRET_UNREADABLE"),
        },
        Error::AnswerLost { .. } | Error::Stream { .. } => Verdict::Unanswered {
            problem: problem("ANSWER_LOST"),
        },
        Error::Unreadable { .. } => Verdict::Unanswered {
            problem: problem("ANSWER_UNREADABLE"),
        },
        Error::NotTheApi { status, .. } => Verdict::Unanswered {
            problem: problem(&format!("HTTP_{status}")),
        },
        Error::SeveralRecords { records } => several(records),
        Error::Refused { status, errors } => match errors.first() {
            Some(first) => of_request(*status, first, key_field),
            None => Verdict::Unanswered {
                problem: problem(&format!("HTTP_{status}")),
            },
        },
    }
}

/// Codes of what is wrong with the body of a request, which is the write's own.
const OF_THE_BODY: [&str; 2] = ["LIMIT_EXCEEDED", "EXCEEDED_ID_LIMIT"];

/// The org's error about a request as a whole. The org refuses a record in the part that the record is in: what it says
/// of the whole names no record, and counts against the write only where the body itself is to blame. Statuses above
/// 400 tell of the user, the API or the address, whatever their code.
fn of_request(status: u16, error: &ApiError, key_field: &str) -> Verdict {
    match of_api_error(status, error, key_field) {
        Verdict::NeedsAttention { problem } if (401..500).contains(&status) => Verdict::PauseLane { problem },
        verdict if OF_THE_BODY.contains(&error.code.as_str()) => verdict,
        Verdict::NeedsAttention { .. }
        | Verdict::RetryLater {
            attempts_max: Some(_),
            ..
        } => {
            let advice = "the org said so of the request and of no record: it is looked up and tried again";
            Verdict::Unanswered {
                problem: Problem::new(&error.code, sentence(error, advice)),
            }
        }
        verdict => verdict,
    }
}

fn of_api_error(status: u16, error: &ApiError, key_field: &str) -> Verdict {
    if error.message.contains("UNABLE_TO_LOCK_ROW") && error.code != "UNABLE_TO_LOCK_ROW" {
        // Triggers and flows wrap the lock in an error of their own.
        let problem = Problem::new("UNABLE_TO_LOCK_ROW", sentence(error, "it is tried again"));
        return Verdict::RetrySoon {
            problem,
            attempts_max: None,
        };
    }
    if error.code == "DUPLICATE_VALUE" {
        return of_duplicate(error, key_field);
    }
    if error.code == "DUPLICATES_DETECTED" && error.duplicate_result.is_some() {
        let problem = Problem::new(&error.code, of_rule(error));
        return Verdict::NeedsAttention { problem };
    }
    if error.code == "INVALID_FIELD" && error.message.starts_with("Foreign key external ID") {
        let advice = "the record it refers to is not in the org yet; it is tried again";
        let problem = Problem::new(&error.code, sentence(error, advice));
        return Verdict::RetryLater {
            problem,
            attempts_max: Some(PARENT_ATTEMPTS_MAX),
        };
    }
    let Some(&(_, class, advice)) = CODES.iter().find(|(code, ..)| *code == error.code) else {
        return of_status(
            status,
            Problem::new(&error.code, sentence(error, "see the org's setup, then retry")),
        );
    };
    let problem = Problem::new(&error.code, sentence(error, advice));
    match class {
        Class::Soon(attempts_max) => Verdict::RetrySoon {
            problem,
            attempts_max,
        },
        Class::Later(attempts_max) => Verdict::RetryLater {
            problem,
            attempts_max,
        },
        Class::Ambiguous => Verdict::ReadBack {
            problem,
            attempts_max: Some(AMBIGUOUS_ATTEMPTS_MAX),
        },
        Class::OrgWide => Verdict::PauseLane { problem },
        Class::Refused => Verdict::NeedsAttention { problem },
    }
}

/// Our own key: an earlier attempt arrived, or another order has the key. Another field: a person's matter.
fn of_duplicate(error: &ApiError, key_field: &str) -> Verdict {
    let ours = error
        .message
        .to_ascii_lowercase()
        .contains(&key_field.to_ascii_lowercase());
    if ours {
        let problem = Problem::new(
            &error.code,
            sentence(error, "the org has the key already; it is looked up"),
        );
        return Verdict::ReadBack {
            problem,
            attempts_max: Some(DUPLICATE_ATTEMPTS_MAX),
        };
    }
    let advice = "another record has the value of a unique field: change one of the two, then retry";
    Verdict::NeedsAttention {
        problem: Problem::new(&error.code, sentence(error, advice)),
    }
}

/// What a duplicate rule found, and what can be done with it.
fn of_rule(error: &ApiError) -> String {
    let told = error.duplicate_result.as_ref().unwrap_or(&Value::Null);
    let text = |name: &str| told[name].as_str().unwrap_or_default();
    let results = told["matchResults"].as_array().into_iter().flatten();
    let records = results.flat_map(|result| result["matchRecords"].as_array().into_iter().flatten());
    let ids: Vec<&str> = records
        .filter_map(|found| found["record"]["Id"].as_str())
        .take(MATCHES_MAX)
        .collect();
    let found = if ids.is_empty() {
        "another record".to_owned()
    } else {
        ids.join(", ")
    };
    let entity = text("duplicateRuleEntityType");
    let rule = match told["allowSave"].as_bool() {
        Some(true) => "save it all the same with orders.duplicates = \"save\"",
        _ => "let the rule allow saving to the user",
    };
    format!(
        "the org's duplicate rule {} takes the customer for {found}: give the write that {entity}'s key (`storesync orders edit`, customer.external_id), or {rule}, then retry",
        text("duplicateRule"),
    )
}

/// For codes that are not listed.
fn of_status(status: u16, problem: Problem) -> Verdict {
    match status {
        401 => Verdict::PauseLane { problem },
        // 420: the instance is being set up; 406, 408, 429: proxies and gateways.
        406 | 408 | 420 | 429 => Verdict::RetryLater {
            problem,
            attempts_max: None,
        },
        400..=499 => Verdict::NeedsAttention { problem },
        _ => Verdict::ReadBack {
            problem,
            attempts_max: Some(AMBIGUOUS_ATTEMPTS_MAX),
        },
    }
}

/// What the org said, and what to do about it.
fn sentence(error: &ApiError, advice: &str) -> String {
    let said = error.message.trim().trim_end_matches('.');
    let fields = match error.fields.as_slice() {
        [] => String::new(),
        fields => format!(" [{}]", fields.join(", ")),
    };
    format!("{said}{fields}: {advice}")
}

#[cfg(test)]
mod tests;
