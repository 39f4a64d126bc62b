//! The one platform event of the org, which clients may publish.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use crate::files::PLATFORM_EVENT_TOPIC;

/// What GetTopic and GetSchema tell of it.
pub struct PlatformEvent {
    pub schema_id: String,
    pub schema_json: String,
}

impl PlatformEvent {
    pub fn new() -> Self {
        let name = PLATFORM_EVENT_TOPIC.trim_start_matches("/event/");
        let fields = json!([
            {"name": "CreatedDate", "type": "long", "doc": "CreatedDate:DateTime"},
            {"name": "CreatedById", "type": "string", "doc": "CreatedBy:EntityId"},
            {"name": "Message__c", "type": ["null", "string"], "doc": "Data:Text:00NSb0000000EVT", "default": null},
        ]);
        let schema =
            json!({"type": "record", "name": name, "namespace": "com.sforce.eventbus", "fields": fields});
        let schema_json = schema.to_string();
        let digest = digest::digest(&digest::SHA256, schema_json.as_bytes());
        Self {
            schema_id: URL_SAFE_NO_PAD.encode(&digest.as_ref()[..16]),
            schema_json,
        }
    }
}
