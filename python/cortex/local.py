"""The local environment: where it listens, and how it is started."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Optional, Sequence

from cortex.exceptions import CortexException

#: The kernel's limit for the path of a socket is a little above it.
MAX_SOCKET_PATH = 100

START_TIMEOUT = 150.0


def socket_path(config_dir: str) -> str:
    """Returns the path of the management socket, by the rule of the command line."""
    path = os.path.join(config_dir, "local", "cortex.sock")
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(os.fsencode(config_dir)).hexdigest()[:16]
    return os.path.join(os.environ.get("TMPDIR") or "/tmp", f"cortex-{os.getuid()}", digest + ".sock")


def program() -> Optional[str]:
    """Returns the command line: of CORTEX_CLI_PATH, else what came with this package, else on the PATH; None without one."""
    beside = os.path.dirname(os.path.abspath(sys.executable))
    return os.environ.get("CORTEX_CLI_PATH") or shutil.which("cortex", path=beside) or shutil.which("cortex")


def run_cli(args: Sequence[str], hide_output: bool = False, mixed_output: bool = False) -> str:
    """Runs the cortex command line, as the client of 0.42 did for everything, and returns what it printed.

    Args:
        args: Its arguments, such as ["get", "iris"].
        hide_output: Do not print it here as well.
        mixed_output: Without effect. Results are all that a command prints to its standard output;
            in 0.42 they stood among other lines.

    Raises:
        CortexBinaryException: It ended with another code than 0; the message is its standard error.
    """
    path = program()
    if not path:
        raise CortexException(
            "there is no cortex on the PATH", code="cli.not_found", kind="not_found", hint="set CORTEX_CLI_PATH to it"
        )
    done = subprocess.run(
        [path, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(os.environ, CORTEX_CLI_INVOKER="python", NO_COLOR="1"),
        check=False,
    )
    said, complaint = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    if done.returncode != 0:
        raise CortexException(complaint.strip() or said.strip(), code="cli.failed", kind="unexpected")
    if not hide_output:
        print(said, end="", flush=True)
    return said


def inside_replica() -> bool:
    """Reports whether this process is in a replica, which has a configuration folder of its own."""
    folder = os.environ.get("CORTEX_CLI_CONFIG_DIR", "")
    return bool(os.environ.get("CORTEX_VERSION")) and os.path.basename(folder) == "client"


def start(config_dir: str) -> None:
    """Starts the local environment in the background, by `program`, and returns when it answers."""
    if inside_replica():
        raise CortexException(
            "this program runs inside an API, where no local environment is started",
            code="local.inside_an_api",
            kind="unsupported",
            hint="call other APIs at $CORTEX_API_ENDPOINT; to manage APIs from here, use cortex.new_client(name, operator_endpoint)",
        )
    path = program()
    if not path:
        raise CortexException(
            "the local environment is not running, and there is no cortex on the PATH to start it with",
            code="cli.failed_to_connect_operator",
            kind="disconnected",
            hint="install the cortex command line, or set CORTEX_CLI_PATH to it",
        )
    environment = dict(os.environ, CORTEX_CLI_CONFIG_DIR=config_dir, CORTEX_CLI_INVOKER="python", NO_COLOR="1")
    # A file, not a pipe: nobody has to wait for a process that might inherit it.
    with tempfile.TemporaryFile() as output:
        try:
            done = subprocess.run(
                [path, "local", "start"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                timeout=START_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise CortexException(
                f"starting the local environment with {path}: {e}",
                code="local.start_failed",
                kind="unavailable",
                hint="run `cortex local start` by hand",
            ) from e
        if done.returncode == 0:
            return
        output.seek(0)
        said = output.read(16 << 10).decode("utf-8", "replace").strip()
    raise CortexException(
        f"the local environment did not start (`{path} local start` ended with code {done.returncode}): {said}",
        code="local.start_failed",
        kind="unavailable",
        hint="run `cortex local start` by hand",
    )
