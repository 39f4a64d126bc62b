//! What goes wrong, and how the org or the machine is made to do it.

use serde_json::{Value, json};

/// How a fault is made.
#[derive(Clone, Copy)]
pub enum Make {
    /// Rules of the sandbox.
    Rules(fn() -> Value),
    /// No object is selected for change events any more: the stream goes on, and is empty.
    NothingSelected,
    /// The wall clock is set by so much at the beginning, and back at the end.
    WallBy(i64),
    /// The machine sleeps for so long, and wakes.
    Suspended(i64),
    /// The daemon ends, and comes back when so much time has passed.
    Restart(i64),
    /// Cache and journal are lost while the daemon is off, and one object cannot be read when it is loaded anew.
    HalfLoaded,
    /// Records change and the org tells only that they did; they cannot be read. The wall clock is set by so much meanwhile.
    Backlog(i64),
}

pub struct Fault {
    pub name: &'static str,
    pub make: Make,
    /// How long after its end the daemon may wait before it tries again, in moved time.
    pub pause_millis: i64,
}

const fn fault(name: &'static str, make: Make) -> Fault {
    Fault {
        name,
        make,
        pause_millis: 0,
    }
}

/// Of changes that no event tells the org's lists are asked, and asked again after five minutes; a stream that is silent from
/// its beginning is taken for dead after as long.
const fn untold(name: &'static str, make: Make) -> Fault {
    Fault {
        name,
        make,
        pause_millis: 7 * MINUTE,
    }
}

const MINUTE: i64 = 60_000;

pub const FAULTS: [Fault; 19] = [
    Fault {
        name: "login refused",
        make: Make::Rules(|| {
            json!([{"path": "/oauth2/token", "fault": {"status": 400, "body": r#"{"error":"invalid_grant","error_description":"authentication failure"}"#}},
                {"path": "/services/data", "times": 1, "fault": "expire_sessions"},
                {"rpc": "Subscribe", "on": "now", "times": 1, "fault": "revoke_token"}])
        }),
        // A user who is locked out is worse off than one who waits.
        pause_millis: 15 * MINUTE,
    },
    fault(
        "org unreachable",
        Make::Rules(|| {
            json!([{"path": "/services", "fault": "drop_before"}, {"rpc": "*", "on": "now", "fault": "unavailable"},
                {"rpc": "*", "on": "call", "fault": "unavailable"}])
        }),
    ),
    fault(
        "queries refused",
        Make::Rules(|| json!({"path": "/query", "fault": {"status": 403, "code": "INSUFFICIENT_ACCESS"}})),
    ),
    fault(
        "lists unavailable",
        Make::Rules(|| json!({"path": "/composite", "fault": {"status": 503}})),
    ),
    untold(
        "stream silent",
        Make::Rules(
            || json!([{"rpc": "Subscribe", "on": "now", "fault": "silence"}, {"rpc": "Subscribe", "on": "call", "fault": "silence"}]),
        ),
    ),
    untold("stream alive but empty", Make::NothingSelected),
    untold(
        "schema refused",
        Make::Rules(
            || json!([{"rpc": "GetSchema", "fault": "service_unavailable"}, {"rpc": "Subscribe", "on": "events", "fault": "unknown_schema"}]),
        ),
    ),
    fault(
        "poll stuck",
        Make::Rules(
            || json!([{"path": "/query", "fault": {"delay_ms": 86_400_000}}, {"path": "/composite", "fault": {"delay_ms": 86_400_000}}]),
        ),
    ),
    fault("half loaded", Make::HalfLoaded),
    fault("repair backlog", Make::Backlog(0)),
    fault(
        "repair backlog, and the wall clock set back by an hour",
        Make::Backlog(-60 * MINUTE),
    ),
    fault(
        "dates of a proxy, years ahead",
        Make::Rules(
            || json!({"path": "/services", "fault": {"edit": {"headers": {"date": "Sun, 29 Nov 2037 12:00:00 GMT"}}}}),
        ),
    ),
    fault(
        "dates of a proxy, long past",
        Make::Rules(
            || json!({"path": "/services", "fault": {"edit": {"headers": {"date": "Wed, 29 Nov 2017 12:00:00 GMT"}}}}),
        ),
    ),
    fault("wall clock set ahead by an hour", Make::WallBy(60 * MINUTE)),
    fault("wall clock set back by an hour", Make::WallBy(-60 * MINUTE)),
    fault("suspended for ten minutes", Make::Suspended(10 * MINUTE)),
    fault("restart", Make::Restart(0)),
    fault("off for four minutes", Make::Restart(4 * MINUTE)),
    fault(
        "slow answers",
        Make::Rules(|| json!({"path": "/services/data", "fault": {"delay_ms": 600}})),
    ),
];
