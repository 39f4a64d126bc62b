//! The org's error codes as far as they are known: what each means for an order, and for the person who reads
//! it. Codes that are not listed go by the status of the answer.

/// How often an order is tried whose cause may lie in the order after all.
const DOUBTFUL_ATTEMPTS_MAX: u32 = 3;
/// The ways in which listed codes are treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Soon(Option<u32>),
    Later(Option<u32>),
    Ambiguous,
    OrgWide,
    Refused,
}

/// The code, its class, and what a person is told to do.
pub(super) const CODES: &[(&str, Class, &str)] = {
    use Class::{Ambiguous, Later, OrgWide, Refused, Soon};
    const DOUBTFUL: Option<u32> = Some(DOUBTFUL_ATTEMPTS_MAX);
    &[
        (
            "UNABLE_TO_LOCK_ROW",
            Soon(None),
            "another change holds the customer's records; it is tried again",
        ),
        (
            "QUERY_TIMEOUT",
            Soon(None),
            "the org was too slow; it is tried again",
        ),
        (
            "SERVER_UNAVAILABLE",
            Ambiguous,
            "the org is overloaded; it is looked up and tried again",
        ),
        (
            "UNKNOWN_EXCEPTION",
            Ambiguous,
            "the org failed; it is looked up and tried again",
        ),
        (
            "REQUEST_LIMIT_EXCEEDED",
            OrgWide,
            "the org's API allowance is used up, or too many calls run at once; it is tried again",
        ),
        (
            "API_CURRENTLY_DISABLED",
            OrgWide,
            "the org is in maintenance; sending goes on after it",
        ),
        (
            "API_DISABLED_FOR_ORG",
            OrgWide,
            "enable the API for the org and the user",
        ),
        (
            "INVALID_LOGIN",
            OrgWide,
            "the org refuses the user: check the login settings under [org], and the user in the org",
        ),
        (
            "INVALID_OPERATION_WITH_EXPIRED_PASSWORD",
            OrgWide,
            "the user's password has expired: set a new one in the org",
        ),
        ("PASSWORD_LOCKOUT", OrgWide, "unlock the user in the org"),
        (
            "LOGIN_DURING_RESTRICTED_TIME",
            OrgWide,
            "widen the login hours of the user's profile",
        ),
        (
            "LOGIN_DURING_RESTRICTED_DOMAIN",
            OrgWide,
            "add this machine's address to the login ranges of the user's profile",
        ),
        (
            "CLIENT_NOT_ACCESSIBLE_FOR_USER",
            OrgWide,
            "give the user access to the connected app",
        ),
        ("ORG_LOCKED", OrgWide, "the org is locked: ask Salesforce"),
        ("TRIAL_EXPIRED", OrgWide, "the org's trial has ended"),
        (
            "FUNCTIONALITY_TEMPORARILY_UNAVAILABLE",
            OrgWide,
            "the org is in maintenance; sending goes on after it",
        ),
        ("UNSUPPORTED_API_VERSION", OrgWide, "check org.api_version"),
        (
            "INVALID_SESSION_ID",
            OrgWide,
            "check the login settings under [org]",
        ),
        (
            "INVALID_AUTH_HEADER",
            OrgWide,
            "check the login settings under [org]",
        ),
        (
            "STORAGE_LIMIT_EXCEEDED",
            OrgWide,
            "the org's storage is full: free some or buy more",
        ),
        (
            "TXN_SECURITY_METERING_ERROR",
            Later(None),
            "the org's transaction security policies are too slow: simplify them",
        ),
        (
            "APEX_ERROR",
            Later(DOUBTFUL),
            "Apex in the org failed: mend it there, then retry",
        ),
        (
            "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
            Later(DOUBTFUL),
            "a trigger in the org failed: mend it there, then retry",
        ),
        (
            "CANNOT_EXECUTE_FLOW_TRIGGER",
            Later(DOUBTFUL),
            "a flow in the org failed: mend it there, then retry",
        ),
        (
            "DUPLICATES_DETECTED",
            Refused,
            "a duplicate rule of the org takes the customer for another: give the order that person's key (`storesync orders edit`, customer.external_id) or let the rule allow saving, then retry",
        ),
        (
            "REQUIRED_FIELD_MISSING",
            Refused,
            "give the field a value or a default in the org, then retry",
        ),
        (
            "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            Refused,
            "a validation rule of the org stopped it: change the order or the rule, then retry",
        ),
        (
            "STRING_TOO_LONG",
            Refused,
            "shorten the value (`storesync orders edit`), then retry",
        ),
        (
            "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
            Refused,
            "add the value to the picklist in the org, then retry",
        ),
        (
            "INVALID_FIELD",
            Refused,
            "the org has no such field for the user: check its permissions, then retry",
        ),
        (
            "INVALID_FIELD_FOR_INSERT_UPDATE",
            Refused,
            "give the user write access to the field, then retry",
        ),
        (
            "INVALID_TYPE",
            Refused,
            "enable orders in the org and give the user access, then retry",
        ),
        (
            "INVALID_TYPE_ON_FIELD_IN_RECORD",
            Refused,
            "correct the value's type (`storesync orders edit`), then retry",
        ),
        (
            "JSON_PARSER_ERROR",
            Refused,
            "correct the value (`storesync orders edit`), then retry",
        ),
        (
            "MALFORMED_ID",
            Refused,
            "correct the id (`storesync orders edit`), then retry",
        ),
        (
            "NUMBER_OUTSIDE_VALID_RANGE",
            Refused,
            "correct the number (`storesync orders edit`), then retry",
        ),
        (
            "INVALID_EMAIL_ADDRESS",
            Refused,
            "correct the address (`storesync orders edit`), then retry",
        ),
        (
            "INVALID_CROSS_REFERENCE_KEY",
            Refused,
            "the record it names is not there for the user: restore it or give access, then retry",
        ),
        (
            "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
            Refused,
            "give the user access to the record it names, then retry",
        ),
        (
            "INSUFFICIENT_ACCESS_OR_READONLY",
            Refused,
            "give the user access, then retry",
        ),
        ("INSUFFICIENT_ACCESS", Refused, "give the user access, then retry"),
        (
            "TXN_SECURITY_NO_ACCESS",
            Refused,
            "a transaction security policy blocks the user: exempt it, then retry",
        ),
        (
            "ENTITY_IS_DELETED",
            Refused,
            "restore the record it names, then retry",
        ),
        (
            "ENTITY_IS_LOCKED",
            Refused,
            "unlock the record in the org, then retry",
        ),
        (
            "NOT_FOUND",
            Refused,
            "check orders.external_id_field and the user's permissions, then retry",
        ),
        (
            "FAILED_ACTIVATION",
            Refused,
            "let the org's default order status be a draft one, then retry",
        ),
        (
            "FIELD_INTEGRITY_EXCEPTION",
            Refused,
            "check the price book, its entries and their currency in the org, then retry",
        ),
        (
            "FIELD_FILTER_VALIDATION_EXCEPTION",
            Refused,
            "a lookup filter of the org stopped it: change the filter or the order, then retry",
        ),
        (
            "SELF_REFERENCE_FROM_TRIGGER",
            Refused,
            "a trigger in the org changes its own record: mend it there, then retry",
        ),
        (
            "INACTIVE_OWNER_OR_USER",
            Refused,
            "activate the owner or choose another in the org, then retry",
        ),
        (
            "INVALID_CURRENCY_ISO",
            Refused,
            "activate the currency in the org, then retry",
        ),
        (
            "LIMIT_EXCEEDED",
            Refused,
            "the order has too many parts for one request: split it",
        ),
        (
            "EXCEEDED_ID_LIMIT",
            Refused,
            "the order has too many parts for one request: split it",
        ),
        ("METHOD_NOT_ALLOWED", Refused, "check org.api_version"),
    ]
};
