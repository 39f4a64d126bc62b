//! What each kind of write takes and where it goes: one table.
//!
//! The names of fields are those of the standard objects and of the StoreConnect package; the configuration may
//! put others in their place ([orders.map], by `kind.member`).

use crate::model::write::Kind;

/// How a member is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    Email,
    /// 15 or 18 characters: the org's id of a record.
    Id,
    /// `2026-11-22`
    Date,
    /// Money or a number, as a decimal in quotes.
    Decimal,
    Flag,
}

/// One value that a kind takes.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    pub name: &'static str,
    pub form: Form,
    pub required: bool,
    /// Of the kind's object; empty where it is not a field.
    pub field: &'static str,
}

/// Whether a person stands beside the values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Person {
    None,
    Optional,
    Required,
    /// The write is the person's own: its members stand among the others.
    Itself,
}

/// A kind of write.
#[derive(Clone, Copy, Debug)]
pub struct Spec {
    pub kind: Kind,
    /// The last part of its address: `cases`.
    pub path: &'static str,
    /// What the document calls its body.
    pub schema: &'static str,
    /// The object of its record.
    pub object: &'static str,
    pub members: &'static [Member],
    /// Fields that are always so, where the storefront's own fields do not say otherwise.
    pub fixed: &'static [(&'static str, &'static str)],
    pub person: Person,
    /// The lookups to the person's contact and account; empty where there are none.
    pub contact_field: &'static str,
    pub account_field: &'static str,
    /// The lookup to the order it is about.
    pub order_field: &'static str,
    /// Before `City` and so on, where the record has an address.
    pub address: Option<&'static str>,
    pub answers: bool,
}

const fn member(name: &'static str, form: Form, field: &'static str) -> Member {
    Member {
        name,
        form,
        required: false,
        field,
    }
}

const fn required(name: &'static str, form: Form, field: &'static str) -> Member {
    Member {
        name,
        form,
        required: true,
        field,
    }
}

const PLAIN: Spec = Spec {
    kind: Kind::Customer,
    path: "",
    schema: "",
    object: "",
    members: &[],
    fixed: &[],
    person: Person::None,
    contact_field: "ContactId",
    account_field: "AccountId",
    order_field: "",
    address: None,
    answers: false,
};

pub const CUSTOMER: Spec = Spec {
    kind: Kind::Customer,
    path: "customers",
    schema: "NewCustomer",
    object: "Contact",
    members: &[
        member("birthdate", Form::Date, "Birthdate"),
        member("title", Form::Text, "Title"),
        member("mobile_phone", Form::Text, "MobilePhone"),
        member("email_opt_out", Form::Flag, "HasOptedOutOfEmail"),
    ],
    person: Person::Itself,
    ..PLAIN
};

pub const CASE: Spec = Spec {
    kind: Kind::Case,
    path: "cases",
    schema: "NewCase",
    object: "Case",
    members: &[
        required("subject", Form::Text, "Subject"),
        member("description", Form::Text, "Description"),
        member("type", Form::Text, "Type"),
        member("reason", Form::Text, "Reason"),
        member("priority", Form::Text, "Priority"),
    ],
    fixed: &[("Origin", "Web")],
    person: Person::Required,
    ..PLAIN
};

pub const LEAD: Spec = Spec {
    kind: Kind::Lead,
    path: "leads",
    schema: "NewLead",
    object: "Lead",
    members: &[
        required("last_name", Form::Text, "LastName"),
        member("first_name", Form::Text, "FirstName"),
        member("email", Form::Email, "Email"),
        member("phone", Form::Text, "Phone"),
        member("company", Form::Text, "Company"),
        member("title", Form::Text, "Title"),
        member("message", Form::Text, "Description"),
        member("email_opt_out", Form::Flag, "HasOptedOutOfEmail"),
    ],
    fixed: &[("LeadSource", "Web")],
    address: Some(""),
    ..PLAIN
};

pub const CAMPAIGN_MEMBER: Spec = Spec {
    kind: Kind::CampaignMember,
    path: "campaign-members",
    schema: "NewCampaignMember",
    object: "CampaignMember",
    members: &[
        required("campaign_id", Form::Id, "CampaignId"),
        member("status", Form::Text, "Status"),
    ],
    person: Person::Required,
    account_field: "",
    ..PLAIN
};

pub const ASSET: Spec = Spec {
    kind: Kind::Asset,
    path: "assets",
    schema: "NewAsset",
    object: "Asset",
    members: &[
        required("name", Form::Text, "Name"),
        member("product_id", Form::Id, "Product2Id"),
        member("serial_number", Form::Text, "SerialNumber"),
        member("quantity", Form::Decimal, "Quantity"),
        member("price", Form::Decimal, "Price"),
        member("purchase_date", Form::Date, "PurchaseDate"),
        member("install_date", Form::Date, "InstallDate"),
        member("status", Form::Text, "Status"),
        member("description", Form::Text, "Description"),
    ],
    person: Person::Required,
    ..PLAIN
};

/// A form's submission is StoreConnect's own; the platform has none.
pub const FORM_SUBMISSION_OBJECT: &str = "s_c__Form_Submission__c";

pub const FORM_SUBMISSION: Spec = Spec {
    kind: Kind::FormSubmission,
    path: "form-submissions",
    schema: "NewFormSubmission",
    object: FORM_SUBMISSION_OBJECT,
    members: &[required("form_id", Form::Id, "s_c__Form_Id__c")],
    person: Person::Optional,
    contact_field: "s_c__Contact_Id__c",
    account_field: "",
    order_field: "s_c__Order_Id__c",
    answers: true,
    ..PLAIN
};

/// Of every kind but orders and what changes them.
pub const SPECS: [Spec; 6] = [CUSTOMER, CASE, LEAD, CAMPAIGN_MEMBER, ASSET, FORM_SUBMISSION];

/// The table's row for a kind.
pub fn spec(kind: Kind) -> Option<&'static Spec> {
    SPECS.iter().find(|spec| spec.kind == kind)
}
