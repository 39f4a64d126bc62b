// What the Node client does with a stream: it hands each event to a handler, which counts it with logging off, or
// prints it as the client's documentation shows it: logging to the console, a sentence, the event as indented JSON.
// Arguments: the folder it is installed in, the server's address, the topic, how many events to hear, and whether to
// `count` or to `print`. Says on standard error how many events it heard per second, from the first to the last.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, address, topic, wanted, handler] = process.argv.slice(2);
const dist = join(folder, 'node_modules/salesforce-pubsub-api-client/dist');
const client = join(dist, 'client.js');
// The server of the bench speaks plain text, which this client offers no option for.
const { credentials } = createRequire(client)('@grpc/grpc-js');
credentials.combineChannelCredentials = () => credentials.createInsecure();
const { default: PubSubApiClient } = await import(pathToFileURL(client));

const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const user = { authType: 'user-supplied', accessToken: 'token', instanceUrl: 'https://localhost', organizationId: '00D000000000001EAA' };
const stream = new PubSubApiClient({ ...user, pubSubEndpoint: address }, handler === 'count' ? quiet : console);
await stream.connect();

const text = (_, value) => (typeof value === 'bigint' ? value.toString() : value);
let heard = 0;
let began;
stream.subscribe(topic, (subscription, type, event) => {
    if (type !== 'event') {
        console.error(`the stream says ${type}: ${event}`);
        process.exit(1);
    }
    began ??= process.hrtime.bigint();
    if (handler === 'print') {
        const { entityName } = event.payload.ChangeEventHeader;
        console.log(`${subscription.topicName}: ${entityName} ${event.replayId}, ${subscription.receivedEventCount} so far`);
        console.log(JSON.stringify(event, text, 2));
    }
    if (++heard < Number(wanted)) return;
    const seconds = Number(process.hrtime.bigint() - began) / 1e9;
    process.stderr.write(`${heard / seconds}\n`, () => process.exit());
});
