"""Builds the cortex package, by PEP 517 and PEP 660, with the standard library only.

It promises that the same files make the same wheel, byte for byte, and that
building needs no network. It must not know anything but how to pack: what the
package is is in METADATA and in the folder cortex/.

A wheel of a release brings the command line: `programs` of config_settings is the
folder with the programs, `platform` what they run on by the tags of wheels, and
`version` the release.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import re
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

ROOT = Path(__file__).resolve().parent.parent
VERSION = re.search(r'^__version__ = "([^"]+)"$', (ROOT / "cortex" / "__init__.py").read_text("utf-8"), re.M).group(1)

METADATA = """\
Metadata-Version: 2.1
Name: cortex
Version: %s
Summary: Deploy, call and manage models and other containers as APIs
License: Apache-2.0
Requires-Python: >=3.9
Provides-Extra: iam
Requires-Dist: botocore>=1.29.27; extra == "iam"
Classifier: License :: OSI Approved :: Apache Software License
Classifier: Programming Language :: Python :: 3 :: Only
Classifier: Typing :: Typed
Description-Content-Type: text/markdown

"""

WHEEL = "Wheel-Version: 1.0\nGenerator: cortex_build\nRoot-Is-Purelib: %s\nTag: py3-none-%s\n"


def _metadata(version: str = VERSION) -> str:
    return METADATA % version + (ROOT / "README.md").read_text("utf-8")


def _package_files(version: str = VERSION) -> List[Tuple[str, bytes]]:
    paths = sorted(p for p in (ROOT / "cortex").rglob("*") if p.suffix == ".py" or p.name == "py.typed")
    files = [(p.relative_to(ROOT).as_posix(), p.read_bytes()) for p in paths]
    said, says = (f'__version__ = "{v}"\n'.encode() for v in (VERSION, version))
    return [(path, data.replace(said, says) if path == "cortex/__init__.py" else data) for path, data in files]


def _python_version(version: str) -> str:
    """The version of a release by PEP 440: 1.2.3, or 1.2.3rc1 for 1.2.3-rc.1; any other is one of development."""
    m = re.fullmatch(r"(\d+\.\d+\.\d+)(?:-(?:rc\.?(\d+)|.*))?", version)
    if m is None:
        raise ValueError(f"{version!r} is not a version such as 1.2.3")
    if m.group(0) == m.group(1):
        return m.group(1)
    return m.group(1) + (f"rc{m.group(2)}" if m.group(2) else ".dev0")


def _write_wheel(
    directory: str, files: List[Tuple[str, bytes]], version: str = VERSION, platform: str = "any", programs: Optional[str] = None
) -> str:
    info = f"cortex-{version}.dist-info"
    files = files + [
        (f"{info}/METADATA", _metadata(version).encode("utf-8")),
        (f"{info}/WHEEL", (WHEEL % (str(programs is None).lower(), platform)).encode("utf-8")),
    ]
    scripts = f"cortex-{version}.data/scripts/"
    for program in sorted(Path(programs).iterdir()) if programs else ():
        files.append((scripts + program.name, program.read_bytes()))
    record = []
    name = f"cortex-{version}-py3-none-{platform}.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files:
            _add(wheel, path, data, 0o755 if path.startswith(scripts) else 0o644)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode("ascii")
            record.append(f"{path},sha256={digest},{len(data)}\n")
        record.append(f"{info}/RECORD,,\n")
        _add(wheel, f"{info}/RECORD", "".join(record).encode("utf-8"))
    return name


def _add(archive: zipfile.ZipFile, path: str, data: bytes, mode: int = 0o644) -> None:
    entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (stat.S_IFREG | mode) << 16  # without its kind pip does not believe the mode
    archive.writestr(entry, data)


def build_wheel(
    wheel_directory: str, config_settings: Optional[Dict[str, Any]] = None, metadata_directory: Optional[str] = None
) -> str:
    settings = config_settings or {}
    if not settings.get("programs"):
        return _write_wheel(wheel_directory, _package_files())
    version = _python_version(settings["version"])
    return _write_wheel(wheel_directory, _package_files(version), version, settings["platform"], settings["programs"])


def build_editable(
    wheel_directory: str, config_settings: Optional[Dict[str, Any]] = None, metadata_directory: Optional[str] = None
) -> str:
    return _write_wheel(wheel_directory, [("cortex.pth", (str(ROOT) + "\n").encode("utf-8"))])


def build_sdist(sdist_directory: str, config_settings: Optional[Dict[str, Any]] = None) -> str:
    files = _package_files()
    for path in ("pyproject.toml", "README.md", "build_backend/cortex_build.py"):
        files.append((path, (ROOT / path).read_bytes()))
    files.append(("PKG-INFO", _metadata().encode("utf-8")))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, data in files:
            entry = tarfile.TarInfo(f"cortex-{VERSION}/{path}")
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    name = f"cortex-{VERSION}.tar.gz"
    with open(os.path.join(sdist_directory, name), "wb") as f:
        f.write(gzip.compress(buffer.getvalue(), mtime=0))
    return name
