"""Secrets over the wire: values go in, and never into a message."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from tests.support import Request, TestCase, json_reply, recorder


class Secrets(TestCase):
    def test_calls(self) -> None:
        seen: List[Request] = []
        client = self.client_of(recorder(json_reply('{"name": "hf-token", "created": false, "run_with_old": ["iris"]}'), seen))
        self.assertEqual(client.set_secret("hf-token", "hunter2 \u00e4\n")["run_with_old"], ["iris"])
        client.set_secret("hf-token", b"\x01\x02")
        self.assertIsNone(client.delete_secret("hf-token", force=True))
        self.assertEqual(
            [(r.method, r.path, r.query, r.body) for r in seen],
            [
                ("PUT", "/v1/secrets/hf-token", "", "hunter2 \u00e4\n".encode()),
                ("PUT", "/v1/secrets/hf-token", "", b"\x01\x02"),
                ("DELETE", "/v1/secrets/hf-token", "force=true", b""),
            ],
        )
        headers = {name.lower(): value for name, value in seen[0].headers.items()}
        self.assertEqual(headers["content-type"], "application/octet-stream")

    def test_list(self) -> None:
        seen: List[Request] = []
        answer = '[{"name": "hf-token", "set_at": "2026-01-02T03:04:05Z", "used_by": ["iris"]}]'
        client = self.client_of(recorder(json_reply(answer), seen))
        self.assertEqual([(s["name"], s["used_by"]) for s in client.list_secrets()], [("hf-token", ["iris"])])
        self.assertEqual((seen[0].method, seen[0].path), ("GET", "/v1/secrets"))

    def test_names_that_are_none(self) -> None:
        client = self.client_of(recorder(json_reply("{}")))
        for name in ("", "..", "a/b"):
            with self.assertRaises(cortex.NotFound):
                client.delete_secret(name)
