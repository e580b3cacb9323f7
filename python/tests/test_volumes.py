"""Volumes over the wire."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from tests.support import Request, TestCase, json_reply, recorder


class Volumes(TestCase):
    def test_list(self) -> None:
        seen: List[Request] = []
        client = self.client_of(recorder(json_reply('[{"name": "models", "used_by": ["iris"]}]'), seen))
        self.assertEqual([(v["name"], v["used_by"], v.get("path")) for v in client.list_volumes()], [("models", ["iris"], None)])
        self.assertEqual((seen[0].method, seen[0].path), ("GET", "/v1/volumes"))

    def test_delete(self) -> None:
        seen: List[Request] = []
        client = self.client_of(recorder(json_reply('{"message": "deleted the volume hf.cache"}'), seen))
        self.assertIsNone(client.delete_volume("hf.cache"))
        self.assertEqual([(r.method, r.path) for r in seen], [("DELETE", "/v1/volumes/hf.cache")])

    def test_names_that_are_none(self) -> None:
        client = self.client_of(recorder(json_reply("{}")))
        for name in ("", "..", "a/b"):
            with self.assertRaises(cortex.NotFound):
                client.delete_volume(name)
