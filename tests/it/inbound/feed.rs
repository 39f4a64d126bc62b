//! What the change feed told, as a storefront that listens would count it.

use std::collections::BTreeMap;

use crate::world::{Sandbox, cache, select};

/// The newest revision of the feed.
pub fn revision(org: &Sandbox) -> i64 {
    let newest = select(
        &cache(&org.state()),
        "select coalesce(max(rev), 0) as rev from _change",
    );
    newest[0]["rev"].as_i64().unwrap()
}

/// The kinds of entries of each record after a revision, the oldest first.
pub fn told(org: &Sandbox, object: &str, after: i64) -> BTreeMap<String, Vec<String>> {
    let sql = format!(
        "select record_id, kind from _change where object = '{object}' and record_id is not null \
         and rev > {after} order by rev"
    );
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in select(&cache(&org.state()), &sql) {
        let text = |key: &str| entry[key].as_str().unwrap().to_owned();
        told.entry(text("record_id")).or_default().push(text("kind"));
    }
    told
}

/// Whether the object was read again as a whole after a revision.
pub fn reloads(org: &Sandbox, object: &str, after: i64) -> usize {
    let sql =
        format!("select rev from _change where object = '{object}' and kind = 'loaded' and rev > {after}");
    select(&cache(&org.state()), &sql).len()
}

/// Of each of these records exactly these entries, and of no other record of the object any.
pub fn assert_told(org: &Sandbox, object: &str, after: i64, expected: &[(&str, &[&str])]) {
    let told = told(org, object, after);
    let found: Vec<(&str, Vec<&str>)> = told
        .iter()
        .map(|(id, kinds)| (id.as_str(), kinds.iter().map(String::as_str).collect()))
        .collect();
    let mut wanted: Vec<(&str, Vec<&str>)> =
        expected.iter().map(|(id, kinds)| (*id, kinds.to_vec())).collect();
    wanted.sort_unstable();
    assert_eq!(found, wanted, "the feed of {object}");
}
