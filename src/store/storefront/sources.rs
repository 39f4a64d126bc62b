//! The mirrored tables as the storefront's views see them: always there, with all columns that they name.
//!
//! Orgs differ: an object may not be mirrored and a field may not exist. Each object that a view reads has a
//! shim of its own here, a view `_of_NAME` with short column names, in which what the org lacks is null and a
//! table that is missing has no rows. So the views above are written once and hold for every org. What was left
//! out is listed by the view `store_gap_v1`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use rusqlite::Connection;

use crate::model::row::quoted;

/// Objects and the fields that views read of them: `=` marks Salesforce's own, the others are the package's.
const SOURCES: &str = "\
Store: =Name Code Domain Path Unique_Domain_Path Default Disable Test_Mode Currency Locale Default_Timezone Theme_Id \
 Pricebook_Id Zone_Id Store_Group_Id Tax_Inclusive Tax_Provider_Id Shipping_Enabled Display_Price_In Cache_Version Link \
 Pay_By_Account_Enabled Enable_Quotations Booking_Hold_Duration Deposit_Amount Deposit_Points Default_Points_Usage \
 Points_Expiry_Length Points_Expiry_Unit Meta_Title Meta_Description Header_Menu_Id Footer_Menu_Id Home_Page_Id \
 Logo_Id Favicon_Id Product_Placeholder_Id Category_Placeholder_Id Terms_Page_Id Disabled_Content_Block_Id
Store_Group: =Name
Store_Variable: Key Value Available_In_Liquid Store_Id
Web_Domain: Domain_Name Active Status
Route_Mapping: From To Status_Code Store_Id
Theme: =Name
Taxonomy: =Name Position Store_Id
Product_Category: =Name Display_Name Title Subtitle Path Hide Position Media_Id Taxonomy_Id Meta_Title \
 Meta_Description Introduction_Markdown
Product_Category_Hierarchy: Parent_Id Child_Id Position Primary_Parent
Products_Product_Categories: Product_Id Category_Id Active Primary Position
=Product2: =Name =ProductCode =StockKeepingUnit =Description =Family =IsActive =IsArchived Slug Display_Name \
 Is_Master Available_On Discontinue_On Placeholder_For_Id Brand_Id Track_Inventory Virtual Shipping_Methods \
 Shipping_Weight Shipping_Weight_Unit Promotionable Tax_Code Booking_Duration Subscription_Type Is_Voucher \
 Summary_Markdown Position
Product_Variant: Master_Product_Id Variant_Product_Id Variant_Type Variant_Value Variant_Label Position
Trait: Product_Id Trait_Type_Id Trait_Value_Id Display_Name Description
Trait_Type: Display_Name Display_As_Filter Position Unit
Trait_Value: Display_Name
Product_Media: Media_Id Product_Id Position Category
Media: =Name Url Alt_Text File_Type Identifier
Product_Component: Anchor_Product_Id Component_Product_Id Group_Id Min_Quantity Max_Quantity Default_Quantity \
 Required Position
=Pricebook2: =Name =IsActive =CurrencyIsoCode Tax_Method Tax_Zone_Id Hide_Price_Text Unavailable_Text \
 Out_Of_Stock_Text Add_To_Cart_Text Order_Quantity_Maximum Default_Earn_Rate Default_Purchase_Rate
=PricebookEntry: =Pricebook2Id =Product2Id =UnitPrice =IsActive =CurrencyIsoCode Sale_Price Hide_Price \
 Hide_Price_Text Restricted Restricted_Text Display_If_Restricted Unavailable_Text Bundle_Only Tax_Method \
 Enable_Variable_Pricing Minimum_Sell_Price Order_Quantity_Maximum Deposit_Amount Can_Earn_Points Earn_Points \
 Can_Purchase_With_Points Purchase_Points Add_To_Cart_Text Out_Of_Stock_Text
Membership: =Name Display_Name Pricebook_Id Product2_Id Product_Category_Id
Permitted_Restricted_Product: Account_Id Product_Id Product_Category_Id Store_Id Approved_From Approved_Until \
 Approved_Quantity Purchased_Quantity Unlimited
Tax: =Name Display_Name Rate_Percentage Zone_Id Effective_From Effective_To Based_On_Ship_Address
Product_Tax: Product_Id Tax_Id
Product_Tax_Group: Product_Id Tax_Group_Id
Tax_Tax_Group: Tax_Id Tax_Group_Id
Tax_Provider: =Name Active Provider
Zone: =Name Match
Zone_Country: Zone_Id Country_Id
Zone_State: Zone_Id State_Id
Zone_City: =Name Zone_Id
Zone_Postcode: Zone_Id Postcode_Id
Country: =Name Code
State: =Name Code Country_Id
Postcode: Code Country_Id State_Id
Shipping_Rate: =Name Display_Name Instructions_Markdown Method Cost Unit_Cost Unit_Quantity Order_Price_Minimum \
 Order_Price_Maximum Order_Weight_Minimum Order_Weight_Maximum Order_Total_Range_Type Order_Total_Range_Unit Store_Id \
 Zone_Id
