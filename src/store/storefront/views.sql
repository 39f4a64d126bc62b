-- What a storefront reads: one set of views per version, over the shims `_of_NAME` of the mirrored tables.
-- Columns named is_, can_, has_ and needs_ are 0 or 1; those that end in _amount are money in the row's `currency`;
-- those that end in _list hold values separated by semicolons, as the org keeps them; those in _json hold JSON.
-- A null may be the org's, or a field that it lacks: see store_gap_v1.

-- The taxonomy a store uses: of several, the one that is placed first.
create view _store_taxonomy as
select s.id as store_id,
    (select t.id from _of_taxonomy t where t.store_id = s.id
        order by t.position is null, t.position, t.name, t.id limit 1) as taxonomy_id
from _of_store s;

-- Active links of products into the categories of a store's taxonomy.
create view _linked as
select st.store_id, l.product_id, l.category_id, l.position, coalesce(l."primary", 0) as is_primary, l.id as link_id
from _of_products_product_categories l
join _of_product_category c on c.id = l.category_id
join _store_taxonomy st on st.taxonomy_id = c.taxonomy_id
where l.active = 1 and l.product_id is not null;

-- Books that prices of a store come from: its own, those of memberships and those of accounts.
create view _store_book as
select s.id as store_id, 'store' as book_kind, null as owner_id, s.pricebook_id, s.currency
from _of_store s where s.pricebook_id is not null
union all
select s.id, 'membership', m.id, m.pricebook_id, s.currency
from _of_membership m join _of_store s where m.pricebook_id is not null
union all
select s.id, 'account', a.id, a.pricebook_id, s.currency
from _of_account a join _of_store s where a.pricebook_id is not null;

create view store_v1 as
select s.id as store_id, s.name, s.code, lower(s.domain) as domain, s.path, s.link as url, s.currency, s.locale,
    s.default_timezone as timezone, s.pricebook_id, s.zone_id, z.name as zone_name, s.store_group_id as group_id,
    s.theme_id, t.name as theme_name, s.display_price_in, s.cache_version, s.tax_provider_id, s.meta_title,
    s.meta_description, coalesce(s."default", 0) as is_default, coalesce(s."disable", 0) as is_disabled,
    coalesce(s.test_mode, 0) as is_test, coalesce(s.tax_inclusive, 0) as is_tax_inclusive,
    coalesce(s.shipping_enabled, 1) as is_shipping_enabled, coalesce(s.pay_by_account_enabled, 0) as can_pay_by_account,
    coalesce(s.enable_quotations, 0) as can_ask_for_quotation, s.booking_hold_duration as booking_hold_minutes,
    s.default_points_usage, s.points_expiry_length, s.points_expiry_unit, s.deposit_amount, s._rev
from _of_store s
left join _of_zone z on z.id = s.zone_id
left join _of_theme t on t.id = s.theme_id;

-- Host names, with whether the org has verified them.
create view store_domain_v1 as
select s.id as store_id, d.id as id, lower(d.domain_name) as domain, coalesce(d.active, 0) as is_active, d.status
from _of_web_domain d join _of_store s on lower(s.domain) = lower(d.domain_name);

-- Settings that are meant to be seen: keys that look like those of a secret are left out.
create view store_variable_v1 as
select v.store_id, v.id, v."key", v.value
from _of_store_variable v
where coalesce(v.available_in_liquid, 0) = 1 and v."key" not like '%secret%' and v."key" not like '%password%'
    and v."key" not like '%token%' and v."key" not like '%api\_key%' escape '\' and v."key" not like '%private%';

create view store_route_v1 as
select s.id as store_id, r.id, r."from" as from_path, r."to" as to_path, r.status_code, r.store_id is null as is_shared
from _of_route_mapping r join _of_store s on r.store_id = s.id or r.store_id is null;

create view store_category_v1 as
select st.store_id, c.id as id, h.parent_id, coalesce(h.position, c.position) as position,
    coalesce(nullif(c.display_name, ''), c.name) as name, c.title, c.subtitle, c.path, coalesce(c.hide, 0) as is_hidden,
    m.url as image_url, m.alt_text as image_alt_text, c.meta_title, c.meta_description, c.introduction_markdown
