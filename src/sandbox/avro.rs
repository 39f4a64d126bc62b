//! Change events in the platform's Avro form.