Shipping_Provider: =Name Active Store_Id Instructions_Markdown
Collection_Point: =Name Display_Name Description Active Store_Id Zone_Id Stock_Location_Id Lead_Time_Duration \
 Lead_Time_Units Phone
Opening_Time: Active Collection_Point_Id Date Weekday Open_Time Close_Time
Delivery_Window: =Name Active Days_of_Week Times_of_Day Timezone Offset Offset_Unit Duration Duration_Unit Store_Id \
 Zone_Id
Stock_Level: Product_Id Stock_Location_Id Available_To_Sell Backorderable Fulfill_Online_Orders Hide_From_Search \
 Out_Of_Stock_Level
Stock_Location: =Name Display_Name Active Address1 Address2 City Country_Id
Store_Stock_Location: Store_Id Stock_Location_Id
Payment_Provider: =Name Active Provider Display_Name Description Position Channel Api_Mode Store_Id \
 Payment_Instructions_Markdown
Authentication_Provider: =Name Active Provider Provider_URL Client_Id Authorised_Domains Store_Id
Promotion2: =Name Display_Name Description Coupon_Code Channel_Scope_Store_Id Channel_Scope_Outlet_Id \
 Customer_Scope_Account_Id Customer_Scope_Contact_Id Customer_Scope_Membership_Id Days_Of_Week Start_Date Start_Time \
 End_Date End_Time Active
Promotion2_Condition: Promotion2_Id Condition_Id Reward_Id Priority
Promotion2_Product_Scope: Condition_Id Reward_Id Scope_Type Product_Id Category_Id Brand_Id Zone_Id
Condition: =Name Type Amount Currency Liquid_Condition_Web
Reward: =Name Display_Name Identifier Reward_Type Discount_Type Discount_Amount Discount_Percentage Discount_Points \
 Fixed_Amount Apply_To Apply_First_To Exclude_Discounted Exclude_Free
Promotion: =Name Description Promotion_Code Starts_At Expires_At Store_Id
Promotion_Action: Promotion_Id Action Calculation Discount_Percent Discount_Value Dynamic_Discount_Value
Promotion_Scope: Promotion_Id Account_Id Contact_Id Membership_Id Product_Id Category_Id Brand_Id Conditions
Discount: =Name Active Account_Id Brand_Id Product_Id Store_Id Behaviour_When_Applied Calculation_Type Discounted_Price \
 Percent_Discount Value_Discount Starting_Date Ending_Date
Bookable_Location: =Name Display_Name Active Store_Id Timezone Virtual Address1 Address2 City State Zip_Code Country_Id
Product_Bookable_Location: Bookable_Location_Id Product_Id Max_Bookings Min_Bookings
Bookable_Event: =Name Display_Name Product_Bookable_Location_Id Start_Date Start_Time End_Date End_Time
Availability: Product_Bookable_Location_Id Days_Of_Week Start_Date Start_Time End_Date End_Time Unavailable
Booking: Bookable_Event_Id Status Account_Id Contact_Id
Form: =Name Identifier Record_Type_Name
Form_Question: =Name Form_Id Data_Type Hidden Required Validation_Rules Position
Store_Form: Store_Id Form_Id
Product_Form: Product_Id Form_Id
Store_Campaign: Campaign_Id Store_Id Opt_In_Text Information_Markdown Preselect_Opt_In
=Campaign: =Name =IsActive
=Account: =Name External_ID__c Pricebook_Id Pay_By_Account Credit_Hold Brand Display_Name Subdomain \
 Account_Points_Balance Account_Credit_Balance sC_Id =CurrencyIsoCode =BillingCity =BillingCountry
=Contact: =Name =FirstName =LastName =Email =Phone =AccountId External_ID__c sC_Id Store_Id Can_Use_Account_Pricing \
 Can_Use_Account_Points Can_Use_Account_Credit Can_Purchase_For_Account =MailingStreet =MailingCity =MailingState \
 =MailingPostalCode =MailingCountry
=Order: =OrderNumber =AccountId =Status =EffectiveDate =TotalAmount =CurrencyIsoCode =BillToContactId External_ID__c \
 sC_Id Store_Id Submitted_Date Checkout_Step
=OrderItem: =OrderId =Product2Id =PricebookEntryId =Quantity =UnitPrice =TotalPrice
=Asset: =Name =AccountId =ContactId =Product2Id =SerialNumber =Status =PurchaseDate =Quantity =Price =CurrencyIsoCode
=Case: =CaseNumber =AccountId =ContactId =Subject =Status =Origin =IsClosed
Account_Points_Ledger: Account_Id Contact_Id Store_Id Activated Entry_Type Points_Value Expires_At Usage Reason_Code
Account_Credit: Account_Id Store_Id Current_Balance Expires_At Display_Name
Subscription: =Name Contact_Id Product_Id Store_Id Status Period_Price Period_Count Next_Billing_Date Cancelled_Date \
 End_Date Delinquent_Date