from _of_product_category c
join _store_taxonomy st on st.taxonomy_id = c.taxonomy_id
left join _of_product_category_hierarchy h on h.id = (
    select e.id from _of_product_category_hierarchy e
    join _of_product_category p on p.id = e.parent_id and p.taxonomy_id = c.taxonomy_id
    where e.child_id = c.id order by coalesce(e.primary_parent, 0) desc, e.position is null, e.position, e.id limit 1)
left join _of_media m on m.id = c.media_id;

-- What may be sold online at any place that is open to this store. A place that stands under no store serves all.
create view store_stock_v1 as
select p.store_id, p.product_id,
    coalesce(sum(l.available_to_sell), 0) as available, coalesce(max(l.backorderable), 0) as is_backorderable
from _shown p
join _of_stock_level l on l.product_id = p.product_id
join _of_stock_location o on o.id = l.stock_location_id
where coalesce(o.active, 1) = 1 and coalesce(l.fulfill_online_orders, 1) = 1 and coalesce(l.hide_from_search, 0) = 0
    and (not exists (select 1 from _of_store_stock_location x where x.stock_location_id = o.id)
        or exists (select 1 from _of_store_stock_location x where x.stock_location_id = o.id and x.store_id = p.store_id))
group by p.store_id, p.product_id;

-- Products that a store shows to anyone; what a visitor's price book hides is decided with the price.
create view store_product_v1 as
select v.store_id, v.product_id, coalesce(nullif(p.display_name, ''), p.name) as name, p.productcode as product_code,
    p.stockkeepingunit as sku, p.slug, p.family, p.description, p.summary_markdown, p.brand_id,
    coalesce(nullif(b.display_name, ''), b.name) as brand_name, v.master_id, v.category_id, v.position, coalesce(p.is_master, 0) as is_master,
    coalesce(p.virtual, 0) as is_virtual, coalesce(p.is_voucher, 0) as is_voucher,
    coalesce(p.promotionable, 0) as is_promotionable, coalesce(p.track_inventory, 0) as is_stock_tracked,
    p.available_on, p.discontinue_on, p.placeholder_for_id, p.shipping_methods as shipping_methods_list,
    p.shipping_weight, p.shipping_weight_unit, p.booking_duration as booking_minutes, p.subscription_type, p._rev
from _shown v
join _of_product2 p on p.id = v.product_id
left join _of_account b on b.id = p.brand_id
where p.isactive = 1 and coalesce(p.isarchived, 0) = 0
    and (v.master_id is null
        or exists (select 1 from _of_product2 m where m.id = v.master_id and m.isactive = 1 and coalesce(m.isarchived, 0) = 0));

-- One row per store, product and book. For a visitor one book is in effect: that of the account, else that of a
-- membership, else the store's.
create view store_price_v1 as
select k.store_id, e.product2id as product_id, k.book_kind, k.owner_id, e.id as pricebook_entry_id, e.pricebook2id as pricebook_id,
    coalesce(e.currencyisocode, k.currency) as currency, coalesce(e.sale_price, e.unitprice) as price_amount,
    e.unitprice as list_price_amount, e.sale_price as sale_price_amount, coalesce(e.hide_price, 0) as is_hidden,
    coalesce(e.hide_price_text, b.hide_price_text, case when e.hide_price = 1 then 'POA' end) as hide_price_text,
    coalesce(e.restricted, 0) as is_restricted, coalesce(e.display_if_restricted, 1) as is_listed_if_restricted,
    e.restricted_text, coalesce(e.bundle_only, 0) as is_bundle_only, coalesce(e.enable_variable_pricing, 0) as is_variable,
    coalesce(e.order_quantity_maximum, b.order_quantity_maximum) as order_quantity_maximum,
    coalesce(nullif(lower(e.tax_method), 'inherit'), lower(b.tax_method), 'exclusive') as tax_method, e._rev
from _store_book k
join _of_pricebook2 b on b.id = k.pricebook_id and coalesce(b.isactive, 1) = 1
join _of_pricebookentry e on e.pricebook2id = b.id and e.isactive = 1
    and (e.currencyisocode is null or k.currency is null or e.currencyisocode = k.currency)
where exists (select 1 from _shown v where v.store_id = k.store_id and v.product_id = e.product2id);

create view store_variant_v1 as
select v.store_id, x.id as id, x.master_product_id, x.variant_product_id as product_id, x.variant_type as type,
    x.variant_value as value, coalesce(nullif(x.variant_label, ''), x.variant_value) as label, x.position
