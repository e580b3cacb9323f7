"""What several tests need: a scripted operator, and a configuration folder of their own."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socketserver
import ssl
import sys
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional
from unittest import mock

import cortex
from cortex import transport

REPOSITORY = Path(__file__).resolve().parent.parent.parent


class Request:
    """What the scripted operator was asked."""

    def __init__(self, method: str, target: str, headers: Dict[str, str], body: bytes) -> None:
        self.method = method
        self.path, _, self.query = target.partition("?")
        self.headers = headers
        self.body = body


class Reply:
    """What the scripted operator answers; raw bytes after the status line and the headers."""

    def __init__(self, status: int, headers: Dict[str, str], body: bytes, cut_off: bool = False) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.cut_off = cut_off  # promise more than is sent


_numbers = itertools.count()

Script = Callable[[Request], Reply]


class _Quiet(socketserver.ThreadingMixIn):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # the client left, as some tests want it to
            super().handle_error(request, client_address)  # type: ignore[misc]


class _Unix(_Quiet, socketserver.UnixStreamServer):
    pass


class _TCP(_Quiet, socketserver.TCPServer):
    allow_reuse_address = True


def _handler(script: Script) -> type:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            self.client_address = ("", 0)  # a Unix socket has none
            super().handle_one_request()

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = script(Request(self.command, self.path, dict(self.headers.items()), body))
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body) + (1000 if reply.cut_off else 0)))
            self.end_headers()
            self.wfile.write(reply.body)
            if reply.cut_off:
                self.close_connection = True

        do_GET = do_POST = do_DELETE = do_PUT = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextlib.contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    """Serves until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def unix_server(path: str, script: Script) -> socketserver.BaseServer:
    return _Unix(path, _handler(script))


def tcp_server(script: Script) -> socketserver.TCPServer:
    return _TCP(("127.0.0.1", 0), _handler(script))


class TestCase(unittest.TestCase):
    """A test with an empty configuration folder of its own."""

    maxDiff = None

    def setUp(self) -> None:
        # Short, and below /tmp: the path of a socket has about a hundred bytes.
        self.folder = tempfile.mkdtemp(prefix="cx", dir="/tmp")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.config_dir = os.path.join(self.folder, "config")
        patched = mock.patch.dict(os.environ, {"CORTEX_CLI_CONFIG_DIR": self.config_dir})
        patched.start()
        self.addCleanup(patched.stop)

    def client_of(self, script: Script) -> cortex.Client:
        """Returns a client of a scripted operator on a Unix socket."""
        path = os.path.join(self.folder, str(next(_numbers)))
        stack = contextlib.ExitStack()
        stack.enter_context(serving(unix_server(path, script)))
        self.addCleanup(stack.close)
        return cortex.Client({"name": "local"}, transport.over_socket(path))

    def endpoint_of(self, script: Script, tls: Optional[ssl.SSLContext] = None) -> str:
        """Returns the address of a scripted operator on a port of this machine."""
        server = tcp_server(script)
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        stack = contextlib.ExitStack()
        stack.enter_context(serving(server))
        self.addCleanup(stack.close)
        return f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"


def json_reply(body: str, status: int = 200) -> Reply:
    return Reply(status, {"Content-Type": "application/json"}, body.encode("utf-8"))


def lines_reply(*lines: str, cut_off: bool = False) -> Reply:
    text = "".join(line + "\n" for line in lines)
    return Reply(200, {"Content-Type": "application/x-ndjson"}, text.encode("utf-8"), cut_off)


def recorder(reply: Reply, seen: Optional[List[Request]] = None) -> Script:
    """Returns a script that always answers reply and keeps what it was asked in seen."""

    def script(request: Request) -> Reply:
        if seen is not None:
            seen.append(request)
        return reply

    return script