Voucher: Code Status Store_Id Usage Expires_At";

/// An object as views see it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    /// As describe names it.
    pub object: String,
    /// As views name it: `_of_` and this.
    pub short: String,
    /// Field by describe's name, and column as views name it.
    pub columns: Vec<(String, String)>,
}

impl Source {
    pub fn table(&self) -> String {
        self.object.to_ascii_lowercase()
    }
}

/// All objects that views read.
pub(super) fn all() -> Vec<Source> {
    SOURCES.lines().filter_map(source).collect()
}

fn source(line: &str) -> Option<Source> {
    let (object, fields) = line.split_once(':')?;
    let short = object.trim_start_matches('=').to_ascii_lowercase();
    let columns = fields.split_whitespace().map(|field| {
        let name = api_name(field);
        let bare = name.strip_prefix("s_c__").unwrap_or(&name);
        let bare = bare.strip_suffix("__c").unwrap_or(bare);
        (name.clone(), bare.to_ascii_lowercase())
    });
    Some(Source {
        object: api_name(object),
        short,
        columns: columns.collect(),
    })
}

/// A name that ends in `__c` already is the org's own.
fn api_name(short: &str) -> String {
    match short.strip_prefix('=') {
        Some(standard) => standard.to_owned(),
        None if short.ends_with("__c") => short.to_owned(),
        None => format!("s_c__{short}__c"),
    }
}

/// The columns of each table that is there.
pub(super) type Present = BTreeMap<String, BTreeSet<String>>;

pub(super) fn present(connection: &Connection) -> rusqlite::Result<Present> {
    let mut present = Present::new();
    let mut columns = connection.prepare(
        "select lower(t.name), lower(c.name) from sqlite_schema t, pragma_table_info(t.name) c \
         where t.type = 'table' and substr(t.name, 1, 1) <> '_'",
    )?;
    let mut rows = columns.query([])?;
    while let Some(row) = rows.next()? {
        present.entry(row.get(0)?).or_default().insert(row.get(1)?);
    }
    Ok(present)
}

/// The shim of an object, and what of it the org lacks: `(object, None)` or `(object, Some(field))`.
pub(super) fn shim(source: &Source, present: &Present) -> (String, Vec<(String, Option<String>)>) {
    let table = source.table();
    let mut sql = format!(
        "create view {} as select id, ",
        quoted(&format!("_of_{}", source.short))
    );
    let mut gaps = Vec::new();
    let Some(columns) = present.get(&table) else {
        sql = sql.replace("select id, ", "select null as id, 0 as _rev");
        for (_, column) in &source.columns {
            let _ = write!(sql, ", null as {}", quoted(column));
        }
        sql.push_str(" where 0");
        return (sql, vec![(source.object.clone(), None)]);
    };
    sql.push_str(if columns.contains("_rev") {
        "_rev"
    } else {
        "0 as _rev"
    });
    for (field, column) in &source.columns {
        let stored = field.to_ascii_lowercase();
        if columns.contains(&stored) {
            let _ = write!(sql, ", {} as {}", quoted(&stored), quoted(column));
        } else {
            let _ = write!(sql, ", null as {}", quoted(column));
            gaps.push((source.object.clone(), Some(field.clone())));
        }
    }
    let _ = write!(sql, " from {}", quoted(&table));
    (sql, gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fields_as_the_org_does_and_columns_shortly() {
        let source = source("=Account: =Name External_ID__c Pricebook_Id").unwrap();
        assert_eq!(
            (source.object.as_str(), source.short.as_str()),
            ("Account", "account")
        );
        let columns: Vec<_> = source
            .columns
            .iter()
            .map(|(f, c)| (f.as_str(), c.as_str()))
            .collect();
        assert_eq!(
            columns,
            [
                ("Name", "name"),
                ("External_ID__c", "external_id"),
                ("s_c__Pricebook_Id__c", "pricebook_id")
            ]
        );
    }

    #[test]
    fn what_the_org_lacks_is_null_and_said() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("create table s_c__zone__c (id text primary key, name text); insert into s_c__zone__c values ('z', 'Here')")
            .unwrap();
        let present = present(&connection).unwrap();
        let sources = all();
        let find = |short: &str| sources.iter().find(|source| source.short == short).unwrap();
        let (sql, gaps) = shim(find("zone"), &present);
        connection.execute_batch(&sql).unwrap();
        assert_eq!(
            gaps,
            [("s_c__Zone__c".to_owned(), Some("s_c__Match__c".to_owned()))]
        );
        let (sql, gaps) = shim(find("tax"), &present);
        connection.execute_batch(&sql).unwrap();
        assert_eq!(gaps, [("s_c__Tax__c".to_owned(), None)]);
        let row: (String, Option<String>) = connection
            .query_row("select name, \"match\" from _of_zone", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!(row, ("Here".to_owned(), None));
        let rows: i64 = connection
            .query_row("select count(rate_percentage) from _of_tax", [], |row| row.get(0))
            .unwrap();
        assert_eq!(rows, 0);
    }
}
