"""What a script in Python does with each event: fastavro, with the schema parsed once.

Arguments: the schema, the events (each with its length in front, 4 bytes, little-endian), and how many rounds.
Says on standard error the median of the rounds, in events per second.
"""

import io
import json
import statistics
import struct
import sys
import time

import fastavro

schema_file, events_file, rounds = sys.argv[1:]
with open(schema_file) as file:
    schema = fastavro.parse_schema(json.load(file))
with open(events_file, "rb") as file:
    data = file.read()
events, at = [], 0
while at < len(data):
    (length,) = struct.unpack_from("<I", data, at)
    events.append(data[at + 4 : at + 4 + length])
    at += 4 + length

rates = []
for _ in range(int(rounds)):
    started = time.perf_counter()
    for event in events:
        fastavro.schemaless_reader(io.BytesIO(event), schema, None)
    rates.append(len(events) / (time.perf_counter() - started))
print(statistics.median(rates), file=sys.stderr)
