"""The folder of sessions: names, contents, locks."""

from __future__ import annotations

import hashlib
import json
import os
import random
import stat
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import cortex
from cortex import sessions
from cortex.sessions import Folder, Session
from tests.identities import IdentityCase

ENDPOINT, KEY, OTHER = "https://operator.example.com", "a" * 64, "b" * 64

#: In the order in which they stand in a name.
VARIABLES = (
    "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE AWS_ROLE_ARN AWS_ROLE_SESSION_NAME"
    " AWS_WEB_IDENTITY_TOKEN_FILE AWS_CONTAINER_CREDENTIALS_RELATIVE_URI AWS_CONTAINER_CREDENTIALS_FULL_URI"
).split()

WRITTEN_BY_THE_COMMAND_LINE = (
    '{"version":1,"endpoint":"https://operator.example.com","cluster_id":"c","token":"t.0-_~+/=",'
    '"expires_at":"2126-01-02T03:04:05.123456789Z","principal":{"partition":"aws","account":"111122223333",'
    '"type":"role","arn":"arn:aws:iam::111122223333:role/a","unique_id":"AROA","session_name":"s"},'
    '"access_key_id":"ASIAEXAMPLE"}\n'
)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def session(**more: Any) -> Session:
    made = Session(ENDPOINT, "c", "token", time.time() + 900, {"arn": "arn:aws:iam::111122223333:user/a"}, "AKIA")
    return made._replace(**more)


class Names(IdentityCase):
    def test_what_a_name_is_made_of(self) -> None:
        environ = {"HOME": self.home, "AWS_SESSION_TOKEN": "t", "AWS_ACCESS_KEY_ID": "id", "AWS_PROFILE": "", "AWS_REGION": "x"}
        self.aws("credentials", "one\n")
        cache = os.path.join(self.home, ".aws", "sso", "cache")
        os.makedirs(os.path.join(cache, "c.json"))  # a folder is none
        for name, data in (("b.json", "2"), ("a.json", "1"), ("other.txt", "3"), ("B.json", "4"), ("big.json", "5" * ((1 << 20) + 1))):
            with open(os.path.join(cache, name), "w", encoding="utf-8") as f:
                f.write(data)
        lines = ["cortex-session-1", ENDPOINT, "c", "AWS_ACCESS_KEY_ID=" + digest(b"id"), "AWS_SESSION_TOKEN=" + digest(b"t")]
        lines += ["credentials=" + digest(b"one\n"), "config=none"]
        lines += ["sso/B.json=" + digest(b"4"), "sso/a.json=" + digest(b"1"), "sso/b.json=" + digest(b"2")]
        self.assertEqual(sessions.key(ENDPOINT, "c", environ), digest("\n".join(lines).encode()))

    def test_the_order_of_its_lines(self) -> None:
        lines = ["cortex-session-1", ENDPOINT, "", *(f"{v}={digest(v.encode())}" for v in VARIABLES), "credentials=none", "config=none"]
        self.assertEqual(sessions.key(ENDPOINT, "", {v: v for v in reversed(VARIABLES)}), digest("\n".join(lines).encode()))

    def test_everything_that_decides_changes_it(self) -> None:
        seen: Dict[str, str] = {}

        def see(what: str, endpoint: str = ENDPOINT, cluster: str = "c", **environ: str) -> None:
            name = sessions.key(endpoint, cluster, {"HOME": self.home, **environ})
            self.assertNotIn(name, seen, f"{what} and {seen.get(name)} have one name")
            seen[name] = what

        see("nothing")
        see("another endpoint", endpoint=ENDPOINT + ":8443")
        see("another cluster", cluster="d")
        for variable in VARIABLES:
            see(variable, **{variable: "x"})
        for variable in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            path = os.path.join(self.folder, variable)
            with open(path, "w", encoding="utf-8") as f:
                f.write(variable)
            see(variable, **{variable: path})
        self.aws("config", "[default]\n")
        see("a config file")

    def test_a_pipe_is_left_to_who_wants_to_read_it(self) -> None:
        path = os.path.join(self.folder, "pipe")
        os.mkfifo(path)
        environ = {"HOME": self.home, "AWS_SHARED_CREDENTIALS_FILE": path}
        self.assertEqual(sessions.key(ENDPOINT, "c", environ), sessions.key(ENDPOINT, "c", {"HOME": self.home}))


