"""A test in a world of its own: a home folder, no AWS variables, and an operator that asks for identities."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any, Dict, Optional
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from cortex import environment, iam
from tests.fake_operator import CLUSTER, KEY_ID, SECRET, TESTDATA, Operator
from tests.support import REPOSITORY, TestCase

try:
    import botocore.session  # noqa: F401

    HAS_BOTOCORE = True
except ImportError:
    HAS_BOTOCORE = False

needs_botocore = unittest.skipUnless(HAS_BOTOCORE, f"there is no botocore for {sys.executable}")

#: What nothing that is printed may contain.
SECRETS = (SECRET, "a-session-token")


class IdentityCase(TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.home = os.path.join(self.folder, "home")
        os.makedirs(os.path.join(self.home, ".aws"))
        for name in [n for n in os.environ if n.startswith("AWS_")]:
            del os.environ[name]  # restored with the rest of the environment
        os.environ.update(HOME=self.home, AWS_EC2_METADATA_DISABLED="true")
        patched = mock.patch.object(iam, "MAX_JITTER", 0.0)
        patched.start()
        self.addCleanup(patched.stop)

    @property
    def sessions(self) -> str:
        return os.path.join(self.config_dir, "sessions")

    def aws(self, file: str, text: str) -> None:
        """Writes credentials or config into ~/.aws."""
        with open(os.path.join(self.home, ".aws", file), "w", encoding="utf-8") as f:
            f.write(text)

    def use_keys(self, id: str = KEY_ID, secret: str = SECRET, token: str = "") -> None:
        os.environ.update(AWS_ACCESS_KEY_ID=id, AWS_SECRET_ACCESS_KEY=secret)
        if token:
            os.environ["AWS_SESSION_TOKEN"] = token

    def operator(self, certificate: str = "operator") -> Operator:
        running = Operator(certificate).running()
        self.addCleanup(running.__exit__, None, None, None)
        return running.__enter__()

    def configure(self, operator: Operator, **more: str) -> None:
        """Writes an environment `team` that trusts the operator's authority, without asking it anything."""
        entry = {"name": "team", "operator_endpoint": operator.endpoint, "cluster_id": CLUSTER, **more}
        if not {"operator_ca_data", "operator_fingerprint"} & set(more):
            entry["operator_ca_data"] = ca_data("ca")
        with environment.change() as config:
            config.put({k: v for k, v in entry.items() if v})

    def client(self, operator: Operator, **more: str) -> cortex.Client:
        self.configure(operator, **more)
        return cortex.client("team")

    def refused(self, call: Any, code: str, *texts: str) -> cortex.CortexException:
        """Returns the exception of that code that call raises. It says texts and no secret."""
        with self.assertRaises(cortex.CortexException) as caught:
            call()
        e = caught.exception
        self.assertEqual(e.code, code, e)
        for text in texts:
            self.assertIn(text, str(e))
        for secret in SECRETS:
            self.assertNotIn(secret, str(e) + repr(e))
        return e

    def python(self, code: str, env: Optional[Dict[str, str]] = None) -> "subprocess.Popen[str]":
        """Starts another Python that runs code with this package."""
        environ = dict(os.environ, PYTHONPATH=os.pathsep.join([str(REPOSITORY / "python"), *sys.path]), **(env or {}))
        return subprocess.Popen(
            [sys.executable, "-B", "-c", code], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def said(self, process: "subprocess.Popen[str]") -> Any:
        """Returns what another Python has printed, as JSON."""
        output, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0)
        return json.loads(output)


def ca_data(name: str) -> str:
    """Returns the authority of a file of testdata as cli.yaml has it."""
    from cortex import trust

    return trust.by_hand("https://x", str(TESTDATA / f"{name}.pem"), None)["operator_ca_data"]
