"""Proving who is calling: the client's half of the protocol.

An operator asks for a proof of an AWS identity by a challenge; the answer is the
signature of one fixed request to STS, bound to the cluster, to the challenge and to
the certificate that was seen on this very connection. For it the operator gives a
session, which is kept (see sessions) and carried by every call.

It promises that nothing else than the parts of that proof leaves this machine, that
a kept session costs no request and does not import botocore, and that of many
threads and processes at once one proves the identity.
"""

from __future__ import annotations

import email.utils
import http.client
import logging
import os
import random
import re
import threading
import time
from contextlib import ExitStack
from typing import Any, Dict, Mapping, Optional

from cortex import credentials, environment
from cortex.exceptions import CortexException
from cortex.sessions import Folder, Session, is_token, key, parse_time
from cortex.transport import INFO_TIMEOUT, Transport, to_endpoint
from cortex.trust import Connection, is_fingerprint, of_environment

#: Leaves the operator its five seconds with STS.
EXCHANGE_TIMEOUT = 20.0

#: Spreads the renewals of clients whose sessions ended together.
MAX_JITTER = 0.25

#: The difference of clocks, in seconds, from which on it is named as the cause of a refusal.
MAX_SKEW = 60.0

#: Bounds what is read before anybody has proven anything.
_MAX_ANSWER_BYTES = 64 << 10

# What a challenge may say: a hostile operator must choose no host, header or scope.
_SHAPES = {
    "cluster_id": re.compile(r"[A-Za-z0-9._:/-]{1,200}"),
    "region": re.compile(r"[a-z]{2,8}(-[a-z0-9]{1,16}){1,4}"),
    "partition": re.compile(r"aws(-[a-z0-9]{1,20}){0,3}"),
    "nonce": re.compile(r"[A-Za-z0-9_-]{16,200}"),
}
_PRINCIPAL = ("partition", "account", "type", "arn", "unique_id", "session_name")

_log = logging.getLogger("cortex")


def transport_to(env: Mapping[str, Any]) -> Transport:
    """Returns a transport to the operator of an entry of cli.yaml; over https it proves who is calling."""
    endpoint = environment.canonical_endpoint(str(env.get("operator_endpoint") or ""))
    if not endpoint.startswith("https://"):
        return to_endpoint(endpoint)
    cluster_id = env.get("cluster_id") or ""
    if not isinstance(cluster_id, str):
        raise CortexException(
            f"environment {env['name']}: cluster_id is not a string",
            code="configreader.disallowed_value",
            kind="invalid",
            hint="put it in quotes, or configure the environment again with cortex.new_client",
        )
    trust = of_environment(env)
    transport = to_endpoint(endpoint, trust)
    transport.login = Login(to_endpoint(endpoint, trust), endpoint, cluster_id, _kept())
    return transport


def forget(endpoint: str) -> int:
    """Removes the kept sessions of an operator; returns how many."""
    return _forget(_kept(), endpoint)


def _kept() -> Folder:
    return Folder(os.path.join(environment.config_dir(), "sessions"))


def _forget(folder: Folder, endpoint: str) -> int:
    try:
        return folder.forget(endpoint)
    except OSError as e:
        raise CortexException(
            f"removing the sessions in {folder.path}: {e.strerror or e}",
            code="auth.sessions_not_removed",
            kind="unavailable",
            hint="remove the files of that folder by hand",
        ) from e


def cluster_of(endpoint: str, env: Mapping[str, Any]) -> str:
    """Returns the id of the cluster whose operator answers at endpoint; it needs no identity."""
    operator = to_endpoint(endpoint, of_environment(env))
    connection = operator.open()
    try:
        return _challenge(operator, connection)["cluster_id"]
    finally:
        connection.close()


