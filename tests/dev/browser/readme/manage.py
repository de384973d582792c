"""A page whose version is that of src/app.py, and a WebSocket that says the same: by Python and nothing else."""

import base64
import hashlib
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, "src")
while os.path.exists("loads"):
    time.sleep(0.01)

import app  # noqa: E402

PAGE = f"""<!DOCTYPE html><html><head><title>{app.VERSION}</title><script src="LIVERELOAD/livereload.js"></script></head>
<body><p id=said></p><script>
sessionStorage.loads = Number(sessionStorage.loads || 0) + 1;
const socket = new WebSocket("ws://" + location.host + "/socket");
socket.onmessage = message => document.getElementById("said").textContent += message.data;
socket.onclose = () => document.getElementById("said").textContent += " closed";
</script></body></html>""".encode()


class Site(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(b"")

    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.converse()
        else:
            self.answer(PAGE)

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def converse(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Connection", "Upgrade")
        self.send_header("Upgrade", "websocket")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        text = app.VERSION.encode()
        self.wfile.write(bytes([0x81, len(text)]) + text)
        while self.rfile.read(1):
            pass
        self.close_connection = True

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    command, option, port = sys.argv[1:]
    assert (command, option) == ("runserver", "--noreload")
    ThreadingHTTPServer(("localhost", int(port)), Site).serve_forever()
