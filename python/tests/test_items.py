"""Items of an AsyncAPI, from their submission to their result."""

from __future__ import annotations

import json
from typing import Any, Callable, List
from unittest import mock

import cortex
from tests.support import Reply, Request, TestCase, json_reply


class Items(TestCase):
    def client(self, api: Callable[[Request], Reply], kind: str = "AsyncAPI") -> cortex.Client:
        """Returns a client whose API answers as api does, and keeps what it saw in self.seen."""
        self.seen: List[Request] = []

        def answer(request: Request) -> Reply:
            self.seen.append(request)
            return api(request)

        endpoint = self.endpoint_of(answer) + "/iris"
        return self.client_of(lambda _: json_reply(json.dumps({"endpoint": endpoint, "metadata": {"kind": kind}})))

    def item(self, *replies: Reply) -> cortex.Item:
        """Returns an item of an API that answers one reply after the other."""
        left = list(replies)
        return self.client(lambda _: left.pop(0)).get_item("iris", "x1")

    def test_submit(self) -> None:
        client = self.client(lambda _: json_reply('{"id": "x1"}'))
        item = client.submit(
            "iris", {"a": 1}, key="k", priority="high", labels={"team": "a", "run": "7"}, caller="b", delay=90
        )
        seen = self.seen[0]
        self.assertEqual((item.id, item.api_name, repr(item)), ("x1", "iris", "<cortex.Item x1 of iris>"))
        self.assertEqual((seen.method, seen.path, seen.body), ("POST", "/iris", b'{"a": 1}'))
        for name, want in (
            ("Idempotency-Key", "k"),
            ("X-Cortex-Priority", "high"),
            ("X-Cortex-Label", "team=a,run=7"),
            ("X-Cortex-Caller", "b"),
            ("X-Cortex-Not-Before", "+90.000000s"),
            ("Content-Type", "application/json"),
        ):
            self.assertEqual(seen.headers[name], want)
        client.submit("iris", b"x")
        self.assertEqual([n for n in self.seen[1].headers if n.startswith("X-Cortex") or n == "Idempotency-Key"], [])

    def test_what_is_not_accepted(self) -> None:
        with self.assertRaises(cortex.CortexException) as caught:
            self.client(lambda _: json_reply("1"), "RealtimeAPI").submit("iris", {})
        self.assertEqual(caught.exception.code, "resources.operation_is_only_supported_for_kind")
        with self.assertRaises(cortex.PredictionFailed) as failed:
            self.client(lambda _: Reply(503, {"Retry-After": "7"}, b'{"code": "queue_full"}')).submit("iris", {})
        self.assertEqual((failed.exception.status, failed.exception.headers["Retry-After"]), (503, "7"))
        with self.assertRaisesRegex(cortex.CortexException, "not answered with the id"):
            self.client(lambda _: json_reply("[]")).submit("iris", {})

    def test_result(self) -> None:
        ended = json_reply('{"id": "x1", "status": "completed", "state": "succeeded"}')
        running = json_reply('{"id": "x1", "status": "in_progress", "state": "running"}')
        item = self.item(running, ended, Reply(200, {"Content-Type": "image/png"}, b"\x89PNG"))
        self.assertEqual(item.result(), b"\x89PNG")
        self.assertEqual([r.path for r in self.seen], ["/iris/x1", "/iris/x1", "/iris/x1/result"])
        self.assertEqual(self.seen[0].query, "wait=60.000s")

    def test_failure(self) -> None:
        item = self.item(
            json_reply('{"id": "x1", "status": "failed", "state": "expired", "reason": {"code": "item_expired", "message": "too late"}}')
        )
        with self.assertRaises(cortex.ItemFailed) as caught:
            item.result()
        e = caught.exception
        self.assertEqual((e.code, e.item["state"]), ("item_expired", "expired"))
        self.assertIn("x1 of iris is expired: too late", str(e))

    def test_timeout(self) -> None:
        item = self.item(*[json_reply('{"id": "x1", "status": "in_queue", "state": "queued"}')] * 3)
        with self.assertRaisesRegex(TimeoutError, "x1 is queued after 0 s"):
            item.wait(timeout=0)
        self.assertEqual(self.seen[0].query, "wait=0.000s")

    def test_who_has_it_is_started_anew(self) -> None:
        ended = json_reply('{"id": "x1", "status": "completed", "state": "succeeded"}')
        for timeout in (None, 30.0):
            item = self.item(Reply(503, {}, b""), ended)
            with mock.patch("cortex.items._PAUSE", 0.0):
                self.assertEqual(item.wait(timeout)["state"], "succeeded")
        with mock.patch("cortex.items._PATIENCE", -1.0), self.assertRaises(cortex.PredictionFailed):
            self.item(Reply(503, {}, b"")).wait()
        with self.assertRaises(cortex.PredictionFailed) as caught:
            self.item(Reply(410, {}, b'{"code": "result_expired"}')).wait()
        self.assertEqual(caught.exception.status, 410)

    def test_cancel_and_retry(self) -> None:
        cancelling = json_reply('{"id": "x1", "status": "in_progress", "state": "cancelling"}')
        queued = json_reply('{"id": "x1", "status": "in_queue", "state": "queued"}')
        item = self.item(cancelling, queued, queued)
        got: List[Any] = [item.cancel()["state"], item.retry()["state"], item.get()["state"]]
        self.assertEqual(got, ["cancelling", "queued", "queued"])
        self.assertEqual(
            [(r.method, r.path) for r in self.seen], [("DELETE", "/iris/x1"), ("POST", "/iris/x1/retry"), ("GET", "/iris/x1")]
        )