class Login:
    """Gets and keeps the session of one operator. Threads may share it.

    Args:
        operator: A transport to it that proves nothing.
        endpoint: Its address in the canonical form: part of the name of the session.
        cluster_id: The cluster that the environment was made for, if that is known:
            the challenge of another one is refused.
        folder: Where sessions are kept. When it cannot be written, a session lives as
            long as this object.
    """

    def __init__(self, operator: Transport, endpoint: str, cluster_id: str, folder: Folder) -> None:
        self._operator = operator
        self._endpoint = endpoint
        self._cluster_id = cluster_id
        self._folder = folder
        self._turn = threading.Lock()  # who exchanges in this process
        self._unkept: Optional["tuple[str, Session]"] = None

    def __repr__(self) -> str:
        return f"<login at {self._endpoint}>"

    def token(self) -> str:
        """Returns the token of the kept session, or of a new one."""
        name = self._name()
        session = self._find(name)
        return session.token if session else self._renew(name, "")

    def renew(self, refused: str) -> str:
        """Returns another token than the one that was refused: one that somebody has got meanwhile, or a new one."""
        time.sleep(random.uniform(0, MAX_JITTER))
        return self._renew(self._name(), refused)

    def forget(self) -> int:
        """Removes the kept sessions of this operator; returns how many."""
        with self._turn:
            self._unkept = None
            return _forget(self._folder, self._endpoint)

    def _name(self) -> str:
        return key(self._endpoint, self._cluster_id, os.environ)

    def _find(self, name: str) -> Optional[Session]:
        unkept = self._unkept
        for session in (unkept[1] if unkept and unkept[0] == name else None, self._folder.find(name)):
            if session is not None and session.usable(self._endpoint, self._cluster_id):
                return session
        return None

    def _renew(self, name: str, refused: str) -> str:
        with self._turn, ExitStack() as stack:
            unkept: Optional[OSError] = None
            try:
                stack.enter_context(self._folder.lock(name))
            except OSError as e:
                unkept = e
            session = self._find(name)
            if session is not None and session.token != refused:
                return session.token
            session = self._exchange()
            if unkept is None:
                try:
                    self._folder.save(name, session)
                except OSError as e:
                    unkept = e
            self._unkept = (name, session) if unkept else None
            if unkept:
                _log.warning("the session cannot be kept in %s: %s", self._folder.path, unkept.strerror or unkept)
            return session.token

    def _exchange(self) -> Session:
        """Answers a challenge.

        The credentials are not looked at before the challenge is known to come from
        the right operator over an untouched connection.
        """
        credentials.require()
        keys: Optional[credentials.Keys] = None
        while True:
            connection = self._operator.open()
            try:
                challenge = _challenge(self._operator, connection, self._cluster_id)
                host = credentials.sts_host(challenge["region"])
                if host is None:
                    raise _malformed(self._endpoint, f"botocore knows no STS in its region {challenge['region']}")
                waited = keys is None
                keys = keys or credentials.find(os.environ, challenge["region"])
                try:
                    return self._prove(connection, challenge, host, keys)
                except CortexException as e:
                    # Finding credentials may have taken longer than the operator keeps a connection that is quiet.
                    if e.code != "cli.operator_connection_lost" or not waited:
                        raise
            finally:
                connection.close()

    def _prove(
        self, connection: http.client.HTTPConnection, challenge: Dict[str, str], host: str, keys: credentials.Keys
    ) -> Session:
        amz_date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time()))
        binding = credentials.Binding(
            host, challenge["region"], challenge["cluster_id"], _seen(connection), challenge["nonce"]
        )
        proof = {
            "access_key_id": keys.access_key_id,
            "amz_date": amz_date,
            "signature": credentials.sign(keys, binding, amz_date),
            "nonce": challenge["nonce"],
        }
        if keys.session_token:
            proof["security_token"] = keys.session_token
        answer = _asked(self._operator, connection, "POST", "/v1/auth/session", proof, EXCHANGE_TIMEOUT, keys)
        return self._session(answer, challenge, keys)

    def _session(self, answer: Any, challenge: Dict[str, str], keys: credentials.Keys) -> Session:
        try:
            principal = {name: str(answer["principal"][name]) for name in _PRINCIPAL if answer["principal"].get(name)}
            expires_at = parse_time(answer["expires_at"])
            if not is_token(answer["token"]) or answer["cluster_id"] != challenge["cluster_id"]:
                raise ValueError
        except (AttributeError, KeyError, TypeError, ValueError):
            raise CortexException(
                f"what {self._endpoint} answered is not a session of its cluster",
                code="auth.session_malformed",
                kind="disconnected",
                hint="check that it is the endpoint of an operator, and that it is of this release",
            ) from None
        cluster_id, token = str(answer["cluster_id"]), str(answer["token"])
        return Session(self._endpoint, cluster_id, token, expires_at, principal, keys.access_key_id)


