"""Proving an identity: the exchange, its session, and what is said when it is refused."""

from __future__ import annotations

import email.utils
import json
import os
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from cortex import credentials, iam
from tests import fake_operator
from tests.fake_operator import NOT_PROVEN, CLUSTER, KEY_ID, SECRET
from tests.identities import IdentityCase, needs_botocore

WARM = """
import json, sys, cortex
principal = cortex.client("team").whoami()["principal"]["arn"]
print(json.dumps([principal, sorted(m for m in sys.modules if m.split(".")[0] == "botocore")]))
"""


def crowd(count: int, call: Callable[[], Any]) -> None:
    """Calls from as many threads at once; raises what one of them raises."""
    gate, failures = threading.Barrier(count), []

    def run() -> None:
        gate.wait()
        try:
            call()
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


class Proving(IdentityCase):
    @needs_botocore
    def test_what_is_sent(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        self.assertEqual(client.whoami()["principal"], operator.principal(KEY_ID))
        self.assertEqual([str(s) for s in operator.seen], ["GET /v1/auth/challenge", "POST /v1/auth/session", "GET /v1/whoami"])
        self.assertEqual(operator.seen[0].connection, operator.seen[1].connection, "challenge and exchange go over one connection")
        self.assertEqual(set(json.loads(operator.seen[1].body)), {"access_key_id", "amz_date", "signature", "nonce"})
        for seen in operator.seen[:2]:
            self.assertNotIn("Authorization", seen.headers)
        self.assertNotIn(SECRET.encode(), b"".join(seen.body for seen in operator.seen))
        self.assertNotIn(SECRET, repr(client.__dict__) + repr(client._transport.__dict__))

    @needs_botocore
    def test_a_session_token_is_sent_and_signed(self) -> None:
        operator = self.operator()
        operator.secrets["ASIAIOSFODNN7EXAMPLE"] = (SECRET, "a-session-token")
        self.use_keys("ASIAIOSFODNN7EXAMPLE", token="a-session-token")
        self.client(operator).whoami()
        self.assertEqual(json.loads(operator.seen[1].body)["security_token"], "a-session-token")

    @needs_botocore
    def test_the_session_is_kept(self) -> None:
        operator = self.operator()
        self.use_keys()
        self.client(operator).whoami()
        (name,) = [n for n in os.listdir(self.sessions) if n.endswith(".json")]
        path = os.path.join(self.sessions, name)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with open(path, encoding="utf-8") as f:
            kept = json.load(f)
        self.assertEqual((kept["endpoint"], kept["cluster_id"], kept["access_key_id"]), (operator.endpoint, CLUSTER, KEY_ID))
        self.assertEqual(kept["principal"], operator.principal(KEY_ID))
        self.assertNotIn(SECRET, json.dumps(kept))

        operator.seen.clear()
        principal, modules = self.said(self.python(WARM))
        self.assertEqual(principal, operator.principal(KEY_ID)["arn"])
        self.assertEqual(modules, [], "a kept session needs no botocore")
        self.assertEqual([str(s) for s in operator.seen], ["GET /v1/whoami"], "exactly one request")

    @needs_botocore
    def test_other_credentials_have_another_session(self) -> None:
        operator = self.operator()
        operator.secrets["AKIABOBBOBBOBBOBBOBB"] = ("of bob", "")
        self.use_keys()
        client = self.client(operator)
        client.whoami()
        self.use_keys("AKIABOBBOBBOBBOBBOBB", "of bob")
        self.assertEqual(client.whoami()["principal"], operator.principal("AKIABOBBOBBOBBOBBOBB"))
        self.use_keys()
        self.assertEqual(client.whoami()["principal"], operator.principal(KEY_ID))
        self.assertEqual(operator.exchanges, 2)

    @needs_botocore
    def test_a_session_that_ends_soon_or_is_damaged_is_replaced(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        operator.lifetime = 9
        client.whoami()
        client.whoami()
        self.assertEqual(operator.exchanges, 2, "a session with 9 s left is not used")
        operator.lifetime = 900
        client.whoami()
        (path,) = [os.path.join(self.sessions, n) for n in os.listdir(self.sessions) if n.endswith(".json")]
        for exchanges, damage in enumerate((b"{", b"", b'{"version":1}', b"\x00" * 100), 4):
            with open(path, "wb") as f:
                f.write(damage)
            client.whoami()
            client.whoami()
            self.assertEqual(operator.exchanges, exchanges, damage)
        os.chmod(path, 0o644)
        client.whoami()
        self.assertEqual(operator.exchanges, 8, "a file that others could read is not used")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    @needs_botocore
    def test_a_session_of_another_cluster_is_not_used(self) -> None:
        operator = self.operator()
        self.use_keys()
        self.client(operator).whoami()
        (path,) = [os.path.join(self.sessions, n) for n in os.listdir(self.sessions) if n.endswith(".json")]
        for member, value in (("cluster_id", "another"), ("endpoint", "https://another")):
            with open(path, encoding="utf-8") as f:
                kept = json.load(f)
            with open(path, "w", encoding="utf-8") as f:
                json.dump({**kept, member: value}, f)
            before = operator.exchanges
            self.client(operator).whoami()
            self.assertEqual(operator.exchanges, before + 1, member)

    @needs_botocore
    def test_without_a_folder_a_session_lives_as_long_as_the_client(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        with open(self.sessions, "w", encoding="utf-8"):
            pass  # a file where the folder should be
        with self.assertLogs("cortex", "WARNING") as logged:
            client.whoami()
        client.whoami()
        self.assertEqual(operator.exchanges, 1)
        self.assertIn("cannot be kept", logged.output[0])

    @needs_botocore
    def test_without_a_folder_threads_exchange_once_too(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        with open(self.sessions, "w", encoding="utf-8"):
            pass
        with self.assertLogs("cortex", "WARNING"):
            crowd(8, client.whoami)
        self.assertEqual(operator.exchanges, 1)

    @needs_botocore
    def test_logout(self) -> None:
        operator, other = self.operator(), self.operator()
        self.use_keys()
        self.client(other).whoami()
        client = self.client(operator)
        client.whoami()
        self.assertEqual(client.logout(), 1)
        self.assertEqual(client.logout(), 0)
        client.whoami()
        self.assertEqual((operator.exchanges, other.exchanges), (2, 1))
        self.client(other).whoami()
        self.assertEqual(other.exchanges, 1, "the session of another operator is kept")
        self.assertEqual(cortex.client("local").logout(), 0)


    @needs_botocore
    def test_deleting_an_environment_removes_its_sessions(self) -> None:
        operator = self.operator()
        self.use_keys()
        self.client(operator).whoami()
        self.configure(operator, name="again")
        for name, left in (("again", 1), ("team", 0)):
            cortex.env_delete(name)
            self.assertEqual(len([n for n in os.listdir(self.sessions) if n.endswith(".json")]), left, name)

    @needs_botocore
    def test_sessions_that_cannot_be_removed(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        client.whoami()
        with mock.patch("os.unlink", side_effect=PermissionError(1, "no")):
            self.refused(client.logout, "auth.sessions_not_removed", self.sessions)


class Renewing(IdentityCase):
    @needs_botocore
    def test_once_when_the_operator_does_not_know_the_session_any_more(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        for call in (client.whoami, lambda: list(client.logs("iris")), lambda: client.refresh("iris")):
            client.whoami()
            operator.revoke()
            before = operator.exchanges
            call()
            self.assertEqual(operator.exchanges, before + 1)

    @needs_botocore
    def test_a_stream_is_asked_for_again(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        client.whoami()
        operator.revoke()
        self.assertEqual([line["text"] for line in client.logs("iris")], ["one"])

    @needs_botocore
    def test_following_outlives_a_session(self) -> None:
        over = json.dumps({"end": True, "error": dict(NOT_PROVEN, request_id="r")}).encode() + b"\n"
        line = lambda n: json.dumps({"time": f"2026-01-01T00:00:0{n}Z", "text": str(n)}).encode() + b"\n"  # noqa: E731
        operator = self.operator()
        operator.streams = [line(1) + line(2) + over, line(2) + line(3) + over, line(3) + line(4) + b'{"end":true}\n']
        self.use_keys()
        client = self.client(operator)
        told = client.logs("iris", follow=True, tail=5)
        self.assertEqual([value["text"] for value in told], ["1", "2", "3", "4"])
        self.assertEqual(operator.count("/v1/apis/iris/logs"), 3)

    @needs_botocore
    def test_following_ends_when_there_is_no_new_session(self) -> None:
        operator = self.operator()
        operator.exchange = lambda body: (200, {}, dict(operator.session(KEY_ID), token="not-known"))
        self.use_keys()
        client = self.client(operator)
        self.refused(lambda: list(client.logs("iris", follow=True)), "endpoints.auth_invalid")
        self.assertEqual(operator.count("/v1/apis/iris/logs"), 2)

    @needs_botocore
    def test_not_twice(self) -> None:
        operator = self.operator()
        operator.exchange = lambda body: (200, {}, dict(operator.session(KEY_ID), token="not-known"))
        self.use_keys()
        client = self.client(operator)
        self.refused(client.whoami, "endpoints.auth_invalid")
        self.assertEqual((operator.exchanges, operator.count("/v1/whoami")), (2, 2))

    @needs_botocore
    def test_the_session_that_another_process_got_meanwhile_is_used(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        client.whoami()

        def renew_elsewhere(seen: fake_operator.Seen) -> None:
            if seen.path == "/v1/whoami" and operator.exchanges == 1:
                operator.revoke()
                other = cortex.client("team")._transport.login
                assert other is not None
                other.renew(seen.headers["Authorization"].split()[1])

        operator.before = renew_elsewhere
        client.whoami()
        self.assertEqual(operator.exchanges, 2)

    @needs_botocore
    def test_it_waits_a_little(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        client.whoami()
        operator.revoke()
        with mock.patch.object(iam, "MAX_JITTER", 0.25), mock.patch("random.uniform", return_value=0.0) as drawn:
            client.whoami()
        drawn.assert_called_once_with(0, 0.25)


class Crowds(IdentityCase):
    @needs_botocore
    def test_eight_threads_exchange_once(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        crowd(8, client.whoami)
        self.assertEqual((operator.exchanges, operator.count("/v1/whoami")), (1, 8))
        operator.revoke()
        gate = threading.Barrier(8)  # all of them are refused before one of them renews

        def together(seen: fake_operator.Seen) -> None:
            if seen.path == "/v1/whoami" and operator.exchanges == 1:
                gate.wait(30)

        operator.before = together
        crowd(8, client.whoami)
        self.assertEqual(operator.exchanges, 2)

    @needs_botocore
    def test_eight_clients_exchange_once(self) -> None:
        operator = self.operator()
        self.use_keys()
        self.configure(operator)
        crowd(8, lambda: cortex.client("team").whoami())
        self.assertEqual(operator.exchanges, 1)

    @needs_botocore
    def test_four_processes_exchange_once(self) -> None:
        operator = self.operator()
        self.use_keys()
        self.configure(operator)
        # They start together, when each of them has imported what takes long.
        waiting = "import sys, cortex, botocore.session; print('ready', flush=True); sys.stdin.readline()" + WARM
        processes = [self.python(waiting) for _ in range(4)]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in processes:
            self.assertIn(operator.principal(KEY_ID)["arn"], process.communicate(timeout=60)[0])
        self.assertEqual((operator.exchanges, operator.count("/v1/whoami")), (1, 4))


class Refusals(IdentityCase):
    @needs_botocore
    def test_who_was_used(self) -> None:
        operator = self.operator()
        operator.secrets.clear()
        self.use_keys()
        client = self.client(operator)
        e = self.refused(client.whoami, "endpoints.auth_invalid", "AKIA\u2026MPLE from the environment variables", "active and of the cluster's account")
        self.assertNotIn(KEY_ID, str(e))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            del os.environ[name]
        self.aws("credentials", f"[my dev]\naws_access_key_id = {KEY_ID}\naws_secret_access_key = {SECRET}\n")
        os.environ["AWS_PROFILE"] = "my dev"
        self.refused(client.whoami, "endpoints.auth_invalid", "from profile my dev", "`aws sts get-caller-identity --profile 'my dev'`")

    @needs_botocore
    def test_a_key_without_its_token(self) -> None:
        operator = self.operator()
        operator.secrets["ASIAIOSFODNN7EXAMPLE"] = (SECRET, "a-session-token")
        self.use_keys("ASIAIOSFODNN7EXAMPLE")
        self.refused(self.client(operator).whoami, "auth.malformed", "environment variables", "need their session token")

    @needs_botocore
    def test_a_clock_that_is_wrong(self) -> None:
        operator = self.operator()
        operator.secrets.clear()
        self.use_keys()
        client = self.client(operator)
        for offset, hint in ((-420, "7 minutes ahead"), (420, "7 minutes behind"), (-70, "1 minute ahead"), (-30, ""), (30, "")):
            operator.date = email.utils.formatdate(time.time() + offset, usegmt=True)
            e = self.refused(client.whoami, "endpoints.auth_invalid")
            self.assertEqual("clock" in e.hint, bool(hint), e.hint)
            self.assertIn(hint, e.hint)
        operator.date = "yesterday"
        self.refused(client.whoami, "endpoints.auth_invalid", "was signed with")

    @needs_botocore
    def test_limits_and_sts_that_is_away(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        for status, kind, code in ((429, "too_many", "auth.too_many_attempts"), (503, "unavailable", "auth.sts_unavailable")):
            body = {"kind": kind, "code": code, "message": "not now", "hint": "try again", "request_id": "r"}
            operator.exchange = lambda _: (status, {"Retry-After": "7"}, body)
            e = self.refused(client.whoami, code, "not now")
            self.assertEqual(e.hint, "try again; it asks to be called again in 7 s")
            operator.exchange = lambda _: (status, {"Retry-After": "7\u00b2" * 9}, body)
            self.assertEqual(self.refused(client.whoami, code).hint, "try again")

    @needs_botocore
    def test_what_is_proven_and_not_allowed(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        self.refused(lambda: client._transport.call("GET", "/v1/forbidden"), "auth.forbidden", "user/ada may not")
        self.assertEqual(operator.exchanges, 1, "another proof would change nothing")

    @needs_botocore
    def test_a_connection_that_is_lost_while_credentials_are_looked_for(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        found, ask = credentials.find, []

        def slowly(environ: Any, region: str) -> credentials.Keys:
            ask.append(region)
            return found(environ, region)

        def sign(*args: Any) -> str:
            if operator.exchanges == 0 and len(signed) == 0:
                signed.append(1)
                raise cortex.CortexException("it broke", code="cli.operator_connection_lost", kind="disconnected")
            return signer(*args)

        signer, signed = credentials.sign, []
        with mock.patch.object(credentials, "find", slowly), mock.patch.object(credentials, "sign", sign):
            client.whoami()
        self.assertEqual((operator.count("/v1/auth/challenge"), operator.exchanges, len(ask)), (2, 1, 1))
