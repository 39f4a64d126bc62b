//! Tells from an answer what to do with a write next. One table, pure.
//!
//! The code of an error decides, then its text, the HTTP status last: the org sends one code with different
//! statuses. Codes are open-ended, so what is not listed goes by the status: a refusal needs a person, and
//! whatever may have been done in part or in whole is looked up before it is sent again.

mod codes;

use serde_json::Value;

use crate::model::order::Problem;
use crate::outbound::outcome::codes::{CODES, Class};
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
const SERVER_TROUBLE: [&str; 6] = [
    "SERVER_UNAVAILABLE",
    "UNKNOWN_EXCEPTION",
    "ANSWER_LOST",
    "ANSWER_UNREADABLE",
    "QUERY_TIMEOUT",
    "TXN_SECURITY_METERING_ERROR",
];

/// Whether a problem may be one of the whole org.
pub fn is_server_trouble(code: &str) -> bool {
    SERVER_TROUBLE.contains(&code) || code.starts_with("HTTP_5")
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
            | "NO_OBJECT"
            | "NO_KEY_FIELD"
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
        let own = errors_of(&part.body)
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
    Verdict::ReadBack {
        problem: Problem::new(
            "ANSWER_UNCLEAR",
            "the org's answer tells neither the record's id nor an error",
        ),
        attempts_max: Some(DUPLICATE_ATTEMPTS_MAX),
    }
}

fn errors_of(body: &Value) -> Vec<ApiError> {
    serde_json::from_value(body.clone()).unwrap_or_default()
}

