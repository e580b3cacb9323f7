"""The shapes of what the operator answers, for type checkers and editors.

At run time these are plain dicts. Members may be absent where the operator
leaves them out, and later versions of it may add some.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, TypedDict


class Problem(TypedDict, total=False):
    """One thing that is wrong in a file."""

    file: str
    line: int
    column: int
    api: str
    path: str
    code: str
    message: str
    found: str
    allowed: str
    hint: str


class Engine(TypedDict, total=False):
    """One way in which containers run in an environment."""

    name: str
    available: bool
    detail: str


class Info(TypedDict, total=False):
    """The environment that answers."""

    environment: str
    version: str
    api_endpoint: str
    state_dir: str
    pid: int
    started_at: str
    apis: int
    replicas: int
    engines: List[Engine]


class Principal(TypedDict, total=False):
    """A proven AWS identity. type is user, role, root or federated-user."""

    partition: str
    account: str
    type: str
    arn: str
    unique_id: str
    session_name: str


class Permission(TypedDict, total=False):
    """Whether an action is allowed, and the policies that say so."""

    action: str
    allowed: bool
    policies: List[str]


class Identity(TypedDict, total=False):
    """What the operator says of a caller."""

    principal: Principal
    environment: str
    cluster_id: str
    session_id: str
    expires_at: str
    policy: str
    permissions: List[Permission]


class Metadata(TypedDict, total=False):
    """Names a deployed API."""

    name: str
    kind: str
    id: str
    deployment_id: str
    last_updated: int


class Evidence(TypedDict):
    """One fact that supports a reason: a log line, an exit code, a probe's answer."""

    kind: str
    text: str


class Reason(TypedDict, total=False):
    """A cause with its evidence."""

    code: str
    message: str
    evidence: List[Evidence]
    fix: str


class Replica(TypedDict, total=False):
    """One running copy of an API."""

    id: str
    api_id: str
    up_to_date: bool
    state: str
    reason: Reason
    restarts: int
    since: str
    address: str


class Status(TypedDict, total=False):
    """What an API is doing now. phase is live, updating, idle, degraded or failed."""

    ready: int
    requested: int
    up_to_date: int
    phase: str
    reason: str
    replica_counts: Dict[str, int]
    replicas: List[Replica]


class APIVersion(TypedDict, total=False):
    """One line of an API's history. Times are in Unix seconds.

    result is live, failed, superseded or pending; empty where an earlier Cortex deployed it.
    """

    api_id: str
    spec_id: str
    number: int
    last_updated: int
    current: bool
    serving: bool
    cause: str
    result: str
    reason: str
    first_live: int


class Programs(TypedDict, total=False):
    """Where the processes of an API find what they run: the PATH, and the file that each name stood for."""

    path: str
    found: Dict[str, str]


class Spec(TypedDict, total=False):
    """A deployed version: the whole configuration with its defaults filled in."""

    name: str
    kind: str
    pod: Optional[Dict[str, Any]]
    node_groups: Optional[List[str]]
    apis: Optional[List[Dict[str, Any]]]
    networking: Optional[Dict[str, Any]]
    autoscaling: Optional[Dict[str, Any]]
    update_strategy: Optional[Dict[str, Any]]
    id: str
    spec_id: str
    pod_id: str
    deployment_id: str
    index: int
    file_name: str
    directory: str
    programs: Programs
    submitted_api_spec: Any
    initial_deployment_time: int
    last_updated: int


class API(TypedDict, total=False):
    """One API; what is in it depends on which call returned it."""

    spec: Spec
    metadata: Metadata
    status: Status
    num_traffic_splitter_targets: int
    endpoint: str
    dashboard_url: str
    api_versions: List[APIVersion]


class DeployResult(TypedDict, total=False):
    """What a deploy did to one API. error is empty on success."""

    api: Optional[API]
    action: str
    changes: List[str]
    message: str
    error: str
    code: str


class LogLine(TypedDict):
    """One line a container wrote."""

    time: str
    replica: str
    container: str
    stream: str
    text: str


class Event(TypedDict, total=False):
    """Something that happened to an API."""

    time: str
    api: str
    type: str
    reason: str
    message: str
    replica: str


class Step(TypedDict):
    """One layer of an explanation."""

    layer: str
    ok: bool
    detail: str


class Explanation(TypedDict, total=False):
    """The first cause of an API not being ready."""

    name: str
    kind: str
    healthy: bool
    summary: str
    cause: Reason
    steps: List[Step]
    at: str


class Environment(TypedDict, total=False):
    """A place where APIs are deployed. The local one has no operator_endpoint."""

    name: str
    operator_endpoint: str