def _challenge(operator: Transport, connection: http.client.HTTPConnection, cluster_id: str = "") -> Dict[str, str]:
    """Returns the operator's challenge; raises when it must not be answered."""
    answer = _asked(operator, connection, "GET", "/v1/auth/challenge", None, INFO_TIMEOUT)
    if not isinstance(answer, dict):
        raise _malformed(operator.where, "it is not an object")
    for name, shape in _SHAPES.items():
        if not isinstance(answer.get(name), str) or not shape.fullmatch(answer[name]):
            raise _malformed(operator.where, f"its {name} is malformed")
    if not isinstance(answer.get("tls_fingerprint"), str) or not is_fingerprint(answer["tls_fingerprint"]):
        raise _malformed(operator.where, "its tls_fingerprint is malformed")
    if cluster_id and answer["cluster_id"] != cluster_id:
        raise CortexException(
            f"the operator at {operator.where} is of cluster {answer['cluster_id']},"
            f" and the environment was made for {cluster_id}",
            code="auth.other_cluster",
            kind="forbidden",
            hint="nothing was sent; if the cluster was replaced on purpose, configure the environment again",
        )
    if answer["tls_fingerprint"] != _seen(connection):
        raise CortexException(
            f"somebody is between you and the operator: the connection to {operator.where} ends at another"
            " certificate than the operator's",
            code="auth.tls_mismatch",
            kind="forbidden",
            hint="nothing was sent; a proxy or load balancer that terminates TLS must pass connections through,"
            " or the operator must be given the certificate that it shows",
        )
    return answer


def _seen(connection: http.client.HTTPConnection) -> str:
    """Returns the fingerprint of the certificate on this connection; over plain http there is none."""
    return connection.fingerprint if isinstance(connection, Connection) else ""


def _asked(
    operator: Transport,
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Any,
    timeout: float,
    keys: Optional[credentials.Keys] = None,
) -> Any:
    """Returns the answer to one of the two calls; a refusal says what only this side can know."""
    response = operator.ask(connection, method, path, body, timeout)
    try:
        return operator.answer(response, _MAX_ANSWER_BYTES)
    except CortexException as e:
        after = response.headers.get("Retry-After", "")
        if response.status in (429, 503) and re.fullmatch(r"[0-9]{1,6}", after):
            e.hint = "; ".join(filter(None, (e.hint, f"it asks to be called again in {after} s")))
        elif response.status == 401 and keys is not None:
            e.hint = _skew(response) or _signed_with(keys)
        elif response.status == 400 and keys is not None:
            e.hint = (
                f"what {keys.source} gave does not belong together: temporary access keys (ASIA\u2026) need"
                " their session token, lasting ones (AKIA\u2026) have none"
            )
        raise


def _skew(response: http.client.HTTPResponse) -> str:
    """Says how wrong the clock of this machine is, or nothing."""
    try:
        ahead = time.time() - email.utils.parsedate_to_datetime(response.headers.get("Date", "")).timestamp()
    except (TypeError, ValueError, OverflowError):
        return ""
    if abs(ahead) <= MAX_SKEW:
        return ""
    minutes = max(1, round(abs(ahead) / 60))
    where = "ahead of" if ahead > 0 else "behind"
    count = "1 minute" if minutes == 1 else f"{minutes} minutes"
    return (
        f"your clock is {count} {where} the operator's, and a proof counts for a few minutes only:"
        " set the clock and try again"
    )


def _signed_with(keys: credentials.Keys) -> str:
    token = ", and its session token must not have expired" if keys.session_token else ""
    return (
        f"the proof was signed with {credentials.mask(keys.access_key_id)} from {keys.source}; the credentials must be"
        f" active and of the cluster's account (see {credentials.look(keys.profile)}){token}"
    )


def _malformed(where: str, why: str) -> CortexException:
    return CortexException(
        f"the challenge of {where} cannot be answered: {why}",
        code="auth.challenge_malformed",
        kind="disconnected",
        hint="check that it is the endpoint of an operator, and that it is of this release",
    )
