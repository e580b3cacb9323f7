"""One request to an AsyncAPI, and what becomes of it."""

from __future__ import annotations

import time
from typing import Any, Dict, Mapping, Optional, Union, cast

from cortex import shapes
from cortex.exceptions import CortexException, ItemFailed
from cortex.prediction import request

# How long one request waits for the end of an item, in seconds.
_ONE_WAIT = 60.0

# The answers with which an end is waited for once more, after a pause in seconds: whoever
# has the item is being started anew.
_PASSING, _PAUSE = (502, 503, 504), 0.5

# For how long such answers are borne, one after the other.
_PATIENCE = 60.0


class Item:
    """One request that was submitted to an AsyncAPI; see Client.submit and Client.get_item.

    Every method raises CortexException: a PredictionFailed for what the API refuses, such
    as 404 for an item that there is not, and 410 for one that is not kept any more.

    Attributes:
        api_name: The API.
        id: The id: whoever has it may do what these methods do.
    """

    def __init__(self, api_name: str, endpoint: str, id: str) -> None:
        self.api_name = api_name
        self.id = id
        self._url = endpoint.rstrip("/") + "/" + id

    def __repr__(self) -> str:
        return f"<cortex.Item {self.id} of {self.api_name}>"

    def get(self) -> shapes.Item:
        """Returns what is known of it now: status, state, attempts, queue and progress."""
        return self._item("GET", "", None)

    def wait(self, timeout: Optional[float] = None) -> shapes.Item:
        """Waits for its end, however it ends, and returns it.

        Args:
            timeout: Seconds to wait at most; default: until it has ended.

        Raises:
            TimeoutError: It has not ended by then. It goes on.
        """
        late = None if timeout is None else time.monotonic() + timeout
        well = time.monotonic()
        while True:
            left = _ONE_WAIT if late is None else max(min(_ONE_WAIT, late - time.monotonic()), 0.0)
            try:
                item = self._item("GET", f"?wait={left:.3f}s", left + 30.0)
            except CortexException as e:
                passing = e.kind == "disconnected" or getattr(e, "status", 0) in _PASSING
                now = time.monotonic()
                if not passing or now - well > _PATIENCE or late is not None and now >= late:
                    raise
                time.sleep(_PAUSE)
                continue
            well = time.monotonic()
            if item["status"] in ("completed", "failed"):
                return item
            if late is not None and time.monotonic() >= late:
                raise TimeoutError(f"{self.id} is {item['state']} after {timeout:g} s; it goes on")

    def result(self, timeout: Optional[float] = None) -> Any:
        """Waits for its end and returns the result, decoded as the answer of Client.predict is.

        Args:
            timeout: As that of wait.

        Raises:
            ItemFailed: It did not succeed; see its item and the reason in it.
            TimeoutError: It has not ended by then. It goes on.
        """
        item = self.wait(timeout)
        if item["status"] == "failed":
            raise ItemFailed(self.api_name, item)
        return request(self.api_name, "GET", self._url + "/result", None, _headers(), None)

    def cancel(self) -> shapes.Item:
        """Ends it, or has its execution ended, and returns it; what has ended stays as it is."""
        return self._item("DELETE", "", None)

    def retry(self) -> shapes.Item:
        """Has it tried again after it failed, was cancelled or has expired, and returns it."""
        return self._item("POST", "/retry", None)

    def _item(self, method: str, tail: str, timeout: Optional[float]) -> shapes.Item:
        return cast(shapes.Item, request(self.api_name, method, self._url + tail, None, _headers(), timeout))


def _headers() -> Dict[str, str]:
    return {"Accept": "application/json, */*;q=0.9", "User-Agent": "cortex-python"}


def options(
    key: Optional[str],
    priority: Optional[str],
    labels: Optional[Mapping[str, str]],
    caller: Optional[str],
    delay: Optional[Union[str, float]],
) -> Dict[str, str]:
    """Returns the fields of a request that say how its item is to be treated."""
    fields = {
        "Idempotency-Key": key,
        "X-Cortex-Priority": priority,
        "X-Cortex-Caller": caller,
        "X-Cortex-Not-Before": None if delay is None else "+" + (delay if isinstance(delay, str) else f"{delay:f}s"),
        # One field for all of them: http.client sends a name once.
        "X-Cortex-Label": ",".join(f"{name}={value}" for name, value in labels.items()) if labels else None,
    }
    return {name: text for name, text in fields.items() if text is not None}


def accepted(api_name: str, endpoint: str, answer: Any) -> Item:
    """Returns the item that an API has accepted."""
    if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
        raise CortexException(
            f"{api_name} has not answered with the id of an item",
            code="cli.not_accepted",
            kind="unavailable",
            hint=f"is {endpoint} the endpoint of an AsyncAPI?",
        )
    return Item(api_name, endpoint, answer["id"])
