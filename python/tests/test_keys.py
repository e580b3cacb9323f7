"""Access keys over the wire: a key comes out once, in the answer that made it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from tests.support import Request, TestCase, json_reply, recorder

MADE = '{"name": "mobile", "id": "aaaaaaaa", "apis": ["iris"], "state": "active", "created_at": "2026-01-02T03:04:05Z", "key": "cxk_a_b_c"}'


class Keys(TestCase):
    def test_calls(self) -> None:
        seen: List[Request] = []
        client = self.client_of(recorder(json_reply(MADE), seen))
        self.assertEqual(client.create_key("mobile", ["iris"])["key"], "cxk_a_b_c")
        client.create_key("ci", all_apis=True, expires_in="2160h", labels={"team": "a"})
        self.assertEqual(client.rotate_key("mobile")["id"], "aaaaaaaa")
        client.rotate_key("mobile", grace="24h", expires_in="1h")
        self.assertIsNone(client.revoke_key("mobile"))
        self.assertEqual(
            [(r.method, r.path, json.loads(r.body) if r.body else None) for r in seen],
            [
                ("POST", "/v1/keys", {"name": "mobile", "apis": ["iris"]}),
                ("POST", "/v1/keys", {"name": "ci", "all_apis": True, "expires_in": "2160h", "labels": {"team": "a"}}),
                ("POST", "/v1/keys/mobile/rotate", {}),
                ("POST", "/v1/keys/mobile/rotate", {"grace": "24h", "expires_in": "1h"}),
                ("DELETE", "/v1/keys/mobile", None),
            ],
        )

    def test_list(self) -> None:
        seen: List[Request] = []
        answer = '[{"name": "mobile", "id": "aaaaaaaa", "apis": [], "state": "expired", "created_at": "2026-01-02T03:04:05Z"}]'
        client = self.client_of(recorder(json_reply(answer), seen))
        self.assertEqual([(k["name"], k["state"]) for k in client.list_keys()], [("mobile", "expired")])
        self.assertEqual((seen[0].method, seen[0].path), ("GET", "/v1/keys"))

    def test_usage(self) -> None:
        seen: List[Request] = []
        answer = '[{"hour": "2026-12-01T12:00:00Z", "api": "iris", "caller": "mobile", "requests": 3}]'
        client = self.client_of(recorder(json_reply(answer), seen))
        self.assertEqual([(c["caller"], c["requests"]) for c in client.usage()], [("mobile", 3)])
        client.usage("iris", caller="jwt:a b", since="24h")
        self.assertEqual([(r.path, r.query) for r in seen], [("/v1/usage", ""), ("/v1/usage", "api=iris&caller=jwt%3Aa+b&since=24h")])

    def test_sessions(self) -> None:
        seen: List[Request] = []
        client = self.client_of(recorder(json_reply('{"token": "cxs1.1.e30.AAAA", "apis": ["iris"]}'), seen))
        self.assertEqual(client.session("iris")["token"], "cxs1.1.e30.AAAA")
        client.session(["iris", "lily"], ttl="1h")
        self.assertEqual(
            [(r.method, r.path, json.loads(r.body)) for r in seen],
            [
                ("POST", "/v1/call-sessions", {"apis": ["iris"]}),
                ("POST", "/v1/call-sessions", {"apis": ["iris", "lily"], "ttl": "1h"}),
            ],
        )

    def test_names_that_are_none(self) -> None:
        client = self.client_of(recorder(json_reply("{}")))
        for name in ("", "..", "a/b"):
            with self.assertRaises(cortex.NotFound):
                client.revoke_key(name)
            with self.assertRaises(cortex.NotFound):
                client.rotate_key(name)
