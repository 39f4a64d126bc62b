//! The shapes of what goes in and out, as JSON Schema. More members may stand beside those that are named.

use serde_json::{Map, Value, json};

use crate::model::order::members;
use crate::model::order::rules::Rule;
use crate::model::said;
use crate::model::state::WriteState;
use crate::model::write::kinds::{self, Form, Person, Spec};
use crate::model::write::parse;

/// All of them by name.
pub fn all() -> Value {
    let mut all = catalogue();
    for more in [settings(), orders(), writes()] {
        if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
            all.extend(more);
        }
    }
    all
}

fn text_or_null() -> Value {
    json!({"type": ["string", "null"]})
}

fn list(of: &str) -> Value {
    list_with(of, &json!({}))
}

/// A list with members beside it.
fn list_with(of: &str, more: &Value) -> Value {
    let mut properties = json!({
        "items": {"type": "array", "items": {"$ref": format!("#/components/schemas/{of}")}},
        "next": text_or_null(),
    });
    let mut required = vec!["items", "next"];
    if let (Some(properties), Some(more)) = (properties.as_object_mut(), more.as_object()) {
        properties.extend(more.clone());
        required.extend(more.keys().map(String::as_str));
    }
    json!({"type": "object", "properties": properties, "required": required})
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn or_null(name: &str) -> Value {
    json!({"anyOf": [reference(name), {"type": "null"}]})
}

fn catalogue() -> Value {
    let offered = json!({
        "price": or_null("Money"), "list_price": or_null("Money"), "price_text": text_or_null(),
        "restricted": {"type": "boolean"}, "purchasable": {"type": "boolean"},
        "unavailable_reason": {"enum": words_or_null()},
        "pricebook_id": text_or_null(), "pricebook_entry_id": text_or_null(), "tax_method": text_or_null(),
        "order_quantity_max": {"type": ["integer", "null"]},
    });
    let mut product = json!({
        "id": {"type": "string"}, "name": text_or_null(), "product_code": text_or_null(), "sku": text_or_null(),
        "slug": text_or_null(), "family": text_or_null(), "master_id": text_or_null(), "category_id": text_or_null(),
        "image_url": text_or_null(),
        "stock": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {
            "available": {"type": ["number", "null"]}, "backorderable": {"type": ["boolean", "null"]}}, "required": ["available", "backorderable"]}]},
    });
    if let (Some(product), Some(offered)) = (product.as_object_mut(), offered.as_object()) {
        product.extend(offered.clone());
    }
    let mut price = json!({"product_id": {"type": "string"}});
    if let (Some(price), Some(offered)) = (price.as_object_mut(), offered.as_object()) {
        price.extend(offered.clone());
    }
    json!({
        "Any": {},
        "Row": {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]},
        "List": list("Row"),
        "Money": {"type": "object", "required": ["amount", "currency"], "properties": {
            "amount": {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?$"}, "currency": text_or_null()}},
        "Product": {"type": "object", "properties": product, "required": ["id", "name", "product_code", "price", "purchasable"]},
        "ProductList": list("Product"),
        "Price": {"type": "object", "properties": price, "required": ["product_id", "price", "purchasable"]},
        "PriceList": list("Price"),
        "Category": {"type": "object", "required": ["id", "name", "children"], "properties": {
            "id": {"type": "string"}, "name": text_or_null(), "path": text_or_null(), "parent_id": text_or_null(),
            "hidden": {"type": "boolean"}, "children": {"type": "array", "items": reference("Category")}}},
        "CategoryList": list("Category"),
    })
}

fn settings() -> Value {
    let flag = json!({"type": "boolean"});
    json!({
        "Store": {"type": "object", "required": ["id", "default", "disabled"], "properties": {
            "id": {"type": "string"}, "name": text_or_null(), "code": text_or_null(), "domain": text_or_null(),
            "path": text_or_null(), "currency": text_or_null(), "locale": text_or_null(), "timezone": text_or_null(),
            "default": flag, "disabled": flag, "tax_inclusive": flag}},
        "StoreList": list("Store"),
        "Resolved": {"type": "object", "required": ["store", "siblings", "suggested", "route"], "properties": {
            "store": reference("Store"), "siblings": {"type": "array", "items": reference("Store")},
            "suggested": or_null("Store"), "path": {"type": "string"}, "account_id": text_or_null(),
            "domain_verified": flag, "route": {"type": ["object", "null"]}}},
        "Tax": {"type": "object", "required": ["id", "rate_percentage"], "properties": {
            "id": {"type": "string"}, "name": text_or_null(), "rate_percentage": {"type": ["number", "null"]}}},
        "TaxList": list_with("Tax", &json!({"tax_inclusive": flag, "needs_live_check": flag})),
        "Rate": {"type": "object", "required": ["id", "cost"], "properties": {
            "id": {"type": "string"}, "name": text_or_null(), "method": text_or_null(), "cost": or_null("Money")}},
        "ShippingList": list_with("Rate", &json!({"shipping_required": flag, "needs_live_check": flag})),
        "Promotion": {"type": "object", "required": ["id", "kind", "needs_coupon", "needs_live_check"], "properties": {
            "id": {"type": "string"}, "kind": {"enum": ["promotion", "legacy", "discount"]}, "name": text_or_null(),
            "needs_coupon": flag, "needs_live_check": flag, "conditions": {"type": "array"}}},
        "PromotionList": list("Promotion"),
        "Customer": {"type": "object", "required": ["id", "contact", "account", "points"], "properties": {
            "id": {"type": "string"}, "external_id": text_or_null(), "contact": {"type": ["object", "null"]},
            "account": {"type": ["object", "null"]}, "memberships": {"type": "array"}, "points": {"type": "array"},
            "subscriptions": {"type": "array"}}},
        "Problem": {"type": "object", "required": ["type", "title", "status", "detail"], "properties": {
            "type": {"type": "string"}, "title": {"type": "string"}, "status": {"type": "integer"},
            "detail": {"type": "string"}, "field": {"type": "string"}, "reason": {"enum": words()},
            "progress": {"type": "object", "required": ["objects_loaded", "objects_needed"], "properties": {
                "objects_loaded": {"type": "integer"}, "objects_needed": {"type": "integer"}}}}},
    })
}

/// Why something cannot be bought.
fn words() -> Vec<&'static str> {
    Rule::ALL.into_iter().map(Rule::word).collect()
}

