"""Client: everything that can be done in one environment."""

from __future__ import annotations

import json
import os
import pwd
import time
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Union, cast

from cortex import shapes
from cortex.exceptions import CortexException, DeployFailed, NotFound
from cortex.prediction import encode, request
from cortex.transport import INFO_TIMEOUT, Transport, segment

MAX_CONFIG_BYTES = 8 << 20

# How often wait=True looks, in seconds: often at first, then less.
_FIRST_LOOK, _LAST_LOOK = 0.02, 1.0


class Client:
    """Deploys and manages APIs in one environment; see cortex.client and cortex.new_client.

    Every method raises CortexException, or NotFound, with the operator's explanation.
    Threads may share a client.

    Attributes:
        env: The environment: its name and, unless it is local, its operator_endpoint.
        env_name: Its name.
    """

    def __init__(self, env: shapes.Environment, transport: Transport) -> None:
        self.env = env
        self.env_name = env["name"]
        self._transport = transport

    def __repr__(self) -> str:
        return f"<cortex.Client of {self.env_name} at {self._transport.where}>"

    def info(self) -> shapes.Info:
        """Returns version, engines and the address of the APIs of this environment."""
        return cast(shapes.Info, self._transport.call("GET", "/v1/info", timeout=INFO_TIMEOUT))

    # Identity

    def whoami(self) -> shapes.Identity:
        """Returns the identity that the operator has seen proven, and what it may do.

        The local environment is its user's, who need not prove anything: there it is
        only the name of that user.
        """
        if self._transport.local:
            return {"environment": self.env_name, "user": pwd.getpwuid(os.getuid()).pw_name}
        return cast(shapes.Identity, self._transport.call("GET", "/v1/whoami", timeout=INFO_TIMEOUT))

    def logout(self) -> int:
        """Removes the kept sessions of this operator from this machine; returns how many there were."""
        return self._transport.login.forget() if self._transport.login else 0

    # Deploying

    def deploy(
        self,
        api_spec: Union[Mapping[str, Any], List[Mapping[str, Any]]],
        force: bool = True,
        wait: bool = False,
        *,
        directory: Optional[str] = None,
        timeout: Optional[float] = None,
        no_verify: bool = False,
        progress: Optional[Callable[[shapes.API], None]] = None,
    ) -> Any:
        """Deploys one API, or a list of them, from Python values.

        Args:
            api_spec: What cortex.yaml has: one API as a dict, or a list of them.
            force: Replace an update that is under way.
            wait: Return when every API is live, or raise when one cannot be.
            directory: The folder in which processes run; default: the current one.
            timeout: Seconds to wait at most; default: until it is decided.
            no_verify: Leave an API that is at zero there: its first request tries the new version.
            progress: With wait, called with an API whenever its status has changed.

        Returns:
            The result of the API; for a list, the list of results in its order.

        Raises:
            DeployFailed: An API was refused, or did not become live.
            CortexException: The whole deploy was refused; see its problems.
        """
        single = isinstance(api_spec, Mapping)
        apis = [api_spec] if single else list(api_spec)
        # JSON is YAML; one value per line lets problems name a line.
        text = json.dumps(apis, indent=2, ensure_ascii=False)
        folder = os.path.abspath(directory or os.getcwd())
        results = self._deploy("api_spec", text, folder, force, wait, timeout, no_verify, progress)
        return results[0] if single else results

    def deploy_from_file(
        self,
        config_file: str,
        force: bool = False,
        wait: bool = False,
        *,
        timeout: Optional[float] = None,
        no_verify: bool = False,
        progress: Optional[Callable[[shapes.API], None]] = None,
    ) -> List[shapes.DeployResult]:
        """Deploys every API of a cortex.yaml, and returns one result for each.

        Args and exceptions are those of deploy. Processes run in the file's folder.
        """
        path = os.fspath(config_file)
        try:
            with open(path, "rb") as f:
                data = f.read(MAX_CONFIG_BYTES + 1)
            text = data.decode("utf-8")
        except FileNotFoundError as e:
            raise NotFound(f"{path} does not exist", code="cli.cortex_yaml_not_found", kind="not_found") from e
        except UnicodeDecodeError as e:
            raise CortexException(
                f"{path} is not valid UTF-8", code="configreader.invalid_yaml", kind="invalid", hint="save it as UTF-8"
            ) from e
        except OSError as e:
            raise CortexException(f"reading {path}: {e.strerror}", code="cli.unreadable_file", kind="invalid") from e
        folder = os.path.dirname(os.path.abspath(path))
        return self._deploy(path, text, folder, force, wait, timeout, no_verify, progress)

    def _deploy(
        self,
        file_name: str,
        text: str,
        directory: str,
        force: bool,
        wait: bool,
        timeout: Optional[float],
        no_verify: bool,
        progress: Optional[Callable[[shapes.API], None]],
    ) -> List[shapes.DeployResult]:
        if len(text.encode("utf-8", "replace")) > MAX_CONFIG_BYTES:
            raise CortexException(
                f"{file_name} is larger than {MAX_CONFIG_BYTES} bytes", code="configreader.too_long", kind="invalid"
            )
        body: Dict[str, Any] = {"file_name": file_name, "directory": directory, "config": text}
        if self._transport.local:
            body["path"] = os.environ.get("PATH", "")
        if force:
            body["force"] = True
        if no_verify:
            body["no_verify"] = True
        results = cast(List[shapes.DeployResult], self._transport.call("POST", "/v1/deploy", body=body))
        refused = [r for r in results if r.get("error")]
        if refused:
            message = "; ".join(r["error"] for r in refused)
            raise DeployFailed(message, results=results, code=refused[0].get("code", ""), kind="conflict")
        if wait:
            self._wait(results, timeout, progress)
        return results

    def _wait(
        self,
        results: List[shapes.DeployResult],
        timeout: Optional[float],
        progress: Optional[Callable[[shapes.API], None]],
    ) -> None:
        """Returns when every API is live (or has nothing to wait for), and puts its status into its result."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pending = {r["api"]["metadata"]["name"]: r for r in results if r.get("api") and "metadata" in (r["api"] or {})}
        told: Dict[str, Any] = {}
        pause = _FIRST_LOOK
        while True:
            deployed = {a["metadata"]["name"]: a for a in self.list_apis()}
            for name in list(pending):
                self._tell(progress, told, deployed.get(name))
                if self._settled(pending[name], deployed.get(name), results):
                    del pending[name]
            if not pending:
                return
            if deadline is not None and time.monotonic() + pause > deadline:
                names = ", ".join(pending)
                raise DeployFailed(
                    f"{names} did not become live in {timeout:g} s",
                    results=results,
                    explanation=self.explain(next(iter(pending))),
                    code="cli.deploy_timeout",
                )
            time.sleep(pause)
            pause = min(_LAST_LOOK, pause * 1.5)

    def _tell(
        self, progress: Optional[Callable[[shapes.API], None]], told: Dict[str, Any], now: Optional[shapes.API]
    ) -> None:
        """Tells of an API whose status is not what was told of it last."""
        if progress is None or now is None:
            return
        name, status = now["metadata"]["name"], now.get("status")
        if name not in told or told[name] != status:
            told[name] = status
            progress(now)

    def _settled(
        self, result: shapes.DeployResult, now: Optional[shapes.API], results: List[shapes.DeployResult]
    ) -> bool:
        """Reports whether there is nothing to wait for any more; raises when it will not be live."""
        api = cast(shapes.API, result["api"])
        name = api["metadata"]["name"]
        if now is None:
            raise DeployFailed(
                f"{name} was deleted while it was being deployed",
                results=results,
                code="resources.api_not_deployed",
                kind="not_found",
            )
        if now["metadata"]["id"] != api["metadata"]["id"]:
            if now["metadata"]["id"] > api["metadata"]["id"]:
                return False  # ids sort newest first: ours is not seen yet
            raise DeployFailed(
                f"{name} was deployed again by someone else in the meantime",
                results=results,
                code="cli.deploy_superseded",
                kind="conflict",
            )
        status = now.get("status")
        if status is None:
            return True  # a kind without replicas of its own
        api["status"] = status
        if status["phase"] in ("failed", "degraded"):
            explanation = self.explain(name)
            cause = explanation.get("cause")
            why = cause["message"] if cause else status.get("reason") or explanation.get("summary", "")
            raise DeployFailed(
                f"{name} did not become ready: {why}",
                results=results,
                explanation=explanation,
                code=cause["code"] if cause else "cli.deploy_failed",
                hint=cause.get("fix", "") if cause else "",
            )
        return status["phase"] in ("live", "idle")

    # Looking

    def get_api(self, api_name: str) -> shapes.FullAPI:
        """Returns spec, status, endpoint and the newest versions of an API."""
        return cast(shapes.FullAPI, self._of(api_name))

    def list_apis(self) -> List[shapes.API]:
        """Returns every deployed API with its status."""
        return cast(List[shapes.API], self._transport.call("GET", "/v1/apis"))

    def describe(self, api_name: str) -> shapes.API:
        """Returns replica counts and the reason of every replica that is not ready."""
        return cast(shapes.API, self._of(api_name, "/describe"))

    def history(self, api_name: str) -> List[shapes.APIVersion]:
        """Returns every kept version of an API, newest first."""
        return cast(List[shapes.APIVersion], self._of(api_name, "/history"))

    def get_version(self, api_name: str, version: str) -> shapes.FullAPI:
        """Returns the spec of an earlier version, by its number ("v12"), its id or a part of that which fits no other."""
        return cast(shapes.FullAPI, self._of(api_name, "/versions/" + segment(version)))

    def explain(self, api_name: str) -> shapes.Explanation:
        """Returns the first cause of an API not being ready, with evidence and what to do."""
        return cast(shapes.Explanation, self._of(api_name, "/explain"))

    def logs(
        self,
        api_name: str,
        follow: bool = False,
        *,
        since: Union[str, float, None] = None,
        tail: int = 0,
        previous: bool = False,
        replica: Optional[str] = None,
    ) -> Iterator[shapes.LogLine]:
        """Yields the log lines of an API in order of time, all replicas merged.

        Args:
            follow: Wait for more, until the iterator is closed or left.
            since: Only lines this young: seconds, or a duration such as "90s" or "1h30m".
            tail: Only the last lines; 0 for all.
            previous: Lines of the previous run of each container.
            replica: One replica, by its id or a unique prefix of it.
        """
        query = _flags(follow=follow, previous=previous)
        if since is not None:
            query["since"] = _duration(since)
        if tail:
            query["tail"] = str(tail)
        if replica:
            query["replica"] = replica
        return cast(Iterator[shapes.LogLine], self._transport.stream(f"/v1/apis/{self._name(api_name)}/logs", query))

    def events(
        self, api_name: Optional[str] = None, follow: bool = False, *, since: Union[str, float, None] = None
    ) -> Iterator[shapes.Event]:
        """Yields what happened to an API, or to all of them; follow and since as in logs."""
        query = _flags(follow=follow)
        if since is not None:
            query["since"] = _duration(since)
        path = "/v1/events" if api_name is None else f"/v1/apis/{self._name(api_name)}/events"
        return cast(Iterator[shapes.Event], self._transport.stream(path, query))

    # Changing

    def rollback(self, api_name: str, version: Optional[str] = None) -> shapes.DeployResult:
        """Deploys an earlier version again: the last that was live, or the given one ("v12" or an id)."""
        body = {"id": version} if version else {}
        return cast(shapes.DeployResult, self._of(api_name, "/rollback", "POST", body=body))

    def refresh(self, api_name: str, force: bool = False) -> None:
        """Replaces every replica without changing the configuration."""
        self._of(api_name, "/refresh", "POST", body={"force": True} if force else {})

    def delete(self, api_name: str, keep_cache: bool = False) -> None:
        """Deletes an API; keep_cache keeps its history and logs."""
        self._of(api_name, "", "DELETE", query=_flags(keep_cache=keep_cache))

    # Jobs

    def get_job(self, api_name: str, job_id: str) -> Dict[str, Any]:
        """Returns a job of a BatchAPI or a TaskAPI."""
        raise self._no_jobs(api_name)

    def stop_job(self, api_name: str, job_id: str, keep_cache: bool = False) -> None:
        """Stops a job of a BatchAPI or a TaskAPI."""
        raise self._no_jobs(api_name)

    def _no_jobs(self, api_name: str) -> CortexException:
        """Returns why there is no job; raises NotFound when there is no such API."""
        kind = self.get_api(api_name).get("metadata", {}).get("kind", "")
        return CortexException(
            f"{api_name} is a {kind}, which has no jobs",
            code="resources.operation_is_only_supported_for_kind",
            kind="unsupported",
            hint="jobs belong to the kinds BatchAPI and TaskAPI",
        )

    # Predicting

    def predict(
        self,
        api_name: str,
        payload: Any = None,
        *,
        path: str = "",
        method: str = "POST",
        headers: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
    ) -> Any:
        """Sends a request to an API and returns its answer.

        Args:
            payload: bytes and str are sent as they are, anything else as JSON;
                arrays of numpy, PyTorch and pandas as lists.
            path: Below the API's endpoint, with its query if it has one.
            method: The method of the request.
            headers: Further headers; they win over those this method would send.
            timeout: Seconds without an answer until it gives up; default: never.

        Returns:
            Decoded JSON for a JSON answer, str for text, bytes for the rest.

        Raises:
            PredictionFailed: It answered with another status than 2xx; see its status,
                headers and body.
            CortexException: It could not be reached, or its answer could not be read.
        """
        endpoint = self.get_api(api_name).get("endpoint")
        if not endpoint:
            raise CortexException(
                f"{api_name} has no endpoint to send a request to",
                code="resources.operation_is_only_supported_for_kind",
                kind="unsupported",
            )
        sent, body = encode(payload)
        sent.update(headers or {})
        if path:
            endpoint = endpoint.rstrip("/") + "/" + path.lstrip("/")
        return request(api_name, method, endpoint, body, sent, timeout)

    def _name(self, api_name: str) -> str:
        if not api_name or api_name in (".", "..") or "/" in api_name:
            raise NotFound(f"{api_name!r} is not deployed", code="resources.api_not_deployed", kind="not_found")
        return segment(api_name)

    def _of(
        self,
        api_name: str,
        tail: str = "",
        method: str = "GET",
        query: Optional[Mapping[str, str]] = None,
        body: Any = None,
    ) -> Any:
        return self._transport.call(method, f"/v1/apis/{self._name(api_name)}{tail}", query, body)


def _flags(**flags: bool) -> Dict[str, str]:
    return {name: "true" for name, value in flags.items() if value}


def _duration(value: Union[str, float]) -> str:
    return value if isinstance(value, str) else f"{value:f}s"
