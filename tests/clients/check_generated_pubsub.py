"""A client generated from the proto by grpcio-tools, with fastavro to read and write events.

It plays what anyone builds from Salesforce's own proto: nothing here knows of the sandbox but its addresses.
"""

# sandbox: --keepalive-ms 200 --idle-ms 2000

import importlib
import io
import json
import queue
import sys
import tempfile
import uuid
from pathlib import Path

import fastavro
import grpc
import requests
from grpc_tools import protoc

from sandbox import SANDBOX, case, control, refused, run

PROTO = Path(__file__).resolve().parents[2] / "proto"
ACCOUNTS = "/data/AccountChangeEvent"
LATEST, EARLIEST, CUSTOM = 0, 1, 2
#: Longest time that anything takes which works.
PATIENCE_SECONDS = 30

generated = tempfile.mkdtemp()
arguments = ["", f"-I{PROTO}", f"--python_out={generated}", f"--grpc_python_out={generated}", "pubsub_api.proto"]
assert protoc.main(arguments) == 0, "the proto compiles"
sys.path.insert(0, generated)
messages = importlib.import_module("pubsub_api_pb2")
services = importlib.import_module("pubsub_api_pb2_grpc")


def login():
    form = {
        "grant_type": "client_credentials",
        "client_id": SANDBOX["SANDBOX_CLIENT_ID"],
        "client_secret": SANDBOX["SANDBOX_CLIENT_SECRET"],
    }
    answer = requests.post(f"{SANDBOX['SANDBOX_HTTP']}/services/oauth2/token", data=form, timeout=30)
    answer.raise_for_status()
    return answer.json()["access_token"]


TOKEN = login()
STUB = services.PubSubStub(
    grpc.secure_channel(
        SANDBOX["SANDBOX_GRPC"],
        grpc.ssl_channel_credentials(Path(SANDBOX["SANDBOX_CA"]).read_bytes()),
    )
)


def headers(**other):
    own = {"accesstoken": TOKEN, "instanceurl": SANDBOX["SANDBOX_HTTP"], "tenantid": SANDBOX["SANDBOX_ORG_ID"]}
    return tuple((name, value) for name, value in {**own, **other}.items() if value is not None)


