"""HTTP to an operator: over the Unix socket of this machine, or to an endpoint.

Answers come back as decoded JSON, failures as CortexException. One connection
per call, so that a client may be used by several threads at once. Who is calling
is proven by a Login, when there is one.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import threading
import time
from collections import OrderedDict
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Protocol
from urllib.parse import quote, urlencode, urlsplit

from cortex.exceptions import CortexException, from_error
from cortex.trust import CONNECT_TIMEOUT, Connection, Trust, Untrusted

#: Seconds until a call without an answer is given up. Streams wait for ever.
CALL_TIMEOUT = 600.0
INFO_TIMEOUT = 10.0

MAX_ANSWER_BYTES = 256 << 20
MAX_LINE_BYTES = 8 << 20

# How much further back, in seconds, a stream is taken up again than it broke off, and
# how many of its last objects are remembered for that.
_OVERLAP = 10.0
_MAX_TOLD = 10_000


class UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("cortex", timeout=CONNECT_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Login(Protocol):
    """Gives the token of every call; see iam.Login."""

    def token(self) -> str: ...

    def renew(self, refused: str) -> str:
        """Returns another token than the one that the operator refused."""
        ...

    def forget(self) -> int: ...


class Transport:
    """Sends requests to one operator.

    Args:
        where: The operator's address as errors show it.
        connect: Returns a new connection, not yet connected.
        prefix: The path before /v1, without a slash at its end.
        start: Called when nobody answers on the first attempt; returns when it is
            worth a second one.
        is_old: Whether whoever answers is an operator of an old release; asked when it is
            not trusted or not understood.

    Attributes:
        local: Whether the operator is one that this user starts on this machine.
        login: Proves who is calling; None where nobody has to.
    """

    def __init__(
        self,
        where: str,
        connect: Callable[[], http.client.HTTPConnection],
        prefix: str = "",
        start: Optional[Callable[[], None]] = None,
        is_old: Callable[[], bool] = lambda: False,
    ) -> None:
        self.where = where
        self._is_old = is_old
        self._connect = connect
        self._prefix = prefix
        self._start = start
        self.local = start is not None
        self.login: Optional[Login] = None

    def call(
        self,
        method: str,
        path: str,
        query: Optional[Mapping[str, str]] = None,
        body: Any = None,
        timeout: Optional[float] = CALL_TIMEOUT,
    ) -> Any:
        """Returns the decoded answer. Raises CortexException for every other outcome."""
        connection, response = self._send(method, path, query, body, timeout)
        try:
            return self.answer(response)
        finally:
            connection.close()

    def answer(self, response: http.client.HTTPResponse, limit: Optional[int] = None) -> Any:
        """Returns a decoded answer. Raises CortexException when it is a refusal or none."""
        data = self._read(response, limit or MAX_ANSWER_BYTES)
        if response.status != 200:
            raise self._refused(response, data)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise self._unknown(response, "no JSON") from None

    def stream(self, path: str, query: Optional[Mapping[str, str]] = None) -> Iterator[Dict[str, Any]]:
        """Yields the objects of a stream until its end; closing the iterator ends it early.

        The request is sent, and refused, when the first object is asked for. A stream
        with follow that ends because the session is over is taken up again with a new
        one: nothing is missed, and nothing is yielded twice.
        """
        if not self.login or "follow" not in (query or {}):
            yield from self._stream(path, query)
            return
        query = dict(query or {})
        told: "OrderedDict[str, None]" = OrderedDict()  # the last objects, each as JSON
        heard = time.monotonic()
        resumed = False
        while True:
            begun = threading.Event()
            try:
                for value in self._stream(path, query, begun.set):
                    heard = time.monotonic()
                    text = json.dumps(value, sort_keys=True)
                    new = text not in told
                    told[text] = None
                    if len(told) > _MAX_TOLD:
                        told.popitem(last=False)
                    if new or not resumed:
                        yield value
                return
            except CortexException as e:
                if not begun.is_set() or e.kind != "unproven":
                    raise
            query.pop("tail", None)
            query["since"] = f"{time.monotonic() - heard + _OVERLAP:.3f}s"
            resumed = True

    def _stream(
        self, path: str, query: Optional[Mapping[str, str]] = None, begun: Optional[Callable[[], None]] = None
    ) -> Iterator[Dict[str, Any]]:
        """Yields the objects of one stream; begun is called when there is one, rather than a refusal."""
        connection, response = self._send("GET", path, query, None, None)
        try:
            if response.status != 200:
                raise self._refused(response, self._read(response, MAX_LINE_BYTES))
            if response.headers.get_content_type() != "application/x-ndjson":
                raise self._unknown(response, "no stream of lines")
            if begun:
                begun()
            yield from self._lines(response)
        finally:
            connection.close()

    def _lines(self, response: http.client.HTTPResponse) -> Iterator[Dict[str, Any]]:
        while True:
            try:
                line = response.readline(MAX_LINE_BYTES + 1)
            except (OSError, http.client.HTTPException) as e:
                raise self._cut_off(f"the stream was cut off: {e}") from e
            if not line.endswith(b"\n"):
                raise self._cut_off("the stream was cut off" if len(line) <= MAX_LINE_BYTES else "a line is too long")
            if not line.strip():
                continue  # the operator says that it is still there
            try:
                value = json.loads(line)
            except ValueError:
                value = None
            if not isinstance(value, dict):
                raise self._cut_off("a line cannot be read")
            if "end" not in value:
                yield value
                continue
            if value.get("error"):
                raise from_error(value["error"])
            return

    def _send(
        self, method: str, path: str, query: Optional[Mapping[str, str]], body: Any, timeout: Optional[float]
    ) -> "tuple[http.client.HTTPConnection, http.client.HTTPResponse]":
        """Sends a request. When the operator does not know the caller any more, they prove themselves again, once."""
        target = path + ("?" + urlencode(query) if query else "")
        token = self.login.token() if self.login else ""
        connection, response = self._attempt(method, target, body, timeout, token)
        if response.status != 401 or self.login is None:
            return connection, response
        connection.close()
        return self._attempt(method, target, body, timeout, self.login.renew(token))

    def _attempt(
        self, method: str, target: str, body: Any, timeout: Optional[float], token: str
    ) -> "tuple[http.client.HTTPConnection, http.client.HTTPResponse]":
        connection = self.open()
        try:
            return connection, self.ask(connection, method, target, body, timeout, token)
        except BaseException:
            connection.close()
            raise

    def open(self) -> http.client.HTTPConnection:
        """Returns a connection to the operator, which is started if it can be."""
        try:
            return self._open()
        except _Unreachable as e:
            if self._start is None or not e.startable:
                untrusted = e.exception.code == "cli.operator_untrusted"
                raise (self._of_old_release(e.exception) if untrusted else e.exception) from e.__cause__
        self._start()
        try:
            return self._open()
        except _Unreachable as e:
            raise e.exception from e.__cause__

    def _open(self) -> http.client.HTTPConnection:
        connection = self._connect()
        try:
            connection.connect()
        except OSError as e:
            connection.close()
            raise _Unreachable(e, self.where) from e
        except BaseException:
            connection.close()
            raise
        return connection

    def ask(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        target: str,
        body: Any = None,
        timeout: Optional[float] = CALL_TIMEOUT,
        token: str = "",
    ) -> http.client.HTTPResponse:
        """Sends one request on an open connection and returns the head of its answer."""
        headers = {"Accept": "application/json, application/x-ndjson", "User-Agent": "cortex-python"}
        data = None
        if body is not None:
            is_json = not isinstance(body, bytes)
            data = json.dumps(body, ensure_ascii=False).encode("utf-8") if is_json else body
            headers["Content-Type"] = "application/json" if is_json else "application/octet-stream"
        if token:
            headers["Authorization"] = "Bearer " + token
        try:
            if connection.sock is None:
                raise http.client.NotConnected("it was closed")
            connection.sock.settimeout(timeout)
            try:
                connection.request(method, self._prefix + target, body=data, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it may have answered and closed before the whole body was sent
            return connection.getresponse()
        except (socket.timeout, TimeoutError) as e:
            raise CortexException(
                f"{self.where} has not answered for {timeout:g} s",
                code="cli.operator_timeout",
                kind="unavailable",
                hint="the operation may still be carried out; look at the result",
            ) from e
        except (OSError, http.client.HTTPException) as e:
            raise CortexException(
                f"the connection to {self.where} broke before the answer: {e}",
                code="cli.operator_connection_lost",
                kind="disconnected",
                hint="the operation may have been carried out; look at the result",
            ) from e

    def _read(self, response: http.client.HTTPResponse, limit: int) -> bytes:
        try:
            data = read_bounded(response, limit + 1)
        except (OSError, http.client.HTTPException) as e:
            raise self._cut_off(f"the answer broke off: {e}") from e
        if len(data) > limit:
            raise self._unknown(response, f"more than {limit} bytes")
        return data

    def _refused(self, response: http.client.HTTPResponse, data: bytes) -> CortexException:
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict) or not body.get("kind") or not body.get("code"):
            return self._unknown(response, "no error of an operator")
        return from_error(body)

    def _unknown(self, response: http.client.HTTPResponse, what: str) -> CortexException:
        return self._of_old_release(
            CortexException(
                f"the answer of {self.where} is {what} (status {response.status}, {response.headers.get('Content-Type', '')})",
                code="cli.operator_response_unknown",
                kind="disconnected",
                hint="is this the address of a cortex operator of the same version?",
            )
        )

    def _of_old_release(self, otherwise: CortexException) -> CortexException:
        """Returns what is said of an operator of an old release, where it is one."""
        if not self._is_old():
            return otherwise
        return CortexException(
            f"{self.where} is an operator of cortex 0.42 or an earlier release, which this program cannot manage",
            code="cli.operator_of_old_release",
            kind="disconnected",
            hint='manage it with the client that it was installed with; this machine is cortex.client("local")',
        )

    def _cut_off(self, why: str) -> CortexException:
        return CortexException(
            f"reading from {self.where}: {why}",
            code="cli.operator_connection_lost",
            kind="disconnected",
            hint="repeat the call",
        )


class _Unreachable(Exception):
    """Nobody took the connection."""

    def __init__(self, cause: OSError, where: str) -> None:
        super().__init__(str(cause))
        #: whether the local environment may simply not be running
        self.startable = isinstance(cause, (FileNotFoundError, ConnectionRefusedError))
        self.exception = CortexException(
            f"no answer from {where}: {cause.strerror or cause}",
            code="cli.failed_to_connect_operator",
            kind="disconnected",
            hint="check the address, and that the operator is running",
        )
        if isinstance(cause, (Untrusted, ssl.SSLCertVerificationError)):
            self.exception = CortexException(
                f"the certificate of {where} is not trusted: {getattr(cause, 'verify_message', '') or cause}",
                code="cli.operator_untrusted",
                kind="disconnected",
                hint="nothing was sent; if its administrator confirms that certificate, configure the environment"
                " again with cortex.new_client and its ca_file or fingerprint",
            )


def over_socket(path: str, start: Optional[Callable[[], None]] = None) -> Transport:
    """Returns a transport over the Unix socket at path."""

    def connect() -> http.client.HTTPConnection:
        _check_owner(path)
        return UnixConnection(path)

    return Transport(path, connect, start=start)


def _check_owner(path: str) -> None:
    """Refuses a socket that somebody else put there: what is sent would be theirs."""
    try:
        owner = os.stat(path).st_uid
    except OSError:
        return  # connecting says why
    me = os.getuid()
    if me != 0 and owner not in (me, 0):
        raise CortexException(
            f"{path} belongs to another user (id {owner})",
            code="cli.foreign_socket",
            kind="forbidden",
            hint="remove it, or set CORTEX_CLI_CONFIG_DIR to a folder of your own",
        )


def to_endpoint(endpoint: str, trust: Optional[Trust] = None) -> Transport:
    """Returns a transport to https://host, with or without a path, or to http:// on this machine."""
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    shown = trust or Trust()

    def connect() -> http.client.HTTPConnection:
        if parts.scheme == "https":
            return Connection(host, parts.port, shown)
        return http.client.HTTPConnection(host, parts.port, timeout=CONNECT_TIMEOUT)

    prefix = parts.path.rstrip("/")

    def is_old() -> bool:  # where it is told whom to trust, nobody else is asked anything
        return not shown.told and _answers_as_old_release(parts.scheme, host, parts.port, prefix)

    return Transport(endpoint, connect, prefix=prefix, is_old=is_old)


