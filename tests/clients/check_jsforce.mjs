// jsforce 3: logs in, reads, writes, pages, and fails as it would against Salesforce.

import assert from 'node:assert/strict';

import jsforce from 'jsforce';

import { cases, control, refused, sandbox } from './sandbox.mjs';

const oauth2 = {
  loginUrl: sandbox.SANDBOX_HTTP,
  clientId: sandbox.SANDBOX_CLIENT_ID,
  clientSecret: sandbox.SANDBOX_CLIENT_SECRET,
};

async function connect(options = {}) {
  const connection = new jsforce.Connection({
    loginUrl: sandbox.SANDBOX_HTTP,
    instanceUrl: sandbox.SANDBOX_HTTP,
    oauth2,
    ...options,
  });
  await connection.authorize({ grant_type: 'client_credentials' });
  return connection;
}

/** Accounts of one industry of their own, so that cases do not see each other's. */
async function accounts(connection, site, count) {
  const records = Array.from({ length: count }, (_, at) => ({
    Name: `Account ${String(at).padStart(4, '0')}`,
    Site: site,
    AnnualRevenue: at,
  }));
  const created = await connection.sobject('Account').create(records, { allowRecursive: true });
  assert.ok(created.every((result) => result.success));
  return created.map((result) => result.id);
}