/// Of a product that is shown and may be bought, there is none.
fn words_or_null() -> Value {
    let shown = words().into_iter().map(Value::from);
    shown.chain([Value::Null]).collect()
}

/// A name or a reason for the audit.
fn said() -> Value {
    json!({"type": "string", "maxLength": said::BYTES_MAX, "description": "At most 4,000 bytes, without control characters"})
}

/// Any text that is taken.
fn posted_text() -> Value {
    json!({"type": "string", "maxLength": members::TEXT_CHARACTERS_MAX})
}

fn orders() -> Value {
    let text = posted_text();
    let not_written = json!({"type": "array", "items": {"type": "object", "properties": {
        "field": {"type": "string"}, "why": {"type": "string"}}}});
    let number = quantity();
    let amount = amount();
    json!({
        "Address": {"type": "object", "properties": {
            "street": text, "city": text, "state": text, "postal_code": text, "country": text}},
        "AddressChange": address_change(),
        "NewOrder": {"type": "object", "required": ["customer", "items"], "properties": {
            "external_id": text, "order_date": {"type": "string", "format": "date"}, "currency": text,
            "customer": customer(),
            "membership": text,
            "shipping_address": reference("Address"), "billing_address": reference("Address"),
            "items": {"type": "array", "minItems": 1, "items": {"type": "object", "required": ["quantity"], "properties": {
                "product_id": text, "product_code": text, "pricebook_entry_id": text, "quantity": number,
                "unit_price": amount, "tax": amount, "discount": amount, "fields": {"type": "object"}}}},
            "tax": amount,
            "shipping": {"type": "object", "required": ["amount"], "properties": {
                "amount": amount, "label": text, "stock_location_id": text, "product_id": text, "product_code": text,
                "pricebook_entry_id": text}},
            "discounts": {"type": "array", "items": {"type": "object", "required": ["amount"], "properties": {
                "amount": amount, "label": text,
                "promotion_id": {"type": "string", "description": "Of /promotions, one of the kind promotion"}, "coupon": text, "product_id": text,
                "product_code": text, "pricebook_entry_id": text}}},
            "payments": {"type": "array", "items": reference("Payment")},
            "fields": {"type": "object"}}},
        "Payment": {"type": "object", "required": ["reference"], "properties": {
            "reference": text, "amount": amount, "method": text, "status": text,
            "paid_at": {"type": "string", "format": "date-time"}}},
        "Deed": {"type": "object", "additionalProperties": false, "properties": {
            "actor": said(), "reason": said(), "patch": {"type": "object"}}},
        "RetryAll": {"type": "object", "additionalProperties": false, "properties": {
            "actor": said(), "reason": said(), "per_second": {"type": "integer", "minimum": 1, "maximum": 1000},
            "filter": {"type": "object"}}},
        "Accepted": {"type": "object", "required": ["external_id", "state"], "properties": {
            "external_id": text, "state": text, "accepted_at": text, "status_url": text,
            "not_written": not_written}},
        "OrderState": {"type": "object", "required": ["external_id", "state", "salesforce_id", "error", "attempts"], "properties": {
            "external_id": text, "org_key": text,
            "state": {"enum": WriteState::ALL},
            "salesforce_id": text_or_null(), "error": {"type": ["object", "null"]}, "attempts": {"type": "integer"},
            "not_written": not_written}},
    })
}

