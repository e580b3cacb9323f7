"""What goes wrong between a client and an operator."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import threading
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from cortex import local, transport
from tests.support import Reply, Request, TestCase, json_reply, lines_reply, recorder, serving, unix_server

LINE = '{"time":"2026-03-14T12:00:00Z","replica":"r","container":"c","stream":"stdout","text":"one"}'


class Streams(TestCase):
    def test_lines_until_the_end(self) -> None:
        client = self.client_of(recorder(lines_reply("", LINE, "", LINE, '{"end":true}', LINE)))
        self.assertEqual([line["text"] for line in client.logs("iris")], ["one", "one"])

    def test_a_stream_without_its_end_is_broken(self) -> None:
        for reply in (
            lines_reply(LINE),
            lines_reply(LINE, cut_off=True),
            lines_reply(LINE, "oops"),
            lines_reply(LINE, "7"),
            Reply(200, {"Content-Type": "application/x-ndjson"}, (LINE + "\n" + '{"end":true}').encode()),
        ):
            with self.subTest(reply.body):
                client = self.client_of(recorder(reply))
                with self.assertRaises(cortex.CortexException) as caught:
                    list(client.logs("iris"))
                self.assertEqual(caught.exception.code, "cli.operator_connection_lost")

    def test_an_error_after_lines(self) -> None:
        end = '{"end":true,"error":{"kind":"unavailable","code":"operator.stopping","message":"stopping","request_id":"x"}}'
        lines = self.client_of(recorder(lines_reply(LINE, end))).logs("iris")
        self.assertEqual(next(lines)["text"], "one")
        with self.assertRaises(cortex.CortexException) as caught:
            next(lines)
        self.assertEqual(caught.exception.code, "operator.stopping")

    def test_closing_ends_a_stream_that_goes_on(self) -> None:
        gone = threading.Event()
        path = os.path.join(self.folder, "endless")

        def operator() -> None:
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
                listener.listen()
                listening.set()
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n" + LINE.encode() + b"\n")
                    while connection.recv(65536):
                        pass
                gone.set()

        listening = threading.Event()
        thread = threading.Thread(target=operator)
        thread.start()
        self.addCleanup(thread.join)
        self.assertTrue(listening.wait(10))
        lines = cortex.Client({"name": "local"}, transport.over_socket(path)).logs("iris", follow=True)
        self.assertEqual(next(lines)["text"], "one")
        with mock.patch.object(transport.UnixConnection, "close", autospec=True) as closed:
            closed.side_effect = super(transport.UnixConnection, transport.UnixConnection).close
            lines.close()  # type: ignore[attr-defined]
        closed.assert_called()
        self.assertTrue(gone.wait(10), "the operator was not left")

    def test_a_line_that_is_too_long(self) -> None:
        with mock.patch.object(transport, "MAX_LINE_BYTES", 100):
            client = self.client_of(recorder(lines_reply("x" * 200, '{"end":true}')))
            with self.assertRaisesRegex(cortex.CortexException, "too long"):
                list(client.logs("iris"))


class Answers(TestCase):
    def test_an_answer_of_somebody_else(self) -> None:
        for reply in (
            Reply(200, {"Content-Type": "text/html"}, b"<html>"),
            Reply(404, {"Content-Type": "text/html"}, b"not found"),
            Reply(404, {"Content-Type": "application/json"}, b'{"error":"no"}'),
            Reply(500, {"Content-Type": "application/json"}, b'["kind"]'),
            Reply(302, {"Location": "/elsewhere"}, b""),
        ):
            with self.subTest(reply.body):
                client = self.client_of(recorder(reply))
                for ask in (client.list_apis, lambda: list(client.logs("iris"))):
                    with self.assertRaises(cortex.CortexException) as caught:
                        ask()
                    self.assertEqual(caught.exception.code, "cli.operator_response_unknown")

    def test_an_answer_that_breaks_off(self) -> None:
        client = self.client_of(recorder(Reply(200, {"Content-Type": "application/json"}, b'[{"a":', cut_off=True)))
        with self.assertRaises(cortex.CortexException) as caught:
            client.list_apis()
        self.assertEqual(caught.exception.code, "cli.operator_connection_lost")

    def test_an_answer_that_is_too_large(self) -> None:
        with mock.patch.object(transport, "MAX_ANSWER_BYTES", 10):
            client = self.client_of(recorder(json_reply('["a long answer"]')))
            with self.assertRaisesRegex(cortex.CortexException, "more than 10 bytes"):
                client.list_apis()

    def test_no_answer_in_time(self) -> None:
        release = threading.Event()

        def script(_: Request) -> Reply:
            release.wait(10)
            return json_reply("{}")

        client = self.client_of(script)
        self.addCleanup(release.set)
        with self.assertRaises(cortex.CortexException) as caught:
            client._transport.call("GET", "/v1/info", timeout=0.01)
        self.assertEqual((caught.exception.code, caught.exception.kind), ("cli.operator_timeout", "unavailable"))

    def test_an_endpoint_with_a_path(self) -> None:
        seen: list = []
        endpoint = self.endpoint_of(recorder(json_reply("[]"), seen)) + "/operator/"
        client = cortex.Client({"name": "x", "operator_endpoint": endpoint}, transport.to_endpoint(endpoint))
        self.assertEqual(client.list_apis(), [])
        self.assertEqual(seen[0].path, "/operator/v1/apis")

    def test_an_operator_that_is_not_there(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as s:
            port = s.getsockname()[1]
        endpoint = f"http://127.0.0.1:{port}"
        client = cortex.Client({"name": "x"}, transport.to_endpoint(endpoint))
        with self.assertRaises(cortex.CortexException) as caught:
            client.list_apis()
        self.assertEqual((caught.exception.code, caught.exception.kind), ("cli.failed_to_connect_operator", "disconnected"))
        self.assertIn(endpoint, str(caught.exception))

    def test_a_socket_of_somebody_else(self) -> None:
        path = os.path.join(self.folder, "s")
        with serving(unix_server(path, recorder(json_reply("[]")))):
            client = cortex.Client({"name": "local"}, transport.over_socket(path))
            with mock.patch("os.getuid", return_value=os.stat(path).st_uid + 4711), self.assertRaises(
                cortex.CortexException
            ) as caught:
                if os.stat(path).st_uid == 0:
                    os.chown(path, 4710, -1)
                client.list_apis()
        self.assertEqual(caught.exception.code, "cli.foreign_socket")


    def test_an_answer_before_the_whole_request_was_sent(self) -> None:
        path = os.path.join(self.folder, "early")
        refusal = b'{"kind":"malformed","code":"endpoints.body_too_large","message":"too large","request_id":"x"}'

        def operator() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                head = b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(head % len(refusal) + refusal)
                connection.shutdown(socket.SHUT_RD)
                done.wait(10)

        done = threading.Event()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            thread = threading.Thread(target=operator)
            thread.start()
            client = cortex.Client({"name": "local"}, transport.over_socket(path))
            with self.assertRaises(cortex.CortexException) as caught:
                client.deploy({"name": "x" * (4 << 20)})
            done.set()
            thread.join()
        self.assertEqual(caught.exception.code, "endpoints.body_too_large")


class Local(TestCase):
    def program(self, script: str) -> str:
        """Returns the path of a program that stands for the command line."""
        path = os.path.join(self.folder, "cortex")
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\n" + script + "\n")
        os.chmod(path, stat.S_IRWXU)
        return path

    def test_where_the_socket_is(self) -> None:
        self.assertEqual(local.socket_path("/home/ada/.cortex"), "/home/ada/.cortex/local/cortex.sock")
        longest = "/" + "x" * (100 - len("//local/cortex.sock"))
        self.assertEqual(local.socket_path(longest), longest + "/local/cortex.sock")
        with mock.patch.dict(os.environ, {"TMPDIR": "/tmp/of-ada"}), mock.patch("os.getuid", return_value=1000):
            self.assertEqual(local.socket_path(longest + "x"), "/tmp/of-ada/cortex-1000/95c937b1127d8095.sock")

    def test_it_is_started_when_it_does_not_run(self) -> None:
        os.makedirs(os.path.join(self.config_dir, "local"))
        client = cortex.client()
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)

        def start(folder: str) -> None:
            self.assertEqual(folder, self.config_dir)
            stack.enter_context(serving(unix_server(local.socket_path(folder), recorder(json_reply("[]")))))

        with mock.patch.object(local, "start", side_effect=start) as started:
            self.assertEqual(client.list_apis(), [])
            self.assertEqual(client.list_apis(), [])
        self.assertEqual(started.call_count, 1)

    def test_nothing_is_started_for_an_operator_elsewhere(self) -> None:
        with mock.patch.object(local, "start") as started:
            client = cortex.Client({"name": "x"}, transport.to_endpoint("http://127.0.0.1:1"))
            with self.assertRaises(cortex.CortexException):
                client.list_apis()
        started.assert_not_called()

    def test_the_command_line_starts_it(self) -> None:
        program = self.program('printf "%s|%s" "$*" "$CORTEX_CLI_CONFIG_DIR" > "$CORTEX_CLI_CONFIG_DIR.args"')
        with mock.patch.dict(os.environ, {"CORTEX_CLI_PATH": program}):
            local.start(self.folder + "/other")
        with open(self.folder + "/other.args", encoding="utf-8") as f:
            self.assertEqual(f.read(), f"local start|{self.folder}/other")

    def test_a_start_that_fails_says_why(self) -> None:
        program = self.program('echo "error: port 8888 is taken" >&2; exit 1')
        with mock.patch.dict(os.environ, {"CORTEX_CLI_PATH": program}), self.assertRaises(
            cortex.CortexException
        ) as caught:
            cortex.client().list_apis()
        self.assertEqual(caught.exception.code, "local.start_failed")
        self.assertIn("port 8888 is taken", str(caught.exception))

    def test_inside_a_replica_none_is_started(self) -> None:
        program = self.program("exit 0")
        inside = {"CORTEX_CLI_PATH": program, "CORTEX_VERSION": "1", "CORTEX_CLI_CONFIG_DIR": self.folder + "/client"}
        with mock.patch.dict(os.environ, inside), self.assertRaises(cortex.CortexException) as caught:
            cortex.client().list_apis()
        self.assertEqual(caught.exception.code, "local.inside_an_api")
        self.assertIn("CORTEX_API_ENDPOINT", caught.exception.hint)

    def test_run_cli_returns_what_the_command_line_prints(self) -> None:
        program = self.program('echo "$*"; test "$1" != fail || { echo "error: no" >&2; exit 1; }')
        with mock.patch.dict(os.environ, {"CORTEX_CLI_PATH": program}):
            self.assertEqual(cortex.run_cli(["get", "iris"], hide_output=True), "get iris\n")
            with self.assertRaises(cortex.CortexBinaryException) as caught:
                cortex.run_cli(["fail"], hide_output=True)
        self.assertEqual(str(caught.exception), "error: no")

    def test_without_a_command_line(self) -> None:
        with mock.patch.dict(os.environ, {"PATH": self.folder}), self.assertRaises(cortex.CortexException) as caught:
            os.environ.pop("CORTEX_CLI_PATH", None)
            cortex.client().list_apis()
        self.assertEqual(caught.exception.code, "cli.failed_to_connect_operator")
        self.assertIn("CORTEX_CLI_PATH", caught.exception.hint)