from _shown v join _of_product_variant x on x.variant_product_id = v.product_id
join _of_product2 p on p.id = x.variant_product_id and p.isactive = 1 and coalesce(p.isarchived, 0) = 0;

-- Media as the org's content network serves them; the address is passed on as it is.
create view store_media_v1 as
select v.store_id, x.id as id, x.product_id, m.url, m.alt_text, m.file_type, x.position, x.category
from _shown v join _of_product_media x on x.product_id = v.product_id
join _of_media m on m.id = x.media_id where m.url is not null;

create view store_trait_v1 as
select v.store_id, t.id as id, t.product_id, coalesce(nullif(y.display_name, ''), t.display_name) as type,
    coalesce(x.display_name, t.display_name) as value, y.unit, coalesce(y.display_as_filter, 0) as is_filter, y.position
from _shown v join _of_trait t on t.product_id = v.product_id
left join _of_trait_type y on y.id = t.trait_type_id
left join _of_trait_value x on x.id = t.trait_value_id;

-- Members of zones, one row each. Countries by their three letters, the others with their country where they have one.
create view store_zone_v1 as
select m.zone_id, 'country' as kind, upper(c.code) as country, null as code
from _of_zone_country m join _of_country c on c.id = m.country_id
union all
select m.zone_id, 'state', upper(c.code), upper(s.code)
from _of_zone_state m join _of_state s on s.id = m.state_id left join _of_country c on c.id = s.country_id
union all
select m.zone_id, 'postcode', upper(c.code), upper(p.code)
from _of_zone_postcode m join _of_postcode p on p.id = m.postcode_id left join _of_country c on c.id = p.country_id
union all
select m.zone_id, 'city', null, upper(m.name) from _of_zone_city m;

-- Which tax a product has, directly or by a group of taxes.
create view store_product_tax_v1 as
select x.product_id, x.tax_id from _of_product_tax x where x.tax_id is not null
union
select g.product_id, t.tax_id from _of_product_tax_group g join _of_tax_tax_group t on t.tax_group_id = g.tax_group_id;

create view store_tax_v1 as
select t.id, coalesce(nullif(t.display_name, ''), t.name) as name, t.rate_percentage, t.zone_id, t.effective_from,
    t.effective_to, coalesce(t.based_on_ship_address, 1) as is_by_shipping_address
from _of_tax t;

create view store_shipping_v1 as
select s.id as store_id, r.id, coalesce(nullif(r.display_name, ''), r.name) as name, r.method, r.instructions_markdown,
    s.currency, r.cost as cost_amount, r.unit_cost as unit_cost_amount, r.unit_quantity, r.zone_id,
    lower(coalesce(r.order_total_range_type, 'price')) as range_type, r.order_price_minimum as order_price_minimum_amount,
    r.order_price_maximum as order_price_maximum_amount,
    r.order_weight_minimum, r.order_weight_maximum, r.order_total_range_unit as range_unit
from _of_shipping_rate r join _of_store s on r.store_id = s.id or r.store_id is null;

create view store_collection_point_v1 as
select c.store_id, c.id, coalesce(nullif(c.display_name, ''), c.name) as name, c.description, c.phone, c.zone_id,
    c.lead_time_duration, c.lead_time_units, l.address1, l.address2, l.city,
    (select json_group_array(json_object('date', o."date", 'weekday', o.weekday, 'opens', o.open_time, 'closes', o.close_time))
        from _of_opening_time o where o.collection_point_id = c.id and coalesce(o.active, 1) = 1) as opening_times_json
from _of_collection_point c left join _of_stock_location l on l.id = c.stock_location_id
where c.active = 1;

create view store_delivery_window_v1 as
select s.id as store_id, w.id, w.name, w.days_of_week as days_of_week_list, w.times_of_day as times_of_day_list, w.timezone,
    w.offset, w.offset_unit, w.duration, w.duration_unit, w.zone_id
from _of_delivery_window w join _of_store s on w.store_id = s.id or w.store_id is null
where w.active = 1;

create view store_payment_provider_v1 as
select p.store_id, p.id, coalesce(nullif(p.display_name, ''), p.name) as name, p.provider, p.description,
    p.payment_instructions_markdown, p.api_mode as mode, p.position
from _of_payment_provider p
where p.active = 1 and (p.channel is null or instr(';' || lower(p.channel) || ';', ';web;') > 0);

