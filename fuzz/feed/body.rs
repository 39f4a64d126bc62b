//! Any bytes as the body of an order or another write: what is read of it, or a sentence, and never a panic.
//!
//! What is taken is taken the same a second time, and no sentence is empty.

use storesync::model::body;
use storesync::model::order::parse::{self, Invalid};
use storesync::model::write::kinds;
use storesync::model::write::parse as write_parse;

/// The outcome as text, so that two can be compared.
fn told<T: std::fmt::Debug>(outcome: Result<T, Invalid>) -> String {
    match outcome {
        Ok(taken) => format!("{taken:?}"),
        Err(Invalid { message, .. }) => {
            assert!(!message.is_empty());
            message
        }
    }
}

pub fn feed(input: &[u8]) {
    let value = match body::read(input) {
        Ok(value) => value,
        Err(refusal) => {
            assert!(!refusal.sentence("the body").is_empty());
            return;
        }
    };
    let all = || {
        let mut all = vec![
            told(parse::order(&value, None)),
            told(parse::order(&value, Some("KEY-1"))),
            told(write_parse::order_update(&value, "KEY-1", None)),
            told(write_parse::customer_change(
                value.clone(),
                "C-1".to_owned(),
                "KEY-1",
            )),
        ];
        all.extend(
            kinds::SPECS
                .iter()
                .map(|spec| told(write_parse::entry(spec, &value, Some("KEY-1")))),
        );
        all
    };
    assert_eq!(all(), all());
}
