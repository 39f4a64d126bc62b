//! Answers as they come, and what each leads to.

use super::*;
use serde_json::json;

fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::RetrySoon { .. } => "soon",
        Verdict::RetryLater { .. } => "later",
        Verdict::ReadBack { .. } => "read back",
        Verdict::PauseLane { .. } => "pause",
        Verdict::Unanswered { .. } => "unanswered",
        Verdict::Hold { .. } => "hold",
        Verdict::Overtaken { .. } => "overtaken",
        Verdict::NeedsAttention { .. } => "attention",
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
        "duplicate value found: external_id__c duplicates value on record with id: 801",
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
        let body = json!([{"errorCode": code, "message": message, "fields": null}]);
        let parts = [
            part("account", 200, json!({"id": "001"})),
            part("record", status, body),
        ];
        let verdict = of_results(&parts, "External_ID__c").unwrap_err();
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

/// Answers to a whole request, as the org, its edge and what stands before it give them: status, body, verdict.
const ANSWERS: &[(u16, &str, &str)] = &[
    // The org, about the request: of a record it says nothing.
    (
        400,
        r#"[{"message":"The Name__c field should not be specified in the sobject data.","errorCode":"INVALID_FIELD"}]"#,
        "unanswered",
    ),
    (
        400,
        r#"[{"message":"Unexpected character ('}' (code 125)) at [line:1, column:9]","errorCode":"JSON_PARSER_ERROR"}]"#,
        // What is sent is always JSON: something on the way has cut it.
        "unanswered",
    ),
    (
        400,
        r#"[{"message":"Required fields are missing: [Name]","errorCode":"REQUIRED_FIELD_MISSING","fields":["Name"]}]"#,
        "unanswered",
    ),
    (
        400,
        r#"[{"message":"duplicate value found: External_ID__c duplicates value on record with id: 801000000000001","errorCode":"DUPLICATE_VALUE","fields":[]}]"#,
        "read back",
    ),
    (
        400,
        r#"[{"message":"a code of next year","errorCode":"SOMETHING_NEW"}]"#,
        "unanswered",
    ),
    (
        400,
        r#"{"message":"as an object","errorCode":"STRING_TOO_LONG"}"#,
        "unanswered",
    ),
    (
        400,
        r#"[{"message":"too many parts","errorCode":"LIMIT_EXCEEDED"}]"#,
        "attention",
    ),
    (
        400,
        r#"[{"message":"no","errorCode":"FIELD_CUSTOM_VALIDATION_EXCEPTION","fields":[]}]"#,
        "unanswered",
    ),
    (
        500,
        r#"[{"message":"trigger failed","errorCode":"APEX_ERROR"}]"#,
        "unanswered",
    ),
    (
        300,
        r#"["/services/data/v67.0/sobjects/Order/801000000000001AAA","/services/data/v67.0/sobjects/Order/801000000000002AAA"]"#,
        "attention",
    ),
    // The org, about a moment.
    (
        400,
        r#"[{"message":"unable to obtain exclusive access to this record or 1 records: 001000000000001","errorCode":"UNABLE_TO_LOCK_ROW","fields":[]}]"#,
        "soon",
    ),
    (
        500,
        r#"[{"message":"unable to obtain exclusive access to this record","errorCode":"UNABLE_TO_LOCK_ROW","fields":[]}]"#,
        "soon",
    ),
    (
        500,
        r#"[{"message":"An unexpected error occurred. Please include this ErrorId if you contact support: 1-1 (1)","errorCode":"UNKNOWN_EXCEPTION"}]"#,
        "read back",
    ),
    (
        503,
        r#"[{"message":"Server Unavailable","errorCode":"SERVER_UNAVAILABLE"}]"#,
        "read back",
    ),
    (
        503,
        r#"{"message":"Server too busy","errorCode":"SERVER_UNAVAILABLE"}"#,
        "read back",
    ),
    (
        500,
        r#"[{"message":"a code of next year","errorCode":"SOMETHING_NEW"}]"#,
        "read back",
    ),
    // The org, about the user, the API or the address.
    (
        401,
        r#"[{"message":"Session expired or invalid","errorCode":"INVALID_SESSION_ID"}]"#,
        "pause",
    ),
    (
        401,
        r#"[{"message":"INVALID_HEADER_TYPE","errorCode":"INVALID_AUTH_HEADER"}]"#,
        "pause",
    ),
    (
        400,
        r#"[{"message":"Invalid username, password, security token; or user locked out.","errorCode":"INVALID_LOGIN"}]"#,
        "pause",
    ),
    (
        403,
        r#"[{"message":"The REST API is not enabled for this Organization.","errorCode":"API_DISABLED_FOR_ORG"}]"#,
        "pause",
    ),
    (
        403,
        r#"[{"message":"The users password has expired, you must call SetPassword before attempting any other API operations","errorCode":"INVALID_OPERATION_WITH_EXPIRED_PASSWORD"}]"#,
        "pause",
    ),
    (
        403,
        r#"[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#,
        "pause",
    ),
    (
        403,
        r#"[{"message":"ConcurrentRequests (Concurrent API Requests) Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]"#,
        "pause",
    ),
    (
        403,
        r#"[{"message":"insufficient access rights on object id","errorCode":"INSUFFICIENT_ACCESS_OR_READONLY","fields":[]}]"#,
        "pause",
    ),
    (
        403,
        r#"[{"message":"This feature is not currently enabled for this user.","errorCode":"INSUFFICIENT_ACCESS"}]"#,
        "pause",
    ),
    (
        403,
        r#"[{"message":"a policy blocks it","errorCode":"TXN_SECURITY_NO_ACCESS"}]"#,
        "pause",
    ),
    (
        403,
        r#"[{"message":"storage limit exceeded","errorCode":"STORAGE_LIMIT_EXCEEDED"}]"#,
        "pause",
    ),
    (
        403,
        r#"[{"message":"a code of next year","errorCode":"SOMETHING_NEW"}]"#,
        "pause",
    ),
    (
        404,
        r#"[{"message":"The requested resource does not exist","errorCode":"NOT_FOUND"}]"#,
        "pause",
    ),
    (
        405,
        r#"[{"message":"HTTP Method 'POST' not allowed. Allowed are GET","errorCode":"METHOD_NOT_ALLOWED"}]"#,
        "pause",
    ),
    (
        410,
        r#"[{"message":"API version 30.0 has been retired","errorCode":"UNSUPPORTED_API_VERSION"}]"#,
        "pause",
    ),
    (
        503,
        r#"[{"message":"the API is off for maintenance","errorCode":"API_CURRENTLY_DISABLED"}]"#,
        "pause",
    ),
    // Pages and texts of the edge, of proxies, gateways and sign-ins.
    (
        200,
        "<!DOCTYPE html><html><head><title>Sign in</title></head></html>",
        "unanswered",
    ),
    (200, "", "unanswered"),
    (204, "", "unanswered"),
    (301, "", "unanswered"),
    (
        302,
        "<html><body>Moved to <a href=\"https://login.corp.example/\">here</a></body></html>",
        "unanswered",
    ),
    (307, "", "unanswered"),
    (
        400,
        "<html>\r\n<head><title>400 Bad Request</title></head>\r\n<center>nginx</center>\r\n</html>",
        "unanswered",
    ),
    (400, "Bad Request", "unanswered"),
    (401, "<html><h1>Authentication required</h1></html>", "unanswered"),
    (401, "", "unanswered"),
    (
        403,
        "<html><body><h1>403 Forbidden</h1>Request forbidden by administrative rules.</body></html>",
        "unanswered",
    ),
    (403, r#"{"message":"Forbidden"}"#, "unanswered"),
    (
        403,
        r#"{"statusCode":403,"message":"Access denied due to policy"}"#,
        "unanswered",
    ),
    (403, "", "unanswered"),
    (404, "404 page not found", "unanswered"),
    (
        404,
        r#"{"message":"no Route matched with those values"}"#,
        "unanswered",
    ),
    (
        407,
        "<html><body>Proxy Authentication Required</body></html>",
        "unanswered",
    ),
    (408, "", "unanswered"),
    (410, "<html><body>Gone</body></html>", "unanswered"),
    (
        413,
        "<html><center><h1>413 Request Entity Too Large</h1></center></html>",
        "unanswered",
    ),
    (
        420,
        "<html><body>We are setting things up. This process can take a few minutes...</body></html>",
        "unanswered",
    ),
    (429, "Too many requests", "unanswered"),
    (
        500,
        "<html><body>Internal Server Error</body></html>",
        "unanswered",
    ),
    (
        502,
        "<html>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n</html>",
        "unanswered",
    ),
    (
        503,
        "upstream connect error or disconnect/reset before headers. reset reason: connection failure",
        "unanswered",
    ),
    (
        503,
        "<html><body>We are down for maintenance.</body></html>",
        "unanswered",
    ),
    (504, r#"{"message":"Endpoint request timed out"}"#, "unanswered"),
    (520, "error code: 520", "unanswered"),
];

#[test]
fn only_the_org_s_own_error_about_the_record_counts_against_a_write() {
    assert!(ANSWERS.len() >= 40);
    for &(status, body, expected) in ANSWERS {
        let error = Error::of_answer("/services/data/v67.0/composite", status, body.as_bytes());
        assert_eq!(
            name(&of_error(&error, "External_ID__c")),
            expected,
            "{status} {body}"
        );
    }
}

#[test]
fn records_under_one_external_id_are_named() {
    let paths: Vec<String> = (1..=5)
        .map(|at| format!("/services/data/v67.0/sobjects/Order/80100000000000{at}AAA"))
        .collect();
    let parts = [part("record", 300, json!(paths))];
    let whole = Error::of_answer("/x", 300, json!(paths).to_string().as_bytes());
    for verdict in [
        of_results(&parts, "External_ID__c").unwrap_err(),
        of_error(&whole, "External_ID__c"),
    ] {
        let Verdict::NeedsAttention { problem } = verdict else {
            panic!("it is a person's matter: {verdict:?}");
        };
        assert_eq!(problem.code, "SEVERAL_RECORDS");
        let said = "5 records under one external id (801000000000001AAA, 801000000000002AAA, 801000000000003AAA and 2 more)";
        assert!(problem.message.contains(said), "{}", problem.message);
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
            "unanswered",
        ),
        (
            Error::Unreadable {
                url,
                reason: reason.clone(),
            },
            "unanswered",
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
    assert_eq!(
        name(&of_results(&[], "External_ID__c").unwrap_err()),
        "unanswered"
    );
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
    assert_eq!(name(&bystanders), "unanswered");
}
