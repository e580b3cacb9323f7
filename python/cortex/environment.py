"""The environments of a user: cli.yaml, which the command line reads and writes too.

The file is YAML; the standard library has no reader for that. This module reads
what the command line writes and what people write by hand in its place: one
mapping of scalars and lists of mappings of scalars, in block style, with
comments. Anything else is refused with its line, and never guessed at.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import re
import tempfile
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple
from urllib.parse import urlsplit

from cortex.exceptions import CortexException, NotFound

LOCAL = "local"
MAX_FILE_BYTES = 1 << 20
MAX_NAME_LENGTH = 63


def config_dir() -> str:
    """Returns the folder of the configuration: CORTEX_CLI_CONFIG_DIR, or ~/.cortex."""
    return os.path.abspath(os.environ.get("CORTEX_CLI_CONFIG_DIR") or os.path.expanduser("~/.cortex"))


class Config:
    """The content of cli.yaml. Keys this package does not know are kept.

    Attributes:
        environments: As the file has them; local need not be among them.
        default: The default environment's name, or None.
    """

    def __init__(self, content: Dict[str, Any], path: str) -> None:
        self._content = content
        self.path = path
        environments = content.get("environments") or []
        if not isinstance(environments, list) or not all(isinstance(e, dict) for e in environments):
            raise _invalid(path, "environments is not a list of environments")
        self.environments: List[Dict[str, Any]] = environments
        for e in environments:
            if not isinstance(e.get("name"), str) or not e["name"]:
                raise _invalid(path, "an environment has no name")
        names = [e["name"] for e in environments]
        for name in names:
            if names.count(name) > 1:
                raise _invalid(
                    path, f"{name} is defined more than once", code="cliconfig.duplicate_environment_names"
                )

    @property
    def default(self) -> Optional[str]:
        value = self._content.get("default_environment")
        return value if isinstance(value, str) and value else None

    @default.setter
    def default(self, name: Optional[str]) -> None:
        if name is None:
            self._content.pop("default_environment", None)
        else:
            self._content["default_environment"] = name

    def all(self) -> List[Dict[str, Any]]:
        """Returns every environment, local first even when the file does not name it."""
        if any(e["name"] == LOCAL for e in self.environments):
            return list(self.environments)
        return [{"name": LOCAL}] + self.environments

    def get(self, name: str) -> Dict[str, Any]:
        """Returns the named environment; raises NotFound."""
        for e in self.all():
            if e["name"] == name:
                return e
        names = ", ".join(e["name"] for e in self.all())
        raise NotFound(
            f"{name} environment is not configured",
            code="cliconfig.environment_not_configured",
            kind="not_found",
            hint=f"there is {names}; add one with cortex.new_client({name!r}, operator_endpoint)",
        )

    def choose(self, name: Optional[str]) -> Dict[str, Any]:
        """Returns the named environment, else the default, the only one that is not local, or the local one."""
        if name is not None:
            return self.get(name)
        if self.default is not None:
            return self.get(self.default)
        others = [e for e in self.environments if e["name"] != LOCAL]
        if len(others) > 1:
            raise NotFound(
                "there are several environments and none of them is the default",
                code="cli.environment_not_set",
                kind="not_found",
                hint="name one, or choose a default with `cortex env default NAME`",
            )
        return others[0] if others else self.get(LOCAL)

    def put(self, entry: Mapping[str, str]) -> None:
        """Adds or replaces an environment; the first one becomes the default."""
        entry, name = dict(entry), entry["name"]
        for i, e in enumerate(self.environments):
            if e["name"] == name:
                self.environments[i] = entry
                return
        if self.default is None and len(self.environments) <= 1:
            self.default = self.environments[0]["name"] if self.environments else name
        self.environments.append(entry)

    def remove(self, name: str) -> None:
        """Removes an environment; raises NotFound when the file does not have it."""
        if name == LOCAL and all(e["name"] != LOCAL for e in self.environments):
            raise NotFound(
                "the environment local is this machine; there is no configuration of it to delete",
                code="cliconfig.environment_not_configured",
                kind="not_found",
            )
        self.get(name)
        self.environments[:] = [e for e in self.environments if e["name"] != name]
        if self.default == name:
            self.default = None

    def text(self) -> str:
        """Returns the file that holds this configuration."""
        return dump(dict(self._content, environments=self.environments))


def read() -> Config:
    """Reads cli.yaml; a missing one is empty."""
    path = os.path.join(config_dir(), "cli.yaml")
    try:
        with open(path, "rb") as f:
            data = f.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return Config({}, path)
    except OSError as e:
        raise _invalid(path, e.strerror or str(e)) from e
    if len(data) > MAX_FILE_BYTES:
        raise _invalid(path, f"it is larger than {MAX_FILE_BYTES} bytes")
    try:
        return Config(parse(data.decode("utf-8")), path)
    except UnicodeDecodeError as e:
        raise _invalid(path, "it is not valid UTF-8") from e
    except ValueError as e:
        raise _invalid(path, str(e)) from e


@contextlib.contextmanager
def change() -> Iterator[Config]:
    """Yields the configuration and writes it back; nobody else changes it meanwhile.

    The lock is the one of the command line. Readers see the old file or the new one.
    """
    folder = config_dir()
    os.makedirs(folder, mode=0o700, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        config = read()
        yield config
        text = config.text().encode("utf-8")
        if len(text) > MAX_FILE_BYTES:
            raise _invalid(config.path, f"it would be larger than {MAX_FILE_BYTES} bytes")
        handle, new = tempfile.mkstemp(prefix=".cli.yaml-", dir=folder)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(text)
                f.flush()
                os.fsync(f.fileno())
            os.replace(new, config.path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
            raise
    finally:
        os.close(lock)  # gives the lock back


def check_name(name: str) -> None:
    """Raises unless name can be the name of an environment with an operator."""
    if not name or len(name) > MAX_NAME_LENGTH or re.search(r"[\s/]", name):
        raise CortexException(
            f"{name!r} is not the name of an environment: 1 to {MAX_NAME_LENGTH} characters without spaces and slashes",
            code="configreader.invalid_str",
            kind="invalid",
        )
    if name == LOCAL:
        raise CortexException(
            "environment local is this machine and has no operator endpoint",
            code="configreader.disallowed_value",
            kind="invalid",
            hint="give that environment another name",
        )


def canonical_endpoint(text: str) -> str:
    """Returns the canonical form of an operator's address; https where no scheme is given."""
    endpoint = text.strip()
    if "://" not in endpoint:
        endpoint = "https://" + endpoint
    try:
        parts = urlsplit(endpoint)
        ok = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        ok = ok and not (parts.username or parts.password or parts.query or parts.fragment or re.search(r"\s", endpoint))
    except ValueError:
        ok = False
    if not ok:
        raise _no_endpoint(f"{text!r} is not the endpoint of an operator")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise _no_endpoint(f"{text!r} would send everything in the clear: plain http is for loopback addresses only")
    return (parts.scheme + endpoint[len(parts.scheme) :]).rstrip("/")


