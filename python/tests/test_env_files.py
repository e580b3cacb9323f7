"""Env files beside a cortex.yaml: sent when the operator misses them, and no other file is."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Dict, List

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from tests.support import Reply, Request, TestCase, json_reply

CONFIG = "- name: iris\n  kind: RealtimeAPI\n  pod:\n    containers:\n      - {name: api, command: [x], env_file: [.env, gone.env]}\n"


class EnvFiles(TestCase):
    def deploy(self, missing: List[str]) -> List[Dict[str, Any]]:
        """Returns what was sent to an operator that says that these files are missing."""
        sent: List[Dict[str, Any]] = []

        def operator(request: Request) -> Reply:
            sent.append(json.loads(request.body))
            gone = [path for path in missing if path not in sent[-1].get("env_files", {})]
            if not gone:
                return json_reply("[]")
            problems = [{"code": "configreader.env_file_not_found", "message": "it did not come", "found": path} for path in gone]
            body = {"kind": "invalid", "code": problems[0]["code"], "message": "no", "problems": problems, "request_id": "1"}
            return Reply(422, {"Content-Type": "application/json"}, json.dumps(body).encode())

        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "cortex.yaml").write_text(CONFIG, "utf-8")
            (Path(folder) / ".env").write_bytes(b"A=\xc3\xa4\r\n")
            (Path(folder) / "private").write_text("hunter2", "utf-8")
            try:
                self.client_of(operator).deploy_from_file(str(Path(folder) / "cortex.yaml"))
            except cortex.CortexException as e:
                sent.append({"refused": e.code})
        return sent

    def test_a_file_that_the_operator_misses_is_sent(self) -> None:
        first, second = self.deploy([".env"])
        self.assertNotIn("env_files", first)
        self.assertEqual(second["env_files"], {".env": "A=\u00e4\r\n"})

    def test_a_file_that_is_not_there(self) -> None:
        *_, last = self.deploy([".env", "gone.env"])
        self.assertEqual(last, {"refused": "configreader.env_file_not_found"})

    def test_an_operator_gets_no_file_that_the_text_does_not_name(self) -> None:
        sent = self.deploy(["private"])
        self.assertEqual(len(sent), 2)
        self.assertEqual(sent[1], {"refused": "configreader.env_file_not_found"})
        self.assertNotIn("hunter2", json.dumps(sent))
