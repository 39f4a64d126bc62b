//! What the org tells of its objects: describe of one, of all, and the short form.

use serde_json::{Map, Value as Json, json};

use super::schema::{Catalog, Field, FieldKind, Object};

const ENCODING: &str = "UTF-8";
const BATCH_ROWS_MAX: u32 = 200;

/// `GET sobjects`
pub fn global(catalog: &Catalog, version: &str) -> Json {
    let objects: Vec<Json> = catalog
        .objects()
        .iter()
        .map(|object| Json::Object(header(object, version)))
        .collect();
    json!({ "encoding": ENCODING, "maxBatchSize": BATCH_ROWS_MAX, "sobjects": objects })
}

/// `GET sobjects/X`
pub fn summary(object: &Object, version: &str) -> Json {
    json!({ "objectDescribe": header(object, version), "recentItems": [] })
}

/// `GET sobjects/X/describe`
pub fn object(catalog: &Catalog, object: &Object, record_types: Json, version: &str) -> Json {
    let mut json = header(object, version);
    let fields: Vec<Json> = object.visible().map(|(_, shown)| field(shown)).collect();
    json.insert("fields".to_owned(), Json::Array(fields));
    json.insert("childRelationships".to_owned(), children(catalog, object));
    json.insert("recordTypeInfos".to_owned(), record_types);
    json.insert("actionOverrides".to_owned(), json!([]));
    json.insert("namedLayoutInfos".to_owned(), json!([]));
    json.insert(
        "supportedScopes".to_owned(),
        json!([{ "label": "All", "name": "everything" }]),
    );
    Json::Object(json)
}

fn header(object: &Object, version: &str) -> Map<String, Json> {
    let path = format!("/services/data/v{version}/sobjects/{}", object.name);
    let json = json!({
        "activateable": false,
        "associateEntityType": null,
        "associateParentEntity": null,
        "createable": object.createable,
        "custom": object.custom,
        "customSetting": false,
        "deepCloneable": false,
        "deletable": object.deletable,
        "deprecatedAndHidden": false,
        "feedEnabled": false,
        "hasSubtypes": false,
        "isInterface": false,
        "isSubtype": false,
        "keyPrefix": String::from_utf8_lossy(&object.key_prefix),
        "label": object.label,
        "labelPlural": object.label_plural,
        "layoutable": true,
        "mergeable": false,
        "mruEnabled": true,
        "name": object.name,
        "queryable": true,
        "replicateable": true,
        "retrieveable": true,
        "searchable": true,
        "triggerable": true,
        "undeletable": object.deletable,
        "updateable": object.updateable,
        "urls": {
            "describe": format!("{path}/describe"),
            "rowTemplate": format!("{path}/{{ID}}"),
            "sobject": path,
        },
    });
    object_of(json)
}

fn object_of(json: Json) -> Map<String, Json> {
    match json {
        Json::Object(object) => object,
        _ => Map::new(),
    }
}

fn children(catalog: &Catalog, parent: &Object) -> Json {
    let points_here = |field: &&Field| field.visible && field.reference_to.contains(&parent.name);
    let children = catalog.objects().iter().flat_map(|child| {
        child.fields.iter().filter(points_here).map(|field| {
            json!({
                "cascadeDelete": field.cascade_delete,
                "childSObject": child.name,
                "deprecatedAndHidden": false,
                "field": field.name,
                "junctionIdListNames": [],
                "junctionReferenceTo": [],
                "relationshipName": field.child_relationship,
                "restrictedDelete": false,
            })
        })
    });
    Json::Array(children.collect())
}

/// Describe's name of a field's kind.
pub fn type_name(field: &Field) -> &'static str {
    type_names(field).0
}

/// Describe's name of a kind, and SOAP's.
fn type_names(field: &Field) -> (&'static str, &'static str) {
    match field.kind {
        FieldKind::Id => ("id", "tns:ID"),
        FieldKind::Text | FieldKind::PersonName => ("string", "xsd:string"),
        FieldKind::LongText => ("textarea", "xsd:string"),
        FieldKind::Boolean => ("boolean", "xsd:boolean"),
        FieldKind::Integer => ("int", "xsd:int"),
        FieldKind::Double => ("double", "xsd:double"),
        FieldKind::Currency => ("currency", "xsd:double"),
        FieldKind::Percent => ("percent", "xsd:double"),
        FieldKind::Date => ("date", "xsd:date"),
        FieldKind::DateTime => ("datetime", "xsd:dateTime"),
        FieldKind::Time => ("time", "xsd:time"),
        FieldKind::Email => ("email", "xsd:string"),
        FieldKind::Phone => ("phone", "xsd:string"),
        FieldKind::Url => ("url", "xsd:string"),
        FieldKind::Picklist => ("picklist", "xsd:string"),
        FieldKind::MultiPicklist => ("multipicklist", "xsd:string"),
        FieldKind::Reference => ("reference", "tns:ID"),
        FieldKind::Address => ("address", "urn:address"),
        FieldKind::Location => ("location", "urn:location"),
    }
}