/// How many of an item.
fn quantity() -> Value {
    json!({"anyOf": [{"type": "string", "pattern": "^[0-9]{1,15}(\\.[0-9]{1,2})?$"}, {"type": "number"}],
        "description": "Above zero, at most 15 digits in all, and no more than the org's field has"})
}

/// A decimal in quotes.
fn amount() -> Value {
    json!({"type": "string", "pattern": "^[0-9]{1,15}(\\.[0-9]{1,6})?$",
        "description": "At most 15 digits in all, and no more behind the point than the org's field has"})
}

/// Parts of an address that a change sets, or empties.
fn address_change() -> Value {
    let parts: Map<String, Value> = members::ADDRESS
        .map(|part| (part.to_owned(), text_or_null()))
        .into_iter()
        .collect();
    json!({"type": "object", "properties": parts, "description": "Null empties a part, one that is left out stays"})
}

/// Whom a write is for.
fn customer() -> Value {
    json!({"type": "object", "minProperties": 1, "properties": person(),
        "description": "Needs an external_id, a salesforce_id, an email or a last_name"})
}

/// The members that tell of a person.
fn person() -> Value {
    let names = members::CUSTOMER.into_iter();
    names.map(|name| (name.to_owned(), posted_text())).collect()
}

/// What is sent of every other kind of write, by the table that it is read with.
fn writes() -> Value {
    let mut all: Map<String, Value> = kinds::SPECS
        .iter()
        .map(|spec| (spec.schema.to_owned(), write(spec)))
        .collect();
    let mut change = write(&kinds::CUSTOMER);
    change["required"] = json!([]);
    if let Some(properties) = change["properties"].as_object_mut() {
        properties.retain(|name, _| name != "external_id" && name != "salesforce_id");
        for (name, schema) in properties.iter_mut() {
            if let Some(kind) = schema.get_mut("type").filter(|_| parse::can_be_emptied(name)) {
                *kind = json!([kind.take(), "null"]);
            }
        }
        for name in ["shipping_address", "billing_address"] {
            properties[name] = reference("AddressChange");
        }
    }
    all.insert("CustomerChange".to_owned(), change);
    let text = posted_text();
    let update = json!({"type": "object", "properties": {
        "external_id": text, "payment": reference("Payment"),
        "cancelled": {"type": "object", "properties": {"reason": text}},
        "shipping_address": reference("AddressChange"), "billing_address": reference("AddressChange"),
        "fields": {"type": "object"}}});
    all.insert("OrderUpdate".to_owned(), update);
    all.into()
}

fn write(spec: &Spec) -> Value {
    let text = posted_text();
    let mut properties = json!({"external_id": text, "fields": {"type": "object"}});
    let mut add = |name: &str, schema: Value| properties[name] = schema;
    for member in spec.members {
        add(
            member.name,
            match member.form {
                Form::Text | Form::Id => text.clone(),
                Form::Email => json!({"type": "string", "format": "email"}),
                Form::Date => json!({"type": "string", "format": "date"}),
                Form::Decimal => amount(),
                Form::Flag => json!({"type": "boolean"}),
            },
        );
    }
    match spec.person {
        Person::None => {}
        Person::Optional | Person::Required => {
            add("customer", customer());
        }
        Person::Itself => {
            for name in members::CUSTOMER {
                add(name, text.clone());
            }
            add("shipping_address", reference("Address"));
            add("billing_address", reference("Address"));
        }
    }
    if spec.address.is_some() {
        add("address", reference("Address"));
    }
    if !spec.order_field.is_empty() {
        add("order_external_id", text.clone());
    }
    if spec.answers {
        let answer = json!({"type": "object", "properties": {
            "question_id": text, "question": text, "answer": {"type": ["string", "number", "boolean", "array"]}}});
        add("answers", json!({"type": "array", "items": answer}));
    }
    let required = spec.members.iter().filter(|member| member.required);
    let mut required: Vec<&str> = required.map(|member| member.name).collect();
    required.extend(match spec.person {
        Person::Required => Some("customer"),
        Person::Itself => Some("external_id"),
        Person::None | Person::Optional => None,
    });
    json!({"type": "object", "properties": properties, "required": required})
}
