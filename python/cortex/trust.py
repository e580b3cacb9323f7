"""What an https operator has to show before a byte is sent to it.

It promises that a connection is to somebody whom the roots of the system, the
roots of the environment, or one fingerprint vouch for. There is no value that
trusts everybody. It must not know what is sent.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import http.client
import re
import ssl
from typing import Any, List, Mapping, Optional
from urllib.parse import urlsplit

from cortex.exceptions import CortexException

#: Bounds a file of certificate authorities.
MAX_CA_BYTES = 256 << 10

CONNECT_TIMEOUT = 10.0

_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


class Untrusted(OSError):
    """The other side has not shown what it has to."""


class Trust:
    """Who is trusted; nothing given: whom the system trusts.

    Args:
        ca_data: Base64 of a PEM bundle: these roots and no others.
        fingerprint: Exactly this certificate, whatever its name and issuer.
    """

    def __init__(self, ca_data: str = "", fingerprint: str = "") -> None:
        self.fingerprint = parse_fingerprint(fingerprint) if fingerprint else ""
        self._roots = _pem(ca_data) if ca_data and not fingerprint else ""
        #: whether somebody said whom to trust, which no release before this one knew
        self.told = bool(self.fingerprint or self._roots)
        self._context: Optional[ssl.SSLContext] = None

    def context(self) -> ssl.SSLContext:
        """Returns what connections are made with. Reading the system's roots takes a while: it is done once."""
        if self._context is None:
            self._context = self._make()
        return self._context

    def _make(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cadata=self._roots or None)  # given roots are the only ones
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if self._roots:
            # An authority that another one has signed may be a root too (Python 3.9 has no name for it).
            context.verify_flags |= getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0x80000)
        if self.fingerprint:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # Connection compares the whole certificate instead
        return context


class Connection(http.client.HTTPSConnection):
    """An HTTP connection over TLS that knows which certificate it has seen.

    It never connects a second time by itself: what is signed for one certificate
    must not be sent to another.
    """

    auto_open = 0

    def __init__(self, host: str, port: Optional[int], trust: Trust) -> None:
        super().__init__(host, port, timeout=CONNECT_TIMEOUT, context=trust.context())
        self._expected = trust.fingerprint
        #: of the certificate on this connection
        self.fingerprint = ""

    def connect(self) -> None:
        super().connect()
        seen = fingerprint_of(self.sock.getpeercert(binary_form=True) or b"")
        if self._expected and seen != self._expected:
            self.close()
            raise Untrusted(f"it is {seen}, and the environment is configured for {self._expected}")
        self.fingerprint = seen


def of_environment(env: Mapping[str, Any]) -> Trust:
    """Returns what the operator of an entry of cli.yaml has to show."""
    try:
        return Trust(str(env.get("operator_ca_data") or ""), str(env.get("operator_fingerprint") or ""))
    except ValueError as e:
        raise CortexException(
            f"environment {env['name']}: {e}",
            code="configreader.disallowed_value",
            kind="invalid",
            hint="set it again with cortex.new_client and its ca_file or fingerprint",
        ) from None


def by_hand(endpoint: str, ca_file: Optional[str], fingerprint: Optional[str]) -> "dict[str, str]":
    """Returns what of cli.yaml says how the operator at endpoint proves itself."""
    if ca_file is None and fingerprint is None:
        return {}
    if ca_file is not None and fingerprint is not None:
        raise _usage("cli.mutually_exclusive_flags", "ca_file and fingerprint cannot be used together")
    if not endpoint.startswith("https://"):
        raise _usage("cli.wrong_flag", "ca_file and fingerprint are for endpoints that begin with https://")
    if ca_file is not None:
        return {"operator_ca_data": _read_ca(ca_file)}
    try:
        return _shown(endpoint, parse_fingerprint(fingerprint or ""))
    except ValueError as e:
        raise _usage("cli.wrong_flag", f"fingerprint: {e}") from None


