"""The AWS credentials of a user, and what is signed with them.

It promises that they are found as the default chain of the AWS SDKs finds them,
that what is signed is the one request that proves an identity and nothing that a
server has chosen, and that no error and no printed value contains a secret.

This is the one place that needs botocore, which is imported when something has to
be signed and not before.
"""

from __future__ import annotations

import os
import re
import shlex
import threading
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from cortex.exceptions import CortexException
from cortex.sessions import aws_files

#: Seconds for finding credentials, with whatever a credential_process asks the user.
PATIENCE = 20.0

PROOF_BODY = b"Action=GetCallerIdentity&Version=2011-06-15"
_CONTENT_TYPE = "application/x-www-form-urlencoded; charset=utf-8"
_SIGNED = "content-type;host;x-amz-date;{token}x-cortex-cluster-id;x-cortex-nonce;x-cortex-tls"

# What AWS's keys look like. The operator refuses others, in words that say nothing.
_KEY_ID = re.compile(r"[A-Z0-9]{16,128}")
_TOKEN = re.compile(r"[!-~]{1,8192}")
_SIGNATURE = re.compile(r"[0-9a-f]{64}")

_MAX_SAID = 1 << 10
_MAX_PROFILES = 20
_MAX_SOURCES = 10  # of roles that are assumed with one another


