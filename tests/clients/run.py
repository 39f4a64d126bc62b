"""Runs public Salesforce clients, unchanged, against the sandbox org over TLS.

    python3 tests/clients/run.py [NAME...]

Every check_*.mjs and check_*.py beside this file is a check; NAME picks those whose file names contain it. Each gets
a sandbox of its own and finds the keys of sandbox.env in its environment. A check may say how its sandbox is started,
on a line of its own such as `// sandbox: --keepalive-ms 200` or `# sandbox: --products 500`.

The clients are installed by npm and pip into target/clients, anew whenever a lock file changes. A check reports one
line for each of its cases, `ok NAME` or `FAILED NAME`; this runner ends with `N passed, N failed`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent.parent / "target")).resolve()
CACHE = TARGET / "clients"
BINARY = Path(os.environ.get("STORESYNC_BIN", TARGET / "debug" / "storesync"))
#: Longest time a whole check may take, and a sandbox to be ready.
CHECK_SECONDS_MAX = 300
START_SECONDS_MAX = 60
#: The Pub/Sub client's HTTP library asks for it.
NODE_MAJOR_MIN = 20


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def installed(folder, inputs, versions, install):
    """Runs `install` in `folder` unless it was done for the very same inputs."""
    digest = hashlib.sha256(versions.encode())
    for path in inputs:
        digest.update(path.read_bytes())
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text() == digest.hexdigest():
        return
    print(f"clients: installing into {folder.name}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    install(folder)
    stamp.write_text(digest.hexdigest())


def install_node():
    version = output("node", "--version")
    if int(version.lstrip("v").split(".")[0]) < NODE_MAJOR_MIN:
        sys.exit(f"clients: node {version} is too old: install Node {NODE_MAJOR_MIN} or newer")
    folder = CACHE / "node"
    inputs = [HERE / name for name in ("package.json", "package-lock.json", ".npmrc")]

    def install(folder):
        for path in inputs:
            shutil.copy(path, folder)
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-progress"], cwd=folder, check=True)

    installed(folder, inputs, version, install)
    # Node looks for modules beside the file that asks for them.
    for path in HERE.glob("*.mjs"):
        shutil.copy(path, folder)
    return folder


def install_python():
    folder = CACHE / "python"
    inputs = [HERE / "requirements.txt", HERE / "constraints.txt"]

    def install(folder):
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        pip = [folder / "venv/bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "-r", HERE / "requirements.txt"], check=True)

    installed(folder, inputs, sys.version, install)
    return folder / "venv/bin/python"


class Sandbox:
    """A sandbox process and the keys of its sandbox.env."""

    def __init__(self, arguments):
        self.folder = tempfile.TemporaryDirectory(prefix="storesync-clients-")
        command = [BINARY, "sandbox", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--tls"]
        self.log = open(Path(self.folder.name) / "log", "w+")
        self.process = subprocess.Popen(
            [*command, "--data", self.folder.name, *arguments], stdout=subprocess.DEVNULL, stderr=self.log
        )
        self.env = self.ready()

    def ready(self):
        file = Path(self.folder.name) / "sandbox.env"
        end = time.monotonic() + START_SECONDS_MAX
        while not file.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                said = self.said()
                self.stop()
                sys.exit(f"clients: the sandbox did not start; it said:\n{said}")
            time.sleep(0.02)
        return dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)

    def said(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        self.folder.cleanup()


def arguments_of(check):
    """What the check says of its sandbox."""
    for line in check.read_text().splitlines():
        words = line.split()
        if words[1:2] == ["sandbox:"] and words[0] in ("//", "#"):
            return words[2:]
    return []


def run_check(check, command):
    """Cases passed and failed."""
    print(f"-- {check.name}", flush=True)
    sandbox = Sandbox(arguments_of(check))
    authority = sandbox.env["SANDBOX_CA"]
    environment = {**os.environ, **sandbox.env}
    environment.update(
        NODE_EXTRA_CA_CERTS=authority,
        REQUESTS_CA_BUNDLE=authority,
        SSL_CERT_FILE=authority,
        PYTHONDONTWRITEBYTECODE="1",
    )
    began = time.monotonic()
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=CHECK_SECONDS_MAX,
        )
        said, status = done.stdout, done.returncode
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"").decode(errors="replace")
        status = f"none after {CHECK_SECONDS_MAX} s"
    complaints = sandbox.said()
    sandbox.stop()
    print(said, end="" if said.endswith("\n") or not said else "\n")
    lines = said.splitlines()
    passed = sum(line.startswith("ok ") for line in lines)
    failed = sum(line.startswith("FAILED ") for line in lines)
    if failed == 0 and (status != 0 or passed == 0):
        print(f"FAILED {check.name}: {passed} cases, exit status {status}")
        failed = 1
    if failed and complaints:
        print(f"the sandbox said:\n{complaints}")
    print(f"   {time.monotonic() - began:.1f} s", flush=True)
    return passed, failed


def main(names):
    if not BINARY.exists():
        sys.exit(f"clients: {BINARY} is missing: run cargo build first")
    checks = sorted([*HERE.glob("check_*.mjs"), *HERE.glob("check_*.py")])
    checks = [check for check in checks if not names or any(name in check.name for name in names)]
    if not checks:
        sys.exit(f"clients: no check is named {' or '.join(names)}")
    node = install_node() if any(check.suffix == ".mjs" for check in checks) else None
    python = install_python() if any(check.suffix == ".py" for check in checks) else None
    passed = failed = 0
    for check in checks:
        command = ["node", node / check.name] if check.suffix == ".mjs" else [python, check]
        done = run_check(check, command)
        passed, failed = passed + done[0], failed + done[1]
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