/// What a formula field shows, in the words of a formula: `s_c__Category_Id__r.Name`.
fn formula(field: &Field) -> Option<String> {
    let source = field
        .source
        .as_ref()
        .filter(|_| field.calculated && !field.roll_up)?;
    let mut steps: Vec<String> = source.split('.').map(str::to_owned).collect();
    let last = steps.pop()?;
    let relationships = steps.iter().map(|step| match step.strip_suffix("__c") {
        Some(custom) => format!("{custom}__r"),
        None => step.strip_suffix("Id").unwrap_or(step).to_owned(),
    });
    let mut words: Vec<String> = relationships.collect();
    words.push(last);
    Some(words.join("."))
}

fn field(field: &Field) -> Json {
    let (kind, soap) = type_names(field);
    let plain = !matches!(
        field.kind,
        FieldKind::LongText | FieldKind::Address | FieldKind::Location
    );
    let numeric = matches!(
        field.kind,
        FieldKind::Double | FieldKind::Currency | FieldKind::Percent
    );
    let digits = if field.kind == FieldKind::Integer { 9 } else { 0 };
    let length = if soap == "xsd:string" || soap == "tns:ID" {
        field.length
    } else {
        0
    };
    let mut json = json!({
        "aggregatable": plain,
        "aiPredictionField": false,
        "autoNumber": field.auto_number,
        "byteLength": length * 3,
        "calculated": field.calculated,
        "calculatedFormula": formula(field),
        "cascadeDelete": field.cascade_delete,
        "caseSensitive": false,
        "compoundFieldName": field.compound,
        "controllerName": null,
        "createable": field.createable,
        "custom": field.custom,
        "defaultValue": if field.kind == FieldKind::Boolean { Json::from(false) } else { Json::Null },
        "defaultValueFormula": null,
        "defaultedOnCreate": field.defaulted || field.kind == FieldKind::Boolean,
        "dependentPicklist": false,
        "deprecatedAndHidden": false,
        "digits": digits,
        "displayLocationInDecimal": field.kind == FieldKind::Location,
        "encrypted": false,
        "externalId": field.external_id,
        "extraTypeInfo": null,
        "filterable": plain,
        "filteredLookupInfo": null,
        "formulaTreatNullNumberAsZero": false,
        "groupable": plain && !numeric,
        "highScaleNumber": false,
        "htmlFormatted": field.html,
        "idLookup": field.id_lookup || field.external_id || field.kind == FieldKind::Id,
        "inlineHelpText": null,
        "label": field.label,
        "length": length,
        "mask": null,
        "maskType": null,
        "name": field.name,
        "nameField": field.name_field,
        "namePointing": field.reference_to.len() > 1,
        "nillable": field.nillable,
        "permissionable": field.nillable,
    });
    if let Json::Object(json) = &mut json {
        json.extend(rest_of_field(field, kind, soap, plain, numeric));
    }
    json
}

/// The second half of a field's members, in the order of their names.
fn rest_of_field(field: &Field, kind: &str, soap: &str, plain: bool, numeric: bool) -> Map<String, Json> {
    let json = json!({
        "picklistValues": picklist(field),
        "polymorphicForeignKey": field.reference_to.len() > 1,
        "precision": if numeric { field.precision } else { 0 },
        "queryByDistance": field.kind == FieldKind::Location,
        "referenceTargetField": null,
        "referenceTo": field.reference_to,
        "relationshipName": field.relationship_name,
        "relationshipOrder": null,
        "restrictedDelete": false,
        "restrictedPicklist": field.restricted_picklist,
        "scale": if numeric { field.scale } else { 0 },
        "searchPrefilterable": field.kind == FieldKind::Reference,
        "soapType": soap,
        "sortable": plain && field.kind != FieldKind::MultiPicklist,
        "type": kind,
        "unique": field.unique,
        "updateable": field.updateable,
        "writeRequiresMasterRead": false,
    });
    object_of(json)
}

fn picklist(field: &Field) -> Json {
    let values = field.picklist.iter().map(|value| {
        json!({ "active": true, "defaultValue": false, "label": value, "validFor": null, "value": value })
    });
    Json::Array(values.collect())
}