class Keys(NamedTuple):
    """Credentials and where they are from, in words."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    source: str
    profile: str

    def __repr__(self) -> str:
        return f"<{mask(self.access_key_id)} from {self.source}>"

    __str__ = __repr__


class Binding(NamedTuple):
    """What ties a proof to one use at one operator over one TLS key."""

    host: str
    region: str
    cluster_id: str
    tls_fingerprint: str
    nonce: str


def mask(access_key_id: str) -> str:
    """Shortens an access key id to what tells two of them apart."""
    return access_key_id[:4] + "\u2026" + access_key_id[-4:] if len(access_key_id) >= 12 else "***"


def require() -> None:
    """Raises unless something can be signed here."""
    try:
        import botocore.session  # noqa: F401
    except ImportError as e:
        absent = (e.name or "").split(".")[0] == "botocore"
        raise CortexException(
            "proving an AWS identity needs botocore, which "
            + ("is not installed" if absent else f"cannot be imported: {_clean(e)}"),
            code="auth.botocore_missing",
            kind="unsupported",
            hint="pip install 'cortex[iam]'",
        ) from None


def sts_host(region: str) -> Optional[str]:
    """Returns the host of STS in a region as botocore knows it, or None.

    Whatever a hostile operator makes of the region, it is a host that is signed and never asked.
    """
    # Not through a session: the user's files may be broken, and have no say in it.
    from botocore.loaders import create_loader
    from botocore.regions import EndpointResolver

    resolver = EndpointResolver(create_loader().load_data("endpoints"))
    endpoint = resolver.construct_endpoint("sts", region)
    return str(endpoint["hostname"]) if endpoint else None


def sign(keys: Keys, binding: Binding, amz_date: str) -> str:
    """Returns the signature of the one request that proves an identity."""
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import ReadOnlyCredentials

    headers = {
        "Content-Type": _CONTENT_TYPE,
        "X-Amz-Date": amz_date,
        "X-Cortex-Cluster-Id": binding.cluster_id,
        "X-Cortex-Nonce": binding.nonce,
        "X-Cortex-Tls": binding.tls_fingerprint,
    }
    if keys.session_token:
        headers["X-Amz-Security-Token"] = keys.session_token
    request = AWSRequest("POST", f"https://{binding.host}/", headers=headers, data=PROOF_BODY)
    request.context["timestamp"] = amz_date
    frozen = ReadOnlyCredentials(keys.access_key_id, keys.secret_access_key, keys.session_token or None)
    # Not add_auth: it takes a time of its own and writes the signature into the log.
    signer = SigV4Auth(frozen, "sts", binding.region)
    signed = signer.signed_headers(signer.headers_to_sign(request))
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signature = str(signer.signature(text, request))
    wanted = _SIGNED.format(token="x-amz-security-token;" if keys.session_token else "")
    if signed != wanted or not _SIGNATURE.fullmatch(signature):
        raise CortexException("botocore has signed something else than a proof", code="auth.signing_failed")
    return signature


def find(environ: Mapping[str, str], region: str) -> Keys:
    """Finds credentials: a pair in the environment, else what botocore's chain finds.

    A pair in the environment is all that is needed: no file is read for it, so that a
    broken one is in nobody's way. Half a pair is an error, never a fall through to an
    identity that the user did not mean. region is where AWS is asked when the user has
    configured none.
    """
    id, secret = environ.get("AWS_ACCESS_KEY_ID") or "", environ.get("AWS_SECRET_ACCESS_KEY") or ""
    if bool(id) != bool(secret):
        have, missing = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")[:: 1 if id else -1]
        raise unproven(
            "auth.incomplete_credentials",
            f"the environment has half a pair of credentials: {have} is set and {missing} is not",
            f"set {missing} too, or unset {have} to use a profile",
        )
    if id:
        token = environ.get("AWS_SESSION_TOKEN") or ""
        names = ", AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN" if token else " and AWS_SECRET_ACCESS_KEY"
        return _checked(Keys(id, secret, token, "the environment variables AWS_ACCESS_KEY_ID" + names, ""))
    return _checked(_bounded(_Chain(environ, region)))


def _checked(keys: Keys) -> Keys:
    """Refuses credentials that no operator can accept."""
    what = ""
    if not _KEY_ID.fullmatch(keys.access_key_id):
        what = "an access key id"
    elif keys.session_token and not _TOKEN.fullmatch(keys.session_token):
        what = "a session token"
    if what:
        raise unproven(
            "auth.credentials_malformed",
            f"{keys.source} gave {what} that has not the form of one",
            "copy the credentials again, without quotes and spaces",
        )
    return keys


def _bounded(chain: "_Chain") -> Keys:
    """Resolves a chain within PATIENCE. What hangs is left behind: nothing here can end it."""
    found: List[Any] = []

    def resolve() -> None:
        try:
            found.append(chain.resolve())
        except BaseException as e:
            found.append(e)

    thread = threading.Thread(target=resolve, name="cortex-credentials", daemon=True)
    thread.start()
    thread.join(PATIENCE)
    if not found:
        raise unproven(
            "auth.credentials_timeout",
            f"the AWS credentials of profile {chain.profile} were not there within {PATIENCE:g} s",
            f"see whether {chain.look()} answers",
        )
    if isinstance(found[0], BaseException):
        raise found[0]
    return found[0]  # type: ignore[no-any-return]


class _Chain:
    """The default chain of botocore, with the order and the files of the other SDKs."""

    def __init__(self, environ: Mapping[str, str], region: str) -> None:
        import botocore.session

        named = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or None
        self.profile = named or "default"
        self._environ = environ
        self._files = aws_files(environ)
        # The profile and the files are those that the name of the session was made of.
        # A profile that is given in any other way would switch the environment off.
        self._session = botocore.session.Session(
            session_vars={
                "profile": (None, None, named, None),
                "credentials_file": (None, None, self._files[0], None),
                "config_file": (None, None, self._files[1], None),
                "region": ("region", ["AWS_REGION", "AWS_DEFAULT_REGION"], region, None),
                "defaults_mode": (None, None, "legacy", None),  # "auto" would ask the instance metadata for a region
            }
        )

    def resolve(self) -> Keys:
        import botocore.exceptions as e

        try:
            self._refuse_codes()
            resolver = self._session.get_component("credential_provider")
            for foreign in ("ec2-credentials-file", "boto-config"):
                resolver.remove(foreign)  # no other SDK knows them, and no session is named after them
            if self._environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
                web = resolver.get_provider("assume-role-with-web-identity")
                resolver.remove(web.METHOD)
                resolver.insert_before("assume-role", web)  # where the other SDKs have it
            credentials = resolver.load_credentials()
            frozen = credentials.get_frozen_credentials() if credentials else None
        except (e.SSOTokenLoadError, e.UnauthorizedSSOTokenError, e.TokenRetrievalError):
            raise self._expired("the SSO login", "aws sso login") from None
        except CortexException:
            raise
        except Exception as error:  # whatever botocore raises: its texts may quote what must not be seen
            raise self._failed(error) from None
        if credentials is None or frozen is None or not frozen.access_key or not frozen.secret_key:
            raise self._none()
        words, profile = self._words(str(credentials.method))
        return Keys(frozen.access_key, frozen.secret_key, frozen.token or "", words, profile)

    def _refuse_codes(self) -> None:
        """Raises when a role wants a code of a device, for which botocore would ask on the terminal."""
        profiles, name = self._session.full_config.get("profiles", {}), self.profile
        for _ in range(_MAX_SOURCES):
            profile = profiles.get(name) or {}
            if profile.get("role_arn") and profile.get("mfa_serial"):
                raise unproven(
                    "auth.mfa_required",
                    f"profile {name} assumes a role that wants a code of a device, which this client does not ask for",
                    f'`eval "$(aws configure export-credentials --profile {shlex.quote(self.profile)} --format env)"`'
                    " asks for it and sets the environment",
                )
            if profile.get("source_profile") in (None, name):
                return
            name = profile["source_profile"]

    def _words(self, method: str) -> "tuple[str, str]":
        """Returns a source in words, and the profile if it is one's."""
        of = f"profile {self.profile}"
        if method == "assume-role-with-web-identity" and self._environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"):
            return "the web identity that AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN name", ""
        elsewhere = {
            "container-role": "the container's credentials endpoint",
            "iam-role": "the instance metadata service",
        }
        if method in elsewhere:
            return elsewhere[method], ""
        kinds = {
            "assume-role": "the role of ",
            "assume-role-with-web-identity": "the web identity of ",
            "sso": "the SSO login of ",
            "login": "the `aws login` session of ",
            "custom-process": "the credential_process of ",
        }
        return kinds.get(method, "") + of, self.profile

    def look(self) -> str:
        """Returns the command with which a user sees for themselves."""
        return look(self.profile)

    def _expired(self, what: str, command: str) -> CortexException:
        flag = "" if self.profile == "default" else f" --profile {shlex.quote(self.profile)}"
        message = f"{what} of profile {self.profile} has expired, or there was none"
        return unproven("auth.credentials_expired", message, f"`{command}{flag}`")

    def _failed(self, error: Exception) -> CortexException:
        """Says why a source gave no credentials, in words of our own where botocore's may repeat a secret."""
        import botocore.exceptions as e

        of = f"profile {_clean(self.profile)}"
        see = f"see what {self.look()} says"
        kwargs: Dict[str, Any] = getattr(error, "kwargs", {})
        if isinstance(error, e.ProfileNotFound):
            missing = _clean(kwargs.get("profile"))
            return unproven("auth.profile_not_found", f"the AWS profile {missing} does not exist", self._existing())
        if isinstance(error, e.ConfigParseError):
            what = f"{_clean(kwargs.get('path'))} cannot be read as a file of AWS profiles"
            return unproven("auth.config_unreadable", what, f"correct it; {self.look()} reads it too")
        if isinstance(error, e.PartialCredentialsError):
            what = f"{of} has no {_clean(kwargs.get('cred_var'))}"
            return unproven("auth.incomplete_credentials", what, "`aws configure` sets what belongs together")
        if isinstance(error, e.InfiniteLoopConfigError):
            visited = [_clean(p) for p in (*kwargs.get("visited_profiles", ()), kwargs.get("source_profile"))]
            what = f"the source_profile of {of} leads in a circle: {', '.join(visited)}"
            return unproven("auth.profile_loop", what, "let the source_profile of the last name a profile with access keys or a login")
        if isinstance(error, e.InvalidConfigError):
            what = f"{of} cannot be used: {_clean(kwargs.get('error_msg'))}"
            return unproven("auth.config_unreadable", what, see)
        if type(error).__name__.startswith("Login"):
            return self._expired("the `aws login` session", "aws login")
        if isinstance(error, (e.HTTPClientError, e.ConnectionError)):
            what = f"{of} gave no credentials: AWS cannot be reached from here"
            return unproven("auth.credentials_failed", what, f"check the network and the region; {see}")
        if type(error) is RuntimeError:  # what botocore raises for fresh credentials that are over
            return unproven("auth.credentials_expired", f"{of} gave credentials that have expired", "get new ones and try again")
        if isinstance(error, e.ClientError):
            why = "AWS refused with " + _clean(error.response.get("Error", {}).get("Code"))
        elif self._is_of_process(error):
            # The text of a CredentialRetrievalError is what the process said on stderr; others may quote its output.
            said = _clean(kwargs.get("error_msg")) if isinstance(error, e.CredentialRetrievalError) else ""
            what = f"the credential_process of {of} failed: {said or 'it gave nothing that can be read as credentials'}"
            return unproven("auth.credential_process_failed", what, "run the command of credential_process by hand")
        else:
            why = type(error).__name__
        return unproven("auth.credentials_failed", f"{of} gave no credentials: {why}", see)

    def _is_of_process(self, error: Exception) -> bool:
        profile = self._session.full_config.get("profiles", {}).get(self.profile) or {}
        provider = getattr(error, "kwargs", {}).get("provider", "custom-process")
        return bool(profile.get("credential_process")) and provider == "custom-process"

    def _existing(self) -> str:
        names = [_clean(n) for n in self._session.available_profiles]
        if not names:
            return "there are no profiles; `aws configure` makes one"
        more = ", \u2026" if len(names) > _MAX_PROFILES else ""
        return "set AWS_PROFILE to one that exists: " + ", ".join(names[:_MAX_PROFILES]) + more

    def _none(self) -> CortexException:
        """Lists the chain that was tried, each part with why it gave nothing."""
        exists = self.profile in self._session.available_profiles
        files = " nor in ".join(_clean(f) for f in self._files) if all(self._files) else ""
        absent = f"it is neither in {files}" if files else "HOME is not set, so ~/.aws cannot be found"
        disabled = (self._environ.get("AWS_EC2_METADATA_DISABLED") or "").lower() == "true"
        lines = (
            "no AWS credentials were found:",
            "environment: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set",
            "web identity: AWS_WEB_IDENTITY_TOKEN_FILE is not set",
            f"profile {_clean(self.profile)}: {'it exists and names no credentials' if exists else absent}",
            "container: neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set",
            "instance metadata: " + ("AWS_EC2_METADATA_DISABLED is set" if disabled else "nothing answered"),
        )
        other = self._existing() if self._session.available_profiles else "`aws configure` makes the profile default"
        hint = f"set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or {other}"
        return unproven("auth.no_credentials", "\n  ".join(lines), hint)


def look(profile: str) -> str:
    """Returns the command that says whose credentials those of a profile are."""
    flag = "" if profile in ("", "default") else f" --profile {shlex.quote(profile)}"
    return f"`aws sts get-caller-identity{flag}`"


def _clean(text: Any) -> str:
    """Returns a text of somebody else in one bounded line: its end, where the cause stands."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text or "")).split())[-_MAX_SAID:]


def unproven(code: str, message: str, hint: str) -> CortexException:
    """Returns the exception for what is wrong with the caller's own credentials."""
    return CortexException(message, code=code, kind="unproven", hint=hint)
