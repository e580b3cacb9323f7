"""Serves the class of a predictor or handler of cortex 0.18 to 0.35.

Drafted by cortex migrate: read it, and replace it by a server of your own when you can.
Requests are served one after the other in each thread; how many there are at once is
pod.max_concurrency.
"""

import http.server
import importlib.util
import inspect
import json
import os
import sys
import urllib.parse

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "settings.json"), encoding="utf-8") as f:
    SETTINGS = json.load(f)

ROOT = os.environ.get("CORTEX_PROJECT", "/app")
sys.path.insert(0, os.path.join(ROOT, SETTINGS["python_path"] or ""))


def load():
    spec = importlib.util.spec_from_file_location("cortex_class", os.path.join(ROOT, SETTINGS["path"]))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("Handler", "PythonPredictor"):
        if hasattr(module, name):
            return call(getattr(module, name), {"config": SETTINGS["config"]})
    sys.exit(SETTINGS["path"] + " has neither a class Handler nor a class PythonPredictor")


def call(function, values):
    """Calls a function with those values that it has parameters for; the others it has are None."""
    names = [n for n in inspect.signature(function).parameters if n != "self"]
    return function(**{n: values.get(n) for n in names})


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_method(self):
        url = urllib.parse.urlsplit(self.path)
        if self.command == "GET" and url.path == "/healthz":
            return self.answer(200, "ok")
        method = getattr(SERVED, "handle_" + self.command.lower(), None)
        if method is None and self.command == "POST":
            method = getattr(SERVED, "predict", None)
        if method is None:
            return self.answer(405, "the class has no method for " + self.command)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if (self.headers.get("Content-Type") or "").startswith("application/json"):
            try:
                body = json.loads(body)
            except ValueError as e:
                return self.answer(400, "the body is not JSON: " + str(e))
        values = {"payload": body, "headers": dict(self.headers), "query_params": dict(urllib.parse.parse_qsl(url.query))}
        return self.answer(200, call(method, values))

    def answer(self, status, value):
        kind = "application/json"
        if isinstance(value, bytes):
            kind = "application/octet-stream"
        elif isinstance(value, str):
            value, kind = value.encode(), "text/plain; charset=utf-8"
        else:
            value = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(value)))
        self.end_headers()
        self.wfile.write(value)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_method


SERVED = load()
http.server.ThreadingHTTPServer(("", int(os.environ["CORTEX_PORT"])), Server).serve_forever()
