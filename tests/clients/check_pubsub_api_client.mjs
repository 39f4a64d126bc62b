// salesforce-pubsub-api-client 5: logs in, subscribes from everywhere, resumes, commits, publishes, and fails.
//
// It needs `underscore` beside it, which one of its own dependencies uses and does not declare.
//
// sandbox: --keepalive-ms 200 --idle-ms 2000

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';

import jsforce from 'jsforce';
import PubSubApiClient from 'salesforce-pubsub-api-client';

import { cases, refused, sandbox } from './sandbox.mjs';

const ACCOUNTS = '/data/AccountChangeEvent';
const CODES = { invalidArgument: 3, notFound: 5, unauthenticated: 16 };

const quiet = { debug() {}, info() {}, warn() {}, error() {} };

const credentials = {
  authType: 'oauth-client-credentials',
  clientId: sandbox.SANDBOX_CLIENT_ID,
  clientSecret: sandbox.SANDBOX_CLIENT_SECRET,
};

/** A connected client. It trusts a list of authorities of its own for gRPC, and no other. */
async function connected(authentication = credentials) {
  const client = new PubSubApiClient(
    {
      loginUrl: sandbox.SANDBOX_HTTP,
      pubSubEndpoint: sandbox.SANDBOX_GRPC,
      rejectUnauthorizedSsl: false,
      ...authentication,
    },
    quiet,
  );
  await client.connect();
  return client;
}

/** The org over REST. */
const org = new jsforce.Connection({
  loginUrl: sandbox.SANDBOX_HTTP,
  instanceUrl: sandbox.SANDBOX_HTTP,
  oauth2: {
    loginUrl: sandbox.SANDBOX_HTTP,
    clientId: sandbox.SANDBOX_CLIENT_ID,
    clientSecret: sandbox.SANDBOX_CLIENT_SECRET,
  },
});
await org.authorize({ grant_type: 'client_credentials' });

async function created(name, fields = {}) {
  const answer = await org.sobject('Account').create({ Name: name, ...fields });
  assert.equal(answer.success, true);
  return answer.id;
}

/** Keeps what a subscription's callback is told, and waits for more of it. */
class Told {
  calls = [];
  #wake = () => {};

  callback = (subscription, type, data) => {
    this.calls.push({ type, data, subscription: { ...subscription } });
    this.#wake();
  };