await cases({
  'logs in with client credentials and reads its identity': async () => {
    const identity = await (await connect()).identity();
    assert.equal(identity.organization_id, sandbox.SANDBOX_ORG_ID);
    assert.equal(identity.username, sandbox.SANDBOX_USERNAME);
  },

  'logs in over SOAP, works, and logs out': async () => {
    const connection = new jsforce.Connection({ loginUrl: sandbox.SANDBOX_HTTP, version: '57.0' });
    const password = sandbox.SANDBOX_PASSWORD + sandbox.SANDBOX_SECURITY_TOKEN;
    const user = await connection.login(sandbox.SANDBOX_USERNAME, password);
    assert.equal(user.organizationId, sandbox.SANDBOX_ORG_ID);
    assert.equal(connection.instanceUrl, sandbox.SANDBOX_HTTP);
    const found = await connection.query('SELECT Id FROM Organization');
    assert.equal(found.records[0].Id, sandbox.SANDBOX_ORG_ID);
    const { accessToken, instanceUrl } = connection;
    await connection.logout();
    const ended = new jsforce.Connection({ accessToken, instanceUrl });
    const error = await refused(ended.query('SELECT Id FROM Organization'));
    assert.equal(error.errorCode, 'INVALID_SESSION_ID');
  },

  'is refused over SOAP with the platform\'s words': async () => {
    const connection = new jsforce.Connection({ loginUrl: sandbox.SANDBOX_HTTP });
    const error = await refused(connection.login(sandbox.SANDBOX_USERNAME, 'wrong'));
    assert.match(error.message, /^INVALID_LOGIN: Invalid username, password, security token; or user locked out\.$/);
  },

  'logs in with user name and password over OAuth, and revokes': async () => {
    const connection = new jsforce.Connection({ oauth2, loginUrl: sandbox.SANDBOX_HTTP });
    const user = await connection.login(sandbox.SANDBOX_USERNAME, sandbox.SANDBOX_PASSWORD);
    assert.equal(user.organizationId, sandbox.SANDBOX_ORG_ID);
    const { accessToken } = connection;
    await connection.logout();
    const ended = new jsforce.Connection({ accessToken, instanceUrl: sandbox.SANDBOX_HTTP });
    assert.equal((await refused(ended.query('SELECT Id FROM User'))).errorCode, 'INVALID_SESSION_ID');
  },

  'refreshes an expired session by itself': async () => {
    const connection = new jsforce.Connection({
      oauth2,
      instanceUrl: sandbox.SANDBOX_HTTP,
      accessToken: `${sandbox.SANDBOX_ORG_ID.slice(0, 15)}!gone`,
      refreshToken: sandbox.SANDBOX_REFRESH_TOKEN,
    });
    let refreshed = 0;
    connection.on('refresh', () => { refreshed += 1; });
    assert.equal((await connection.query('SELECT Id FROM Organization')).totalSize, 1);
    await control('DELETE', 'sessions');
    assert.equal((await connection.query('SELECT Id FROM Organization')).totalSize, 1);
    assert.equal(refreshed, 2);
  },

  'describes the org and an object': async () => {
    const connection = await connect();
    const all = await connection.describeGlobal();
    assert.ok(all.sobjects.find((object) => object.name === 'Order').queryable);
    const account = await connection.sobject('Account').describe();
    const field = (name) => account.fields.find((each) => each.name === name);
    assert.deepEqual(
      [field('External_ID__c').externalId, field('External_ID__c').unique, field('External_ID__c').idLookup],
      [true, true, true],
    );
    assert.deepEqual(field('ParentId').referenceTo, ['Account']);
    assert.equal(field('ParentId').relationshipName, 'Parent');
    assert.equal(field('Name').nameField, true);
    assert.ok(account.childRelationships.some((child) => child.childSObject === 'Contact'));
    const error = await refused(connection.sobject('Nonsense__c').describe());
    assert.equal(error.errorCode, 'NOT_FOUND');
  },

  'creates, reads, updates, upserts and deletes a record': async () => {
    const connection = await connect();
    const table = connection.sobject('Account');
    const made = await table.create({ Name: 'One', External_ID__c: 'JSF-1' });
    assert.equal(made.success, true);
    assert.equal((await table.retrieve(made.id)).Name, 'One');
    await table.update({ Id: made.id, Name: 'Two' });
    const again = await table.upsert({ External_ID__c: 'JSF-1', Name: 'Three' }, 'External_ID__c');
    assert.equal(again.success, true);
    const fresh = await table.upsert({ External_ID__c: 'JSF-2', Name: 'Four' }, 'External_ID__c');
    assert.ok(fresh.id && fresh.id !== made.id);
    assert.equal((await table.findOne({ External_ID__c: 'JSF-1' })).Name, 'Three');
    await table.destroy(made.id);
    const gone = await refused(table.retrieve(made.id));
    assert.equal(gone.errorCode, 'ENTITY_IS_DELETED');
  },

  'works on many records at once, and tells which failed': async () => {
    const connection = await connect();
    const table = connection.sobject('Account');
    const mixed = await table.create([{ Name: 'Fine', Site: 'mixed' }, { Site: 'mixed' }]);
    assert.deepEqual(mixed.map((result) => result.success), [true, false]);
    assert.equal(mixed[1].errors[0].statusCode, 'REQUIRED_FIELD_MISSING');
    const none = await table.create([{ Name: 'Fine', Site: 'none' }, { Site: 'none' }], { allOrNone: true });
    assert.equal(none[0].errors[0].statusCode, 'ALL_OR_NONE_OPERATION_ROLLED_BACK');
    assert.equal(await table.count({ Site: 'none' }), 0);
    const ids = await accounts(connection, 'many', 450);
    assert.equal(new Set(ids).size, 450);
    assert.equal((await table.retrieve(ids.slice(0, 300))).length, 300);
    const changed = await table.update(ids.slice(0, 210).map((Id) => ({ Id, Site: 'moved' })), { allowRecursive: true });
    assert.ok(changed.every((result) => result.success));
    const removed = await table.destroy(ids.slice(0, 210), { allowRecursive: true });
    assert.ok(removed.every((result) => result.success));
    assert.equal(await table.count({ Site: 'many' }), 240);
  },

  'queries with all the clauses a query builder makes': async () => {
    const connection = await connect();
    await accounts(connection, 'clauses', 6);
    const found = await connection
      .sobject('Account')
      .find({ Site: 'clauses', AnnualRevenue: { $gte: 2 }, Name: { $like: 'Account%' } }, 'Id, Name, Owner.Name')
      .sort({ AnnualRevenue: -1 })
      .limit(2)
      .skip(1);
    assert.deepEqual(found.map((each) => each.Name), ['Account 0004', 'Account 0003']);
    assert.equal(found[0].Owner.Name, 'Integration User');
    const today = await connection.sobject('Account').find({
      Site: 'clauses',
      CreatedDate: { $gte: jsforce.SfDate.YESTERDAY },
      Name: { $in: ['Account 0001', 'Account 0005'] },
    });
    assert.equal(today.length, 2);
    const groups = await connection.query(
      "SELECT Site, COUNT(Id) n, SUM(AnnualRevenue) FROM Account WHERE Site = 'clauses' GROUP BY Site HAVING COUNT(Id) > 5",
    );
    assert.deepEqual([groups.records[0].n, groups.records[0].expr0], [6, 15]);
  },

  'includes children in a query': async () => {
    const connection = await connect();
    const orders = await connection.query(
      'SELECT Id, Account.Name, (SELECT Id, Quantity FROM OrderItems) FROM Order WHERE TotalAmount > 0 LIMIT 3',
    );
    assert.ok(orders.records.length > 0);
    for (const order of orders.records) {
      assert.ok(order.Account.Name);
      assert.ok(order.OrderItems.totalSize > 0 && order.OrderItems.done);
      assert.equal(order.OrderItems.records.length, order.OrderItems.totalSize);
    }
  },

  'pages through a query, by events and by hand': async () => {
    const connection = await connect();
    await accounts(connection, 'paged', 500);
    const soql = "SELECT Id, Name FROM Account WHERE Site = 'paged' ORDER BY Name";
    const options = { headers: { 'Sforce-Query-Options': 'batchSize=200' } };
    const first = await connection.query(soql, options);
    assert.deepEqual([first.totalSize, first.done, first.records.length], [500, false, 200]);
    const second = await connection.queryMore(first.nextRecordsUrl);
    const third = await connection.queryMore(second.nextRecordsUrl);
    assert.deepEqual([second.records.length, third.records.length, third.done], [200, 100, true]);
    assert.equal(third.records.at(-1).Name, 'Account 0499');
    const all = await connection.query(soql, { ...options, autoFetch: true, maxFetch: 1000 });
    assert.equal(all.records.length, 500);
    const error = await refused(connection.queryMore(`${first.nextRecordsUrl.split('-')[0]}x-200`));
    assert.equal(error.errorCode, 'INVALID_QUERY_LOCATOR');
  },

  'sees deleted records when it asks for them, page by page': async () => {
    const connection = await connect();
    const ids = await accounts(connection, 'scanned', 250);
    await connection.sobject('Account').destroy(ids.slice(0, 200));
    const soql = "SELECT Id, IsDeleted FROM Account WHERE Site = 'scanned'";
    const headers = { 'Sforce-Query-Options': 'batchSize=200' };
    assert.equal((await connection.query(soql)).totalSize, 50);
    const all = await connection.query(soql, { scanAll: true, autoFetch: true, maxFetch: 1000, headers });
    assert.equal(all.records.length, 250);
    assert.equal(all.records.filter((each) => each.IsDeleted).length, 200);
  },

  'asks what was updated and deleted': async () => {
    const connection = await connect();
    const [kept, gone] = await accounts(connection, 'replicated', 2);
    await connection.sobject('Account').destroy(gone);
    const start = new Date(Date.now() - 60_000);
    const end = new Date(Date.now() + 60_000);
    const updated = await connection.updated('Account', start, end);
    assert.ok(updated.ids.includes(kept) && !updated.ids.includes(gone));
    assert.ok(!Number.isNaN(Date.parse(updated.latestDateCovered)));
    const deleted = await connection.deleted('Account', start, end);
    assert.ok(deleted.deletedRecords.some((each) => each.id === gone));
  },

  'sends a composite request with references': async () => {
    const connection = await connect();
    const compositeRequest = [
      { method: 'POST', url: '/services/data/v60.0/sobjects/Account', referenceId: 'parent', body: { Name: 'Parent' } },
      {
        method: 'POST',
        url: '/services/data/v60.0/sobjects/Contact',
        referenceId: 'child',
        body: { LastName: 'Child', AccountId: '@{parent.id}' },
      },
    ];
    const done = await connection.requestPost('/services/data/v60.0/composite', { allOrNone: true, compositeRequest });
    assert.deepEqual(done.compositeResponse.map((part) => part.httpStatusCode), [201, 201]);
    const contact = await connection.sobject('Contact').retrieve(done.compositeResponse[1].body.id);
    assert.equal(contact.AccountId, done.compositeResponse[0].body.id);
  },

  'fails as it would against Salesforce': async () => {
    const connection = await connect();
    const table = connection.sobject('Account');
    await table.create({ Name: 'Key', External_ID__c: 'JSF-KEY' });
    const twice = await refused(table.create({ Name: 'Key', External_ID__c: 'JSF-KEY' }));
    assert.equal(twice.errorCode, 'DUPLICATE_VALUE');
    const missing = await refused(table.create({ Site: 'x' }));
    assert.equal(missing.errorCode, 'REQUIRED_FIELD_MISSING');
    assert.deepEqual(missing.data.fields, ['Name']);
    const column = await refused(connection.query('SELECT Bacon__c FROM Account'));
    assert.equal(column.errorCode, 'INVALID_FIELD');
    assert.match(column.message, /No such column 'Bacon__c' on entity 'Account'/);
    assert.equal((await refused(connection.query('SELECT FROM Account'))).errorCode, 'MALFORMED_QUERY');
    assert.equal((await refused(connection.query('SELECT Id FROM Bacon'))).errorCode, 'INVALID_TYPE');
  },

  'knows how much of the allowance is used': async () => {
    const connection = await connect();
    const limits = await connection.limits();
    assert.ok(limits.DailyApiRequests.Max > limits.DailyApiRequests.Remaining);
    const { used, limit } = connection.limitInfo.apiUsage;
    assert.equal(limit, limits.DailyApiRequests.Max);
    assert.ok(used > 0);
  },

  'retries what the org\'s edge refuses': async () => {
    const connection = await connect();
    await control('POST', 'faults', { path: '/query', times: 2, fault: { status: 503 } });
    assert.equal((await connection.query('SELECT Id FROM Organization')).totalSize, 1);
    await control('DELETE', 'faults');
  },

  'asks the tooling API for channels and definitions': async () => {
    const connection = await connect();
    const members = await connection.tooling.query(
      "SELECT Id, SelectedEntity, EventChannel FROM PlatformEventChannelMember WHERE SelectedEntity = 'AccountChangeEvent'",
    );
    assert.deepEqual([members.totalSize, members.records[0].EventChannel], [1, 'ChangeEvents']);
    const managed = await connection.tooling.query(
      `SELECT Id, DeveloperName, Metadata FROM ManagedEventSubscription WHERE DeveloperName = '${sandbox.SANDBOX_MANAGED_SUB}'`,
    );
    assert.equal(managed.records[0].Metadata.topicName, '/data/AccountChangeEvent');
    assert.equal(managed.records[0].Metadata.state, 'RUN');
    const fields = await connection.tooling.query(
      "SELECT QualifiedApiName, DataType FROM FieldDefinition WHERE EntityDefinition.QualifiedApiName = 'Account' AND QualifiedApiName = 'Name'",
    );
    assert.deepEqual(fields.records.map((each) => each.DataType), ['Text(255)']);
  },
});
