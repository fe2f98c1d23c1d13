# SPDX-License-Identifier: Apache-2.0
"""A web application with a hole: whatever is posted to it, it runs as a shell command.

It listens on loopback in the demo's own network, so that nobody else can reach it.
"""

import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer


class Application(BaseHTTPRequestHandler):
    """Says that it works, and has the hole."""

    def do_GET(self) -> None:
        self._answer(b"the shop is open\n")

    def do_POST(self) -> None:
        command = self.rfile.read(int(self.headers["Content-Length"])).decode()
        subprocess.Popen(["/bin/sh", "-c", command])
        self._answer(b"thank you\n")

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", 8080), Application).serve_forever()