create view store_auth_provider_v1 as
select a.store_id, a.id, a.name, a.provider, a.provider_url, a.client_id, a.authorised_domains as authorised_domains_list
from _of_authentication_provider a where a.active = 1;

-- Promotions, discounts and legacy codes with what can be decided from data. A coupon itself is not told; whoever has
-- one asks with it. Rules written in Liquid need a live check.
create view store_promotion_v1 as
select s.id as store_id, p.id, 'promotion' as kind, coalesce(nullif(p.display_name, ''), p.name) as name, p.description,
    nullif(p.coupon_code, '') as coupon, p.start_date as starts_on, p.end_date as ends_on, p.start_time as starts_at,
    p.end_time as ends_at, p.days_of_week as days_of_week_list, p.customer_scope_account_id as account_id,
    p.customer_scope_contact_id as contact_id, p.customer_scope_membership_id as membership_id,
    (select json_group_array(json_object('priority', j.priority, 'type', c.type, 'amount', case when c.amount is not null then rtrim(rtrim(printf('%.6f', c.amount), '0'), '.') end, 'currency', c.currency,
            'reward', json_object('name', coalesce(w.display_name, w.identifier, w.name), 'type', w.reward_type,
                'discount_type', w.discount_type, 'amount', case when coalesce(w.discount_amount, w.fixed_amount) is not null
                    then rtrim(rtrim(printf('%.6f', coalesce(w.discount_amount, w.fixed_amount)), '0'), '.') end,
                'percentage', w.discount_percentage, 'apply_to', w.apply_to),
            'scopes', json((select json_group_array(json_object('type', o.scope_type, 'on', case when o.condition_id is null then 'reward' else 'condition' end,
                    'product_id', o.product_id, 'category_id', o.category_id, 'brand_id', o.brand_id, 'zone_id', o.zone_id))
                from _of_promotion2_product_scope o where o.condition_id = c.id or o.reward_id = w.id))))
        from _of_promotion2_condition j left join _of_condition c on c.id = j.condition_id
        left join _of_reward w on w.id = j.reward_id where j.promotion2_id = p.id) as conditions_json,
    exists (select 1 from _of_promotion2_condition j join _of_condition c on c.id = j.condition_id
        where j.promotion2_id = p.id and (c.type = 'liquid_condition' or nullif(c.liquid_condition_web, '') is not null)) as needs_live_check
from _of_promotion2 p join _of_store s on p.channel_scope_store_id = s.id or p.channel_scope_store_id is null
where p.channel_scope_outlet_id is null and coalesce(p.active, 1) = 1
union all
select p.store_id, p.id, 'legacy', p.name, p.description, p.promotion_code, substr(p.starts_at, 1, 10),
    substr(p.expires_at, 1, 10), null, null, null, null, null, null,
    (select json_group_array(json_object('action', a.action, 'calculation', a.calculation, 'percentage', a.discount_percent,
        'amount', case when a.discount_value is not null then rtrim(rtrim(printf('%.6f', a.discount_value), '0'), '.') end)) from _of_promotion_action a where a.promotion_id = p.id),
    exists (select 1 from _of_promotion_scope o where o.promotion_id = p.id and nullif(o.conditions, '') is not null)
        or exists (select 1 from _of_promotion_action a where a.promotion_id = p.id and nullif(a.dynamic_discount_value, '') is not null)
from _of_promotion p where p.store_id is not null
union all
select s.id, d.id, 'discount', d.name, null, null, d.starting_date, d.ending_date, null, null, null, d.account_id, null, null,
    json_array(json_object('behaviour', d.behaviour_when_applied, 'calculation', d.calculation_type,
        'price', case when d.discounted_price is not null then rtrim(rtrim(printf('%.6f', d.discounted_price), '0'), '.') end,
        'percentage', d.percent_discount, 'amount', case when d.value_discount is not null then rtrim(rtrim(printf('%.6f', d.value_discount), '0'), '.') end,
        'product_id', d.product_id, 'brand_id', d.brand_id)), 0
from _of_discount d join _of_store s on d.store_id = s.id or d.store_id is null where d.active = 1;

