"""Airbyte's Salesforce source: check, discover, a full read and a read that resumes from its own state.

The connector logs in at login.salesforce.com whatever it is told, so each run of it is a process of its own in which
the transport of `requests` sends that host's requests to the sandbox; the connector itself runs as it is installed.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import requests

from sandbox import SANDBOX, case, redirected_session, run, to_sandbox

CONFIG = {
    "client_id": SANDBOX["SANDBOX_CLIENT_ID"],
    "client_secret": SANDBOX["SANDBOX_CLIENT_SECRET"],
    "refresh_token": SANDBOX["SANDBOX_REFRESH_TOKEN"],
    "is_sandbox": True,
    # One slice of time instead of dozens.
    "stream_slice_step": "P2Y",
    "streams_criteria": [{"criteria": "exacts", "value": name} for name in ("Account", "Contact", "Order", "OrderItem")],
}


def connector(arguments):
    """Runs the connector in this process with these arguments."""
    send = requests.adapters.HTTPAdapter.send

    def redirected(self, request, **options):
        request.url = to_sandbox(request.url)
        return send(self, request, **options)

    requests.adapters.HTTPAdapter.send = redirected
    from source_salesforce.run import run as connector_run

    sys.argv[1:] = arguments
    connector_run()


class Failed(Exception):
    """The connector ended with an error; the text holds its messages."""


def airbyte(verb, config=CONFIG, **files):
    """The messages of one run of the connector."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [verb]
        for name, content in {"config": config, **files}.items():
            path = Path(folder) / f"{name}.json"
            path.write_text(json.dumps(content))
            arguments += [f"--{name}", str(path)]
        done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, timeout=240)
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0:
        raise Failed(done.stdout[-4000:] + done.stderr[-4000:])
    return messages


def of_type(messages, kind):
    member = {"CONNECTION_STATUS": "connectionStatus"}.get(kind, kind.lower())
    return [message[member] for message in messages if message["type"] == kind]


def configured(*names, mode):
    streams = of_type(airbyte("discover"), "CATALOG")[0]["streams"]
    chosen = [stream for stream in streams if stream["name"] in names]
    assert len(chosen) == len(names), [stream["name"] for stream in streams]
    configuration = {"destination_sync_mode": "append", "sync_mode": mode}
    return {
        "streams": [
            {"stream": stream, "cursor_field": stream.get("default_cursor_field", []), **configuration}
            for stream in chosen
        ]
    }


def count(object_name, where=""):
    response = asked("GET", "query", params={"q": f"SELECT COUNT() FROM {object_name} {where}"})
    return response["totalSize"]


def asked(method, path, **options):
    session = redirected_session()
    token = session.post(
        f"{SANDBOX['SANDBOX_HTTP']}/services/oauth2/token",
        data={
            "grant_type": "client_credentials",
            "client_id": SANDBOX["SANDBOX_CLIENT_ID"],
            "client_secret": SANDBOX["SANDBOX_CLIENT_SECRET"],
        },
    ).json()["access_token"]
    url = f"{SANDBOX['SANDBOX_HTTP']}/services/data/v62.0/{path}"
    response = session.request(method, url, headers={"Authorization": f"Bearer {token}"}, **options)
    response.raise_for_status()
    return response.json()


@case("checks its connection")
def _():
    status = of_type(airbyte("check"), "CONNECTION_STATUS")[0]
    assert status["status"] == "SUCCEEDED", status


@case("is refused with a wrong refresh token")
def _():
    try:
        messages = airbyte("check", config={**CONFIG, "refresh_token": "wrong"})
        status = of_type(messages, "CONNECTION_STATUS")[0]
        assert status["status"] == "FAILED", status
        said = json.dumps(messages)
    except Failed as failed:
        said = str(failed)
    assert "expired access/refresh token" in said or "authentication" in said.lower(), said


@case("discovers the objects with the types of their fields")
def _():
    streams = {stream["name"]: stream for stream in of_type(airbyte("discover"), "CATALOG")[0]["streams"]}
    assert {"Account", "Order", "OrderItem"} <= set(streams), sorted(streams)
    properties = streams["Order"]["json_schema"]["properties"]
    assert properties["EffectiveDate"]["format"] == "date", properties["EffectiveDate"]
    assert properties["TotalAmount"]["type"] == ["number", "null"], properties["TotalAmount"]
    assert streams["Order"]["source_defined_primary_key"] == [["Id"]]
    assert streams["Order"]["default_cursor_field"] == ["SystemModstamp"]


@case("reads all records, over REST and over the Bulk API 2.0")
def _():
    messages = airbyte("read", catalog=configured("Account", "OrderItem", mode="full_refresh"))
    records = of_type(messages, "RECORD")
    for name in ("Account", "OrderItem"):
        ids = {record["data"]["Id"] for record in records if record["stream"] == name}
        assert len(ids) == count(name) > 0, (name, len(ids))


@case("resumes from its state and reads only what changed since")
def _():
    catalog = configured("Order", "OrderItem", mode="incremental")
    messages = airbyte("read", catalog=catalog)
    assert len({record["data"]["Id"] for record in of_type(messages, "RECORD") if record["stream"] == "Order"}) > 0
    latest = {state["stream"]["stream_descriptor"]["name"]: state for state in of_type(messages, "STATE")}
    assert set(latest) == {"Order", "OrderItem"}, latest
    order = asked("GET", "query", params={"q": "SELECT Id FROM Order WHERE StatusCode = 'Draft' LIMIT 1"})
    order_id = order["records"][0]["Id"]
    touched = asked(
        "POST",
        "composite",
        json={
            "compositeRequest": [
                {
                    "method": "PATCH",
                    "url": f"/services/data/v62.0/sobjects/Order/{order_id}",
                    "referenceId": "touched",
                    "body": {"Description": "changed since"},
                }
            ]
        },
    )
    assert touched["compositeResponse"][0]["httpStatusCode"] == 204, touched
    again = airbyte("read", catalog=catalog, state=list(latest.values()))
    changed = [record["data"] for record in of_type(again, "RECORD") if record["stream"] == "Order"]
    assert order_id in [record["Id"] for record in changed], changed
    assert len(changed) < count("Order"), len(changed)


if len(sys.argv) > 1:
    connector(sys.argv[1:])
else:
    run()
