"""One request to a deployed API, and its answer as a Python value."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any, Dict, Mapping, Optional
from urllib.parse import urlsplit

from cortex.exceptions import CortexException, PredictionFailed
from cortex.transport import read_bounded

MAX_PREDICTION_BYTES = 256 << 20


def encode(payload: Any) -> "tuple[Dict[str, str], Optional[bytes]]":
    """Returns the headers and the body of a request that carries payload."""
    headers = {"Accept": "application/json, */*;q=0.9", "User-Agent": "cortex-python"}
    if payload is None:
        return headers, None
    if isinstance(payload, (bytes, bytearray, memoryview)):
        headers["Content-Type"] = "application/octet-stream"
        return headers, bytes(payload)
    if isinstance(payload, str):
        headers["Content-Type"] = "text/plain; charset=utf-8"
        return headers, payload.encode("utf-8")
    headers["Content-Type"] = "application/json"
    return headers, json.dumps(payload, default=_plain).encode("utf-8")


def _plain(value: Any) -> Any:
    """Returns what JSON has for arrays and numbers of numpy, PyTorch, pandas and the like."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is not JSON; convert it, or send bytes")


def request(
    name: str, method: str, url: str, body: Optional[bytes], headers: Mapping[str, str], timeout: Optional[float]
) -> Any:
    """Returns the decoded answer of the API of that name; raises CortexException for any other outcome."""
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    try:
        connection.request(method, target, body=body, headers=dict(headers))
        response = connection.getresponse()
        data = read_bounded(response, MAX_PREDICTION_BYTES + 1)
    except (OSError, http.client.HTTPException) as e:
        raise CortexException(
            f"calling {name} at {url}: {e}",
            code="cli.api_unreachable",
            kind="disconnected",
            hint=f"client.explain({name!r}) says what is wrong with it",
        ) from e
    finally:
        connection.close()
    if len(data) > MAX_PREDICTION_BYTES:
        raise CortexException(f"{name} answered more than {MAX_PREDICTION_BYTES} bytes", code="cli.prediction_failed")
    if not 200 <= response.status < 300:
        raise _prediction_failed(name, response, data)
    media = response.headers.get_content_type()
    if "Content-Type" in response.headers and (media == "application/json" or media.endswith("+json")):
        try:
            return json.loads(data)
        except ValueError as e:
            raise CortexException(f"{name} answered JSON that cannot be read: {e}", code="cli.prediction_failed") from e
    if "Content-Type" in response.headers and media.startswith("text/"):
        return data.decode(response.headers.get_content_charset("utf-8"), "replace")
    return data


def _prediction_failed(name: str, response: http.client.HTTPResponse, data: bytes) -> PredictionFailed:
    text = data[: 64 << 10].decode("utf-8", "replace").strip()
    after = response.headers.get("Retry-After")
    return PredictionFailed(
        f"{name} answered {response.status} {response.reason}" + (f": {text}" if text else ""),
        status=response.status,
        headers=response.headers,
        body=data,
        kind="unavailable" if response.status in (429, 502, 503, 504) else "invalid",
        hint=f"it asks to be called again in {after} s" if after else f"client.logs({name!r}) shows what it wrote",
    )
