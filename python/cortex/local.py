"""The local environment: where it listens, and how it is started."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Optional

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
    """Returns the command line: the one that CORTEX_CLI_PATH names, that came with this package, or on the PATH."""
    beside = os.path.dirname(os.path.abspath(sys.executable))
    return os.environ.get("CORTEX_CLI_PATH") or shutil.which("cortex", path=beside) or shutil.which("cortex")


def start(config_dir: str) -> None:
    """Starts the local environment in the background, by `program`, and returns when it answers."""
    command = program()
    if not command:
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
                [command, "local", "start"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                timeout=START_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as e:
            raise CortexException(
                f"starting the local environment with {command}: {e}",
                code="local.start_failed",
                kind="unavailable",
                hint="run `cortex local start` by hand",
            ) from e
        if done.returncode == 0:
            return
        output.seek(0)
        said = output.read(16 << 10).decode("utf-8", "replace").strip()
    raise CortexException(
        f"the local environment did not start (`{command} local start` ended with code {done.returncode}): {said}",
        code="local.start_failed",
        kind="unavailable",
        hint="run `cortex local start` by hand",
    )