create view store_form_v1 as
select s.id as store_id, f.id, f.name, f.identifier, f.record_type_name as kind,
    (select json_group_array(json_object('id', q.id, 'text', q.name, 'type', q.data_type,
            'hidden', json(case when q.hidden = 1 then 'true' else 'false' end),
            'required', json(case when q.required = 1 then 'true' else 'false' end),
            'needs_live_check', json(case when nullif(q.validation_rules, '') is null then 'false' else 'true' end)))
        from (select * from _of_form_question r where r.form_id = f.id order by r.position is null, r.position, r.id) q) as questions_json,
    (select json_group_array(x.product_id) from _of_product_form x join _shown v on v.product_id = x.product_id and v.store_id = s.id
        where x.form_id = f.id) as product_ids_json
from _of_form f join _of_store s
where exists (select 1 from _of_store_form x where x.form_id = f.id and x.store_id = s.id)
    or exists (select 1 from _of_product_form x join _shown v on v.product_id = x.product_id and v.store_id = s.id where x.form_id = f.id)
    or not exists (select 1 from _of_store_form x where x.form_id = f.id) and not exists (select 1 from _of_product_form x where x.form_id = f.id);

-- Dated events with the places left; those that recur are told as windows by store_availability_v1.
create view store_booking_v1 as
select l.store_id, e.id, coalesce(nullif(e.display_name, ''), e.name) as name, b.product_id, l.id as location_id,
    coalesce(nullif(l.display_name, ''), l.name) as location_name, l.timezone, e.start_date, e.start_time, e.end_date, e.end_time,
    b.max_bookings as places,
    (select count(*) from _of_booking k where k.bookable_event_id = e.id and coalesce(k.status, '') <> 'Cancelled') as booked,
    max(0, b.max_bookings - (select count(*) from _of_booking k where k.bookable_event_id = e.id and coalesce(k.status, '') <> 'Cancelled')) as places_left
from _of_bookable_event e
join _of_product_bookable_location b on b.id = e.product_bookable_location_id
join _of_bookable_location l on l.id = b.bookable_location_id and coalesce(l.active, 0) = 1;

create view store_availability_v1 as
select l.store_id, a.id, b.product_id, l.id as location_id, coalesce(nullif(l.display_name, ''), l.name) as location_name,
    l.timezone, a.days_of_week as days_of_week_list, a.start_date, a.start_time, a.end_date, a.end_time,
    coalesce(a.unavailable, 0) as is_blocked, b.max_bookings as places
from _of_availability a
join _of_product_bookable_location b on b.id = a.product_bookable_location_id
join _of_bookable_location l on l.id = b.bookable_location_id and coalesce(l.active, 0) = 1;

create view store_campaign_v1 as
select x.store_id, x.id, x.campaign_id, c.name, x.opt_in_text, x.information_markdown, coalesce(x.preselect_opt_in, 0) as is_preselected
from _of_store_campaign x left join _of_campaign c on c.id = x.campaign_id where coalesce(c.isactive, 1) = 1;

-- Memberships that an account holds, by what it bought: no public object says it otherwise.
create view store_membership_v1 as
select distinct o.accountid as account_id, m.id as membership_id, coalesce(nullif(m.display_name, ''), m.name) as name, m.pricebook_id
from _of_membership m
join _of_orderitem i on i.product2id = m.product2_id
    or i.product2id in (select l.product_id from _of_products_product_categories l where l.category_id = m.product_category_id and l.active = 1)
join _of_order o on o.id = i.orderid and o.status is not 'Draft'
where o.accountid is not null;

-- Activated points less those that have expired; shared points count in every store.
create view store_loyalty_v1 as
select g.account_id, g.contact_id, g.store_id, coalesce(g."usage", 'store') as points_usage,
    sum(case when lower(g.entry_type) = 'debit' then -abs(g.points_value) else g.points_value end) as points
from _of_account_points_ledger g
where coalesce(g.activated, 0) = 1 and (g.expires_at is null or g.expires_at > strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
group by g.account_id, g.contact_id, g.store_id, coalesce(g."usage", 'store');

create view store_subscription_v1 as
select n.id, n.name, n.contact_id, n.product_id, n.store_id, n.status, n.period_price as period_price_amount, n.period_count,
    n.next_billing_date, n.cancelled_date, n.end_date, n.delinquent_date
from _of_subscription n;

-- What customers own, bought in whichever store: an asset names none.
create view store_asset_v1 as
select a.id, a.name, a.accountid as account_id, a.contactid as contact_id, a.product2id as product_id,
    a.serialnumber as serial_number, a.status, a.purchasedate as purchased_on, a.quantity, a.currencyisocode as currency,
    a.price as price_amount
from _of_asset a;
