// jsforce 3: logs in, reads, writes, pages, and fails as it would against Salesforce.

import assert from 'node:assert/strict';

import jsforce from 'jsforce';

import { cases, sandbox } from './sandbox.mjs';

await cases({
  'logs in with client credentials': async () => {
    const connection = new jsforce.Connection({
      loginUrl: sandbox.SANDBOX_HTTP,
      instanceUrl: sandbox.SANDBOX_HTTP,
      oauth2: {
        loginUrl: sandbox.SANDBOX_HTTP,
        clientId: sandbox.SANDBOX_CLIENT_ID,
        clientSecret: sandbox.SANDBOX_CLIENT_SECRET,
      },
    });
    await connection.authorize({ grant_type: 'client_credentials' });
    const identity = await connection.identity();
    assert.equal(identity.organization_id, sandbox.SANDBOX_ORG_ID);
    assert.equal(identity.username, sandbox.SANDBOX_USERNAME);
  },
});