/// The verdict on a request that failed as a whole.
pub fn of_error(error: &Error, key_field: &str) -> Verdict {
    let problem = |code: &str| Problem::new(code, error.to_string());
    match error {
        Error::Unreachable { .. } => Verdict::PauseLane {
            problem: problem("UNREACHABLE"),
        },
        Error::Login { .. } | Error::OtherOrg { .. } => Verdict::PauseLane {
            problem: problem("LOGIN_REFUSED"),
        },
        Error::Secret(_) => Verdict::PauseLane {
            problem: problem("SECRET_UNREADABLE"),
        },
        Error::AnswerLost { .. } | Error::Stream { .. } => Verdict::ReadBack {
            problem: problem("ANSWER_LOST"),
            attempts_max: Some(AMBIGUOUS_ATTEMPTS_MAX),
        },
        Error::Unreadable { .. } => Verdict::ReadBack {
            problem: problem("ANSWER_UNREADABLE"),
            attempts_max: Some(AMBIGUOUS_ATTEMPTS_MAX),
        },
        Error::Refused { status, errors } => match errors.first() {
            Some(first) => of_api_error(*status, first, key_field),
            None => of_status(*status, problem(&format!("HTTP_{status}"))),
        },
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
    if error.code == "REQUEST_LIMIT_EXCEEDED" && error.message.contains("Concurrent") {
        let problem = Problem::new(
            &error.code,
            sentence(error, "too many calls run at once; it is tried again"),
        );
        return Verdict::PauseLane { problem };
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

/// For answers whose code is unknown or missing.
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
mod tests {
    use super::*;
    use serde_json::json;

    fn name(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::RetrySoon { .. } => "soon",
            Verdict::RetryLater { .. } => "later",
            Verdict::ReadBack { .. } => "read back",
            Verdict::PauseLane { .. } => "pause",
            Verdict::NeedsAttention { .. } => "attention",
        }
    }

    fn refused(status: u16, code: &str, message: &str) -> Error {
        let error = ApiError {
            code: code.to_owned(),
            message: message.to_owned(),
            ..ApiError::default()
        };
        Error::Refused {
            status,
            errors: vec![error],
        }
    }

    /// Status, code, message, verdict.
    const CASES: &[(u16, &str, &str, &str)] = &[
        (
            400,
            "UNABLE_TO_LOCK_ROW",
            "unable to obtain exclusive access",
            "soon",
        ),
        (
            500,
            "UNABLE_TO_LOCK_ROW",
            "unable to obtain exclusive access",
            "soon",
        ),
        (
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "ConcurrentRequests (Concurrent API Requests) Limit exceeded.",
            "pause",
        ),
        (
            403,
            "REQUEST_LIMIT_EXCEEDED",
            "TotalRequests Limit exceeded.",
            "pause",
        ),
        (503, "SERVER_UNAVAILABLE", "Server Unavailable", "read back"),
        (503, "API_CURRENTLY_DISABLED", "", "pause"),
        (403, "API_DISABLED_FOR_ORG", "", "pause"),
        (400, "QUERY_TIMEOUT", "", "soon"),
        (
            500,
            "UNKNOWN_EXCEPTION",
            "An unexpected error occurred.",
            "read back",
        ),
        (403, "TXN_SECURITY_METERING_ERROR", "", "later"),
        (403, "TXN_SECURITY_NO_ACCESS", "", "attention"),
        (400, "EXCEEDED_ID_LIMIT", "", "attention"),
        (400, "LIMIT_EXCEEDED", "", "attention"),
        (403, "STORAGE_LIMIT_EXCEEDED", "", "pause"),
        (401, "INVALID_SESSION_ID", "", "pause"),
        (401, "INVALID_AUTH_HEADER", "", "pause"),
        (
            400,
            "DUPLICATE_VALUE",
            "duplicate value found: External_ID__c duplicates value on record with id: 801",
            "read back",
        ),
        (
            400,
            "DUPLICATE_VALUE",
            "duplicate value found: Tax_Number__c duplicates value on record",
            "attention",
        ),
        (
            400,
            "DUPLICATES_DETECTED",
            "You're creating a duplicate record.",
            "attention",
        ),
        (400, "REQUIRED_FIELD_MISSING", "Select an account.", "attention"),
        (400, "FIELD_CUSTOM_VALIDATION_EXCEPTION", "no", "attention"),
        (400, "STRING_TOO_LONG", "", "attention"),
        (400, "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", "", "attention"),
        (
            400,
            "INVALID_FIELD",
            "No such column 'X' on entity 'Order'",
            "attention",
        ),
        (
            400,
            "INVALID_FIELD",
            "Foreign key external ID: x not found for field External_ID__c in entity Account",
            "later",
        ),
        (400, "INVALID_FIELD_FOR_INSERT_UPDATE", "", "attention"),
        (404, "INVALID_TYPE", "", "attention"),
        (400, "JSON_PARSER_ERROR", "", "attention"),
        (400, "MALFORMED_ID", "", "attention"),
        (400, "NUMBER_OUTSIDE_VALID_RANGE", "", "attention"),
        (400, "INVALID_EMAIL_ADDRESS", "", "attention"),
        (400, "INVALID_CROSS_REFERENCE_KEY", "", "attention"),
        (403, "INSUFFICIENT_ACCESS_OR_READONLY", "", "attention"),
        (404, "ENTITY_IS_DELETED", "entity is deleted", "attention"),
        (400, "ENTITY_IS_LOCKED", "", "attention"),
        (404, "NOT_FOUND", "", "attention"),
        (400, "FAILED_ACTIVATION", "", "attention"),
        (400, "FIELD_INTEGRITY_EXCEPTION", "", "attention"),
        (
            400,
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            "trigger failed",
            "later",
        ),
        (
            400,
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            "first error: UNABLE_TO_LOCK_ROW, unable",
            "soon",
        ),
        (400, "CANNOT_EXECUTE_FLOW_TRIGGER", "UNABLE_TO_LOCK_ROW", "soon"),
        (500, "APEX_ERROR", "", "later"),
        (400, "INACTIVE_OWNER_OR_USER", "", "attention"),
        (400, "INVALID_CURRENCY_ISO", "", "attention"),
        (400, "A_CODE_OF_NEXT_YEAR", "", "attention"),
        (500, "A_CODE_OF_NEXT_YEAR", "", "read back"),
        (429, "A_CODE_OF_NEXT_YEAR", "", "later"),
    ];

    #[test]
    fn every_code_has_its_verdict() {
        for &(status, code, message, expected) in CASES {
            let verdict = of_error(&refused(status, code, message), "External_ID__c");
            assert_eq!(name(&verdict), expected, "{status} {code} {message}");
        }
    }

    #[test]
    fn a_duplicate_rule_s_sentence_names_whom_it_found_and_what_can_be_done() {
        for (allow_save, advice) in [(true, "orders.duplicates"), (false, "let the rule allow saving")] {
            let error = ApiError {
                code: "DUPLICATES_DETECTED".to_owned(),
                duplicate_result: Some(json!({
                    "allowSave": allow_save, "duplicateRule": "One_Person", "duplicateRuleEntityType": "Contact",
                    "matchResults": [{"matchRecords": [{"record": {"Id": "003A"}}, {"record": {"Id": "003B"}}]}],
                })),
                ..ApiError::default()
            };
            let Verdict::NeedsAttention { problem } = of_api_error(400, &error, "External_ID__c") else {
                panic!("it is a person's matter");
            };
            let said = &problem.message;
            assert!(
                said.contains("One_Person takes the customer for 003A, 003B"),
                "{said}"
            );
            assert!(said.contains(advice), "{said}");
        }
    }

    #[test]
    fn answers_without_a_code_go_by_their_status() {
        for (status, expected) in [
            (400, "attention"),
            (401, "pause"),
            (406, "later"),
            (420, "later"),
            (500, "read back"),
            (502, "read back"),
            (503, "read back"),
        ] {
            let error = Error::Refused {
                status,
                errors: Vec::new(),
            };
            assert_eq!(name(&of_error(&error, "External_ID__c")), expected, "{status}");
        }
    }

    #[test]
    fn what_never_left_is_not_looked_up_and_what_may_have_arrived_is() {
        let (url, reason) = (String::new(), String::new());
        for (error, expected) in [
            (
                Error::Unreachable {
                    url: url.clone(),
                    reason: reason.clone(),
                },
                "pause",
            ),
            (
                Error::AnswerLost {
                    url: url.clone(),
                    reason: reason.clone(),
                },
                "read back",
            ),
            (
                Error::Unreadable {
                    url,
                    reason: reason.clone(),
                },
                "read back",
            ),
            (
                Error::Login {
                    error: reason.clone(),
                    description: reason,
                },
                "pause",
            ),
        ] {
            assert_eq!(name(&of_error(&error, "External_ID__c")), expected, "{error}");
        }
    }

    fn part(reference: &str, status: u16, body: Value) -> PartResult {
        PartResult {
            reference: Some(reference.to_owned()),
            status,
            body,
        }
    }

    fn failure(reference: &str, code: &str) -> PartResult {
        part(reference, 400, json!([{"errorCode": code, "message": "m"}]))
    }

    #[test]
    fn the_record_s_id_is_taken_from_its_own_part() {
        let results = [
            part("account", 200, json!({"id": "001", "success": true})),
            part("record", 201, json!({"id": "801", "success": true})),
            part("item0", 201, json!({"id": "802", "success": true})),
        ];
        assert_eq!(of_results(&results, "External_ID__c"), Ok(()));
        assert_eq!(id_of(&results, "record").as_deref(), Some("801"));
        assert_eq!(id_of(&results[..1], "record"), None);
        assert_eq!(name(&of_results(&[], "External_ID__c").unwrap_err()), "read back");
    }

    #[test]
    fn bystanders_are_passed_over() {
        let results = [
            failure("account", "PROCESSING_HALTED"),
            failure("record", "ALL_OR_NONE_OPERATION_ROLLED_BACK"),
            failure("item0", "FIELD_INTEGRITY_EXCEPTION"),
            failure("item1", "PROCESSING_HALTED"),
        ];
        let Err(Verdict::NeedsAttention { problem }) = of_results(&results, "External_ID__c") else {
            panic!("a refused item needs a person");
        };
        assert_eq!(problem.code, "FIELD_INTEGRITY_EXCEPTION");
        assert!(problem.message.starts_with("m: check the price book"));
        let bystanders = of_results(&results[..2], "External_ID__c").unwrap_err();
        assert_eq!(name(&bystanders), "read back");
    }
}
