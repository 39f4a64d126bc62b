//! The partner SOAP API, as far as clients use it to log in and out.
//!
//! Requests are told apart by the element in their body. Values are read by the local names of their elements, for
//! clients choose their own prefixes; answers put what clients search for by text (`serverUrl`, `sessionId`) under no
//! prefix, and keep the order of the WSDL, since some clients read by position.

use super::App;
use super::answer::{Answer, Refusal, Reply};
use super::call::Call;
use crate::org::transaction::ORG_CURRENCY;

/// How long a session is said to live.
const SESSION_SECONDS: u32 = 7_200;
const ATTACHMENT_BYTES_MAX: u32 = 5_242_880;
/// The id of the profile that the integration user is said to have.
const PROFILE: &str = "00eSb0000000001IAA";

/// `rest` is the path after `services/Soap`: `u/57.0`, for some calls with the org's id.
pub fn answer(app: &App, call: &Call, rest: &[&str]) -> Answer {
    let version = match rest {
        ["u" | "c", version, ..] if call.method == "POST" => *version,
        ["u" | "c", ..] => return Err(Refusal::method_not_allowed(&call.method)),
        _ => return Err(Refusal::not_found()),
    };
    let envelope = String::from_utf8_lossy(&call.body);
    let reply = match operation(&envelope) {
        Some("login") => login(app, &envelope, version)?,
        Some("logout") => logout(app, &envelope),
        Some("getUserInfo") => match session(app, &envelope) {
            Some(_) => success("getUserInfo", &format!("<result>{}</result>", user_info(app))),
            None => invalid_session(),
        },
        Some(other) => fault(
            "INVALID_OPERATION",
            &format!("the sandbox has no SOAP call {other}"),
        ),
        None => fault(
            "MALFORMED_MESSAGE",
            "the request's envelope has no body with a call",
        ),
    };
    Ok(reply)
}

fn login(app: &App, envelope: &str, version: &str) -> Result<Reply, Refusal> {
    let username = element(envelope, "username").unwrap_or_default();
    let password = element(envelope, "password").unwrap_or_default();
    if !app.login.knows(&username, &password) {
        let message = "Invalid username, password, security token; or user locked out.";
        return Ok(fault("INVALID_LOGIN", message));
    }
    let session = app
        .login
        .sessions
        .issue()
        .map_err(|error| Refusal::new(500, "UNKNOWN_EXCEPTION", error.to_string()))?;
    let address = app.login.address();
    let organization = app.org.id();
    let organization = &organization.as_str()[..15];
    let result = format!(
        "<result><metadataServerUrl>{address}/services/Soap/m/{version}/{organization}</metadataServerUrl>\
         <passwordExpired>false</passwordExpired><sandbox>true</sandbox>\
         <serverUrl>{address}/services/Soap/u/{version}/{organization}</serverUrl>\
         <sessionId>{session}</sessionId><userId>{user}</userId><userInfo>{info}</userInfo></result>",
        user = app.org.user_id(),
        info = user_info(app),
    );
    Ok(success("login", &result))
}

fn logout(app: &App, envelope: &str) -> Reply {
    match session(app, envelope) {
        Some(session) => {
            app.login.sessions.revoke(&session);
            success("logout", "")
        }
        None => invalid_session(),
    }
}

/// The valid session of a SessionHeader.
fn session(app: &App, envelope: &str) -> Option<String> {
    element(envelope, "sessionId").filter(|session| app.login.sessions.is_valid(session))
}

fn invalid_session() -> Reply {
    let message = "Invalid Session ID found in SessionHeader: Illegal Session. Session not found";
    fault("INVALID_SESSION_ID", message)
}

/// The members of GetUserInfoResult, all of them, in the order of the WSDL.
fn user_info(app: &App) -> String {
    let username = escaped(&app.login.credentials.username);
    let (organization, user) = (app.org.id(), app.org.user_id());
    let members = [
        ("accessibilityMode", "false"),
        ("chatterExternal", "false"),
        ("currencySymbol", "A$"),
        ("orgAttachmentFileSizeLimit", &ATTACHMENT_BYTES_MAX.to_string()),
        ("orgDefaultCurrencyIsoCode", ORG_CURRENCY),
        ("orgDefaultCurrencyLocale", "en_AU"),
        ("orgDisallowHtmlAttachments", "false"),
        ("orgHasPersonAccounts", "false"),
        ("organizationId", organization.as_str()),
        ("organizationMultiCurrency", "true"),
        ("organizationName", "Local Sandbox"),
        ("profileId", PROFILE),
        ("roleId", ""),
        ("sessionSecondsValid", &SESSION_SECONDS.to_string()),
        ("userDefaultCurrencyIsoCode", ORG_CURRENCY),
        ("userEmail", &username),
        ("userFullName", "Integration User"),
        ("userId", user.as_str()),
        ("userLanguage", "en_US"),
        ("userLocale", "en_AU"),
        ("userName", &username),
        ("userTimeZone", "Australia/Sydney"),
        ("userType", "Standard"),
        ("userUiSkin", "Theme3"),
    ];
    let written = members.map(|(name, value)| match value {
        "" => format!("<{name} xsi:nil=\"true\"/>"),
        value => format!("<{name}>{value}</{name}>"),
    });
    written.concat()
}

