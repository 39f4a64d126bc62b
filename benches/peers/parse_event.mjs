// What the Node client does with each event before it hands it over: `parseEvent`, which it does not export.
// Arguments: the folder it is installed in, the schema, the events (each with its length in front, 4 bytes,
// little-endian), and how many rounds. Says on standard error the median of the rounds, in events per
// second.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, schemaFile, eventsFile, rounds] = process.argv.slice(2);
const dist = join(folder, 'node_modules/salesforce-pubsub-api-client/dist');
const opened = join(dist, 'opened.mjs');
const source = readFileSync(join(dist, 'client.js'), 'utf8');
writeFileSync(opened, `${source}\nexport { parseEvent, CustomLongAvroType };\n`);
const { parseEvent, CustomLongAvroType } = await import(pathToFileURL(opened));
const avro = createRequire(opened)('avro-js');

const type = avro.parse(JSON.parse(readFileSync(schemaFile, 'utf8')), { registry: { long: CustomLongAvroType } });
const schema = { id: 'bench', type };
const bytes = readFileSync(eventsFile);
const events = [];
for (let at = 0; at < bytes.length; ) {
    const end = at + 4 + bytes.readUInt32LE(at);
    events.push({
        replayId: Buffer.from([0, 0, 0, 0, 0, 0, 0, 1]),
        event: { id: 'id', schemaId: 'bench', payload: bytes.subarray(at + 4, end) }
    });
    at = end;
}

const rates = [];
// The first round is for the compiler.
for (let round = 0; round <= Number(rounds); round++) {
    const started = process.hrtime.bigint();
    for (const event of events) parseEvent(schema, event);
    const seconds = Number(process.hrtime.bigint() - started) / 1e9;
    if (round > 0) rates.push(events.length / seconds);
}
rates.sort((a, b) => a - b);
console.error(rates[Math.floor(rates.length / 2)]);
