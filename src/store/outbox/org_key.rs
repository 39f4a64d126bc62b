//! The keys of writes in the org, where all stores share one field.
//!
//! A store's key is written as it is, unless another store used it first: then the store is marked in it. A mark is made
//! of the store and the key alone, so that a write that is posted again after a loss of the outbox gets it again. A key
//! that looks as if it had a mark always gets one, so that no store can take the marked key of another.

use aws_lc_rs::digest::{Context, SHA256};

/// Longest marked key, as GUIDs are: fields that hold keys take at least so many characters.
const CHARACTERS_MAX: usize = 36;
/// Hexadecimal digits of a mark behind a whole key, and behind one that is cut.
const MARKS: [usize; 2] = [8, 16];

/// A store's key with the store's mark: `WEB-1~3f9a01bc`. Of a long key the mark stands for the end too.
pub(super) fn marked(store_id: &str, key: &str) -> String {
    let [short, long] = MARKS;
    if key.chars().count() + 1 + short <= CHARACTERS_MAX {
        return format!("{key}~{}", mark(&[store_id], short));
    }
    let begin: String = key.chars().take(CHARACTERS_MAX - 1 - long).collect();
    format!("{begin}~{}", mark(&[store_id, &key.to_lowercase()], long))
}

/// Whether a key has the form of a marked one.
pub(super) fn looks_marked(key: &str) -> bool {
    key.rsplit_once('~').is_some_and(|(_, mark)| {
        MARKS.contains(&mark.len()) && mark.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

fn mark(parts: &[&str], digits: usize) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    let hash = context.finish();
    let hex: String = hash.as_ref()[..digits / 2]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_store_has_a_mark_and_no_key_can_be_another_s() {
        let guid = "0f8fad5b-d9cb-469f-a165-70867728950e";
        for key in [
            "WEB-1",
            "web 1/2",
            guid,
            "A key that is much longer than any field takes it",
        ] {
            let [eu, us] = ["a00000000000001AAA", "a00000000000002AAA"].map(|store| marked(store, key));
            assert_ne!(eu, us);
            for one in [&eu, &us] {
                assert!(looks_marked(one) && one.chars().count() <= 36, "{one}");
                assert!(
                    looks_marked(&one.to_uppercase()),
                    "the org does not tell cases apart"
                );
                assert_ne!(*one, marked("a00000000000001AAA", one), "a mark on a marked key");
            }
            assert_eq!(eu, marked("a00000000000001AAA", key));
        }
        assert!(marked("a", "WEB-1").starts_with("WEB-1~"));
        assert_ne!(marked("a", guid), marked("a", &guid.replace("50e", "50f")));
        for plain in ["WEB-1", guid, "WEB~1", "WEB~12345678x", "~", ""] {
            assert!(!looks_marked(plain), "{plain}");
        }
    }
}