fn success(call: &str, result: &str) -> Reply {
    let body = format!("<{call}Response>{result}</{call}Response>");
    Reply::xml(200, enveloped("xmlns=\"urn:partner.soap.sforce.com\"", &body))
}

fn fault(code: &str, message: &str) -> Reply {
    let kind = if code == "INVALID_LOGIN" {
        "LoginFault"
    } else {
        "UnexpectedErrorFault"
    };
    let message = escaped(message);
    let body = format!(
        "<soapenv:Fault><faultcode>sf:{code}</faultcode><faultstring>{code}: {message}</faultstring><detail>\
         <sf:{kind} xsi:type=\"sf:{kind}\"><sf:exceptionCode>{code}</sf:exceptionCode>\
         <sf:exceptionMessage>{message}</sf:exceptionMessage></sf:{kind}></detail></soapenv:Fault>"
    );
    Reply::xml(
        500,
        enveloped("xmlns:sf=\"urn:fault.partner.soap.sforce.com\"", &body),
    )
}

fn enveloped(namespace: &str, body: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soapenv:Envelope \
         xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" {namespace} \
         xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\"><soapenv:Body>{body}</soapenv:Body>\
         </soapenv:Envelope>"
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Start tags of a document: the local name, and where the tag ends.
fn tags(xml: &str) -> impl Iterator<Item = (&str, usize)> {
    xml.match_indices('<').filter_map(|(at, _)| {
        let inside = &xml[at + 1..];
        let length = inside.find('>')?;
        let name = inside[..length].split([' ', '\t', '\r', '\n', '/']).next()?;
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic());
        let local = name.rsplit(':').next()?;
        is_name.then_some((local, at + 1 + length + 1))
    })
}

/// The local name of the first element in the body.
fn operation(envelope: &str) -> Option<&str> {
    let mut tags = tags(envelope).skip_while(|(name, _)| *name != "Body").skip(1);
    tags.next().map(|(name, _)| name)
}

/// The text of the first element of this local name, written with entities or in CDATA.
fn element(envelope: &str, name: &str) -> Option<String> {
    let (_, from) = tags(envelope).find(|(local, _)| *local == name)?;
    let mut rest = &envelope[from..];
    let mut text = String::new();
    loop {
        let end = rest.find('<')?;
        text.push_str(&unescaped(&rest[..end]));
        rest = &rest[end..];
        let Some(inside) = rest.strip_prefix("<![CDATA[") else {
            return Some(text);
        };
        let end = inside.find("]]>")?;
        text.push_str(&inside[..end]);
        rest = &inside[end + 3..];
    }
}

fn unescaped(text: &str) -> String {
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'")];
    let numbered = [("&#39;", "'"), ("&#x27;", "'"), ("&#34;", "\""), ("&#x22;", "\"")];
    let mut text = text.to_owned();
    for (entity, character) in named.iter().chain(&numbered) {
        text = text.replace(entity, character);
    }
    // Last, so that what it makes is not taken for another entity.
    text.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_values_whatever_the_prefix_and_form() {
        for (body, expected) in [
            ("<username>a@b</username>", "a@b"),
            ("<n1:username>a&amp;lt;&quot;</n1:username>", "a&lt;\""),
            ("<urn:username><![CDATA[a<b&amp;]]>c</urn:username>", "a<b&amp;c"),
            ("<username xsi:type=\"xsd:string\">x</username>", "x"),
            ("<username></username>", ""),
        ] {
            let envelope =
                format!("<e:Envelope><e:Header/><e:Body><u:login>{body}</u:login></e:Body></e:Envelope>");
            assert_eq!(operation(&envelope), Some("login"));
            assert_eq!(
                element(&envelope, "username").as_deref(),
                Some(expected),
                "{body}"
            );
        }
        assert_eq!(element("<a><username>", "username"), None);
        assert_eq!(operation("no XML"), None);
    }
}
