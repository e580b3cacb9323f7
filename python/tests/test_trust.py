"""Who the operator is: its certificate, its challenge, and who is in between."""

from __future__ import annotations

import base64
import os
import re
import sys
from pathlib import Path
from typing import Any, Dict, List
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from cortex import trust
from tests import fake_operator
from tests.fake_operator import CLUSTER, KEY_ID, TESTDATA, Operator, fingerprint
from tests.identities import IdentityCase, ca_data, needs_botocore
from tests.support import json_reply, recorder


class InBetween(IdentityCase):
    """Whoever is not the operator gets nothing; what is not a challenge is not answered."""

    def unsent(self, operator: Operator) -> None:
        self.assertEqual((operator.exchanges, operator.count("/v1/whoami")), (0, 0), "nothing was sent")

    @needs_botocore
    def test_a_relay(self) -> None:
        for shown, said in (("relay", "operator"), ("operator", "relay")):
            operator = self.operator(shown)
            operator.challenge = {"tls_fingerprint": fingerprint(said)}
            self.use_keys()
            client = self.client(operator)
            self.refused(client.whoami, "auth.tls_mismatch", "somebody is between you and the operator")
            self.unsent(operator)
            self.refused(lambda: cortex.new_client("new", operator.endpoint, ca_file=str(TESTDATA / "ca.pem")), "auth.tls_mismatch")

    @needs_botocore
    def test_a_relay_that_repeats_what_it_shows_gets_what_the_operator_refuses(self) -> None:
        operator, relay = self.operator(), self.operator("relay")
        proofs: List[Dict[str, Any]] = []

        def forward(body: Dict[str, Any]) -> Any:
            proofs.append(body)
            return operator._exchange(body)

        operator_challenge = operator._challenge()
        relay.whole_challenge = {**operator_challenge, "tls_fingerprint": fingerprint("relay")}
        relay.exchange = forward
        self.use_keys()
        self.refused(self.client(relay).whoami, "endpoints.auth_invalid")
        self.assertEqual(len(proofs), 1)
        self.assertEqual(operator.tokens, {})

    @needs_botocore
    def test_another_authority(self) -> None:
        operator = self.operator()
        self.use_keys()
        for more in ({"operator_ca_data": ca_data("other-ca")}, {"operator_ca_data": "", "operator_fingerprint": ""}):
            self.configure(operator, **more)
            self.refused(cortex.client("team").whoami, "cli.operator_untrusted", "nothing was sent")
        self.assertEqual(operator.lines, 0)

    @needs_botocore
    def test_the_roots_of_the_system_count_unless_there_are_others(self) -> None:
        operator = self.operator()
        self.use_keys()
        with mock.patch.dict(os.environ, {"SSL_CERT_FILE": str(TESTDATA / "ca.pem")}):
            self.configure(operator, operator_ca_data=ca_data("other-ca"))
            self.refused(cortex.client("team").whoami, "cli.operator_untrusted")
            self.configure(operator, operator_ca_data="", operator_fingerprint="")
            self.assertEqual(cortex.client("team").whoami()["cluster_id"], CLUSTER)

    @needs_botocore
    def test_another_name(self) -> None:
        operator = self.operator()
        operator.endpoint = operator.endpoint.replace("127.0.0.1", "127.0.0.2")
        self.use_keys()
        with fake_operator.also_on(operator, "127.0.0.2"):
            self.refused(self.client(operator).whoami, "cli.operator_untrusted")
        self.assertEqual(operator.lines, 0)

    @needs_botocore
    def test_a_pinned_certificate_and_nothing_else(self) -> None:
        operator = self.operator("relay")
        self.use_keys()
        client = self.client(operator, operator_fingerprint=fingerprint("operator"))
        self.refused(client.whoami, "cli.operator_untrusted", fingerprint("relay"), fingerprint("operator"))
        self.assertEqual((operator.connections, operator.lines, operator.seen), (1, 0, []), "not a byte of a request")

    @needs_botocore
    def test_a_pinned_certificate_needs_no_authority_and_no_name(self) -> None:
        operator = self.operator()
        operator.endpoint = operator.endpoint.replace("127.0.0.1", "127.0.0.2")
        self.use_keys()
        with fake_operator.also_on(operator, "127.0.0.2"):
            client = self.client(operator, operator_fingerprint=fingerprint("operator").upper())
            self.assertEqual(client.whoami()["cluster_id"], CLUSTER)

    @needs_botocore
    def test_another_cluster(self) -> None:
        operator = self.operator()
        operator.challenge = {"cluster_id": "team/us-west-2/another"}
        self.use_keys()
        e = self.refused(self.client(operator).whoami, "auth.other_cluster", CLUSTER, "team/us-west-2/another")
        self.assertEqual(e.kind, "forbidden")
        self.unsent(operator)

    @needs_botocore
    def test_challenges_that_are_not_answered(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator, cluster_id="")
        for member, values in {
            "region": ["x.attacker.example/?", "us-west-2.attacker.example#", "us-west-2\n", "us", "", "US-WEST-2", "us-west-2/../x", 7, None, "us-" + "a" * 17, "us-west-2\u0661"],
            "cluster_id": ["", "a b", "a\r\nX-Evil: 1", "c\n", "a" * 201, 7, "\u00fc"],
            "nonce": ["short", "a" * 201, "nonce nonce nonce nonce", "nonce-nonce-nonce\n", None, ["nonce-nonce-nonce-1"]],
            "partition": ["", "gcp", "aws/../x", "aws\n"],
            "tls_fingerprint": ["", "sha256:" + "A" * 64, "sha256:" + "0" * 63, fingerprint("operator") + "\n", 7],
        }.items():
            for value in values:
                with self.subTest(f"{member} {value!r}"):
                    operator.challenge = {member: value}
                    self.refused(client.whoami, "auth.challenge_malformed", member)
        operator.challenge = {}
        for whole in ([], "challenge", 7, None, {}):
            operator.whole_challenge = whole if whole is not None else b"null"
            self.refused(client.whoami, "auth.challenge_malformed")
        operator.whole_challenge = b"[" * 50000
        self.refused(client.whoami, "cli.operator_response_unknown")
        operator.whole_challenge = b'"' + b"a" * (1 << 20) + b'"'
        self.refused(client.whoami, "cli.operator_response_unknown", "more than 65536 bytes")
        self.unsent(operator)

    @needs_botocore
    def test_a_region_that_botocore_does_not_know(self) -> None:
        operator = self.operator()
        operator.challenge = {"region": "mars-north-1"}
        self.use_keys()
        self.refused(self.client(operator).whoami, "auth.challenge_malformed", "mars-north-1")
        self.unsent(operator)

    @needs_botocore
    def test_no_proof_goes_over_another_connection(self) -> None:
        operator = self.operator()
        operator.headers = {"Connection": "close"}
        self.use_keys()
        self.refused(self.client(operator).whoami, "cli.operator_connection_lost")
        self.assertEqual(operator.count("/v1/auth/challenge"), 2, "it tried once more from the beginning")
        self.unsent(operator)

    @needs_botocore
    def test_sessions_that_are_none(self) -> None:
        operator = self.operator()
        self.use_keys()
        client = self.client(operator)
        for change in (
            {"token": ""}, {"token": "a\r\nX: y"}, {"token": 7}, {"expires_at": "soon"}, {"cluster_id": "another"}, {"principal": "ada"}, {"principal": None},
        ):
            with self.subTest(change):
                operator.exchange = lambda body: (200, {}, dict(operator.session(KEY_ID), **change))
                self.refused(client.whoami, "auth.session_malformed")
        operator.exchange = lambda body: (200, {}, [])
        self.refused(client.whoami, "auth.session_malformed")
        self.assertFalse(os.path.exists(self.sessions) and [n for n in os.listdir(self.sessions) if n.endswith(".json")])

    def test_plain_http_is_for_this_machine_and_without_identity(self) -> None:
        seen: list = []
        endpoint = self.endpoint_of(recorder(json_reply("[]"), seen))
        self.use_keys()
        client = cortex.new_client("plain", endpoint)
        client.list_apis()
        self.assertEqual([r.path for r in seen], ["/v1/info", "/v1/apis"])
        self.assertNotIn("Authorization", seen[1].headers)
        self.assertEqual(client.logout(), 0)
        for elsewhere in ("http://operator.example.com", "http://10.0.0.1", "http://127.0.0.1.example.com", "http://0.0.0.0"):
            self.refused(lambda: cortex.new_client("plain", elsewhere), "cli.invalid_operator_endpoint", "in the clear")
        with mock.patch.object(cortex._environment, "read", return_value=mock.Mock(choose=lambda _: {"name": "x", "operator_endpoint": "http://10.0.0.1"})):
            self.refused(lambda: cortex.client("x"), "cli.invalid_operator_endpoint")