def fingerprint_of(der: bytes) -> str:
    """Returns how a certificate is named, as `openssl x509 -fingerprint -sha256` computes it."""
    return "sha256:" + hashlib.sha256(der).hexdigest()


def parse_fingerprint(text: str) -> str:
    """Returns the canonical form of a fingerprint; raises ValueError.

    People may also write it with colons, in upper case, and without sha256:.
    """
    digits = text.strip().lower()
    for prefix in ("sha256:", "sha256="):
        digits = digits[len(prefix) :] if digits.startswith(prefix) else digits
    canonical = "sha256:" + digits.replace(":", "")
    if not is_fingerprint(canonical):
        raise ValueError("a fingerprint is sha256: and 64 hexadecimal digits")
    return canonical


def is_fingerprint(text: str) -> bool:
    return _FINGERPRINT.fullmatch(text) is not None


def _shown(endpoint: str, wanted: str) -> "dict[str, str]":
    """Looks at what the operator shows; nothing is sent.

    When the fingerprint is that of an authority in the chain, that authority is
    trusted, so that the operator may renew its certificate; otherwise exactly the
    certificate itself is.
    """
    parts = urlsplit(endpoint)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is looked at, and compared
    connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=CONNECT_TIMEOUT, context=context)
    try:
        connection.connect()
        chain = _chain(connection.sock)
    except OSError as e:
        raise CortexException(
            f"looking at the certificate of {endpoint}: {e.strerror or e}",
            code="cli.failed_to_connect_operator",
            kind="disconnected",
            hint="check the address, and that the operator is running",
        ) from e
    finally:
        connection.close()
    shown = [fingerprint_of(der) for der in chain]
    if wanted == shown[0]:
        return {"operator_fingerprint": wanted}
    if wanted in shown:
        return {"operator_ca_data": _encoded([chain[shown.index(wanted)]])}
    raise CortexException(
        f"{endpoint} does not show the certificate {wanted}; it shows {', '.join(shown)}",
        code="cli.operator_untrusted",
        kind="disconnected",
        hint="nothing was changed; ask the administrator of the operator for its fingerprint",
    )


def _chain(sock: Any) -> List[bytes]:
    """Returns the certificates that were shown: all of them from Python 3.13 on, before it the first."""
    chain = getattr(sock, "get_unverified_chain", None)
    return list(chain()) if chain else [sock.getpeercert(binary_form=True)]


def _read_ca(path: str) -> str:
    try:
        with open(path, "rb") as f:
            data = f.read(MAX_CA_BYTES + 1)
        if len(data) > MAX_CA_BYTES:
            raise ValueError(f"it has more than {MAX_CA_BYTES} bytes")
        # Certificates only: a key that stands in the file too is nobody else's business.
        found = [ssl.PEM_cert_to_DER_cert(block) for block in _CERTIFICATE.findall(data.decode("utf-8", "replace"))]
        encoded = _encoded(found)
        _pem(encoded)
        return encoded
    except (OSError, ValueError) as e:
        raise _usage(
            "cli.bad_ca_file",
            f"{path} is not a file of certificate authorities: {getattr(e, 'strerror', None) or e}",
            "the server writes one as tls/ca.pem into its state folder, and says where when it starts",
        ) from e


def _encoded(certificates: List[bytes]) -> str:
    return base64.b64encode("".join(map(ssl.DER_cert_to_PEM_cert, certificates)).encode("ascii")).decode("ascii")


def _pem(ca_data: str) -> str:
    """Returns the certificates of operator_ca_data; raises ValueError."""
    try:
        text = base64.b64decode(ca_data, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        raise ValueError("operator_ca_data: it is not base64 of a PEM bundle") from None
    try:
        if not _CERTIFICATE.search(text):
            raise ValueError
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise ValueError("operator_ca_data: it holds no certificate") from None
    return text


def _usage(code: str, message: str, hint: str = "") -> CortexException:
    return CortexException(message, code=code, kind="invalid", hint=hint)
