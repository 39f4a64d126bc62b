// jsforce 3's Bulk API 2.0 client: loads and extracts over several pages, and tells what failed.

import assert from 'node:assert/strict';

import jsforce from 'jsforce';

import { cases, control, refused, sandbox } from './sandbox.mjs';

async function connect() {
  const connection = new jsforce.Connection({
    instanceUrl: sandbox.SANDBOX_HTTP,
    oauth2: {
      loginUrl: sandbox.SANDBOX_HTTP,
      clientId: sandbox.SANDBOX_CLIENT_ID,
      clientSecret: sandbox.SANDBOX_CLIENT_SECRET,
    },
  });
  await connection.authorize({ grant_type: 'client_credentials' });
  connection.bulk2.pollInterval = 20;
  return connection;
}

function load(connection, operation, input, more = {}) {
  return connection.bulk2.loadAndWaitForResults({ object: 'Account', operation, input, ...more });
}

const named = (site, count) =>
  Array.from({ length: count }, (_, at) => ({ Name: `Row ${at}`, Site: site, External_ID__c: `${site}-${at}` }));

await cases({
  'inserts, and tells which records failed': async () => {
    const connection = await connect();
    const input = [...named('bulk', 450), { Name: '', Site: 'bulk', External_ID__c: 'bulk-bad' }];
    const results = await load(connection, 'insert', input);
    assert.equal(results.successfulResults.length, 450);
    assert.ok(results.successfulResults.every((row) => row.sf__Created === 'true' && row.sf__Id.startsWith('001')));
    assert.equal(results.failedResults.length, 1);
    assert.match(results.failedResults[0].sf__Error, /^REQUIRED_FIELD_MISSING:.*\[Name\]:Name --$/);
    assert.equal(results.failedResults[0].External_ID__c, 'bulk-bad');
    assert.equal(results.unprocessedRecords.length, 0);
    assert.equal(await connection.sobject('Account').count({ Site: 'bulk' }), 450);
  },

  'updates, upserts, nulls, deletes and deletes for good': async () => {
    const connection = await connect();
    const made = await load(connection, 'insert', named('cycle', 3));
    const ids = made.successfulResults.map((row) => row.sf__Id);
    await load(connection, 'update', [
      { Id: ids[0], Site: '#N/A', Name: 'Renamed' },
      { Id: ids[1], Site: '', Name: 'Renamed' },
    ]);
    const [first, second] = await connection.sobject('Account').retrieve(ids.slice(0, 2));
    assert.deepEqual([first.Name, first.Site, second.Name, second.Site], ['Renamed', null, 'Renamed', 'cycle']);
    const upserted = await load(connection, 'upsert', [
      { External_ID__c: 'cycle-2', Name: 'Known' },
      { External_ID__c: 'cycle-9', Name: 'New' },
    ], { externalIdFieldName: 'External_ID__c' });
    assert.deepEqual(upserted.successfulResults.map((row) => row.sf__Created), ['false', 'true']);
    await load(connection, 'delete', [{ Id: ids[0] }]);
    await load(connection, 'hardDelete', [{ Id: ids[1] }]);
    const left = await connection.query(
      `SELECT Id, IsDeleted FROM Account WHERE Id IN ('${ids.join("','")}')`,
      { scanAll: true },
    );
    assert.deepEqual(left.records.map((each) => [each.Id, each.IsDeleted]), [[ids[0], true], [ids[2], false]]);
  },

  'extracts all pages of a query': async () => {
    const connection = await connect();
    await load(connection, 'insert', named('wide', 30));
    const records = await (await connection.bulk2.query("SELECT Id, Name, Owner.Name FROM Account WHERE Site = 'wide'")).toArray();
    assert.equal(records.length, 30);
    assert.equal(records[0]['Owner.Name'], 'Integration User');
    // The client keeps the answers' locators to itself; asked for small pages the org gives several.
    const job = connection.bulk2.job('query', { id: await queryJob(connection, "SELECT Id FROM Account WHERE Site = 'wide'") });
    await job.poll(20, 30_000);
    let locator;
    const ids = [];
    do {
      const part = locator ? `&locator=${locator}` : '';
      const response = await page(connection, `/jobs/query/${job.id}/results?maxRecords=12${part}`);
      const lines = (await response.text()).trim().split('\n');
      assert.equal(lines.shift(), '"Id"');
      assert.equal(Number(response.headers.get('sforce-numberofrecords')), lines.length);
      ids.push(...lines);
      locator = response.headers.get('sforce-locator');
    } while (locator !== 'null');
    assert.equal(new Set(ids).size, 30);
    await job.delete();
    assert.equal((await refused(job.check())).errorCode, 'NOT_FOUND');
  },

  'sees deleted records when it asks for them': async () => {
    const connection = await connect();
    const made = await load(connection, 'insert', named('bin', 4));
    await load(connection, 'delete', made.successfulResults.slice(0, 3).map((row) => ({ Id: row.sf__Id })));
    const soql = "SELECT Id, IsDeleted FROM Account WHERE Site = 'bin'";
    const live = await (await connection.bulk2.query(soql)).toArray();
    const all = await (await connection.bulk2.query(soql, { scanAll: true })).toArray();
    assert.deepEqual([live.length, all.length], [1, 4]);
  },

  'aborts a job, whose records stay unprocessed': async () => {
    const connection = await connect();
    const job = connection.bulk2.createJob({ object: 'Account', operation: 'insert' });
    await job.open();
    await job.uploadData(named('aborted', 2));
    await job.abort();
    assert.equal((await job.check()).state, 'Aborted');
    assert.equal((await job.getUnprocessedRecords()).length, 2);
    assert.equal(await connection.sobject('Account').count({ Site: 'aborted' }), 0);
    assert.equal((await refused(job.close())).errorCode, 'INVALIDJOBSTATE');
  },

  'fails as a whole where a column does not exist': async () => {
    const connection = await connect();
    const error = await refused(load(connection, 'insert', [{ Name: 'x', Bacon__c: 'y' }]));
    assert.match(error.message, /InvalidBatch : Field name not found : Bacon__c/);
    const refusal = await refused(connection.bulk2.query('SELECT Id, BillingAddress FROM Account'));
    assert.match(refusal.message, /compound data not supported in Bulk Query/);
  },

  'goes on after its session ended': async () => {
    const connection = new jsforce.Connection({
      instanceUrl: sandbox.SANDBOX_HTTP,
      oauth2: {
        loginUrl: sandbox.SANDBOX_HTTP,
        clientId: sandbox.SANDBOX_CLIENT_ID,
        clientSecret: sandbox.SANDBOX_CLIENT_SECRET,
      },
      refreshToken: sandbox.SANDBOX_REFRESH_TOKEN,
      accessToken: 'gone',
    });
    connection.bulk2.pollInterval = 20;
    await control('DELETE', 'sessions');
    const records = await (await connection.bulk2.query('SELECT Id FROM Organization')).toArray();
    assert.equal(records.length, 1);
  },
});

async function queryJob(connection, query) {
  const job = await connection.requestPost('/jobs/query', { operation: 'query', query });
  return job.id;
}

function page(connection, path) {
  const headers = { Authorization: `Bearer ${connection.accessToken}`, Accept: 'text/csv' };
  return fetch(`${connection._baseUrl()}${path}`, { headers });
}
