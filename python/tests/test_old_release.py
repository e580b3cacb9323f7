"""An operator of 0.42 or an earlier release is called so."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path
from typing import List

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from cortex import transport, trust
from tests.support import Reply, Request, TestCase, json_reply

PEM = Path(__file__).resolve().parent / "testdata" / "operator.pem"


class OldRelease(TestCase):
    def refused(self, verify: str, tls: bool) -> cortex.CortexException:
        """Returns why a client of an operator that answers verify to /verifycortex fails."""
        seen: List[Request] = []

        def script(request: Request) -> Reply:
            seen.append(request)
            return json_reply(verify) if request.path == "/verifycortex" else json_reply('{"kind": "x", "message": "missing"}', status=404)

        endpoint = self.endpoint_of(script, self.tls() if tls else None)
        with self.assertRaises(cortex.CortexException) as caught:
            cortex.Client({"name": "old"}, transport.to_endpoint(endpoint)).list_apis()
        asked = [r for r in seen if r.path == "/verifycortex"]
        self.assertTrue(all("authorization" not in {n.lower() for n in r.headers} and not r.body for r in asked))
        return caught.exception

    def tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(PEM))
        return context

    def test_recognised(self) -> None:
        for verify in ("{}", '{"provider": "aws"}'):
            for tls in (True, False):
                e = self.refused(verify, tls)
                self.assertEqual(e.code, "cli.operator_of_old_release", f"{verify} {tls}: {e}")
                self.assertIn("0.42", str(e))
                self.assertIn('cortex.client("local")', e.hint or "")

    def test_another_program_is_not(self) -> None:
        for verify in ('{"status": "ok"}', "[]", "<html>", "1"):
            self.assertEqual(self.refused(verify, True).code, "cli.operator_untrusted")
            self.assertEqual(self.refused(verify, False).code, "cli.operator_response_unknown")

    def test_who_is_told_whom_to_trust_asks_nobody_else(self) -> None:
        seen: List[Request] = []

        def script(request: Request) -> Reply:
            seen.append(request)
            return json_reply("{}")

        endpoint = self.endpoint_of(script, self.tls())
        with self.assertRaises(cortex.CortexException) as caught:
            cortex.Client({"name": "new"}, transport.to_endpoint(endpoint, trust.Trust(fingerprint="sha256:" + "00" * 32))).list_apis()
        self.assertEqual((caught.exception.code, seen), ("cli.operator_untrusted", []))

    def test_nobody_is_not(self) -> None:
        endpoint = self.endpoint_of(lambda request: json_reply("{}", status=500))
        with self.assertRaises(cortex.CortexException) as caught:
            cortex.Client({"name": "old"}, transport.to_endpoint(endpoint)).list_apis()
        self.assertEqual(caught.exception.code, "cli.operator_response_unknown")
