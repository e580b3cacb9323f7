"""The client against a real local environment, as a user has it.

The program is the one named by CORTEX_BINARY or CORTEX_CLI_PATH; without either
it is built with Go. Without Go these tests say so and are left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any, Callable, Dict
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from tests.support import REPOSITORY

SERVER = '''\
import json, os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        name = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["name"]
        body = json.dumps({"greeting": os.environ["GREETING"] + " " + name}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        print("greeted", name, flush=True)

    def log_message(self, *args):
        pass

print("the model is loaded", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(os.environ["CORTEX_PORT"])), Model).serve_forever()
'''

#: How long anything may take here before the test gives up. Nothing is measured.
PATIENCE = 60.0


def find_program(folder: str) -> str:
    """Returns the path of the command line, which is built into folder if need be."""
    for name in ("CORTEX_BINARY", "CORTEX_CLI_PATH"):
        if os.environ.get(name):
            return os.path.abspath(os.environ[name])
    if shutil.which("go") is None:
        print("python/tests: the tests against a real local environment are left out: there is no Go to build it with", file=sys.stderr)
        raise unittest.SkipTest("there is no Go to build the command line with")
    program = os.path.join(folder, "cortex")
    subprocess.run(["go", "build", "-o", program, "./cmd/cortex"], cwd=REPOSITORY, check=True)
    return program


def greeter(greeting: str, **more: Any) -> Dict[str, Any]:
    container = {"name": "api", "command": [sys.executable, "server.py"], "env": {"GREETING": greeting}}
    return {"name": "greeter", "kind": "RealtimeAPI", "pod": {"port": 8080, "containers": [container]}, **more}


class Integration(unittest.TestCase):
    client: cortex.Client

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.mkdtemp(prefix="cx", dir="/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        program = find_program(cls.folder)
        config = os.path.join(cls.folder, "config")
        os.makedirs(config)
        with open(os.path.join(config, "cli.yaml"), "w", encoding="utf-8") as f:
            f.write("environments:\n- name: local\n  api_port: 0\n")  # any free port
        patched = mock.patch.dict(os.environ, {"CORTEX_CLI_CONFIG_DIR": config, "CORTEX_CLI_PATH": program})
        patched.start()
        cls.addClassCleanup(patched.stop)
        cls.addClassCleanup(subprocess.run, [program, "local", "stop"], check=True, stdout=subprocess.DEVNULL)
        with open(os.path.join(cls.folder, "server.py"), "w", encoding="utf-8") as f:
            f.write(SERVER)
        cls.client = cortex.client()
        cls.client.info()  # starts the local environment

    def deploy(self, api: Dict[str, Any]) -> Any:
        return self.client.deploy(api, wait=True, directory=self.folder, timeout=PATIENCE)

    def until(self, what: str, met: Callable[[], bool]) -> None:
        """Returns when met() is true; fails when that takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not met():
            self.assertLess(time.monotonic(), deadline, f"{what} did not come about")
            time.sleep(0.02)

    def greeting(self) -> str:
        return str(self.client.predict("greeter", {"name": "Ada"}, timeout=PATIENCE)["greeting"])

    def test_the_life_of_an_api(self) -> None:
        client = self.client
        result = self.deploy(greeter("hello"))
        self.assertEqual((result["action"], result["error"], result["api"]["status"]["phase"]), ("create", "", "live"))
        self.assertEqual(self.greeting(), "hello Ada")

        api = client.get_api("greeter")
        self.assertEqual(api["spec"]["submitted_api_spec"]["name"], "greeter")
        self.assertTrue(api["endpoint"].endswith("/greeter"), api["endpoint"])
        self.assertEqual([a["metadata"]["name"] for a in client.list_apis()], ["greeter"])
        self.assertEqual(client.describe("greeter")["status"]["replica_counts"]["ready"], 1)
        self.assertTrue(client.explain("greeter")["healthy"])
        self.assertIn("Deployed", [e["reason"] for e in client.events("greeter")])

        self.until("the line in the log", lambda: "greeted Ada" in [line["text"] for line in client.logs("greeter")])
        self.assertEqual([line["text"] for line in client.logs("greeter", tail=1)], ["greeted Ada"])
        following = client.logs("greeter", follow=True)
        self.assertEqual([next(following)["text"], next(following)["text"]], ["the model is loaded", "greeted Ada"])
        following.close()  # type: ignore[attr-defined]

        self.assertEqual(self.deploy(greeter("hello"))["action"], "none")
        self.assertEqual(self.deploy(greeter("good day"))["action"], "update")
        self.assertEqual(self.greeting(), "good day Ada")
        versions = client.history("greeter")
        self.assertEqual([v["current"] for v in versions], [True, False])
        older = client.get_version("greeter", versions[1]["api_id"])
        self.assertEqual(older["spec"]["pod"]["containers"][0]["env"], {"GREETING": "hello"})

        client.rollback("greeter")
        self.until("the rollback", lambda: self.greeting() == "hello Ada")
        self.assertEqual(len(client.history("greeter")), 3)
        with self.assertRaises(cortex.CortexException) as caught:
            client.get_job("greeter", "1")
        self.assertEqual(caught.exception.code, "resources.operation_is_only_supported_for_kind")

        client.delete("greeter")
        self.until("the deletion", lambda: client.list_apis() == [])
        with self.assertRaises(cortex.NotFound) as caught:
            client.get_api("greeter")
        self.assertEqual(caught.exception.code, "resources.api_not_deployed")
        with self.assertRaises(cortex.NotFound):
            next(client.logs("never-deployed"))

    def test_a_file_of_two_apis_in_its_own_folder(self) -> None:
        path = os.path.join(self.folder, "cortex.yaml")
        container = f"{{name: api, command: ['{sys.executable}', server.py], env: {{GREETING: hi}}}}"
        with open(path, "w", encoding="utf-8") as f:
            for name in ("one", "two"):
                f.write(f"- name: {name}\n  kind: RealtimeAPI\n  pod:\n    port: 8080\n    containers: [{container}]\n")
        results = self.client.deploy_from_file(path, wait=True, timeout=PATIENCE)
        self.assertEqual([r["action"] for r in results], ["create", "create"])
        for name in ("one", "two"):
            self.assertEqual(self.client.predict(name, {"name": "Bob"}), {"greeting": "hi Bob"})
            self.client.delete(name)

    def test_a_server_that_fails_is_explained(self) -> None:
        api = greeter("hello", name="broken")
        api["pod"]["containers"][0]["command"] = [sys.executable, "-c", "raise SystemExit('there is no model')"]
        with self.assertRaises(cortex.DeployFailed) as caught:
            self.deploy(api)
        explanation = caught.exception.explanation
        assert explanation is not None
        self.assertFalse(explanation["healthy"])
        self.assertIn("there is no model", str(explanation["cause"]["evidence"]))
        self.client.delete("broken")

    def test_a_file_with_mistakes_is_refused_whole(self) -> None:
        path = os.path.join(self.folder, "mistakes.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write("- name: mistakes\n  kind: RealtimeAPI\n  pot:\n    port: 8080\n")
        with self.assertRaises(cortex.CortexException) as caught:
            self.client.deploy_from_file(path)
        e = caught.exception
        self.assertEqual(e.kind, "invalid")
        self.assertIn((3, "configreader.unsupported_key"), [(p.get("line"), p["code"]) for p in e.problems])
        self.assertNotIn("mistakes", [a["metadata"]["name"] for a in self.client.list_apis()])