def is_loopback(host: str) -> bool:
    """Reports whether a host is this machine by an address of its own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _no_endpoint(message: str) -> CortexException:
    return CortexException(
        message,
        code="cli.invalid_operator_endpoint",
        kind="invalid",
        hint="an endpoint looks like https://operator.example.com",
    )


def _invalid(path: str, why: str, code: str = "configreader.invalid_yaml") -> CortexException:
    return CortexException(
        f"reading {path}: {why}",
        code=code,
        kind="invalid",
        hint="correct the file, or move it away to start with the local environment only",
    )


# The YAML of cli.yaml.

_KEY = re.compile(r"^([A-Za-z_][A-Za-z0-9_-]*)[ \t]*:(?:[ \t]+(.*))?$", re.DOTALL)
_NUMBER = re.compile(r"^[-+]?[0-9]+$")
_PLAIN = re.compile(r"^[A-Za-z0-9_/.][A-Za-z0-9_/.@+=,~-]*(?:[ :][A-Za-z0-9_/.@+=,~-]+)*$")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}


def parse(text: str) -> Dict[str, Any]:
    """Reads a mapping of scalars and lists of flat mappings; raises ValueError with a line."""
    lines = _significant(text)
    if not lines:
        return {}
    if lines[0][2] == "{}" and len(lines) == 1:
        return {}
    content, rest = _mapping(lines, lines[0][1], nested=True)
    if rest:
        raise ValueError(f"line {rest[0][0]}: this does not belong to what is above it")
    return content


_Line = Tuple[int, int, str]  # number, indentation, text


def _significant(text: str) -> List[_Line]:
    lines: List[_Line] = []
    for number, raw in enumerate(text.lstrip("\ufeff").split("\n"), 1):
        line = raw.rstrip(" \t\r")
        if not line.strip() or line.lstrip().startswith("#") or (line == "---" and not lines):
            continue
        indent = len(line) - len(line.lstrip(" "))
        if line[indent] == "\t":
            raise ValueError(f"line {number}: it is indented by a tab")
        lines.append((number, indent, line[indent:]))
    return lines


def _mapping(lines: List[_Line], indent: int, nested: bool) -> Tuple[Dict[str, Any], List[_Line]]:
    """Reads the keys at indent; returns them and the lines after them."""
    content: Dict[str, Any] = {}
    while lines and lines[0][1] == indent and not _is_item(lines[0][2]):
        number, _, text = lines[0]
        match = _KEY.match(text)
        if match is None:
            raise ValueError(f"line {number}: {text!r} is not a `key: value`")
        key, value = match.group(1), match.group(2) or ""
        if key in content:
            raise ValueError(f"line {number}: {key} is there twice")
        lines = lines[1:]
        if not _without_comment(value) and lines and nested and _is_item(lines[0][2]) and lines[0][1] >= indent:
            content[key], lines = _list(lines, lines[0][1])
        else:
            content[key] = _scalar(value, number)
    return content, lines


def _list(lines: List[_Line], indent: int) -> Tuple[List[Dict[str, Any]], List[_Line]]:
    items: List[Dict[str, Any]] = []
    while lines and lines[0][1] == indent and _is_item(lines[0][2]):
        number, _, text = lines[0]
        inner = text[1:].lstrip(" ")
        if not inner:
            raise ValueError(f"line {number}: an empty item")
        lines = [(number, indent + len(text) - len(inner), inner)] + lines[1:]
        item, lines = _mapping(lines, lines[0][1], nested=False)
        if not item:
            raise ValueError(f"line {number}: an item that is not a mapping")
        items.append(item)
    return items, lines


def _is_item(text: str) -> bool:
    return text == "-" or text.startswith("- ")


def _without_comment(value: str) -> str:
    return "" if value.startswith("#") else re.split(r"\s#", value, maxsplit=1)[0].strip()


def _scalar(value: str, number: int) -> Any:
    if value[:1] in ("'", '"'):
        return _quoted(value, number)
    value = _without_comment(value)
    if value == "[]":
        return []
    if value in _WORDS:
        return _WORDS[value]
    if _NUMBER.fullmatch(value):
        return int(value)
    if value[0] in "[]{}&*!|>%@`,?" or ": " in value or value.endswith(":"):
        raise ValueError(f"line {number}: {value!r} is more YAML than this file may have")
    return value


def _quoted(value: str, number: int) -> str:
    quote = value[0]
    pattern = r"'((?:[^']|'')*)'" if quote == "'" else r'"((?:[^"\\]|\\.)*)"'
    match = re.match(pattern + r"\s*(#.*)?$", value)
    if match is None:
        raise ValueError(f"line {number}: a quote that does not end, or something after it")
    if quote == "'":
        return match.group(1).replace("''", "'")
    try:
        return str(json.loads('"' + match.group(1).replace("\t", "\\t") + '"'))
    except ValueError:
        raise ValueError(f"line {number}: an escape that is not known") from None


def dump(content: Dict[str, Any]) -> str:
    """Writes what parse reads."""
    out: List[str] = []
    for key, value in content.items():
        if not isinstance(value, list):
            out.append(f"{key}: {_written(value)}")
        elif not value:
            out.append(f"{key}: []")
        else:
            out.append(f"{key}:")
            for item in value:
                for i, (k, v) in enumerate(item.items()):
                    out.append(f"{'- ' if i == 0 else '  '}{k}: {_written(v)}")
    return "\n".join(out) + "\n"


def _written(value: Any) -> str:
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _AMBIGUOUS and not re.match(r"^[-+.0-9]", value)
        return value if plain else _BREAKS.sub(_escaped, json.dumps(value, ensure_ascii=False))
    return json.dumps(value)


def _escaped(match: "re.Match[str]") -> str:
    return f"\\u{ord(match.group()):04x}"


#: What JSON leaves as it is and some reader of YAML takes for a line's end, or refuses.
_BREAKS = re.compile("[\x7f-\x9f\u2028\u2029\ufeff]")

#: Plain words that some reader of YAML takes for something else.
_AMBIGUOUS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"}
