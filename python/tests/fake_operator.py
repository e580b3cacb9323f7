"""An operator with TLS that asks for identities, as far as the client can tell.

It verifies each proof with the secrets that it was given, by an implementation of
SigV4 of its own, and counts everything that reaches it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.server
import json
import socket
import socketserver
import ssl
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

TESTDATA = Path(__file__).resolve().parent / "testdata"

CLUSTER, REGION, ACCOUNT = "team/us-west-2/0123abcd", "us-west-2", "111122223333"

KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

PROOF_HASH = hashlib.sha256(b"Action=GetCallerIdentity&Version=2011-06-15").hexdigest()

NOT_PROVEN = {"kind": "unproven", "code": "endpoints.auth_invalid", "message": "the identity of the caller is not proven"}


@contextlib.contextmanager
def also_on(operator: "Operator", host: str) -> Iterator[None]:
    """Lets operator answer on the same port of another address of this machine."""
    with operator.serving(host, int(operator.endpoint.rpartition(":")[2])):
        yield


def fingerprint(name: str) -> str:
    """Returns the fingerprint of the first certificate of a file of testdata."""
    pem = (TESTDATA / f"{name}.pem").read_text("ascii")
    return "sha256:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[: pem.index("-----END") + 26])).hexdigest()


def canonical_request(host: str, amz_date: str, token: str, cluster_id: str, nonce: str, tls: str) -> str:
    headers = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "host": host,
        "x-amz-date": amz_date,
        "x-cortex-cluster-id": cluster_id,
        "x-cortex-nonce": nonce,
        "x-cortex-tls": tls,
    }
    if token:
        headers["x-amz-security-token"] = token
    lines = [f"{name}:{headers[name]}" for name in sorted(headers)]
    return "\n".join(["POST", "/", "", *lines, "", ";".join(sorted(headers)), PROOF_HASH])


def signature(secret: str, region: str, amz_date: str, canonical: str) -> str:
    scope = [amz_date[:8], region, "sts", "aws4_request"]
    key = ("AWS4" + secret).encode()
    for part in scope:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", amz_date, "/".join(scope), digest])
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


class Seen:
    """One request, with the number of the connection that carried it."""

    def __init__(self, method: str, path: str, headers: Dict[str, str], body: bytes, connection: int) -> None:
        self.method, self.path, self.headers, self.body, self.connection = method, path, headers, body, connection

    def __repr__(self) -> str:
        return f"{self.method} {self.path}"


Answer = Tuple[int, Dict[str, str], Any]


class Operator:
    """The operator. Tests change what it says by its attributes.

    Attributes:
        secrets: The secret and the session token of each access key id.
        challenge: Members of the challenge that are not what they should be.
        whole_challenge: Instead of a challenge.
        headers: Of the challenge.
        exchange: Answers an exchange instead of verifying it.
        before: Called with each request before it is answered.
        lifetime: Of a session, in seconds.
        date: What the Date header says; None: the time.
        tokens: The sessions that count, with the key that each is of.
        seen: Every request, in order.
        lines: How many requests came at all, but for a bare question whether this is an old release.
    """

    def __init__(self, certificate: str = "operator") -> None:
        self.certificate = certificate
        self.secrets: Dict[str, Tuple[str, str]] = {KEY_ID: (SECRET, "")}
        self.challenge: Dict[str, Any] = {}
        self.whole_challenge: Any = None
        self.headers: Dict[str, str] = {}
        self.exchange: Optional[Callable[[Dict[str, Any]], Answer]] = None
        self.before: Callable[[Seen], None] = lambda seen: None
        self.streams: List[bytes] = []
        self.lifetime = 900.0
        self.date: Optional[str] = None
        self.tokens: Dict[str, str] = {}
        self.seen: List[Seen] = []
        self.connections = self.lines = 0
        self.lock = threading.Lock()
        self._nonces: Dict[str, bool] = {}
        self.endpoint = ""

    @contextlib.contextmanager
    def running(self) -> Iterator["Operator"]:
        with self.serving("127.0.0.1", 0) as port:
            self.endpoint = f"https://127.0.0.1:{port}"
            yield self

    @contextlib.contextmanager
    def serving(self, host: str, port: int) -> Iterator[int]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(str(TESTDATA / f"{self.certificate}.pem"))
        server = _Server((host, port), _handler(self))
        server.context = context
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def count(self, path: str) -> int:
        with self.lock:
            return sum(1 for seen in self.seen if seen.path == path)

    @property
    def exchanges(self) -> int:
        return self.count("/v1/auth/session")

    def revoke(self) -> None:
        """Makes every session worthless."""
        with self.lock:
            self.tokens.clear()

    def answer(self, seen: Seen) -> Answer:
        with self.lock:
            self.seen.append(seen)
        self.before(seen)
        if seen.path == "/v1/auth/challenge":
            return 200, self.headers, self._challenge()
        if seen.path == "/v1/auth/session":
            body = json.loads(seen.body)
            return self.exchange(body) if self.exchange else self._exchange(body)
        scheme, _, token = seen.headers.get("Authorization", "").partition(" ")
        with self.lock:
            key_id = self.tokens.get(token) if scheme == "Bearer" else None
        if key_id is None:
            return 401, {}, dict(NOT_PROVEN, request_id="r")
        if seen.path == "/v1/whoami":
            return 200, {}, {"principal": self.principal(key_id), "cluster_id": CLUSTER, "policy": "default", "permissions": []}
        if seen.path.endswith("/logs") and self.streams:
            return 200, {"Content-Type": "application/x-ndjson"}, self.streams.pop(0)
        if seen.path.endswith("/logs"):
            return 200, {"Content-Type": "application/x-ndjson"}, b'{"text":"one"}\n{"end":true}\n'
        if seen.path == "/v1/forbidden":
            return 403, {}, {"kind": "forbidden", "code": "auth.forbidden", "message": "user/ada may not", "request_id": "r"}
        return 200, {}, []

    @staticmethod
    def principal(key_id: str) -> Dict[str, str]:
        name = "user/" + key_id.lower()
        arn = f"arn:aws:iam::{ACCOUNT}:{name}"
        return {"partition": "aws", "account": ACCOUNT, "type": "user", "arn": arn, "unique_id": "AIDAEXAMPLEEXAMPLE12"}

    def _challenge(self) -> Any:
        if self.whole_challenge is not None:
            return self.whole_challenge
        with self.lock:
            nonce = f"nonce-nonce-nonce-{len(self._nonces)}"
            self._nonces[nonce] = True
        made = {
            "cluster_id": CLUSTER,
            "region": REGION,
            "partition": "aws",
            "nonce": nonce,
            "expires_at": rfc3339(time.time() + 60),
            "tls_fingerprint": fingerprint(self.certificate),
        }
        return {**made, **self.challenge}

    def _exchange(self, body: Dict[str, Any]) -> Answer:
        wanted = {"access_key_id", "amz_date", "signature", "nonce"}
        secret, token = self.secrets.get(str(body.get("access_key_id")), ("", ""))
        if set(body) != wanted | ({"security_token"} if token else set()):
            return 400, {}, {"kind": "malformed", "code": "auth.malformed", "message": "this is no proof", "request_id": "r"}
        with self.lock:
            fresh = self._nonces.pop(body["nonce"], False)
        host = f"sts.{REGION}.amazonaws.com"
        tls = fingerprint(self.certificate)
        canonical = canonical_request(host, body["amz_date"], token, CLUSTER, body["nonce"], tls)
        right = body.get("security_token", "") == token and body["signature"] == signature(secret, REGION, body["amz_date"], canonical)
        if not fresh or not secret or not right:
            return 401, {}, dict(NOT_PROVEN, request_id="r")
        return 200, {}, self.session(body["access_key_id"])

    def session(self, key_id: str) -> Dict[str, Any]:
        with self.lock:
            session = f"session.{len(self.tokens)}-{time.time_ns()}"
            self.tokens[session] = key_id
        return {
            "token": session,
            "expires_at": rfc3339(time.time() + self.lifetime),
            "cluster_id": CLUSTER,
            "principal": self.principal(key_id),
        }


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128
    context: ssl.SSLContext

    def get_request(self) -> Tuple[socket.socket, Any]:
        connection, address = super().get_request()
        return self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # the client left, as many tests want it to


def _handler(operator: Operator) -> type:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def setup(self) -> None:
            with operator.lock:
                operator.connections += 1
                self.number = operator.connections
            self.request.do_handshake()
            super().setup()

        def parse_request(self) -> bool:
            read = super().parse_request()
            # The one question that is asked of whoever is not trusted, which says nothing of who asks.
            bare = read and self.requestline == "GET /verifycortex HTTP/1.1" and {n.lower() for n in self.headers} <= {"host", "accept-encoding"}
            with operator.lock:
                operator.lines += 1 if self.raw_requestline and not bare else 0
            return read

        def date_time_string(self, timestamp: Optional[float] = None) -> str:
            return operator.date or super().date_time_string(timestamp)

        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen = Seen(self.command, self.path.partition("?")[0], dict(self.headers.items()), body, self.number)
            status, headers, value = operator.answer(seen)
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            for name, text in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_DELETE = reply

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
