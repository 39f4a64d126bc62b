//! Describe.
use crate::salesforce::{Error, Org};
/// An object as describe tells it, as far as anyone here asks.
#[derive(Clone, Debug)]
pub struct Describe { pub name: String, pub label: String, pub key_prefix: Option<String>, pub queryable: bool, pub createable: bool, pub fields: Vec<Field> }
/// A field as describe tells it.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    /// Salesforce's field type in lower case: `string`, `id`, `reference`, `currency`, `address`, ...
    pub kind: String,
    pub length: u32,
    pub external_id: bool,
    pub unique: bool,
    pub createable: bool,
    pub updateable: bool,
    pub calculated: bool,
    /// The compound field this is a part of: `BillingAddress`, `Name`.
    pub compound: Option<String>,
}
impl Describe {
    pub fn field(&self, name: &str) -> Option<&Field> { self.fields.iter().find(|f| f.name.eq_ignore_ascii_case(name)) }
}
impl Org {
    /// Names of all objects the user may see.
    pub async fn object_names(&self) -> Result<Vec<String>, Error> { unimplemented!() }
    /// `None` where the org has no such object, or hides it.
    pub async fn describe(&self, _object: &str) -> Result<Option<Describe>, Error> { unimplemented!() }
}
