#!/usr/bin/env python3
"""The iris server again, in Python and with its standard library only.

The same model files, the same requests and the same answers as ../server:

    POST /         one flower or a list of flowers, as JSON
    GET  /healthz  200 once the model is loaded

Environment: CORTEX_PORT (8080), MODEL (../model-v1.json), WORK (0ms).
"""

import json
import math
import os
import signal
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FEATURES = ("sepal_length", "sepal_width", "petal_length", "petal_width")
MAX_BODY = 1 << 20
MAX_FLOWERS = 1000
MAX_LENGTH = 100  # centimetres


class BadRequest(Exception):
    """The caller sent something that is no flower; the text says what."""


def flower(value):
    """Returns value if it is an object with the four measurements."""
    if not isinstance(value, dict):
        raise BadRequest(f"a flower is a JSON object with {', '.join(FEATURES)}")
    for name in value:
        if name not in FEATURES:
            raise BadRequest(f'"{name}" is no measurement; a flower has {", ".join(FEATURES)}')
    for name in FEATURES:
        if name not in value:
            raise BadRequest(f"{name} is missing")
        x = value[name]
        if isinstance(x, bool) or not isinstance(x, (int, float)) or not 0 < x <= MAX_LENGTH:
            raise BadRequest(
                f"{name} must be a number of centimetres above 0 and up to {MAX_LENGTH}, found {x}"
            )
    return value


def predict(model, measurements):
    """Returns the answer about one flower: softmax over a linear score."""
    scores = list(model["bias"])
    for j, name in enumerate(model["features"]):
        x = (measurements[name] - model["mean"][j]) / model["scale"][j]
        for i, row in enumerate(model["weights"]):
            scores[i] += row[j] * x
    top = max(scores)
    exps = [math.exp(s - top) for s in scores]
    probabilities = {name: e / sum(exps) for name, e in zip(model["species"], exps)}
    return {
        "species": max(probabilities, key=probabilities.get),
        "probabilities": probabilities,
        "model": model["version"],
    }


def answer(model, body):
    """Returns the answer to a request's body, in the shape of the body."""
    if not body.strip():
        raise BadRequest("the body is empty; send a flower as JSON")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as err:
        raise BadRequest(f"the body is not JSON: {err}") from err
    if not isinstance(value, list):
        return predict(model, flower(value))
    if not 1 <= len(value) <= MAX_FLOWERS:
        raise BadRequest(f"the list has {len(value)} flowers; send 1 to {MAX_FLOWERS}")
    answers = []
    for i, element in enumerate(value):
        try:
            answers.append(predict(model, flower(element)))
        except BadRequest as err:
            raise BadRequest(f"flower {i}: {err}") from err
    return answers


class Busy:
    """Counts the requests that are being answered, so that stopping can wait."""

    def __init__(self):
        self.count, self.changed = 0, threading.Condition()

    def __enter__(self):
        with self.changed:
            self.count += 1

    def __exit__(self, *_):
        with self.changed:
            self.count -= 1
            self.changed.notify_all()

    def wait(self, timeout):
        with self.changed:
            self.changed.wait_for(lambda: self.count == 0, timeout)


class Handler(BaseHTTPRequestHandler):
    """One connection. The model and the pretended work are the server's."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        # A body has no meaning here, so it is not read; but what stays on the connection
        # would be taken for the next request.
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True
        if self.path == "/healthz":
            self.reply(HTTPStatus.OK, "text/plain", b"ok\n")
        else:
            self.reply(HTTPStatus.NOT_FOUND, "text/plain", b"not found\n")

    def do_POST(self):
        with self.server.busy:
            try:
                body = self.body()
                if self.path != "/":
                    self.reply(HTTPStatus.NOT_FOUND, "text/plain", b"not found\n")
                    return
                answers = answer(self.server.model, body)
            except BadRequest as err:
                self.reply(HTTPStatus.BAD_REQUEST, "text/plain", f"{err}\n".encode())
                return
            time.sleep(self.server.work)
            self.reply(HTTPStatus.OK, "application/json", json.dumps(answers).encode() + b"\n")

    def body(self):
        """Reads the request's body; what stays unread closes the connection."""
        try:
            length = int(self.headers["Content-Length"])
        except (TypeError, ValueError):
            length = -1
        if length < 0:
            self.close_connection = True
            raise BadRequest("the body needs a Content-Length")
        if length > MAX_BODY:
            # A caller that is still sending would miss the answer: read some of it.
            self.close_connection = True
            self.rfile.read(min(length, 8 * MAX_BODY))
            raise BadRequest(f"the body is larger than {MAX_BODY} bytes")
        return self.rfile.read(length)

    def reply(self, status, content_type, body):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            # Who is not told sends the next request into a closed connection.
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        """Says nothing: a line per request drowns the lines that matter."""


def main():
    with open(os.environ.get("MODEL", "../model-v1.json"), encoding="utf-8") as file:
        model = json.load(file)
    work = os.environ.get("WORK", "0ms")
    if not work.endswith("ms"):
        sys.exit(f"WORK must be in milliseconds, such as 25ms, found {work}")
    ThreadingHTTPServer.request_queue_size = 128  # the default of 5 refuses bursts
    server = ThreadingHTTPServer(("", int(os.environ.get("CORTEX_PORT", "8080"))), Handler)
    server.model, server.work, server.busy = model, float(work[:-2]) / 1000, Busy()

    def stop(signum, frame):
        print("told to stop: finishing what has begun", flush=True)
        # shutdown waits for serve_forever, which runs in this very thread.
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"ready: model {model['version']} on port {server.server_port}", flush=True)
    server.serve_forever(poll_interval=0.05)
    # Connections that wait for a next request must not keep the process: their
    # threads are daemons. Requests that have begun are waited for.
    server.busy.wait(timeout=50)


if __name__ == "__main__":
    main()
