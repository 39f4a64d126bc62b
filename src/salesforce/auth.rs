//! Login.
/// A login's result.
#[derive(Clone)]
pub struct Session {
    pub access_token: String,
    /// `https://NAME.my.salesforce.com`, without a trailing slash.
    pub instance_url: String,
    /// 18 characters.
    pub org_id: String,
}
