"""What Client makes of answers: deploying, waiting, predicting."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import pwd
import sys
import typing
from pathlib import Path
from typing import Any, Dict, List
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from cortex import local, prediction, shapes
from tests.support import REPOSITORY, Reply, Request, TestCase, json_reply, serving, unix_server

#: cortex.client is the function of that name.
client_module = importlib.import_module("cortex.client")

SPEC = {"name": "iris", "kind": "RealtimeAPI", "pod": {"containers": [{"name": "api", "command": ["python3", "\u00fc.py"]}]}}


def api(id: str = "5", phase: str = "live", **status: Any) -> Dict[str, Any]:
    return {"metadata": {"name": "iris", "kind": "RealtimeAPI", "id": id}, "status": {"phase": phase, "ready": 1, **status}}


def result(**more: Any) -> Dict[str, Any]:
    return {"api": {"metadata": {"name": "iris", "id": "5"}}, "action": "create", "message": "creating iris", "error": "", **more}


class Operator:
    """A script: the answers to a deploy, to successive lists, and to explain."""

    def __init__(self, results: List[Any], lists: List[List[Any]], explanation: Any = None) -> None:
        self.results, self.lists, self.explanation = results, lists, explanation
        self.deployed: List[Dict[str, Any]] = []

    def __call__(self, request: Request) -> Reply:
        if request.path == "/v1/deploy":
            self.deployed.append(json.loads(request.body))
            return json_reply(json.dumps(self.results))
        if request.path == "/v1/apis":
            return json_reply(json.dumps(self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]))
        return json_reply(json.dumps(self.explanation))


class Shapes(TestCase):
    """Types say what is always there, as the OpenAPI document does."""

    #: By name there; these say more than it knows, since here a call has its own.
    NAMES = {"Spec": "Deployed"}
    OURS = {"API": {"metadata"}, "FullAPI": {"metadata", "spec"}, "Identity": {"environment"}, "Environment": {"name"}}

    def test_what_is_always_there(self) -> None:
        with open(REPOSITORY / "internal" / "httpapi" / "testdata" / "openapi.json", encoding="utf-8") as f:
            schemas = json.load(f)["components"]["schemas"]
        compared = 0
        for name, shape in vars(shapes).items():
            if not hasattr(shape, "__required_keys__") or name.startswith("_"):
                continue
            with self.subTest(name):
                compared += 1
                want = self.OURS.get(name)
                if want is None:
                    schema = schemas[self.NAMES.get(name, name)]
                    known = set(shape.__annotations__)
                    want = set(schema.get("required", [])) & known
                    self.assertLessEqual(known, set(schema["properties"]))
                    self.assertLessEqual(set(schema.get("required", [])), known)
                self.assertEqual(set(shape.__required_keys__), want)
        self.assertGreater(compared, 15)


class Deploying(TestCase):
    def setUp(self) -> None:
        super().setUp()
        for name in ("_FIRST_LOOK", "_LAST_LOOK"):
            patched = mock.patch.object(client_module, name, 0.001)
            patched.start()
            self.addCleanup(patched.stop)

    def test_one_api(self) -> None:
        operator = Operator([result()], [])
        self.assertEqual(self.client_of(operator).deploy(SPEC), result())
        sent = operator.deployed[0]
        self.assertEqual(json.loads(sent.pop("config")), [SPEC])
        self.assertEqual(sent, {"file_name": "api_spec", "directory": os.getcwd(), "force": True})

    def test_progress(self) -> None:
        steps = [api(phase="updating", ready=0), api(phase="updating", ready=0), api(phase="updating"), api()]
        operator = Operator([result()], [[s] for s in steps])
        seen: List[Any] = []
        self.client_of(operator).deploy(SPEC, wait=True, progress=seen.append)
        self.assertEqual(seen, [steps[0], steps[2], steps[3]])

    def test_whoami_of_this_machine(self) -> None:
        client = self.client_of(Operator([], []))
        client._transport.local = True
        self.assertEqual(client.whoami(), {"environment": client.env_name, "user": pwd.getpwuid(os.getuid()).pw_name})

    def test_a_list(self) -> None:
        operator = Operator([result(), result()], [])
        self.assertEqual(self.client_of(operator).deploy([SPEC, SPEC], force=False, directory="/srv"), [result(), result()])
        self.assertNotIn("force", operator.deployed[0])
        self.assertEqual(operator.deployed[0]["directory"], "/srv")

    def test_a_file(self) -> None:
        path = os.path.join(self.folder, "cortex.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write("- name: \u00fc  # as it is\n")
        operator = Operator([result()], [])
        self.assertEqual(self.client_of(operator).deploy_from_file(path), [result()])
        self.assertEqual(
            operator.deployed, [{"file_name": path, "directory": self.folder, "config": "- name: \u00fc  # as it is\n"}]
        )

    def test_the_folder_is_named_to_an_operator_elsewhere_too(self) -> None:
        operator = Operator([result()], [])
        client = self.client_of(operator)
        client.env_name = "production"
        client.deploy(SPEC, directory="/srv")
        self.assertEqual(operator.deployed[0]["directory"], "/srv")

    def test_the_path_is_sent_to_the_local_environment_only(self) -> None:
        operator = Operator([result()], [])
        os.makedirs(os.path.join(self.config_dir, "local"))
        with serving(unix_server(local.socket_path(self.config_dir), operator)):
            with mock.patch.dict(os.environ, {"PATH": "/home/ada/venv/bin:/usr/bin"}):
                cortex.client().deploy(SPEC)
                self.client_of(operator).deploy(SPEC)
        self.assertEqual([sent.get("path") for sent in operator.deployed], ["/home/ada/venv/bin:/usr/bin", None])

    def test_files_that_cannot_be_sent(self) -> None:
        client = self.client_of(Operator([], []))
        with self.assertRaises(cortex.NotFound):
            client.deploy_from_file(os.path.join(self.folder, "none.yaml"))
        with self.assertRaises(cortex.CortexException):
            client.deploy_from_file(self.folder)
        path = os.path.join(self.folder, "cortex.yaml")
        for data, code in ((b"\xff", "configreader.invalid_yaml"), (b"#" * ((8 << 20) + 1), "configreader.too_long")):
            with open(path, "wb") as f:
                f.write(data)
            with self.assertRaises(cortex.CortexException) as caught:
                client.deploy_from_file(path)
            self.assertEqual(caught.exception.code, code)

    def test_an_api_that_is_refused(self) -> None:
        refused = {"api": None, "message": "", "error": "error: rose is a TaskAPI", "code": "resources.cannot_change_kind"}
        client = self.client_of(Operator([result(), refused], []))
        with self.assertRaises(cortex.DeployFailed) as caught:
            client.deploy([SPEC, SPEC])
        e = caught.exception
        self.assertEqual((e.code, e.results, e.explanation), ("resources.cannot_change_kind", [result(), refused], None))
        self.assertIn("rose is a TaskAPI", str(e))
        self.assertIsInstance(e, cortex.CortexBinaryException)

    def test_waiting_until_it_is_live(self) -> None:
        operator = Operator([result()], [[api("6", "live")], [api("5", "updating")], [api("5", "live", requested=1)]])
        got = self.client_of(operator).deploy(SPEC, wait=True)
        self.assertEqual(got["api"]["status"], {"phase": "live", "ready": 1, "requested": 1})
        self.assertEqual(len(operator.lists), 1, "it looked until it was live")

    def test_idle_is_live_and_a_splitter_has_no_status(self) -> None:
        split = {"metadata": {"name": "iris", "kind": "TrafficSplitter", "id": "5"}, "num_traffic_splitter_targets": 2}
        for now in (api("5", "idle"), split):
            self.client_of(Operator([result()], [[now]])).deploy(SPEC, wait=True)

    def test_a_deploy_that_fails_is_explained(self) -> None:
        why = {"name": "iris", "healthy": False, "summary": "s", "cause": {"code": "crash_loop", "message": "exit code 1", "fix": "fix it"}}
        operator = Operator([result()], [[api("5", "updating")], [api("5", "failed", reason="r")]], why)
        with self.assertRaises(cortex.DeployFailed) as caught:
            self.client_of(operator).deploy(SPEC, wait=True)
        e = caught.exception
        self.assertEqual((e.code, e.hint, e.explanation), ("crash_loop", "fix it", why))
        self.assertEqual(e.message, "iris did not become ready: exit code 1")

    def test_a_deploy_that_another_overtakes(self) -> None:
        for lists, code in (([[api("4")]], "cli.deploy_superseded"), ([[]], "resources.api_not_deployed")):
            with self.assertRaises(cortex.DeployFailed) as caught:
                self.client_of(Operator([result()], lists)).deploy(SPEC, wait=True)
            self.assertEqual(caught.exception.code, code)

    def test_waiting_has_an_end_when_one_is_given(self) -> None:
        operator = Operator([result()], [[api("5", "updating")]], {"summary": "still starting"})
        with self.assertRaises(cortex.DeployFailed) as caught:
            self.client_of(operator).deploy(SPEC, wait=True, timeout=0)
        self.assertEqual(caught.exception.code, "cli.deploy_timeout")
        self.assertEqual(caught.exception.explanation, {"summary": "still starting"})


class Predicting(TestCase):
    def predict(self, reply: Reply, *args: Any, **kwargs: Any) -> Any:
        """Predicts by an API that answers reply, and keeps the request it saw in self.seen."""
        self.seen: List[Request] = []

        def model(request: Request) -> Reply:
            self.seen.append(request)
            return reply

        endpoint = self.endpoint_of(model) + "/iris"
        return self.client_of(lambda _: json_reply(json.dumps({"endpoint": endpoint}))).predict("iris", *args, **kwargs)

    def test_what_is_sent(self) -> None:
        for payload, body, media in (
            ({"a": [1, None]}, b'{"a": [1, null]}', "application/json"),
            ([1.5], b"[1.5]", "application/json"),
            ("text \u00fc", "text \u00fc".encode(), "text/plain; charset=utf-8"),
            (b"\x00\xff", b"\x00\xff", "application/octet-stream"),
            (None, b"", None),
        ):
            with self.subTest(payload):
                self.predict(json_reply("1"), payload)
                self.assertEqual((self.seen[0].method, self.seen[0].path), ("POST", "/iris"))
                self.assertEqual((self.seen[0].body, self.seen[0].headers.get("Content-Type")), (body, media))

    def test_path_method_and_headers(self) -> None:
        self.predict(json_reply("1"), method="GET", path="/v2?x=1", headers={"Accept": "text/csv", "X-A": "b"})
        seen = self.seen[0]
        self.assertEqual((seen.method, seen.path, seen.query), ("GET", "/iris/v2", "x=1"))
        self.predict(json_reply("1"), path="v2")
        self.assertEqual(self.seen[0].path, "/iris/v2")
        self.assertEqual((seen.headers["Accept"], seen.headers["X-A"]), ("text/csv", "b"))

    def test_what_comes_back(self) -> None:
        for media, body, want in (
            ("application/json", b'{"class": "setosa"}', {"class": "setosa"}),
            ("application/problem+json; charset=utf-8", b"[1]", [1]),
            ("text/plain; charset=latin-1", b"\xfc", "\u00fc"),
            ("image/png", b"\x89PNG", b"\x89PNG"),
            (None, b"setosa", b"setosa"),
        ):
            with self.subTest(media):
                got = self.predict(Reply(200, {"Content-Type": media} if media else {}, body), {})
                self.assertEqual(got, want)

    def test_arrays_are_lists(self) -> None:
        class Array:  # as those of numpy, PyTorch and pandas
            def tolist(self) -> List[List[float]]:
                return [[5.1, 3.5]]

        headers, body = prediction.encode({"instances": Array()})
        self.assertEqual((headers["Content-Type"], body), ("application/json", b'{"instances": [[5.1, 3.5]]}'))
        with self.assertRaisesRegex(TypeError, "a object is not JSON"):
            prediction.encode([object()])

    def test_what_fails(self) -> None:
        with self.assertRaises(cortex.CortexException) as caught:
            self.predict(Reply(503, {"Retry-After": "2"}, b"the queue is full"), {})
        e = caught.exception
        self.assertEqual((e.code, e.kind), ("cli.prediction_failed", "unavailable"))
        self.assertIn("503 Service Unavailable: the queue is full", str(e))
        self.assertIn("in 2 s", e.hint)
        assert isinstance(e, cortex.PredictionFailed)
        self.assertEqual((e.status, e.headers["retry-after"], e.body), (503, "2", b"the queue is full"))
        with self.assertRaises(cortex.CortexException) as caught:
            self.predict(Reply(400, {}, b"no"), {})
        self.assertEqual(caught.exception.kind, "invalid")
        with self.assertRaisesRegex(cortex.CortexException, "cannot be read"):
            self.predict(json_reply("{"), {})

    def test_an_answer_that_breaks_off_or_is_too_large(self) -> None:
        with self.assertRaises(cortex.CortexException) as caught:
            self.predict(Reply(200, {}, b"half", cut_off=True), {})
        self.assertEqual(caught.exception.code, "cli.api_unreachable")
        with mock.patch("cortex.prediction.MAX_PREDICTION_BYTES", 3), self.assertRaisesRegex(
            cortex.CortexException, "more than 3 bytes"
        ):
            self.predict(Reply(200, {}, b"four"), {})

    def test_an_api_that_cannot_be_called(self) -> None:
        client = self.client_of(lambda _: json_reply('{"metadata":{"kind":"TaskAPI"}}'))
        with self.assertRaises(cortex.CortexException) as caught:
            client.predict("iris", {})
        self.assertEqual(caught.exception.kind, "unsupported")
        client = self.client_of(lambda _: json_reply('{"endpoint":"http://127.0.0.1:1/iris"}'))
        with self.assertRaises(cortex.CortexException) as caught:
            client.predict("iris", {})
        self.assertEqual(caught.exception.code, "cli.api_unreachable")


class Surface(TestCase):
    """The names and signatures that scripts of 0.42 use, and what type checkers see."""

    def test_signatures(self) -> None:
        for function, want in (
            (cortex.client, "env_name=None"),
            (cortex.new_client, "env_name, operator_endpoint"),
            (cortex.env_list, ""),
            (cortex.env_delete, "name"),
            (cortex.Client.deploy, "self, api_spec, force=True, wait=False"),
            (cortex.Client.deploy_from_file, "self, config_file, force=False, wait=False"),
            (cortex.Client.get_api, "self, api_name"),
            (cortex.Client.list_apis, "self"),
            (cortex.Client.get_job, "self, api_name, job_id"),
            (cortex.Client.refresh, "self, api_name, force=False"),
            (cortex.Client.delete, "self, api_name, keep_cache=False"),
            (cortex.Client.stop_job, "self, api_name, job_id, keep_cache=False"),
        ):
            positional = [
                p.name if p.default is p.empty else f"{p.name}={p.default}"
                for p in inspect.signature(function).parameters.values()
                if p.kind is p.POSITIONAL_OR_KEYWORD
            ]
            self.assertEqual(", ".join(positional), want, function)

    def test_everything_public_is_documented_and_typed(self) -> None:
        public: List[Any] = [getattr(cortex, name) for name in cortex.__all__]
        public += [member for name, member in inspect.getmembers(cortex.Client, inspect.isfunction) if name[0] != "_"]
        for thing in public:
            self.assertTrue(inspect.getdoc(thing), thing)
            if inspect.isfunction(thing):
                hints = typing.get_type_hints(thing)
                missing = set(inspect.signature(thing).parameters) - {"self"} - set(hints)
                self.assertFalse(missing, thing)
                self.assertIn("return", hints, thing)

    def test_names_that_no_path_can_carry(self) -> None:
        client = self.client_of(lambda _: json_reply("{}"))
        for name in ("", ".", "..", "a/b"):
            for call in (client.get_api, client.delete, client.explain, client.logs):
                with self.subTest(name), self.assertRaises(cortex.NotFound):
                    call(name)

    def test_an_exception_shows_its_hint(self) -> None:
        self.assertEqual(str(cortex.CortexException("it broke", hint="mend it")), "it broke (mend it)")
        self.assertEqual(str(cortex.CortexException("it broke")), "it broke")
