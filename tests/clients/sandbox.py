"""What the Python checks share: where the sandbox is, and the form of their reports.

A check decorates its cases with `case` and ends with `run()`. Cases run in order, each reports one line, and a
failure does not keep the next one from running. run.py beside this file counts the lines.
"""

import json
import os
import sys
import traceback
import urllib.request
from urllib.parse import urlsplit, urlunsplit

#: SANDBOX_HTTP and the other keys of sandbox.env.
SANDBOX = {key: value for key, value in os.environ.items() if key.startswith("SANDBOX_")}

_cases = []


def case(name):
    """Marks a function as the case of this name."""

    def keep(function):
        _cases.append((name, function))
        return function

    return keep


def run():
    """Runs all cases and ends the process."""
    failed = 0
    for name, function in _cases:
        try:
            function()
            print(f"ok {name}", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED {name}", flush=True)
            traceback.print_exc(file=sys.stdout)
    sys.stdout.flush()
    # Clients may leave threads behind that wait for events.
    os._exit(1 if failed else 0)


def refused(kind, function, *arguments, **named):
    """The error of this kind that a call ends with; fails where it ends well."""
    try:
        value = function(*arguments, **named)
    except kind as error:
        return error
    raise AssertionError(f"this should have been refused, and gave {value!r}")


def control(method, path, body=None):
    """One of the sandbox's own controls, such as control("POST", "faults", {...})."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{SANDBOX['SANDBOX_HTTP']}/sandbox/{path}", data=data, method=method)
    text = urllib.request.urlopen(request, timeout=30).read()
    return json.loads(text) if text else None


def to_sandbox(url):
    """An address on Salesforce's hosts, moved to the sandbox; any other as it is."""
    parts = urlsplit(url)
    if not (parts.hostname or "").endswith(".salesforce.com"):
        return url
    here = urlsplit(SANDBOX["SANDBOX_HTTP"])
    return urlunsplit((here.scheme, here.netloc, parts.path, parts.query, parts.fragment))


def redirected_session():
    """A requests session for clients that write *.salesforce.com themselves: it goes to the sandbox instead."""
    import requests

    class Redirect(requests.adapters.HTTPAdapter):
        def send(self, request, **options):
            request.url = to_sandbox(request.url)
            return super().send(request, **options)

    session = requests.Session()
    session.mount("https://", Redirect())
    return session
