//! What the fuzzers keep goes through the same doors here, whole and cut off anywhere.

use std::path::Path;

#[path = "../../fuzz/feed/csv.rs"]
mod csv;
#[path = "../../fuzz/feed/decode.rs"]
mod decode;

fn cut_anywhere(corpus: &str, feed: impl Fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(corpus);
    let inputs = std::fs::read_dir(&dir).unwrap();
    let inputs: Vec<Vec<u8>> = inputs
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!inputs.is_empty(), "{} holds nothing", dir.display());
    for input in inputs {
        // Long ones in steps, so that each is cut some hundred times.
        for end in (0..input.len()).step_by(input.len() / 400 + 1) {
            feed(&input[..end]);
        }
        feed(&input);
    }
}

#[test]
fn events_and_schemas_that_are_cut_off_are_refused_in_peace() {
    cut_anywhere("decode", decode::feed);
}

#[test]
fn pages_that_are_cut_off_are_refused_in_peace() {
    let door = csv::Door::open();
    cut_anywhere("csv", |page| door.feed(page));
}
