"""The sessions of a user, kept in a folder that the command line shares.

It promises that a session is used only for the operator, the cluster and the
credentials that it was made with; that nobody else can have written or read its
file; and that of many processes at once one gets it. Names, contents and locks are
a format: the command line reads and writes the same. It must not know how a
session is got.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
import time
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Tuple

from cortex.exceptions import CortexException

#: How much of its life a session must have left to be used: enough for one call to arrive.
MIN_LEFT = 10.0

#: Seconds to wait for another process that is getting the session.
LOCK_PATIENCE = 90.0
_FIRST_WAIT, _LAST_WAIT = 0.005, 0.1

#: The variables that decide which credentials are found, in the order in which they stand in a key.
FINGERPRINTED = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)

# Bounds of what a key reads.
_MAX_AWS_FILE = 16 << 20
_MAX_SSO_FILE = 1 << 20
_MAX_SSO_FILES = 100

_VERSION = 1
_MAX_SESSION_BYTES = 64 << 10
_MAX_TOKEN_BYTES = 16 << 10
_MAX_ENTRIES = 10_000  # of the folder, looked at when it is tidied
_STALE_TEMPORARY = 3600.0
_TEMPORARY = ".session-"

_SESSION_NAME = re.compile(r"([0-9a-f]{64})\.json")
_LOCK_NAME = re.compile(r"([0-9a-f]{64})\.lock")
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(\.\d{1,9})?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII)


_EPOCH = datetime.datetime(1970, 1, 1)


class Session(NamedTuple):
    """What a proof was exchanged for. expires_at is in Unix seconds."""

    endpoint: str
    cluster_id: str
    token: str
    expires_at: float
    principal: Dict[str, str]
    access_key_id: str

    def __repr__(self) -> str:  # whoever prints it must not print the token
        return f"<session at {self.endpoint}>"

    def usable(self, endpoint: str, cluster_id: str) -> bool:
        """Reports whether it is one of this operator, of this cluster if that is known, with time left."""
        mine = self.endpoint == endpoint and (not cluster_id or self.cluster_id == cluster_id)
        return mine and self.expires_at - time.time() > MIN_LEFT


def is_token(value: Any) -> bool:
    """Reports whether value can stand in an Authorization header."""
    return isinstance(value, str) and len(value) <= _MAX_TOKEN_BYTES and _TOKEN.fullmatch(value) is not None


def key(endpoint: str, cluster_id: str, environ: Mapping[str, str]) -> str:
    """Returns the name of a session: it says for whom and with which credentials it was made.

    Other credentials have another name, so that nobody ever works under an identity
    that they have just switched away from. What the name cannot see, such as another
    account behind a credential_process, counts when the session has expired.
    """
    lines = [b"cortex-session-1", endpoint.encode("utf-8"), cluster_id.encode("utf-8")]
    for name in FINGERPRINTED:
        if environ.get(name):
            lines.append(name.encode("ascii") + b"=" + _digest(os.fsencode(environ[name])))
    for name, path in zip(("credentials", "config"), aws_files(environ)):
        data = read_plain(path, _MAX_AWS_FILE)
        lines.append(name.encode("ascii") + b"=" + (b"none" if data is None else _digest(data)))
    return _digest(b"\n".join(lines + _sso_lines(environ))).decode("ascii")


def aws_files(environ: Mapping[str, str]) -> Tuple[str, str]:
    """Returns the paths of the shared credentials file and of the config file; empty without a home folder."""
    home = environ.get("HOME") or ""
    paths = []
    for name, file in (("AWS_SHARED_CREDENTIALS_FILE", "credentials"), ("AWS_CONFIG_FILE", "config")):
        given = environ.get(name) or ""
        if given:
            paths.append(os.path.expanduser(os.path.expandvars(given)))  # as botocore does
        else:
            paths.append(os.path.join(home, ".aws", file) if home else "")
    return paths[0], paths[1]


def _sso_lines(environ: Mapping[str, str]) -> List[bytes]:
    """Returns one line for each cached login of IAM Identity Center."""
    home = environ.get("HOME") or ""
    folder = os.fsencode(os.path.join(home, ".aws", "sso", "cache"))
    try:
        names = sorted(n for n in os.listdir(folder) if n.endswith(b".json")) if home else []
    except OSError:
        return []
    found = ((name, read_plain(os.path.join(folder, name), _MAX_SSO_FILE)) for name in names[:_MAX_SSO_FILES])
    return [b"sso/" + name + b"=" + _digest(data) for name, data in found if data is not None]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode("ascii")


def read_plain(path: Any, limit: int) -> Optional[bytes]:
    """Returns a whole file of at most limit bytes, or None.

    It does not touch a pipe: what is read from one is gone, and botocore wants to read it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISDIR(mode):
            return None
        data = _read_all(handle, limit + 1)
    except OSError:
        return None
    finally:
        os.close(handle)
    return data if len(data) <= limit else None


def _read_all(handle: int, limit: int) -> bytes:
    data = bytearray()
    while len(data) < limit:
        piece = os.read(handle, min(1 << 16, limit - len(data)))
        if not piece:
            break
        data += piece
    return bytes(data)


def parse_time(text: Any) -> float:
    """Returns the Unix seconds of a time in RFC 3339; raises ValueError."""
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError("it is not a time")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    seconds = (datetime.datetime(year, month, day, hour, minute, second) - _EPOCH).total_seconds()
    if match.group(8):
        offset = 3600 * int(match.group(9)) + 60 * int(match.group(10))
        seconds += -offset if match.group(8) == "+" else offset
    return seconds + float(match.group(7) or 0)


