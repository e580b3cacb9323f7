"""Replays the exchanges that the Go tests recorded between their client and the operator.

The same call must send the same request, and the same answer must come back as
the same value or the same failure.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, List
from urllib.parse import parse_qs, unquote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from tests.support import REPOSITORY, Reply, Request, TestCase, recorder

EXCHANGES = REPOSITORY / "internal" / "httpapi" / "testdata" / "exchanges"


def ask(client: cortex.Client, op: str, args: Dict[str, Any]) -> Any:
    """Makes the call that a recording is of."""
    name = args.get("name", "")
    if op == "info":
        return client.info()
    if op == "deploy":
        # The public methods read files and build texts; what they send is this.
        return client._transport.call("POST", "/v1/deploy", body=args["deploy"])
    if op == "list":
        return client.list_apis()
    if op == "get":
        return client.get_api(name)
    if op == "version":
        return client.get_version(name, args["id"])
    if op == "describe":
        return client.describe(name)
    if op == "history":
        return client.history(name)
    if op == "rollback":
        return client.rollback(name, args.get("id"))
    if op == "refresh":
        return client.refresh(name, force=args.get("force", False))
    if op == "stop":
        return client.stop(name)
    if op == "start":
        return client.start(name)
    if op == "scale":
        return client.scale(name, args["replicas"])
    if op == "delete":
        return client.delete(name, keep_cache=args.get("keep_cache", False))
    if op == "explain":
        return client.explain(name)
    if op == "logs":
        return list(
            client.logs(
                name,
                args.get("follow", False),
                since=args.get("since"),
                tail=args.get("tail", 0),
                previous=args.get("previous", False),
                replica=args.get("replica"),
            )
        )
    if op == "events":
        return list(client.events(args.get("name"), args.get("follow", False), since=args.get("since")))
    if op == "series":
        return client.series(name, since=args.get("since"))
    if op == "watch":
        return list(client.watch())
    raise AssertionError(f"there is no call for {op}")


#: Calls that return nothing: what the operator says is for people.
SILENT = {"refresh", "delete"}


class Exchanges(TestCase):
    def test_every_recording(self) -> None:
        files = sorted(EXCHANGES.glob("*.json"))
        self.assertGreater(len(files), 30, f"the recordings are missing in {EXCHANGES}")
        for file in files:
            with self.subTest(file.stem):
                self.replay(json.loads(file.read_text("utf-8")))

    def replay(self, exchange: Dict[str, Any]) -> None:
        call, recorded = exchange["call"], exchange["response"]
        lines = recorded.get("lines") or []
        if "lines" in recorded:
            body = "".join(json.dumps(line) + "\n" for line in lines)
        else:
            body = json.dumps(recorded["body"])
        seen: List[Request] = []
        client = self.client_of(recorder(Reply(recorded["status"], recorded["headers"], body.encode()), seen))
        error = recorded["body"] if recorded["status"] != 200 else next((x["error"] for x in lines if "error" in x), None)
        if error is None:
            value = ask(client, call["op"], call["args"])
            if call["op"] in SILENT:
                self.assertIsNone(value)
            elif "lines" in recorded:
                self.assertEqual(value, lines[:-1])
            else:
                self.assertEqual(value, recorded["body"])
        else:
            with self.assertRaises(cortex.CortexException) as caught:
                ask(client, call["op"], call["args"])
            e = caught.exception
            self.assertEqual(
                (e.kind, e.code, e.message, e.hint, e.problems, e.request_id),
                (
                    error["kind"],
                    error["code"],
                    error["message"],
                    error.get("hint", ""),
                    error.get("problems", []),
                    error["request_id"],
                ),
            )
            self.assertEqual(isinstance(e, cortex.NotFound), error["kind"] == "not_found")
        self.assertEqual(len(seen), 1)
        self.assert_same_request(seen[0], exchange["request"])

    def assert_same_request(self, got: Request, want: Dict[str, Any]) -> None:
        self.assertEqual(got.method, want["method"])
        self.assertEqual(unquote(got.path), unquote(want["path"]))
        self.assertEqual(parse_qs(got.query), want["query"])
        if "body" in want:
            self.assertEqual(json.loads(got.body), want["body"])
            self.assertEqual(got.headers.get("Content-Type"), want["content_type"])
        else:
            self.assertEqual(got.body, b"")