class Contents(IdentityCase):
    def test_what_the_command_line_writes(self) -> None:
        got = sessions.parse(WRITTEN_BY_THE_COMMAND_LINE.encode())
        self.assertEqual((got.endpoint, got.cluster_id, got.token), (ENDPOINT, "c", "t.0-_~+/="))
        self.assertAlmostEqual(got.expires_at, 4922996645.123, 2)
        self.assertEqual((got.principal["session_name"], got.access_key_id), ("s", "ASIAEXAMPLE"))

    def test_what_is_written(self) -> None:
        folder = Folder(self.sessions)
        with folder.lock(KEY):
            folder.save(KEY, session(expires_at=4922996645.5))
        with open(os.path.join(self.sessions, KEY + ".json"), encoding="utf-8") as f:
            value = json.load(f)
        self.assertEqual(
            value,
            {
                "version": 1,
                "endpoint": ENDPOINT,
                "cluster_id": "c",
                "token": "token",
                "expires_at": "2126-01-02T03:04:05.500000Z",
                "principal": {"arn": "arn:aws:iam::111122223333:user/a"},
                "access_key_id": "AKIA",
            },
        )
        self.assertEqual(folder.find(KEY), session(expires_at=4922996645.5))
        self.assertNotIn("token", repr(session(token="token")))

    def test_times(self) -> None:
        for text, want in (
            ("1970-01-01T00:00:00Z", 0.0),
            ("1970-01-01T01:00:00.25+01:00", 0.25),
            ("1969-12-31T23:30:00-00:30", 0.0),
            ("0001-01-01T00:00:00Z", -62135596800.0),
        ):
            self.assertEqual(sessions.parse_time(text), want, text)
        for bad in ("", "1970-01-01", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z", "1970-01-01T00:00:00Z\n", 7, None, "\u0661970-01-01T00:00:00Z"):
            with self.assertRaises(ValueError, msg=repr(bad)):
                sessions.parse_time(bad)

    def test_what_is_no_session(self) -> None:
        good = json.loads(WRITTEN_BY_THE_COMMAND_LINE)
        for what, change in (
            ("another version", {"version": 2}),
            ("a version that is true", {"version": True}),
            ("no token", {"token": ""}),
            ("a token with a line's end", {"token": "a\r\nX: y"}),
            ("a token that is endless", {"token": "a" * 20000}),
            ("no endpoint", {"endpoint": ""}),
            ("no time", {"expires_at": "soon"}),
            ("a cluster that is a number", {"cluster_id": 7}),
            ("no principal", {"principal": None}),
            ("a principal of numbers", {"principal": {"arn": 7}}),
        ):
            with self.subTest(what), self.assertRaises(ValueError):
                sessions.parse(json.dumps({**good, **change}).encode())
        for data in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 60000, b" " * 70000 + b"{}"):
            with self.subTest(data[:5]), self.assertRaises(ValueError):
                sessions.parse(data)

    def test_anything_else_is_read_or_refused(self) -> None:
        rng = random.Random(3)
        for _ in range(20000):
            data = bytearray(WRITTEN_BY_THE_COMMAND_LINE.encode())
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(data))
                data[at : at + rng.randrange(3)] = bytes(rng.randrange(256) for _ in range(rng.randrange(3)))
            try:
                got = sessions.parse(bytes(data))
            except ValueError:
                continue
            self.assertTrue(sessions.is_token(got.token))


