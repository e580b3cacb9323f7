"""Jobs over the wire."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import List
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from tests.support import Reply, Request, TestCase, json_reply, lines_reply, recorder


class Jobs(TestCase):
    def test_submit(self) -> None:
        seen: List[Request] = []
        client = self.client_of(recorder(json_reply('{"job": {"job_id": "1", "status": "pending"}}'), seen))
        self.assertEqual(client.submit_batch("resize", {"workers": 2})["job_id"], "1")
        self.assertEqual(client.submit_task("train")["status"], "pending")
        self.assertEqual([(r.method, r.path) for r in seen], [("POST", "/v1/apis/resize/jobs"), ("POST", "/v1/apis/train/jobs")])
        self.assertEqual([json.loads(r.body) for r in seen], [{"job": {"workers": 2}}, {"job": {}}])

    def test_wait(self) -> None:
        statuses = ["running", "running", "succeeded"]

        def reply(request: Request) -> Reply:
            if request.method == "POST":
                return json_reply('{"job": {"job_id": "1", "status": "pending"}}')
            return json_reply(json.dumps({"job_status": {"job_id": "1", "status": statuses.pop(0)}}))

        with mock.patch("cortex.client._JOB_POLL", 0):
            job = self.client_of(reply).submit_task("train", {"config": {"epochs": 2}}, wait=True)
        self.assertEqual((job["status"], statuses), ("succeeded", []))

    def test_get_list_and_stop(self) -> None:
        seen: List[Request] = []
        client = self.client_of(recorder(json_reply('{"job_status": {"status": "running"}}'), seen))
        self.assertEqual(client.get_job("train", "1")["job_status"]["status"], "running")
        self.assertIsNone(client.stop_job("train", "1"))
        client.list_jobs("train")
        self.assertEqual(
            [(r.method, r.path) for r in seen],
            [("GET", "/v1/apis/train/jobs/1"), ("DELETE", "/v1/apis/train/jobs/1"), ("GET", "/v1/apis/train/jobs")],
        )

    def test_results_and_retries(self) -> None:
        seen: List[Request] = []
        client = self.client_of(recorder(json_reply('{"job": {"job_id": "2", "status": "pending"}}'), seen))
        self.assertEqual(client.retry_job("resize", "1")["job_id"], "2")
        client.retry_job("resize", "1", only_failed=False)
        self.assertEqual([json.loads(r.body) for r in seen], [{"only_failed": True}, {"only_failed": False}])
        self.assertEqual({(r.method, r.path) for r in seen}, {("POST", "/v1/apis/resize/jobs/1/retry")})

    def test_schedules(self) -> None:
        seen: List[Request] = []
        client = self.client_of(recorder(json_reply("{}"), seen))
        client.list_schedules("report")
        client.run_schedule("report", "nightly")
        client.pause_schedule("report", "nightly")
        client.resume_schedule("report", "nightly")
        utc = timezone.utc
        client.backfill_schedule("report", "nightly", datetime(2026, 1, 1, tzinfo=utc), datetime(2026, 1, 8, tzinfo=utc), parallel=2)
        at = "/v1/apis/report/schedules"
        self.assertEqual(
            [(r.method, r.path) for r in seen],
            [("GET", at)] + [("POST", f"{at}/nightly/{verb}") for verb in ("run", "pause", "resume", "backfill")],
        )
        self.assertEqual(
            json.loads(seen[-1].body), {"from": "2026-01-01T00:00:00+00:00", "to": "2026-01-08T00:00:00+00:00", "parallel": 2}
        )
        with self.assertRaises(ValueError):
            client.backfill_schedule("report", "nightly", datetime(2026, 1, 1), datetime(2026, 1, 8))
        for name in ("", "..", "a/b"):
            with self.assertRaises(cortex.NotFound):
                client.run_schedule("report", name)

    def test_webhooks(self) -> None:
        seen: List[Request] = []
        client = self.client_of(recorder(json_reply("[]"), seen))
        client.list_webhooks("work", ["pending", "gave_up"], limit=5)
        client.redeliver_webhooks("work", ["a.1"])
        self.assertEqual(
            [(r.method, r.path) for r in seen],
            [("GET", "/v1/apis/work/webhooks"), ("POST", "/v1/apis/work/redeliver-webhooks")],
        )
        self.assertEqual(seen[0].query, "state=pending%2Cgave_up&limit=5")
        self.assertEqual(json.loads(seen[-1].body), {"ids": ["a.1"]})

    def test_an_answer_comes_in_parts(self) -> None:
        seen: List[Request] = []
        client = self.client_of(recorder(lines_reply('{"data":"d2hhdCA="}', '{"data":"aXQgc2FpZA=="}', '{"end":true}'), seen))
        self.assertEqual(b"".join(client.job_answer("report", "j1", 3)), b"what it said")
        self.assertEqual((seen[0].path, seen[0].query), ("/v1/apis/report/jobs/j1/answer", "batch=3"))
        cut_off = self.client_of(recorder(lines_reply('{"data":"d2hhdCA="}')))
        with self.assertRaises(cortex.CortexException):
            b"".join(cut_off.job_answer("report", "j1", 3))

    def test_ids_that_are_none(self) -> None:
        client = self.client_of(recorder(json_reply("{}")))
        for job in ("", "..", "a/b"):
            for call in (client.get_job, client.stop_job, client.retry_job, client.job_results, client.job_logs):
                with self.assertRaises(cortex.NotFound):
                    call("train", job)
