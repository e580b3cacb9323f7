"""Serves the class of a predictor or handler of cortex 0.18 to 0.35.

A class for TensorFlow gets a client of the TensorFlow Serving beside it, one for ONNX a
client that has the models in memory; both have the predict that they had.

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
import time
import urllib.error
import urllib.parse
import urllib.request

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "settings.json"), encoding="utf-8") as f:
    SETTINGS = json.load(f)

ROOT = os.environ.get("CORTEX_PROJECT", "/app")
sys.path.insert(0, os.path.join(ROOT, SETTINGS["python_path"] or ""))


def load():
    spec = importlib.util.spec_from_file_location("cortex_class", os.path.join(ROOT, SETTINGS["path"]))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    client = {"tensorflow": TensorFlowClient, "onnx": ONNXClient}.get(SETTINGS["type"])
    values = {"config": SETTINGS["config"]}
    if client:
        values[SETTINGS["type"] + "_client"] = client(SETTINGS["models"])
    names = ("Handler", {"tensorflow": "TensorFlowPredictor", "onnx": "ONNXPredictor"}.get(SETTINGS["type"], "PythonPredictor"))
    for name in names:
        if hasattr(module, name):
            return call(getattr(module, name), values)
    sys.exit(SETTINGS["path"] + " has neither a class " + " nor a class ".join(names))


class Client:
    """Models by their names; one that is alone needs no name."""

    def __init__(self, models):
        self.models = {m["name"]: self.open(m) for m in models}

    def model(self, name):
        if name is None and len(self.models) == 1:
            name = next(iter(self.models))
        if name not in self.models:
            raise ValueError("there is no model %r; there are %s" % (name, ", ".join(sorted(self.models))))
        return self.models[name]


class TensorFlowClient(Client):
    """The tensorflow_client of a TensorFlowPredictor, over the REST API of TensorFlow Serving."""

    address = os.environ.get("TENSORFLOW_SERVING", "http://127.0.0.1:8501")

    def open(self, model):
        while True:  # it may still be loading; this server listens when it has
            try:
                meta = self.ask("/v1/models/%s/metadata" % model["name"])
                break
            except (urllib.error.URLError, ConnectionError) as e:
                print("waiting for the model %s: %s" % (model["name"], e), flush=True)
                time.sleep(1)
        signatures = meta["metadata"]["signature_def"]["signature_def"]
        names = [n for n in signatures if n != "__saved_model_init_op"]
        key = model["signature_key"] or ("serving_default" if "serving_default" in names else names[0])
        if key not in signatures:
            sys.exit("the model %s has no signature %s; it has %s" % (model["name"], key, ", ".join(names)))
        return model["name"], key, sorted(signatures[key]["outputs"])

    def predict(self, model_input, model_name=None, model_version="latest"):
        name, signature, outputs = self.model(model_name)
        inputs = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in model_input.items()}
        version = "" if model_version == "latest" else "/versions/" + str(model_version)
        answer = self.ask("/v1/models/%s%s:predict" % (name, version), {"signature_name": signature, "inputs": inputs})["outputs"]
        return {outputs[0]: answer} if len(outputs) == 1 else answer

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as e:
            if data is None:
                raise
            raise ValueError("TensorFlow Serving: " + e.read().decode(errors="replace")) from e


class ONNXClient(Client):
    """The onnx_client of an ONNXPredictor, with the models in memory."""

    types = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16", "tensor(bool)": "bool"}

    def open(self, model):
        import onnxruntime

        file = os.path.join(os.environ.get("CORTEX_MODELS", "/models"), model["file"])
        return onnxruntime.InferenceSession(file, providers=onnxruntime.get_available_providers())

    def predict(self, model_input, model_name=None, model_version="latest"):
        import numpy

        session = self.model(model_name)
        inputs = session.get_inputs()
        if not isinstance(model_input, dict):
            if len(inputs) != 1:
                raise ValueError("the model has several inputs: " + ", ".join(i.name for i in inputs))
            model_input = {inputs[0].name: model_input}
        feed = {}
        for i in inputs:
            if i.name not in model_input:
                raise ValueError("the input %s is missing" % i.name)
            kind = self.types.get(i.type) or (i.type[len("tensor("):-1] if "int" in i.type else None)
            array = numpy.asarray(model_input[i.name], dtype=kind)
            shape = [d if isinstance(d, int) else -1 for d in i.shape]
            feed[i.name] = array.reshape(shape) if shape.count(-1) <= 1 and array.ndim < len(shape) else array
        return session.run(None, feed)


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
