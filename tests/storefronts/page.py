"""Serves page.html to browsers, and passes what it reads on to the daemon.

    python3 page.py PORT http://127.0.0.1:8080 [TOKEN]

The browser never sees the token: a storefront's own server asks with it.
"""

import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, API, *TOKEN = sys.argv[1:]
PAGE = Path(__file__).with_name("page.html")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/v1/"):
            return self.passed_on()
        body = PAGE.read_bytes()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def passed_on(self):
        headers = {"Authorization": f"Bearer {TOKEN[0]}"} if TOKEN else {}
        if last := self.headers.get("Last-Event-ID"):
            headers["Last-Event-ID"] = last
        try:
            answer = urllib.request.urlopen(urllib.request.Request(API + self.path, headers=headers))
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            # As it comes: a stream of events has no end.
            try:
                while chunk := answer.read1(65536):
                    self.wfile.write(chunk)
                    self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                pass  # The browser went away.

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(PORT)), Handler).serve_forever()
