"""The client against a real `cortex server`, whose STS verifies every signature.

The program is found as in test_integration; the simulator of STS is built with Go.
Without Go, without botocore, or with a program that has no `server`, these tests
say so and are left out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.request
from pathlib import Path
from typing import IO, Any, Dict, List
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from tests.identities import needs_botocore
from tests.support import REPOSITORY
from tests.test_integration import PATIENCE, SERVER, find_program, greeter
from tests.test_iam import WARM

ACCOUNT, REGION = "111122223333", "us-west-2"

ADA, EVE, TEMPORARY = "AKIAADAADAADAADAADAA", "AKIAEVEEVEEVEEVEEVEE", "ASIATEMPORARYTEMPORA"
SECRET, TOKEN = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "FwoGZXIvYXdzEXAMPLETOKEN"


def identity(id: str, arn: str, user_id: str, token: str = "", account: str = ACCOUNT) -> Dict[str, str]:
    made = {"access_key_id": id, "secret_access_key": SECRET, "arn": arn, "user_id": user_id, "account": account}
    return {**made, "session_token": token} if token else made


IDENTITIES = [
    identity(ADA, f"arn:aws:iam::{ACCOUNT}:user/team/ada", "AIDAADAADAADAADAADAAD"),
    identity(EVE, "arn:aws:iam::444455556666:user/eve", "AIDAEVEEVEEVEEVEEVEEV", account="444455556666"),
    identity(TEMPORARY, f"arn:aws:sts::{ACCOUNT}:assumed-role/Builder/ci-7", "AROABUILDERBUILDERBU:ci-7", TOKEN),
]


def announced(process: "subprocess.Popen[str]", stream: IO[str], pattern: str) -> "tuple[str, List[str]]":
    """Returns what pattern finds in a line that process writes, and the lines until it; fails when it ends before."""
    lines: List[str] = []
    for line in stream:
        lines.append(line)
        match = re.search(pattern, line)
        if match:
            return match.group(1), lines
    raise AssertionError(f"it ended with {process.wait()} before it said {pattern}: {''.join(lines)}")


@needs_botocore
class Server(unittest.TestCase):
    """One server for all tests; each has a configuration folder and credentials of its own."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.mkdtemp(prefix="cx", dir="/tmp")
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        if shutil.which("go") is None:
            raise cls.left_out("there is no Go to build the simulator of STS with")
        cls.program = find_program(cls.folder)
        asked = subprocess.run([cls.program, "server", "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if asked.returncode != 0 or "--sts-endpoint" not in asked.stdout:
            raise cls.left_out(f"{cls.program} has no command server")
        cls.sts = cls.start_sts()
        cls.start_server()
        with open(os.path.join(cls.folder, "server.py"), "w", encoding="utf-8") as f:
            f.write(SERVER)

    @staticmethod
    def left_out(why: str) -> unittest.SkipTest:
        print(f"python/tests: the tests against a real server are left out: {why}", file=sys.stderr)
        return unittest.SkipTest(why)

    @classmethod
    def start(cls, *args: str, **streams: Any) -> "subprocess.Popen[str]":
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CORTEX_"))}
        environ["HOME"] = cls.folder
        process = subprocess.Popen(args, env=environ, text=True, **streams)
        cls.addClassCleanup(process.wait)
        cls.addClassCleanup(process.terminate)
        return process

    @classmethod
    def start_sts(cls) -> str:
        program, file = os.path.join(cls.folder, "sts"), os.path.join(cls.folder, "identities.json")
        subprocess.run(["go", "build", "-o", program, "./e2e/sts"], cwd=REPOSITORY, check=True)
        with open(file, "w", encoding="utf-8") as f:
            json.dump(IDENTITIES, f)
        process = cls.start(program, "-identities", file, "-region", REGION, stdout=subprocess.PIPE)
        assert process.stdout is not None
        cls.addClassCleanup(process.stdout.close)
        return announced(process, process.stdout, r"listening on (\S+)")[0]

    @classmethod
    def start_server(cls) -> None:
        state = os.path.join(cls.folder, "state")
        flags = {"listen": "127.0.0.1:0", "api-listen": "127.0.0.1:0", "metrics-listen": "", "account-id": ACCOUNT}
        flags.update({"region": REGION, "sts-endpoint": cls.sts, "state-dir": state})
        process = cls.start(cls.program, "server", *(f"--{k}={v}" for k, v in flags.items()), stderr=subprocess.PIPE)
        assert process.stderr is not None
        cls.endpoint, _ = announced(process, process.stderr, r"operator endpoint:\s+(\S+)")
        cls.fingerprint, _ = announced(process, process.stderr, r"certificate:\s+(sha256:\S+)")
        reader = threading.Thread(target=process.stderr.read)  # so that it can go on writing
        reader.start()
        cls.addClassCleanup(process.stderr.close)
        cls.addClassCleanup(reader.join)
        cls.addClassCleanup(process.terminate)
        cls.ca_file = os.path.join(state, "tls", "ca.pem")

    def setUp(self) -> None:
        self.own = tempfile.mkdtemp(dir=self.folder)
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "CORTEX_"))}
        environ.update(HOME=self.own, CORTEX_CLI_CONFIG_DIR=os.path.join(self.own, "config"), AWS_EC2_METADATA_DISABLED="true")
        patched = mock.patch.dict(os.environ, environ, clear=True)
        patched.start()
        self.addCleanup(patched.stop)
        self.use(ADA)

    def use(self, id: str, secret: str = SECRET, token: str = "") -> None:
        os.environ.update(AWS_ACCESS_KEY_ID=id, AWS_SECRET_ACCESS_KEY=secret, AWS_SESSION_TOKEN=token)

    def client(self) -> cortex.Client:
        return cortex.new_client("team", self.endpoint, ca_file=self.ca_file)

    def asked(self) -> int:
        """Returns how often STS was asked."""
        with urllib.request.urlopen(self.sts + "/_calls") as answer:
            return int(json.load(answer)["get_caller_identity"])

    def command(self, *args: str) -> Any:
        """Returns what the command line says as JSON."""
        done = subprocess.run([self.program, *args, "-o", "json"], stdout=subprocess.PIPE, check=True, text=True)
        return json.loads(done.stdout)

    def test_who_am_i(self) -> None:
        client, before = self.client(), self.asked()
        who = client.whoami()
        self.assertEqual(who["principal"]["arn"], f"arn:aws:iam::{ACCOUNT}:user/ada")
        self.assertTrue(all(p["allowed"] for p in who["permissions"]), who)
        client.list_apis()
        self.assertEqual(self.asked() - before, 1)

    def test_temporary_credentials(self) -> None:
        self.use(TEMPORARY, token=TOKEN)
        principal = self.client().whoami()["principal"]
        self.assertEqual((principal["arn"], principal["session_name"]), (f"arn:aws:iam::{ACCOUNT}:role/Builder", "ci-7"))

    def test_a_pinned_certificate(self) -> None:
        client = cortex.new_client("team", self.endpoint, fingerprint=self.fingerprint)
        self.assertEqual(client.list_apis(), [])

    def test_without_trust(self) -> None:
        with self.assertRaises(cortex.CortexException) as caught:
            cortex.new_client("team", self.endpoint)
        self.assertEqual(caught.exception.code, "cli.operator_untrusted")

    def test_who_is_refused(self) -> None:
        client = self.client()
        for id, secret, token, kind, text in (
            (ADA, SECRET[::-1], "", "unproven", "AKIA\u2026ADAA"),
            (ADA, SECRET, TOKEN, "malformed", "lasting ones"),
            (TEMPORARY, SECRET, "", "malformed", "need their session token"),
            ("AKIANOBODYNOBODYNOBO", SECRET, "", "unproven", "AKIA\u2026NOBO"),
            (EVE, SECRET, "", "forbidden", "arn:aws:iam::444455556666:user/eve"),
        ):
            with self.subTest(f"{id} {kind}"):
                self.use(id, secret, token)
                with self.assertRaises(cortex.CortexException) as caught:
                    client.whoami()
                self.assertEqual(caught.exception.kind, kind, caught.exception)
                self.assertIn(text, str(caught.exception))
                self.assertNotIn(secret, str(caught.exception))

    def test_the_command_line_uses_the_same_sessions(self) -> None:
        client, before = self.client(), self.asked()
        mine = client.whoami()
        theirs = self.command("whoami", "--env", "team")
        self.assertEqual(theirs["principal"], mine["principal"])
        self.assertEqual(self.asked() - before, 1, "the command line found the session of this client")
        self.assertEqual(client.logout(), 1)
        self.command("whoami", "--env", "team")
        self.assertEqual(self.asked() - before, 2)
        path = os.pathsep.join([str(REPOSITORY / "python"), *sys.path])
        done = subprocess.run(
            [sys.executable, "-B", "-c", WARM], env=dict(os.environ, PYTHONPATH=path), stdout=subprocess.PIPE, check=True, text=True
        )
        self.assertEqual(json.loads(done.stdout), [mine["principal"]["arn"], []])
        self.assertEqual(self.asked() - before, 2, "this client found the session of the command line")

    def test_an_ended_session_is_renewed(self) -> None:
        client, before = self.client(), self.asked()
        client.whoami()
        client._transport.call("DELETE", "/v1/auth/sessions")
        client.list_apis()
        self.assertEqual(self.asked() - before, 2)
        client._transport.call("DELETE", "/v1/auth/sessions")
        list(client.events())
        self.assertEqual(self.asked() - before, 3)

    def test_the_life_of_an_api(self) -> None:
        client = self.client()
        result = client.deploy(greeter("hello"), wait=True, directory=self.folder, timeout=PATIENCE)
        self.assertEqual((result["action"], result["api"]["status"]["phase"]), ("create", "live"))
        self.assertEqual(client.predict("greeter", {"name": "Ada"}, timeout=PATIENCE), {"greeting": "hello Ada"})
        self.assertIn("the model is loaded", [line["text"] for line in client.logs("greeter")])
        client.delete("greeter")
