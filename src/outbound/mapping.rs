//! Which field of the org each value goes into: two built-in profiles, and what the configuration puts in their
//! place. Pure.
//!
//! A value is named `kind.member` (`order.email`, `case.subject`). The standard profile uses the platform's own
//! fields alone; StoreConnect's adds those of its package. A field that an org does not have is left out when a
//! record is composed, so a profile may name more than an org has.

use std::collections::BTreeMap;

use crate::config::Profile;
use crate::model::write::kinds::SPECS;

/// Values of orders and their items, by profile: name, standard field, StoreConnect's.
const ORDER: &[(&str, &str, &str)] = &[
    ("order.store", "", "s_c__Store_Id__c"),
    ("order.email", "", "s_c__Checkout_Email__c"),
    ("order.phone", "", "s_c__Checkout_Phone__c"),
    ("order.step", "", "s_c__Checkout_Step__c"),
    ("order.submitted_at", "", "s_c__Submitted_Date__c"),
    ("order.payment_reference", "OrderReferenceNumber", ""),
    ("order.reason", "Description", "Description"),
    ("order.mark", "Description", "Description"),
    ("order.tax", "", ""),
    ("order.shipping", "", ""),
    ("order.discount", "", ""),
    ("order.coupon", "", ""),
    ("order_item.description", "Description", "Description"),
    ("order_item.tax", "", "s_c__Tax_Amount__c"),
    ("order_item.discount", "", "s_c__Total_of_Discounts__c"),
    ("shipping.object", "", "s_c__Shipment__c"),
    ("shipping.order", "", "s_c__Order_Id__c"),
    ("shipping.amount", "", "s_c__Charge__c"),
    ("shipping.label", "", "s_c__Provider_Service__c"),
    ("shipping.location", "", "s_c__Stock_Location_Id__c"),
    ("discount.object", "", "s_c__Promotion2_Usage__c"),
    ("discount.order", "", "s_c__Order_Id__c"),
    ("discount.promotion", "", "s_c__Promotion2_Id__c"),
    ("discount.amount", "", "s_c__Total_Value__c"),
    ("discount.account", "", "s_c__Account_Id__c"),
    ("discount.contact", "", "s_c__Contact_Id__c"),
    ("payment.object", "", "s_c__Payment__c"),
    ("payment.order", "", "s_c__Order_Id__c"),
    ("payment.reference", "", "s_c__Transaction_Number__c"),
    ("payment.amount", "", "s_c__Amount__c"),
    ("payment.method", "", "s_c__Method__c"),
    ("payment.status", "", "s_c__Status__c"),
    ("payment.paid_at", "", "s_c__Paid_At__c"),
    ("form_submission.store", "", "s_c__Store_Id__c"),
    ("form_answer.object", "", "s_c__Form_Answer__c"),
    ("form_answer.submission", "", "s_c__Form_Submission_Id__c"),
    ("form_answer.question_id", "", "s_c__Form_Question_Id__c"),
    ("form_answer.question", "", "s_c__Question_Content__c"),
    ("form_answer.answer", "", "s_c__Answer__c"),
];

/// Where values go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    fields: BTreeMap<String, String>,
}

impl Mapping {
    /// A profile with what is put in its place. The error names a value that there is not.
    pub fn new(profile: Profile, overrides: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut fields: BTreeMap<String, String> = ORDER
            .iter()
            .map(|(name, standard, storeconnect)| {
                let field = match profile {
                    Profile::Standard => standard,
                    Profile::Storeconnect => storeconnect,
                };
                ((*name).to_owned(), (*field).to_owned())
            })
            .collect();
        for spec in SPECS {
            for member in spec.members {
                fields.insert(
                    format!("{}.{}", spec.kind.name(), member.name),
                    member.field.to_owned(),
                );
            }
        }
        for (name, field) in overrides {
            match fields.get_mut(name) {
                Some(place) => place.clone_from(field),
                None => {
                    return Err(format!(
                        "[orders] map has {name}, which is no value that is written: `storesync orders map` lists them"
                    ));
                }
            }
        }
        Ok(Self { fields })
    }

    /// The field of a value, where it goes anywhere.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .get(name)
            .map(String::as_str)
            .filter(|field| !field.is_empty())
    }

    /// Every value and its field, by name.
    pub fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|(name, field)| (name.as_str(), field.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_takes_a_profile_s_place() {
        let put = |name: &str, field: &str| BTreeMap::from([(name.to_owned(), field.to_owned())]);
        for (profile, overrides, name, field) in [
            (Profile::Standard, BTreeMap::new(), "order.email", None),
            (
                Profile::Storeconnect,
                BTreeMap::new(),
                "order.email",
                Some("s_c__Checkout_Email__c"),
            ),
            (
                Profile::Standard,
                put("order.email", "Web__c"),
                "order.email",
                Some("Web__c"),
            ),
            (Profile::Storeconnect, put("order.email", ""), "order.email", None),
            (
                Profile::Standard,
                BTreeMap::new(),
                "case.subject",
                Some("Subject"),
            ),
        ] {
            assert_eq!(Mapping::new(profile, &overrides).unwrap().field(name), field);
        }
        let unknown = Mapping::new(Profile::Standard, &put("order.colour", "X")).unwrap_err();
        assert!(unknown.contains("order.colour"), "{unknown}");
    }
}
