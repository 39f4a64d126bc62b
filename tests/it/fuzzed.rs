//! What the fuzzers keep goes through the same doors here, whole, cut off anywhere and changed at random.

use std::path::Path;
use std::time::{Duration, Instant};

#[path = "../../fuzz/feed/body.rs"]
mod body;
#[path = "../../fuzz/feed/csv.rs"]
mod csv;
#[path = "../../fuzz/feed/decode.rs"]
mod decode;
#[path = "../../fuzz/feed/http.rs"]
mod http;

/// What a fuzzer keeps.
fn kept(corpus: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(corpus);
    let inputs = std::fs::read_dir(&dir).unwrap();
    let inputs: Vec<Vec<u8>> = inputs
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    assert!(!inputs.is_empty(), "{} holds nothing", dir.display());
    inputs
}

fn cut_anywhere(corpus: &str, feed: impl Fn(&[u8])) {
    let inputs = kept(corpus);
    for input in &inputs {
        // Long ones in steps, so that each is cut some hundred times.
        for end in (0..input.len()).step_by(input.len() / 400 + 1) {
            feed(&input[..end]);
        }
        feed(input);
    }
    changed_anyhow(corpus, &inputs, feed);
}

/// Changes of them drawn from a seed, other ones each time; `STORESYNC_FUZZ_SECONDS` for so long.
fn changed_anyhow(corpus: &str, inputs: &[Vec<u8>], feed: impl Fn(&[u8])) {
    const USUAL: usize = 300;
    let seconds = std::env::var("STORESYNC_FUZZ_SECONDS").map(|text| text.parse().unwrap());
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let seed = fastrand::u64(..);
    println!("{corpus}: seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut count = 0;
    while end.as_ref().map_or(count < USUAL, |end| Instant::now() < *end) {
        let mut input = random.choice(inputs).unwrap().clone();
        for _ in 0..random.usize(1..6) {
            change(&mut random, &mut input, inputs);
        }
        feed(&input);
        count += 1;
    }
    println!("{corpus}: {count} changed inputs");
}

fn change(random: &mut fastrand::Rng, input: &mut Vec<u8>, inputs: &[Vec<u8>]) {
    const TELLING: &[u8] = b"\0\x01\x7f\x80\xff \"'%&=+;,.:/\\{}[]<>\r\n\t-019";
    let at = random.usize(..=input.len());
    let end = random.usize(at..=input.len().min(at + 40));
    match random.u8(..6) {
        0 if at < input.len() => input[at] ^= 1 << random.u8(..8),
        1 => input.insert(at, *random.choice(TELLING).unwrap()),
        2 => drop(input.drain(at..end)),
        3 => {
            let part = input[at..end].repeat(random.usize(1..50));
            input.splice(at..at, part);
        }
        4 => {
            let other = random.choice(inputs).unwrap();
            let from = random.usize(..=other.len());
            input.splice(at.., other[from..].iter().copied());
        }
        _ if at < input.len() => input[at] = random.u8(..),
        _ => input.push(random.u8(..)),
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

#[test]
fn bodies_that_are_cut_off_are_refused_in_peace() {
    cut_anywhere("body", body::feed);
}

#[test]
fn requests_that_are_cut_off_are_answered_or_closed() {
    let door = http::Door::open();
    cut_anywhere("http", |request| door.feed(request));
}