def _answers_as_old_release(scheme: str, host: str, port: Optional[int], prefix: str) -> bool:
    """Asks what releases up to 0.42 answered to anybody, by a certificate that nobody vouches for.

    So the certificate is not looked at: the question carries nothing, and all that comes of
    the answer is which sentence the user reads.
    """
    connection: http.client.HTTPConnection
    if scheme == "https":
        unverified = ssl._create_unverified_context()  # noqa: S323
        connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_TIMEOUT, context=unverified)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=CONNECT_TIMEOUT)
    try:
        connection.request("GET", prefix + "/verifycortex")
        response = connection.getresponse()
        answer = json.loads(read_bounded(response, 4096))
        # Releases 0.24 to 0.32 told their provider.
        return response.status == 200 and isinstance(answer, dict) and set(answer) <= {"provider"}
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return False
    finally:
        connection.close()


def read_bounded(response: http.client.HTTPResponse, limit: int) -> bytes:
    """Returns at most limit bytes of the body, in pieces: Python 3.9 allocates what it is asked to read."""
    data = bytearray()
    while len(data) < limit:
        piece = response.read(min(1 << 16, limit - len(data)))
        if not piece:
            if response.length:  # read does not tell that the body is shorter than was said
                raise http.client.IncompleteRead(bytes(data), response.length)
            break
        data += piece
    return bytes(data)


def segment(name: str) -> str:
    """Returns name as one segment of a path."""
    return quote(name, safe="")