class Files(IdentityCase):
    def setUp(self) -> None:
        super().setUp()
        self.kept = Folder(self.sessions)
        self.save(KEY, session())

    def save(self, key: str, value: Session) -> None:
        with self.kept.lock(key):
            self.kept.save(key, value)

    def path(self, name: str = KEY + ".json") -> str:
        return os.path.join(self.sessions, name)

    def test_modes(self) -> None:
        self.assertEqual(stat.S_IMODE(os.stat(self.sessions).st_mode), 0o700)
        for name in os.listdir(self.sessions):
            self.assertEqual(stat.S_IMODE(os.stat(self.path(name)).st_mode), 0o600, name)
        os.chmod(self.sessions, 0o755)
        self.save(KEY, session())
        self.assertEqual(stat.S_IMODE(os.stat(self.sessions).st_mode), 0o700, "a folder that others can read is closed")

    def test_what_is_not_private_is_not_used(self) -> None:
        for mode in (0o640, 0o604, 0o620, 0o602, 0o610):
            os.chmod(self.path(), mode)
            self.assertIsNone(self.kept.find(KEY), oct(mode))
        os.chmod(self.path(), 0o600)
        self.assertIsNotNone(self.kept.find(KEY))
        with mock.patch("os.geteuid", return_value=os.geteuid() + 1):
            self.assertIsNone(self.kept.find(KEY), "it belongs to somebody else")

    def test_what_is_no_file_of_its_own_is_not_used(self) -> None:
        os.rename(self.path(), self.path("elsewhere"))
        os.symlink("elsewhere", self.path())
        self.assertIsNone(self.kept.find(KEY), "a link")
        os.unlink(self.path())
        os.mkfifo(self.path(), 0o600)
        self.assertIsNone(self.kept.find(KEY), "a pipe")
        os.unlink(self.path())
        os.mkdir(self.path())
        self.assertIsNone(self.kept.find(KEY), "a folder")
        os.rmdir(self.path())
        self.save(KEY, session())
        self.assertIsNotNone(self.kept.find(KEY), "it was overwritten")

    def test_what_is_of_no_use_is_removed(self) -> None:
        self.save(OTHER, session(expires_at=time.time() - 1))
        for name in ("c" * 64 + ".lock", ".session-old", ".session-new", "notes.txt"):
            open(self.path(name), "w", encoding="utf-8").close()
        os.utime(self.path(".session-old"), (1, 1))
        with self.kept.lock("d" * 64):  # held: somebody is getting that session
            self.save(KEY, session())
            self.assertEqual(
                sorted(os.listdir(self.sessions)),
                sorted([KEY + ".json", KEY + ".lock", "d" * 64 + ".lock", ".session-new", "notes.txt"]),
            )

    def test_forgetting(self) -> None:
        self.save(OTHER, session(endpoint="https://other.example.com"))
        self.save("c" * 64, session(access_key_id="another"))
        os.chmod(self.path("c" * 64 + ".json"), 0o644)
        self.assertEqual(self.kept.forget(ENDPOINT), 2)
        self.assertEqual(sorted(os.listdir(self.sessions)), [OTHER + ".json", OTHER + ".lock"])
        self.assertEqual(Folder(os.path.join(self.folder, "none")).forget(ENDPOINT), 0)

    def test_a_lock_is_of_one(self) -> None:
        inside: List[int] = []
        most: List[int] = []

        def enter() -> None:
            for _ in range(20):
                with self.kept.lock(OTHER):
                    inside.append(1)
                    most.append(len(inside))
                    inside.pop()
                    sessions._remove_lock(self.path(OTHER + ".lock"))  # nobody else's: it is held

        threads = [threading.Thread(target=enter) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((max(most), len(most)), (1, 80))

    def test_a_lock_that_is_removed_by_its_holder_counts_for_nobody_else(self) -> None:
        first = sessions._try_lock(self.path(OTHER + ".lock"), os.O_CREAT)
        assert first is not None
        self.assertIsNone(sessions._try_lock(self.path(OTHER + ".lock"), os.O_CREAT))
        late = os.open(self.path(OTHER + ".lock"), os.O_RDWR)  # opened before it is removed
        os.unlink(self.path(OTHER + ".lock"))
        os.close(first)
        with mock.patch("os.open", return_value=late):
            self.assertIsNone(sessions._try_lock(self.path(OTHER + ".lock"), os.O_CREAT))
        second = sessions._try_lock(self.path(OTHER + ".lock"), os.O_CREAT)
        assert second is not None
        os.close(second)

    def test_a_lock_is_not_waited_for_for_ever(self) -> None:
        with mock.patch.object(sessions, "LOCK_PATIENCE", 0.02), self.kept.lock(OTHER):
            with self.assertRaises(cortex.CortexException) as caught, self.kept.lock(OTHER):
                pass
        self.assertEqual(caught.exception.code, "auth.session_busy")
