"""Client: everything that can be done in one environment."""

from __future__ import annotations

import base64
import json
import os
import pwd
import time
from datetime import datetime
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Union, cast

from cortex import shapes
from cortex.exceptions import CortexException, DeployFailed, NotFound
from cortex.items import Item, accepted, options
from cortex.prediction import encode, request
from cortex.transport import INFO_TIMEOUT, Transport, segment

MAX_CONFIG_BYTES = 8 << 20
MAX_ENV_FILE_BYTES = 64 << 10

# How often wait=True looks, in seconds: often at first, then less.
_FIRST_LOOK, _LAST_LOOK = 0.02, 1.0
_JOB_POLL = 0.5  # of a job


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
        try:
            answer = self._transport.call("POST", "/v1/deploy", body=body)
        except CortexException as e:
            body["env_files"] = _env_files(e, text, directory)
            if not body["env_files"]:
                raise
            answer = self._transport.call("POST", "/v1/deploy", body=body)
        results = cast(List[shapes.DeployResult], answer)
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
        return status["phase"] in ("live", "idle", "stopped")

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

    def series(self, api_name: str, *, since: Union[str, float, None] = None) -> shapes.Series:
        """What an API did lately, an hour if nobody says: a value for each step, -1 where it is not known."""
        path = f"/v1/apis/{self._name(api_name)}/series"
        query = {} if since is None else {"since": _duration(since)}
        return cast(shapes.Series, self._transport.call("GET", path, query))

    def watch(self) -> Iterator[shapes.Watched]:
        """Yields everything that is deployed and how it is doing, and then what changes.

        The first is a snapshot; so is the first of a new session, when one is over.
        """
        while True:
            begun = False
            try:
                for line in self._transport.stream("/v1/watch"):
                    begun = True
                    yield cast(shapes.Watched, line)
                return
            except CortexException as e:
                if not begun or e.kind != "unproven":
                    raise

    # Changing

    def rollback(self, api_name: str, version: Optional[str] = None) -> shapes.DeployResult:
        """Deploys an earlier version again: the last that was live, or the given one ("v12" or an id)."""
        body = {"id": version} if version else {}
        return cast(shapes.DeployResult, self._of(api_name, "/rollback", "POST", body=body))

    def refresh(self, api_name: str, force: bool = False) -> None:
        """Replaces every replica without changing the configuration."""
        self._of(api_name, "/refresh", "POST", body={"force": True} if force else {})

    def stop(self, api_name: str) -> shapes.DeployResult:
        """Leaves an API without replicas; its requests are refused until it is started or deployed."""
        return cast(shapes.DeployResult, self._of(api_name, "/stop", "POST"))

    def start(self, api_name: str) -> shapes.DeployResult:
        """Starts an API that is stopped, with as many replicas as it had."""
        return cast(shapes.DeployResult, self._of(api_name, "/start", "POST"))

    def scale(self, api_name: str, replicas: int) -> shapes.DeployResult:
        """Sets the number of replicas within the bounds of the API; its autoscaler goes on from there."""
        return cast(shapes.DeployResult, self._of(api_name, "/scale", "POST", body={"replicas": replicas}))

    def delete(self, api_name: str, keep_cache: bool = False) -> None:
        """Deletes an API; keep_cache keeps its history and logs."""
        self._of(api_name, "", "DELETE", query=_flags(keep_cache=keep_cache))

    # Volumes

    def list_volumes(self) -> List[shapes.VolumeInfo]:
        """Returns every volume that the machine keeps."""
        return cast(List[shapes.VolumeInfo], self._transport.call("GET", "/v1/volumes"))

    def delete_volume(self, name: str) -> None:
        """Deletes a volume that no API and no replica has, with everything in it."""
        self._transport.call("DELETE", f"/v1/volumes/{_named('volume', name)}")

    # Secrets

    def list_secrets(self) -> List[shapes.Secret]:
        """Returns every secret, without its value."""
        return cast(List[shapes.Secret], self._transport.call("GET", "/v1/secrets"))

    def set_secret(self, name: str, value: Union[str, bytes]) -> shapes.SecretSet:
        """Sets the value of a secret, which nothing returns; a string is sent as UTF-8."""
        data = value.encode("utf-8") if isinstance(value, str) else value
        return cast(shapes.SecretSet, self._transport.call("PUT", f"/v1/secrets/{_named('secret', name)}", None, data))

    def delete_secret(self, name: str, force: bool = False) -> None:
        """Deletes a secret; force does so although APIs refer to it."""
        self._transport.call("DELETE", f"/v1/secrets/{_named('secret', name)}", _flags(force=force))

    # Access keys

    def list_keys(self) -> List[shapes.Key]:
        """Returns every access key, without what its holder has."""
        return cast(List[shapes.Key], self._transport.call("GET", "/v1/keys"))

    def create_key(
        self,
        name: str,
        apis: Optional[Sequence[str]] = None,
        *,
        all_apis: bool = False,
        expires_in: Optional[str] = None,
        labels: Optional[Mapping[str, str]] = None,
    ) -> shapes.KeyMade:
        """Makes an access key, with which a caller may call APIs.

        Args:
            name: The caller: limits count by it.
            apis: The names of the APIs that it is good for.
            all_apis: It is good for all of them, also those that are deployed later.
            expires_in: How long it is good for, such as "2160h"; None: until it is revoked.
            labels: What is remembered of it.

        Returns:
            What is known of the key and, as "key", the key itself, which nothing returns again.
        """
        body: Dict[str, Any] = {"name": name}
        if apis:
            body["apis"] = list(apis)
        if all_apis:
            body["all_apis"] = True
        if expires_in:
            body["expires_in"] = expires_in
        if labels:
            body["labels"] = dict(labels)
        return cast(shapes.KeyMade, self._transport.call("POST", "/v1/keys", body=body))

    def usage(self, api: Optional[str] = None, *, caller: Optional[str] = None, since: Optional[str] = None) -> List[shapes.Calls]:
        """Returns who called which API how often, by API, hour and caller.

        Args:
            api: Of one API only.
            caller: Of one caller only.
            since: How far back, such as "720h"; None: all that is kept.
        """
        query = {k: v for k, v in (("api", api), ("caller", caller), ("since", since)) if v}
        return cast(List[shapes.Calls], self._transport.call("GET", "/v1/usage", query=query))

    def session(self, apis: Union[str, Sequence[str]], *, ttl: Optional[str] = None) -> shapes.CallSession:
        """Makes a session with which your AWS identity calls APIs that accept iam.

        Args:
            apis: The names of the APIs that it is for.
            ttl: How long it lives, such as "1h", which is the most; None: 15 minutes.

        Returns:
            What is known of the session and, as "token", what a request has as Authorization: Bearer.
        """
        body: Dict[str, Any] = {"apis": [apis] if isinstance(apis, str) else list(apis)}
        if ttl:
            body["ttl"] = ttl
        return cast(shapes.CallSession, self._transport.call("POST", "/v1/call-sessions", body=body))

    def rotate_key(self, name: str, *, grace: Optional[str] = None, expires_in: Optional[str] = None) -> shapes.KeyMade:
        """Makes an access key in place of another of that name.

        Args:
            name: The caller.
            grace: How long the one before is good yet, such as "24h"; None: not at all.
            expires_in: How long the new one is good for; None: as long as the one before was made for.

        Returns:
            As that of create_key.
        """
        body = {}
        if grace:
            body["grace"] = grace
        if expires_in:
            body["expires_in"] = expires_in
        return cast(shapes.KeyMade, self._transport.call("POST", f"/v1/keys/{_named('key', name)}/rotate", body=body))

    def revoke_key(self, name: str) -> None:
        """Makes all access keys of a name worthless, at once."""
        self._transport.call("DELETE", f"/v1/keys/{_named('key', name)}")

    # Jobs

    def submit_batch(self, api_name: str, job: Mapping[str, Any], *, wait: bool = False) -> Dict[str, Any]:
        """Submits a job of a BatchAPI, such as {"workers": 2, "item_list": {"items": [...], "batch_size": 10}}.

        Args:
            job: The submission; docs/batch.md has its keys.
            wait: Return when the job has ended, however it did.

        Returns:
            The job: its job_id, its status, and its progress.
        """
        return self._submit(api_name, job, wait)

    def submit_task(self, api_name: str, job: Optional[Mapping[str, Any]] = None, *, wait: bool = False) -> Dict[str, Any]:
        """Submits a job of a TaskAPI, which needs to say nothing; docs/tasks.md has its keys."""
        return self._submit(api_name, job or {}, wait)

    def _submit(self, api_name: str, job: Mapping[str, Any], wait: bool) -> Dict[str, Any]:
        answer = self._of(api_name, "/jobs", "POST", body={"job": dict(job)})
        submitted = cast(Dict[str, Any], answer["job"])
        while wait and submitted["status"] in ("pending", "enqueuing", "running"):
            time.sleep(_JOB_POLL)
            submitted = self.get_job(api_name, submitted["job_id"])["job_status"]
        return submitted

    def list_jobs(self, api_name: str) -> List[Dict[str, Any]]:
        """Returns the jobs of a BatchAPI or a TaskAPI that are kept, the newest first."""
        return cast(List[Dict[str, Any]], self._of(api_name, "/jobs"))

    def get_job(self, api_name: str, job_id: str) -> Dict[str, Any]:
        """Returns a job of a BatchAPI or a TaskAPI: its job_status, metrics and api_spec."""
        return cast(Dict[str, Any], self._of(api_name, f"/jobs/{self._job(api_name, job_id)}"))

    def stop_job(self, api_name: str, job_id: str, keep_cache: bool = False) -> None:
        """Stops a job of a BatchAPI or a TaskAPI; what it has done stays."""
        self._of(api_name, f"/jobs/{self._job(api_name, job_id)}", "DELETE")

    def retry_job(self, api_name: str, job_id: str, only_failed: bool = True) -> Dict[str, Any]:
        """Submits a job for what another one of a BatchAPI has not done.

        Args:
            only_failed: Only the batches that failed; otherwise those that it never came to, too.
        """
        answer = self._of(api_name, f"/jobs/{self._job(api_name, job_id)}/retry", "POST", body={"only_failed": only_failed})
        return cast(Dict[str, Any], answer["job"])

    def job_results(self, api_name: str, job_id: str, errors: bool = False) -> Iterator[Dict[str, Any]]:
        """Yields the result of each batch of a job that answered with one, or with errors that of each that failed."""
        path = f"/v1/apis/{self._name(api_name)}/jobs/{self._job(api_name, job_id)}/lines"
        return self._transport.stream(path, _flags(errors=errors))

    def job_answer(self, api_name: str, job_id: str, batch: int) -> Iterator[bytes]:
        """Yields the parts of what a batch was answered with, where its result has a body_file."""
        path = f"/v1/apis/{self._name(api_name)}/jobs/{self._job(api_name, job_id)}/answer"
        parts = self._transport.stream(path, {"batch": str(batch)})
        return (base64.b64decode(part["data"]) for part in parts)

    def job_logs(self, api_name: str, job_id: str, follow: bool = False) -> Iterator[shapes.LogLine]:
        """Yields what the workers of a job wrote; with follow until the job has ended."""
        self._job(api_name, job_id)
        query = {"job": job_id, **_flags(follow=follow)}
        return cast(Iterator[shapes.LogLine], self._transport.stream(f"/v1/apis/{self._name(api_name)}/logs", query))

    # Schedules

    def list_schedules(self, api_name: str) -> List[Dict[str, Any]]:
        """Returns the schedules of an API: when each runs next, and what became of its runs."""
        return cast(List[Dict[str, Any]], self._of(api_name, "/schedules"))

    def run_schedule(self, api_name: str, name: str) -> Dict[str, Any]:
        """Begins a run of a schedule now, beside those that are due."""
        return cast(Dict[str, Any], self._of(api_name, self._schedule(api_name, name) + "/run", "POST"))

    def pause_schedule(self, api_name: str, name: str) -> Dict[str, Any]:
        """Has a schedule begin nothing until it is resumed."""
        return cast(Dict[str, Any], self._of(api_name, self._schedule(api_name, name) + "/pause", "POST"))

    def resume_schedule(self, api_name: str, name: str) -> Dict[str, Any]:
        """Has a schedule go on that was paused."""
        return cast(Dict[str, Any], self._of(api_name, self._schedule(api_name, name) + "/resume", "POST"))

    def backfill_schedule(self, api_name: str, name: str, begin: datetime, end: datetime, parallel: int = 1) -> Dict[str, Any]:
        """Begins the runs that a schedule would have had between two moments, so many at once.

        Both have a time zone: what a time without one means is not guessed.
        """
        for moment in (begin, end):
            if moment.tzinfo is None:
                raise ValueError(f"{moment} has no time zone")
        body = {"from": begin.isoformat(), "to": end.isoformat(), "parallel": parallel}
        return cast(Dict[str, Any], self._of(api_name, self._schedule(api_name, name) + "/backfill", "POST", body=body))

    def _schedule(self, api_name: str, name: str) -> str:
        if not name or name in (".", "..") or "/" in name:
            raise NotFound(f"{api_name} has no schedule {name!r}", code="schedules.not_found", kind="not_found")
        return "/schedules/" + segment(name)

    # Webhooks

    def list_webhooks(self, api_name: str, states: Sequence[str] = (), limit: int = 0) -> List[Dict[str, Any]]:
        """Returns the messages about ends of items of an AsyncAPI, those about the latest items first."""
        query = {"state": ",".join(states)} if states else {}
        if limit:
            query["limit"] = str(limit)
        return cast(List[Dict[str, Any]], self._of(api_name, "/webhooks", query=query))

    def redeliver_webhooks(self, api_name: str, ids: Sequence[str]) -> Dict[str, Any]:
        """Sends the messages with these ids once more."""
        return cast(Dict[str, Any], self._of(api_name, "/redeliver-webhooks", "POST", body={"ids": list(ids)}))

    def _job(self, api_name: str, job_id: str) -> str:
        if not job_id or job_id in (".", "..") or "/" in job_id:
            raise NotFound(f"{api_name} has no job {job_id!r}", code="job.not_found", kind="not_found")
        return segment(job_id)

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
        endpoint = self._endpoint(api_name, self.get_api(api_name))
        sent, body = encode(payload)
        sent.update(headers or {})
        if path:
            endpoint = endpoint.rstrip("/") + "/" + path.lstrip("/")
        return request(api_name, method, endpoint, body, sent, timeout)

    # Asynchronous work

    def submit(
        self,
        api_name: str,
        payload: Any = None,
        *,
        key: Optional[str] = None,
        priority: Optional[str] = None,
        labels: Optional[Mapping[str, str]] = None,
        caller: Optional[str] = None,
        delay: Optional[Union[str, float]] = None,
        headers: Optional[Mapping[str, str]] = None,
        timeout: Optional[float] = None,
    ) -> Item:
        """Submits work to an AsyncAPI and returns the item that it becomes.

        Args:
            payload: As that of predict.
            key: The same key with the same payload is the same item, for a day.
            priority: Whose turn comes first: "high", "normal" or "idle", which starts no replica.
            labels: Texts by which items are found again.
            caller: Among whom places are shared; default: the address of this machine.
            delay: Seconds, or a duration such as "90s", until it begins.
            headers: Further headers; they win over those this method would send.
            timeout: Seconds without an answer until it gives up; default: never.

        Raises:
            PredictionFailed: It was not accepted; see its status and body.
            CortexException: The API is no AsyncAPI, or could not be reached.
        """
        endpoint = self._of_items(api_name)
        sent, body = encode(payload)
        sent.update(options(key, priority, labels, caller, delay))
        sent.update(headers or {})
        return accepted(api_name, endpoint, request(api_name, "POST", endpoint, body, sent, timeout))

    def get_item(self, api_name: str, item_id: str) -> Item:
        """Returns an item of an AsyncAPI by its id; whether there is one, its methods say."""
        return Item(api_name, self._of_items(api_name), segment(item_id))

    def _of_items(self, api_name: str) -> str:
        api = self.get_api(api_name)
        kind = api["metadata"]["kind"]
        if kind != "AsyncAPI":
            raise CortexException(
                f"{api_name} is a {kind}, and work is submitted to an AsyncAPI",
                code="resources.operation_is_only_supported_for_kind",
                kind="unsupported",
                hint="client.predict makes a request",
            )
        return self._endpoint(api_name, api)

    def _endpoint(self, api_name: str, api: shapes.FullAPI) -> str:
        endpoint = api.get("endpoint")
        if not endpoint:
            raise CortexException(
                f"{api_name} has no endpoint to send a request to",
                code="resources.operation_is_only_supported_for_kind",
                kind="unsupported",
            )
        return endpoint

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


def _env_files(refusal: CortexException, text: str, directory: str) -> Dict[str, str]:
    """Returns the files that the operator misses beside a cortex.yaml, by their paths in it.

    The operator reads the file, and says which env files it names. Only what the text
    itself says is read: an operator cannot ask for other files of this machine.
    """
    files: Dict[str, str] = {}
    for problem in refusal.problems:
        path = problem.get("found", "")
        if problem["code"] != "configreader.env_file_not_found" or not path or path not in text or "env_file" not in text:
            continue
        try:
            with open(os.path.join(directory, path), encoding="utf-8", newline="") as f:
                files[path] = f.read(MAX_ENV_FILE_BYTES + 1)
        except (OSError, ValueError):
            continue  # what the operator said of it stands
    return files


def _named(what: str, name: str) -> str:
    """Returns a name as a segment of a path; what cannot be one, no server knows."""
    if not name or name in (".", "..") or "/" in name:
        raise NotFound(f"there is no {what} {name!r}", code=f"{what}s.not_found", kind="not_found")
    return segment(name)


def _flags(**flags: bool) -> Dict[str, str]:
    return {name: "true" for name, value in flags.items() if value}


def _duration(value: Union[str, float]) -> str:
    return value if isinstance(value, str) else f"{value:f}s"