def _format_time(seconds: float) -> str:
    return (_EPOCH + datetime.timedelta(seconds=seconds)).isoformat() + "Z"


def parse(data: bytes) -> Session:
    """Reads the content of a session file; raises ValueError."""
    if len(data) > _MAX_SESSION_BYTES:
        raise ValueError("it is too large")
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("it is damaged") from None  # the decoder would quote it
    if not isinstance(value, dict) or type(value.get("version")) is not int or value["version"] != _VERSION:
        raise ValueError("it is of another version")
    texts = [value.get(name) for name in ("endpoint", "cluster_id", "access_key_id")]
    principal = value.get("principal")
    if not is_token(value.get("token")) or not all(isinstance(t, str) for t in texts) or not texts[0]:
        raise ValueError("it is not complete")
    if not isinstance(principal, dict) or not all(isinstance(v, str) for v in principal.values()):
        raise ValueError("it names no principal")
    return Session(texts[0], texts[1], value["token"], parse_time(value.get("expires_at")), principal, texts[2])


class Folder:
    """The folder of session files. It is made, for its owner only, when it is needed.

    What the file system refuses is an OSError of save and lock.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def find(self, key: str) -> Optional[Session]:
        """Returns the session of key if it is whole, ours and private."""
        return self._read(key + ".json", private=True)

    def _read(self, name: str, private: bool) -> Optional[Session]:
        try:
            handle = os.open(self._at(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                return None
            if private and (about.st_uid != os.geteuid() or about.st_mode & 0o077):
                return None
            return parse(_read_all(handle, _MAX_SESSION_BYTES + 1))
        except (OSError, ValueError):
            return None
        finally:
            os.close(handle)

    def save(self, key: str, session: Session) -> None:
        """Makes session the one of key: readers see the old file or the new one. The caller holds the lock."""
        value = {
            "version": _VERSION,
            "endpoint": session.endpoint,
            "cluster_id": session.cluster_id,
            "token": session.token,
            "expires_at": _format_time(session.expires_at),
            "principal": session.principal,
            "access_key_id": session.access_key_id,
        }
        handle, new = tempfile.mkstemp(prefix=_TEMPORARY, dir=self.path)  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as f:
                f.write(json.dumps(value) + "\n")
            os.replace(new, self._at(key + ".json"))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)
            raise
        self._tidy()

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Waits until this process is the only one that gets the session of key. Death gives the lock back."""
        self._make()
        path, pause = self._at(key + ".lock"), _FIRST_WAIT
        deadline = time.monotonic() + LOCK_PATIENCE
        handle = _try_lock(path, os.O_CREAT)
        while handle is None:
            if time.monotonic() > deadline:
                raise CortexException(
                    f"another process has been proving this identity for {LOCK_PATIENCE:g} s",
                    code="auth.session_busy",
                    kind="unavailable",
                    hint="see whether a credential_process is waiting for somebody, and try again",
                )
            time.sleep(pause)
            pause = min(_LAST_WAIT, pause * 1.5)
            handle = _try_lock(path, os.O_CREAT)
        try:
            yield
        finally:
            os.close(handle)

    def forget(self, endpoint: str) -> int:
        """Removes the sessions of an operator, whichever credentials they were made with; returns how many."""
        removed = 0
        for name in self._names():
            match = _SESSION_NAME.fullmatch(name)
            session = self._read(name, private=False) if match else None  # one that is not private must go all the more
            if match is None or session is None or session.endpoint != endpoint:
                continue
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._at(name))
                removed += 1
            _remove_lock(self._at(match.group(1) + ".lock"))
        return removed

    def _make(self) -> None:
        os.makedirs(self.path, mode=0o700, exist_ok=True)
        if os.stat(self.path).st_mode & 0o077:
            os.chmod(self.path, 0o700)

    def _tidy(self) -> None:
        """Removes expired sessions, locks without a session that nobody holds, and what a killed process left."""
        names = set(self._names())
        for name in sorted(names):
            path = self._at(name)
            with contextlib.suppress(OSError):
                if _SESSION_NAME.fullmatch(name):
                    session = self._read(name, private=True)
                    if session is not None and session.expires_at <= time.time():
                        os.unlink(path)
                        names.discard(name)
                elif name.startswith(_TEMPORARY) and time.time() - os.lstat(path).st_mtime > _STALE_TEMPORARY:
                    os.unlink(path)
        for name in names:
            match = _LOCK_NAME.fullmatch(name)
            if match and match.group(1) + ".json" not in names:
                _remove_lock(self._at(name))

    def _names(self) -> List[str]:
        """Returns the names in the folder, bounded. One that cannot be read has none."""
        names: List[str] = []
        with contextlib.suppress(OSError), os.scandir(self.path) as entries:
            for entry in entries:
                names.append(entry.name)
                if len(names) == _MAX_ENTRIES:
                    break
        return names

    def _at(self, name: str) -> str:
        return os.path.join(self.path, name)


def _try_lock(path: str, flag: int) -> Optional[int]:
    """Returns a handle that holds the lock of the file at path, or None when another one does.

    A lock file may be removed by whoever holds it, so that a lock counts only if its
    file is still the one at path.
    """
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flag, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.lstat(path)):
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None


def _remove_lock(path: str) -> None:
    """Removes a lock file that nobody holds."""
    with contextlib.suppress(OSError):
        handle = _try_lock(path, 0)
        if handle is not None:
            try:
                os.unlink(path)
            finally:
                os.close(handle)
