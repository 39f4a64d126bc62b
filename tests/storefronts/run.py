"""Runs the storefront examples, a browser and schemathesis against a daemon that mirrors a sandbox org.

    python3 tests/storefronts/run.py [NAME...]

One line for each case, `ok NAME` or `FAILED NAME`; ends with `N passed, N failed`. What is needed besides Python is
installed by npm and pip into target/storefronts; Chromium and Ruby come from tests/setup.sh.
"""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target")).resolve()
CACHE = TARGET / "storefronts"
BINARY = Path(os.environ.get("STORESYNC_BIN", TARGET / "debug" / "storesync"))
SECONDS_MAX = 120
STORE = "harbour-pine"
#: What an answer must be for schemathesis: no 5xx, and nothing that the document does not name.
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


def installed(folder, inputs, install):
    """Runs `install` unless it was done for the very same inputs."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in inputs)).hexdigest()
    stamp = folder / "installed"
    if not stamp.exists() or stamp.read_text() != digest:
        print(f"storefronts: installing into {folder.name}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        install(folder)
        stamp.write_text(digest)
    return folder


def node():
    """A Node that has node:sqlite, and the folder whose modules it finds."""
    inputs = [HERE / "package.json"]

    def install(folder):
        shutil.copy(inputs[0], folder)
        npm = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--silent"]
        subprocess.run(npm, cwd=folder, check=True)

    folder = installed(CACHE / "node", inputs, install)
    for script in HERE.glob("*.mjs"):
        shutil.copy(script, folder)
    binaries = list(folder.glob("node_modules/node-linux-*/bin/node"))
    return (binaries[0] if binaries else "node"), folder


def python():
    inputs = [HERE / "requirements.txt"]

    def install(folder):
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        pip = [folder / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "-r", inputs[0]], check=True)

    return installed(CACHE / "python", inputs, install) / "venv/bin"


class Process:
    """A process that ends with this one, and what it said."""

    def __init__(self, command, **environment):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=self.log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )

    def said(self):
        return os.pread(self.log.fileno(), 1 << 24, 0).decode(errors="replace")

    def until(self, pattern):
        return eventually(pattern, lambda: re.search(pattern, self.said()), self)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def eventually(what, ask, process=None):
    end = time.monotonic() + SECONDS_MAX
    while time.monotonic() < end:
        if answer := ask():
            return answer
        if process and process.process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}" + (f"; it said:\n{process.said()[-4000:]}" if process else ""))


def fetch(url, method="GET", body=None, **headers):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
    return json.loads(text) if text else None


class World:
    """A sandbox org and a daemon that has loaded it."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="storesync-storefronts-")
        data = Path(self.folder.name)
        listen = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"]
        size = ["--stores", "2", "--products", "40", "--keepalive-ms", "500"]
        self.sandbox = Process([BINARY, "sandbox", *listen, *size, "--data", data])
        eventually("sandbox.env", (data / "sandbox.env").exists, self.sandbox)
        lines = (data / "sandbox.env").read_text().splitlines()
        self.env = dict(line.split("=", 1) for line in lines if "=" in line)
        self.daemon = Process(
            [BINARY, "run", "--config", data / "config.toml"],
            STORESYNC__SERVE__LISTEN="127.0.0.1:0",
            STORESYNC__ADMIN__LISTEN="127.0.0.1:0",
            STORESYNC__SYNC__POLL_SECONDS="1",
        )
        self.api = self.daemon.until(r"storefronts are served on (http://\S+)")[1]
        self.admin = self.daemon.until(r"operators are served on (http://\S+)")[1]
        self.cache = data / "state" / "cache.db"
        eventually("the first load", self.loaded, self.daemon)

    def operator_token(self):
        return (self.cache.parent / "admin.token").read_text().strip()

    def loaded(self):
        try:
            return fetch(f"{self.admin}/readyz")["ready"]
        except OSError:
            return False

    def set_price(self, entry, amount):
        form = {
            "grant_type": "client_credentials",
            "client_id": self.env["SANDBOX_CLIENT_ID"],
            "client_secret": self.env["SANDBOX_CLIENT_SECRET"],
        }
        org = self.env["SANDBOX_HTTP"]
        data = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"{org}/services/oauth2/token", data, timeout=60) as answer:
            token = json.load(answer)["access_token"]
        url = f"{org}/services/data/v67.0/sobjects/PricebookEntry/{entry}"
        fetch(url, "PATCH", {"UnitPrice": amount}, Authorization=f"Bearer {token}")

    def products(self):
        items, cursor = [], ""
        while cursor is not None:
            query = urllib.parse.urlencode({"limit": 500, "cursor": cursor})
            page = fetch(f"{self.api}/v1/stores/{STORE}/products?{query}")
            items, cursor = items + page["items"], page["next"]
        return items

    def stop(self):
        self.daemon.stop()
        self.sandbox.stop()
        self.folder.cleanup()


