"""What this package raises."""

from __future__ import annotations

from email.message import Message
from typing import Any, List, Mapping, Optional, Sequence

from cortex.shapes import DeployResult, Explanation, Problem


class CortexException(Exception):
    """An operation that failed, as the operator (or this package) explains it.

    Attributes:
        message: What went wrong, in one or more sentences.
        code: Stable, for programs: "resources.api_not_deployed". Empty when unknown.
        kind: What a caller can do about it: "not_found", "conflict", "invalid",
            "unavailable", "disconnected" and so on.
        hint: What to do about it. May be empty.
        problems: Every problem of a file that was refused, with its position.
        request_id: Finds the request in the operator's log. Empty when nothing was sent.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        kind: str = "unexpected",
        hint: str = "",
        problems: Optional[Sequence[Problem]] = None,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.kind = kind
        self.hint = hint
        self.problems: List[Problem] = list(problems or [])
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


#: What 0.42 raised when its command line failed. Every exception is one now.
CortexBinaryException = CortexException


class NotFound(CortexException):
    """The named API, version, environment or file does not exist."""


class DeployFailed(CortexException):
    """At least one API of a deploy was refused, or did not become ready.

    Attributes:
        results: What the deploy did to each API of the file.
        explanation: Why the first API that did not become ready is not, as
            Client.explain returns it; None when it was refused.
    """

    def __init__(
        self,
        message: str,
        *,
        results: Sequence[DeployResult],
        explanation: Optional[Explanation] = None,
        code: str = "cli.deploy_failed",
        kind: str = "unavailable",
        hint: str = "",
    ) -> None:
        super().__init__(message, code=code, kind=kind, hint=hint)
        self.results: List[DeployResult] = list(results)
        self.explanation = explanation


class PredictionFailed(CortexException):
    """An API answered with another status than 2xx.

    Attributes:
        status: The status of the answer.
        headers: Its headers; names are found whatever their case.
        body: Its body, whole.
    """

    def __init__(
        self, message: str, *, status: int, headers: Message, body: bytes, kind: str, hint: str
    ) -> None:
        super().__init__(message, code="cli.prediction_failed", kind=kind, hint=hint)
        self.status = status
        self.headers = headers
        self.body = body


class ItemFailed(CortexException):
    """An item of an AsyncAPI did not succeed.

    Attributes:
        item: What became of it: its state, its reason and its executions.
    """

    def __init__(self, api_name: str, item: Mapping[str, Any]) -> None:
        reason = item.get("reason") or {}
        super().__init__(
            f"{item.get('id')} of {api_name} is {item.get('state')}: {reason.get('message', '')}",
            code=str(reason.get("code", "")),
            kind="unavailable",
            hint="its attempts say what each execution came to",
        )
        self.item = item


def from_error(body: Mapping[str, Any]) -> CortexException:
    """Returns the exception for an error of the operator (see Error in its OpenAPI document)."""
    kind = str(body.get("kind", "unexpected"))
    cls = NotFound if kind == "not_found" else CortexException
    return cls(
        str(body.get("message", "")),
        code=str(body.get("code", "")),
        kind=kind,
        hint=str(body.get("hint", "")),
        problems=body.get("problems"),
        request_id=str(body.get("request_id", "")),
    )