class Configuring(IdentityCase):
    def text(self) -> str:
        with open(os.path.join(self.config_dir, "cli.yaml"), encoding="utf-8") as f:
            return f.read()

    def test_an_authority(self) -> None:
        operator = self.operator()
        client = cortex.new_client("team", operator.endpoint + "/", ca_file=str(TESTDATA / "ca.pem"))
        self.assertEqual(client.env, {"name": "team", "operator_endpoint": operator.endpoint})
        self.assertEqual([str(s) for s in operator.seen], ["GET /v1/auth/challenge"], "no identity is needed")
        self.assertEqual(
            self.text(),
            f"default_environment: team\nenvironments:\n- name: team\n  operator_endpoint: {operator.endpoint}\n"
            f"  operator_ca_data: {ca_data('ca')}\n  cluster_id: {CLUSTER}\n",
        )
        self.assertEqual(base64.b64decode(ca_data("ca")), (TESTDATA / "ca.pem").read_bytes())
        self.assertEqual(cortex.env_list(), [{"name": "local"}, {"name": "team", "operator_endpoint": operator.endpoint}])

    def test_a_key_in_the_file_is_left_out(self) -> None:
        operator = self.operator()
        cortex.new_client("team", operator.endpoint, ca_file=str(TESTDATA / "operator.pem"))
        kept = base64.b64decode(re.findall("operator_ca_data: (.*)", self.text())[0])
        self.assertEqual((kept.count(b"CERTIFICATE"), kept.count(b"PRIVATE")), (4, 0))

    def test_a_fingerprint(self) -> None:
        operator = self.operator()
        digits = fingerprint("operator")[len("sha256:") :].upper()
        written = ":".join(digits[i : i + 2] for i in range(0, 64, 2))
        for text in (fingerprint("operator"), written, "SHA256=" + written, digits):
            cortex.new_client("team", operator.endpoint, fingerprint=text)
            self.assertIn(f"operator_fingerprint: {fingerprint('operator')}\n", self.text())
            self.assertNotIn("operator_ca_data", self.text())

    def test_a_fingerprint_of_the_authority(self) -> None:
        operator = self.operator()
        if sys.version_info < (3, 13):
            self.refused(
                lambda: cortex.new_client("team", operator.endpoint, fingerprint=fingerprint("ca")),
                "cli.operator_untrusted",
                fingerprint("operator"),
            )
            self.skipTest("before Python 3.13 the certificates behind the first one cannot be seen")
        cortex.new_client("team", operator.endpoint, fingerprint=fingerprint("ca"))
        self.assertIn(f"operator_ca_data: {ca_data('ca')}\n", self.text())

    def test_nothing_changes_when_it_does_not_prove_itself(self) -> None:
        operator = self.operator()
        for code, more in (
            ("cli.operator_untrusted", {"ca_file": str(TESTDATA / "other-ca.pem")}),
            ("cli.operator_untrusted", {"fingerprint": fingerprint("relay")}),
            ("cli.operator_untrusted", {}),
        ):
            self.refused(lambda: cortex.new_client("team", operator.endpoint, **more), code)
        self.assertEqual((operator.lines, cortex.env_list()), (0, [{"name": "local"}]))

    def test_what_cannot_be_trusted(self) -> None:
        empty, key = os.path.join(self.folder, "empty"), os.path.join(self.folder, "key.pem")
        open(empty, "w", encoding="utf-8").close()
        with open(key, "w", encoding="utf-8") as f:
            f.write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        large = os.path.join(self.folder, "large")
        with open(large, "wb") as f:
            f.write((TESTDATA / "ca.pem").read_bytes() * 1000)
        https, ca = "https://127.0.0.1:1", str(TESTDATA / "ca.pem")
        for path in (empty, key, large, self.folder, os.path.join(self.folder, "none")):
            self.refused(lambda: cortex.new_client("x", https, ca_file=path), "cli.bad_ca_file", path)
        for text in ("", "sha256:", "sha1:" + "0" * 40, "0" * 63, "g" * 64):
            self.refused(lambda: cortex.new_client("x", https, fingerprint=text), "cli.wrong_flag", "64 hexadecimal digits")
        self.refused(lambda: cortex.new_client("x", https, ca_file=ca, fingerprint="0" * 64), "cli.mutually_exclusive_flags")
        self.refused(lambda: cortex.new_client("x", "http://127.0.0.1:1", ca_file=ca), "cli.wrong_flag")

    def test_a_file_that_says_it_wrong(self) -> None:
        operator = self.operator()
        for more, code in (
            ({"operator_ca_data": "no base64"}, "configreader.disallowed_value"),
            ({"operator_ca_data": base64.b64encode(b"no certificate").decode()}, "configreader.disallowed_value"),
            ({"operator_fingerprint": "sha256:0"}, "configreader.disallowed_value"),
        ):
            self.configure(operator, **more)
            self.refused(lambda: cortex.client("team"), code, "environment team")
        self.configure(operator, cluster_id="X")
        path = os.path.join(self.config_dir, "cli.yaml")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace("cluster_id: X", "cluster_id: 0123"))
        self.refused(lambda: cortex.client("team"), "configreader.disallowed_value", "cluster_id")

    def test_pinning_wins_over_an_authority(self) -> None:
        made = trust.Trust(ca_data("other-ca"), fingerprint("operator"))
        self.assertEqual((made.fingerprint, made._roots), (fingerprint("operator"), ""))