def check_files(world, command):
    """What an example prints of the file is what the API says."""
    done = subprocess.run([*command, world.cache, STORE], capture_output=True, text=True, timeout=SECONDS_MAX)
    assert done.returncode == 0, done.stderr
    printed = {line.split("\t")[0]: line.split("\t")[2:] for line in done.stdout.splitlines()}
    told = [item for item in world.products() if item["price"] and item["purchasable"]]
    assert len(told) > 10
    for item in told:
        amount, currency = printed[item["product_code"]]
        assert float(amount) == float(item["price"]["amount"]), (item, amount)
        assert currency == item["price"]["currency"]


def check_page(world):
    binary, folder = node()
    number = port()
    page = Process([sys.executable, HERE / "page.py", number, world.api])
    url = f"http://127.0.0.1:{number}/?store={STORE}"
    eventually("the page", lambda: reachable(url), page)
    browser = Process([binary, folder / "check_browser.mjs", "page", url], CHROMIUM=chromium())
    try:
        drawn = int(browser.until(r"drawn (\d+)")[1])
        products = world.products()
        assert drawn == len(products), (drawn, len(products))
        world.set_price(next(item for item in products if item["purchasable"])["pricebook_entry_id"], 7.77)
        browser.until("changed")
        assert browser.process.wait(SECONDS_MAX) == 0, browser.said()
    finally:
        browser.stop()
        page.stop()


def check_demo(_world):
    binary, folder = node()
    demo = Process([BINARY, "demo", "--stores", "1", "--products", "12"])
    try:
        url = demo.until(r"storefront\s+(http://\S+)")[1]
        browser = Process([binary, folder / "check_browser.mjs", "demo", url], CHROMIUM=chromium())
        browser.until("confirmed")
        assert browser.process.wait(SECONDS_MAX) == 0, browser.said()
    finally:
        demo.stop()


def check_document(address, *headers):
    command = [python() / "schemathesis", "run", f"{address}/openapi.json", "--url", address, "--checks", CHECKS]
    for header in headers:
        command += ["--header", header]
    limits = ["--max-examples", "5", "--phases", "examples,coverage,fuzzing", "--seed", "1", "--exclude-path", "/v1/changes"]
    done = subprocess.run([*command, *limits], capture_output=True, text=True, timeout=SECONDS_MAX * 3, cwd=CACHE)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def reachable(url):
    try:
        urllib.request.urlopen(url, timeout=5).close()
        return True
    except OSError:
        return False


def chromium():
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "no Chromium: run tests/setup.sh"
    return found


CASES = {
    "catalogue.py": lambda world: check_files(world, [sys.executable, HERE / "catalogue.py"]),
    "catalogue.mjs": lambda world: check_files(world, [node()[0], HERE / "catalogue.mjs"]),
    "catalogue.rb": lambda world: check_files(world, ["ruby", HERE / "catalogue.rb"]),
    "page.html in Chromium": check_page,
    "demo in Chromium": check_demo,
    "schemathesis, storefronts": lambda world: check_document(world.api),
    "schemathesis, operators": lambda world: check_document(world.admin, f"Authorization: Bearer {world.operator_token()}"),
}


def main(names):
    if not BINARY.exists():
        sys.exit(f"storefronts: {BINARY} is missing: run cargo build first")
    CACHE.mkdir(parents=True, exist_ok=True)
    cases = {name: case for name, case in CASES.items() if not names or any(part in name for part in names)}
    world = World()
    failed = 0
    for name, case in cases.items():
        began = time.monotonic()
        try:
            case(world)
            print(f"ok {name} ({time.monotonic() - began:.1f} s)", flush=True)
        except (AssertionError, OSError, LookupError, subprocess.SubprocessError) as error:
            print(f"FAILED {name}: {error}", flush=True)
            failed += 1
    world.stop()
    print(f"{len(cases) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