  /** The data of the first `count` calls of a kind. */
  async first(type, count = 1) {
    for (;;) {
      const found = this.calls.filter((call) => call.type === type);
      if (found.length >= count) return found.slice(0, count).map((call) => call.data);
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** The error a subscription ends with, once its end was told too. */
async function failure(client, subscribe) {
  const told = new Told();
  subscribe(told.callback);
  const [error] = await told.first('error');
  await told.first('end');
  client.close();
  return error;
}

const errorCode = (error) => error.metadata.get('error-code')[0];

await cases({
  'logs in with user name and password, client credentials and a JWT': async () => {
    const logins = [
      {
        authType: 'username-password',
        username: sandbox.SANDBOX_USERNAME,
        password: sandbox.SANDBOX_PASSWORD,
        userToken: sandbox.SANDBOX_SECURITY_TOKEN,
      },
      credentials,
      {
        authType: 'oauth-jwt-bearer',
        clientId: sandbox.SANDBOX_CLIENT_ID,
        username: sandbox.SANDBOX_USERNAME,
        privateKey: readFileSync(sandbox.SANDBOX_JWT_KEY),
      },
    ];
    for (const login of logins) {
      const client = await connected(login);
      const told = new Told();
      client.subscribe(ACCOUNTS, told.callback, 5);
      await told.first('grpcKeepAlive');
      client.close();
    }
  },

  'receives and decodes what changes from now on': async () => {
    const client = await connected();
    const told = new Told();
    client.subscribe(ACCOUNTS, told.callback, 3);
    await told.first('grpcKeepAlive');
    const id = await created('Node', { BillingCity: 'Hobart', BillingStreet: '1 High St', Industry: 'Retail' });
    await org.sobject('Account').update({ Id: id, Industry: null, BillingCity: 'Perth', BillingStreet: '2 Low St' });
    await org.sobject('Account').delete(id);
    const [create, update, gone] = await told.first('event', 3);
    const header = create.payload.ChangeEventHeader;
    assert.equal(header.changeType, 'CREATE');
    assert.deepEqual(header.recordIds, [id]);
    assert.deepEqual(header.changedFields, []);
    assert.equal(typeof header.commitNumber, 'bigint', 'above 2^53');
    assert.equal(create.payload.Name.string ?? create.payload.Name, 'Node');
    assert.equal(create.payload.BillingAddress.City, 'Hobart');
    const changed = update.payload.ChangeEventHeader.changedFields;
    assert.deepEqual(
      [...changed].sort(),
      ['BillingAddress.City', 'BillingAddress.Street', 'Industry', 'LastModifiedDate'],
    );
    assert.deepEqual(update.payload.ChangeEventHeader.nulledFields, ['Industry']);
    assert.equal(update.payload.BillingAddress.City, 'Perth');
    assert.equal(gone.payload.ChangeEventHeader.changeType, 'DELETE');
    assert.equal(gone.payload.Name, null);
    await told.first('lastEvent');
    client.close();
  },

  'asks for more on the same stream': async () => {
    const client = await connected();
    const told = new Told();
    client.subscribe(ACCOUNTS, told.callback, 1);
    await told.first('grpcKeepAlive');
    await created('One');
    await told.first('lastEvent');
    await created('Two');
    client.requestAdditionalEvents(ACCOUNTS, 1);
    const events = await told.first('event', 2);
    assert.notEqual(events[0].replayId, events[1].replayId);
    client.close();
  },

  'reads from the earliest event, and strictly after a replay id': async () => {
    const client = await connected();
    for (const name of ['A', 'B', 'C']) await created(name);
    const told = new Told();
    client.subscribeFromEarliestEvent(ACCOUNTS, told.callback, 5);
    const events = await told.first('event', 5);
    assert.equal(new Set(events.map((event) => event.replayId)).size, 5);
    client.close();
    const again = await connected();
    const after = new Told();
    again.subscribeFromReplayId(ACCOUNTS, after.callback, 2, events[2].replayId);
    const rest = await after.first('event', 2);
    assert.deepEqual(
      rest.map((event) => event.id),
      events.slice(3).map((event) => event.id),
    );
    again.close();
  },

  'commits on a managed subscription and goes on after it': async () => {
    const client = await connected();
    const told = new Told();
    await client.subscribeWithManagedSubscription(sandbox.SANDBOX_MANAGED_SUB, told.callback, 3);
    await told.first('grpcKeepAlive');
    for (const name of ['First', 'Second', 'Third']) await created(name);
    const events = await told.first('event', 3);
    const { subscriptionId } = told.calls[0].subscription;
    assert.match(subscriptionId, /^18x/);
    const answers = told.calls.filter((call) => call.type === 'grpcKeepAlive').length;
    client.commitReplayId(subscriptionId, events[0].replayId);
    // To this client an answer to a commit, which holds no events, is a keep-alive.
    await told.first('grpcKeepAlive', answers + 1);
    // Closing this client leaves its streams open; that of a subscriber who asks for no more ends by itself.
    await told.first('end');
    client.close();
    const again = await connected();
    const after = new Told();
    await again.subscribeWithManagedSubscription(subscriptionId, after.callback, 2);
    const rest = await after.first('event', 2);
    assert.deepEqual(
      rest.map((event) => event.id),
      events.slice(1).map((event) => event.id),
    );
    again.close();
  },

  'publishes one event and a batch, which reach a subscriber': async () => {
    const client = await connected();
    const topic = sandbox.SANDBOX_PE_TOPIC;
    const told = new Told();
    client.subscribe(topic, told.callback, 3);
    await told.first('grpcKeepAlive');
    const payload = (text) => ({
      CreatedDate: Date.now(),
      CreatedById: '005000000000000AAA',
      Message__c: { string: text },
    });
    const result = await client.publish(topic, payload('one'), 'key-1');
    assert.equal(result.correlationKey, 'key-1');
    assert.equal(result.error, undefined);
    assert.ok(result.replayId > 0);
    const answers = new Told();
    await client.publishBatch(
      topic,
      [{ id: 'key-2', payload: payload('two') }, { id: 'key-3', payload: payload('three') }],
      answers.callback,
    );
    const [answer] = await answers.first('publishResponse');
    assert.deepEqual(
      answer.results.map((each) => each.correlationKey),
      ['key-2', 'key-3'],
    );
    const events = await told.first('event', 3);
    assert.deepEqual(
      events.map((event) => event.payload.Message__c),
      ['one', 'two', 'three'],
    );
    assert.equal(events[0].replayId, result.replayId);
    client.close();
  },

  'is told of a bad token': async () => {
    const client = await connected({
      authType: 'user-supplied',
      accessToken: '00D000000000000!nonsense',
      instanceUrl: sandbox.SANDBOX_HTTP,
      organizationId: sandbox.SANDBOX_ORG_ID,
    });
    const error = await failure(client, (callback) => client.subscribe(ACCOUNTS, callback, 1));
    assert.equal(error.code, CODES.unauthenticated);
    assert.match(errorCode(error), /service\.auth\.error$/);
    assert.match(error.details, /rpcId: [0-9a-f-]{36}$/);
  },

  'is told of an unknown topic': async () => {
    const client = await connected();
    const error = await failure(client, (callback) => client.subscribe('/data/NopeChangeEvent', callback, 1));
    assert.equal(error.code, CODES.notFound);
    assert.match(errorCode(error), /topic\.not\.found$/);
    const again = await connected();
    const late = await refused(again.publish('/event/Nope__e', {}));
    assert.equal(late.cause.code, CODES.notFound);
    again.close();
  },

  'is told of a replay id that the org does not know': async () => {
    const client = await connected();
    const error = await failure(client, (callback) => client.subscribeFromReplayId(ACCOUNTS, callback, 1, 12_345));
    assert.equal(error.code, CODES.invalidArgument);
    assert.match(errorCode(error), /subscription\.fetch\.replayid\.corrupted$/);
  },

  'is told when it asks for no event at all': async () => {
    const client = await connected();
    const told = new Told();
    client.subscribe(ACCOUNTS, told.callback, 1);
    await told.first('grpcKeepAlive');
    // The client checks the number of a first request itself, that of later ones it does not.
    client.requestAdditionalEvents(ACCOUNTS, 0);
    const [error] = await told.first('error');
    assert.equal(error.code, CODES.invalidArgument);
    assert.match(errorCode(error), /subscription\.fetch\.requested\.events\.invalid$/);
    client.close();
  },
});