def created(name, **fields):
    answer = requests.post(
        f"{SANDBOX['SANDBOX_HTTP']}/services/data/v62.0/sobjects/Account",
        json={"Name": name, **fields},
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=30,
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


class Call:
    """A stream in both directions."""

    def __init__(self, method, *requests_, metadata=None):
        self.requests = queue.Queue()
        for request in requests_:
            self.requests.put(request)
        self.answers = method(
            iter(self.requests.get, None), metadata=metadata or headers(), timeout=PATIENCE_SECONDS
        )

    def ask(self, request):
        self.requests.put(request)

    def next(self):
        return next(self.answers)

    def events(self, count):
        found = []
        while len(found) < count:
            found.extend(self.next().events)
        return found

    def close(self):
        """Says that no more is asked for, and waits for the end."""
        self.requests.put(None)
        for _ in self.answers:
            pass

    def failure(self):
        """The error that the call ends with."""
        try:
            for _ in self.answers:
                pass
        except grpc.RpcError as error:
            return error
        raise AssertionError("the call ended well")


def fetch(topic=ACCOUNTS, preset=LATEST, replay_id=b"", events=10):
    return messages.FetchRequest(
        topic_name=topic, replay_preset=preset, replay_id=replay_id, num_requested=events
    )


def subscribe(*requests_):
    return Call(STUB.Subscribe, *requests_)


_schemas = {}


def decode(event):
    schema_id = event.event.schema_id
    if schema_id not in _schemas:
        answer = STUB.GetSchema(messages.SchemaRequest(schema_id=schema_id), metadata=headers())
        assert answer.schema_id == schema_id and answer.rpc_id
        _schemas[schema_id] = fastavro.parse_schema(json.loads(answer.schema_json))
    payload = io.BytesIO(event.event.payload)
    value = fastavro.schemaless_reader(payload, _schemas[schema_id])
    assert payload.read() == b"", "the payload is read to its last byte"
    return value


def trailers(error):
    found = {name: value for name, value in error.trailing_metadata()}
    code = found["error-code"].removeprefix("sfdc.platform.eventbus.grpc.")
    assert error.details().endswith(f" rpcId: {found['rpc-id']}"), error.details()
    return code, found["type"]


@case("is told of a topic and its schema")
def _():
    topic = STUB.GetTopic(messages.TopicRequest(topic_name=ACCOUNTS), metadata=headers())
    assert topic.topic_name == ACCOUNTS and topic.can_subscribe and not topic.can_publish, topic
    assert topic.tenant_guid.endswith(SANDBOX["SANDBOX_ORG_ID"]) and topic.rpc_id, topic
    schema = STUB.GetSchema(messages.SchemaRequest(schema_id=topic.schema_id), metadata=headers())
    parsed = fastavro.parse_schema(json.loads(schema.schema_json))
    assert parsed["name"] == "com.sforce.eventbus.AccountChangeEvent", parsed["name"]
    assert len(topic.schema_id) == 22
    everything = STUB.GetTopic(messages.TopicRequest(topic_name="/data/ChangeEvents"), metadata=headers())
    assert everything.schema_id == "", everything


@case("receives what changes from the tip on, and what is kept from the earliest on")
def _():
    tip = subscribe(fetch(preset=LATEST))
    first = tip.next()
    assert not first.events and first.pending_num_requested == 10 and len(first.latest_replay_id) == 10
    record = created("Python", AnnualRevenue=12.5, NumberOfEmployees=3, BillingCity="Hobart")
    response = tip.next()
    [event] = response.events
    assert response.pending_num_requested == 9 and response.latest_replay_id == event.replay_id
    body = decode(event)
    header = body["ChangeEventHeader"]
    assert header["recordIds"] == [record] and header["changeType"] == "CREATE", header
    assert header["commitNumber"] > 2**53 and header["commitTimestamp"] % 1000 == 0, header
    assert (body["Name"], body["AnnualRevenue"], body["NumberOfEmployees"]) == ("Python", 12.5, 3), body
    assert body["BillingAddress"]["City"] == "Hobart", body
    tip.close()
    earliest = subscribe(fetch(preset=EARLIEST, events=100))
    kept = earliest.events(1)
    assert kept[-1].event.id == event.event.id
    earliest.close()


@case("resumes strictly after a replay id")
def _():
    for name in ("A", "B", "C"):
        created(name)
    call = subscribe(fetch(preset=EARLIEST, events=100))
    events = call.events(3)
    call.close()
    replay_ids = [event.replay_id for event in events]
    assert replay_ids == sorted(set(replay_ids))
    resumed = subscribe(fetch(preset=CUSTOM, replay_id=replay_ids[-3]))
    assert [event.replay_id for event in resumed.events(2)] == replay_ids[-2:]
    resumed.close()
    # Eight bytes are the same position.
    resumed = subscribe(fetch(preset=CUSTOM, replay_id=replay_ids[-3][:8]))
    assert resumed.events(1)[0].replay_id == replay_ids[-2]
    resumed.close()


@case("is sent no more than it asked for, and ends when it asks for no more")
def _():
    for name in ("D", "E", "F"):
        created(name)
    call = subscribe(fetch(preset=EARLIEST, events=1))
    response = call.next()
    assert (len(response.events), response.pending_num_requested) == (1, 0)
    # Later requests may repeat the rest of the first one.
    call.ask(fetch(preset=CUSTOM, replay_id=response.latest_replay_id, events=2))
    response = call.next()
    assert (len(response.events), response.pending_num_requested) == (2, 0)
    assert list(call.answers) == []
    assert call.answers.code() == grpc.StatusCode.OK


@case("commits on a managed subscription and goes on after it")
def _():
    first = messages.ManagedFetchRequest(developer_name=SANDBOX["SANDBOX_MANAGED_SUB"], num_requested=10)
    call = Call(STUB.ManagedSubscribe, first)
    assert not call.next().events
    for name in ("G", "H", "I"):
        created(name)
    events = call.events(3)
    commit = messages.CommitReplayRequest(commit_request_id="c-1", replay_id=events[0].replay_id)
    call.ask(messages.ManagedFetchRequest(commit_replay_id_request=commit))
    response = call.next()
    while not response.HasField("commit_response"):
        response = call.next()
    assert response.commit_response.commit_request_id == "c-1"
    assert response.commit_response.replay_id == events[0].replay_id
    assert not response.commit_response.HasField("error") and response.commit_response.process_time > 0
    held = Call(STUB.ManagedSubscribe, first).failure()
    assert held.code() == grpc.StatusCode.ALREADY_EXISTS
    assert trailers(held) == ("managed.subscription.already.active", "ManagedSubscribe")
    call.close()
    again = Call(STUB.ManagedSubscribe, first)
    assert [event.event.id for event in again.events(2)] == [event.event.id for event in events[1:]]
    again.close()


@case("publishes, and its events are delivered")
def _():
    name = SANDBOX["SANDBOX_PE_TOPIC"]
    topic = STUB.GetTopic(messages.TopicRequest(topic_name=name), metadata=headers())
    assert topic.can_publish
    answer = STUB.GetSchema(messages.SchemaRequest(schema_id=topic.schema_id), metadata=headers())
    schema = fastavro.parse_schema(json.loads(answer.schema_json))

    def event(text, schema_id=topic.schema_id):
        payload = io.BytesIO()
        body = {"CreatedDate": 1_790_000_000_000, "CreatedById": "005000000000000AAA", "Message__c": text}
        fastavro.schemaless_writer(payload, schema, body)
        return messages.ProducerEvent(id=str(uuid.uuid4()), schema_id=schema_id, payload=payload.getvalue())

    call = subscribe(fetch(topic=name, preset=LATEST))
    assert not call.next().events
    sent = [event("one"), event("bad", "A" * 22), event("two")]
    answer = STUB.Publish(messages.PublishRequest(topic_name=name, events=sent), metadata=headers())
    assert [result.correlation_key for result in answer.results] == [each.id for each in sent]
    assert [result.error.code for result in answer.results] == [0, messages.PUBLISH, 0], answer
    assert answer.schema_id == topic.schema_id
    stream = Call(STUB.PublishStream, messages.PublishRequest(topic_name=name, events=[event("three")]))
    [result] = stream.next().results
    stream.close()
    got = call.events(3)
    assert [decode(each)["Message__c"] for each in got] == ["one", "two", "three"]
    assert got[2].replay_id == result.replay_id
    assert got[0].event.id == sent[0].id
    call.close()
    denied = refused(
        grpc.RpcError, STUB.Publish, messages.PublishRequest(topic_name=ACCOUNTS, events=sent), metadata=headers()
    )
    assert denied.code() == grpc.StatusCode.PERMISSION_DENIED


@case("is refused without each of the three headers, and with a token that ended")
def _():
    request = messages.TopicRequest(topic_name=ACCOUNTS)
    wrong = [
        {"accesstoken": None},
        {"accesstoken": "nonsense"},
        {"instanceurl": None},
        {"tenantid": None},
        {"tenantid": "00D000000000001AAA"},
    ]
    for other in wrong:
        error = refused(grpc.RpcError, STUB.GetTopic, request, metadata=headers(**other))
        assert error.code() == grpc.StatusCode.UNAUTHENTICATED, (other, error)
        assert trailers(error) == ("service.auth.error", "GetTopic")
    for rpc, method in [("Subscribe", STUB.Subscribe), ("ManagedSubscribe", STUB.ManagedSubscribe)]:
        error = Call(method, metadata=headers(accesstoken="nonsense")).failure()
        assert trailers(error) == ("service.auth.error", rpc)
    short = headers(tenantid=SANDBOX["SANDBOX_ORG_ID"][:15])
    STUB.GetTopic(request, metadata=short)


@case("is told why a call cannot be")
def _():
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    table = [
        (fetch(topic="/data/NopeChangeEvent"), missing, "topic.not.found"),
        (fetch(preset=CUSTOM, replay_id=b"nonsense"), invalid, "subscription.fetch.replayid.corrupted"),
        (fetch(preset=CUSTOM), invalid, "subscription.fetch.replayid.validation.failed"),
        (fetch(events=0), invalid, "subscription.fetch.requested.events.invalid"),
        (fetch(events=-1), invalid, "subscription.fetch.requested.events.invalid"),
    ]
    for request, code, suffix in table:
        error = subscribe(request).failure()
        assert (error.code(), *trailers(error)) == (code, suffix, "Subscribe"), error
    error = subscribe(fetch(), fetch(topic="/data/ChangeEvents")).failure()
    assert trailers(error) == ("subscription.fetch.topic.mismatch", "Subscribe")
    for schema_id, code, suffix in [("", invalid, "schema.validation.failed"), ("x", missing, "schema.meta.permission")]:
        error = refused(
            grpc.RpcError, STUB.GetSchema, messages.SchemaRequest(schema_id=schema_id), metadata=headers()
        )
        assert (error.code(), *trailers(error)) == (code, suffix, "GetSchema")


@case("is told of trouble that is staged")
def _():
    def struck(fault, **rule):
        control("POST", "faults", {"rpc": "Subscribe", "on": "now", "times": 1, "fault": fault, **rule})

    for fault, code in [
        ("service_unavailable", grpc.StatusCode.INTERNAL),
        ("unavailable", grpc.StatusCode.UNAVAILABLE),
        ("resource_exhausted", grpc.StatusCode.RESOURCE_EXHAUSTED),
        ("reset", grpc.StatusCode.INTERNAL),
    ]:
        call = subscribe(fetch())
        call.next()
        struck(fault)
        assert call.failure().code() == code, fault
    call = subscribe(fetch())
    call.next()
    struck("end")
    call.close()
    assert call.answers.code() == grpc.StatusCode.OK
    # Last, since it ends the session that all of this runs by.
    call = subscribe(fetch())
    call.next()
    struck("revoke_token")
    error = call.failure()
    assert error.code() == grpc.StatusCode.UNAUTHENTICATED
    assert trailers(error) == ("service.auth.error", "Subscribe")


run()
