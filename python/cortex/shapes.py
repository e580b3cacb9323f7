"""The shapes of what the operator answers, for type checkers and editors.

At run time these are plain dicts. A class whose name begins with an underscore has the
members that are always there; the others are absent where there is nothing to say. Later
versions of the operator may add some.
"""

from __future__ import annotations

from typing import Any, Dict, List, Optional, TypedDict


class _Problem(TypedDict):
    code: str
    message: str


class Problem(_Problem, total=False):
    """One thing that is wrong in a file."""

    file: str
    line: int
    column: int
    api: str
    path: str
    found: str
    allowed: str
    hint: str


class _Engine(TypedDict):
    name: str
    available: bool


class Engine(_Engine, total=False):
    """One way in which containers run in an environment."""

    detail: str


class _Info(TypedDict):
    environment: str
    version: str
    api_endpoint: str
    started_at: str
    apis: int
    replicas: int
    engines: List[Engine]


class Info(_Info, total=False):
    """The environment that answers."""

    metrics_endpoint: str
    state_dir: str
    pid: int


class _Principal(TypedDict):
    partition: str
    account: str
    type: str
    arn: str
    unique_id: str


class Principal(_Principal, total=False):
    """A proven AWS identity. type is user, role, root or federated-user."""

    session_name: str


class _Permission(TypedDict):
    action: str
    allowed: bool


class Permission(_Permission, total=False):
    """Whether an action is allowed, and the policies that say so."""

    policies: List[str]


class _Identity(TypedDict):
    environment: str


class Identity(_Identity, total=False):
    """What an environment says of a caller: user in the local one, the rest from an operator."""

    user: str
    principal: Principal
    cluster_id: str
    session_id: str
    expires_at: str
    policy: str
    permissions: List[Permission]


class _Metadata(TypedDict):
    name: str
    kind: str
    id: str
    last_updated: int


class Metadata(_Metadata, total=False):
    """Names a deployed API."""

    deployment_id: str


class Evidence(TypedDict):
    """One fact that supports a reason: a log line, an exit code, a probe's answer."""

    kind: str
    text: str


class _Reason(TypedDict):
    code: str
    message: str


class Reason(_Reason, total=False):
    """A cause with its evidence."""

    evidence: List[Evidence]
    fix: str


class Usage(TypedDict, total=False):
    """What a replica takes and does now."""

    memory_bytes: int
    cpu_seconds: float
    in_flight: int


class _Replica(TypedDict):
    id: str
    api_id: str
    up_to_date: bool
    state: str
    restarts: int
    since: str


class Replica(_Replica, total=False):
    """One running copy of an API."""

    reason: Reason
    address: str
    usage: Usage
    warning: str


class _Traffic(TypedDict):
    in_flight: int
    requests: int
    seconds: float


class Traffic(_Traffic, total=False):
    """What an API has to do: requests that were worked on since its front door started, and their seconds.

    over: requests that are over, whoever answered; failed: of these, with a status of 500 and above.
    """

    over: int
    failed: int


class _Stopped(TypedDict):
    at: str
    replicas: int


class Stopped(_Stopped, total=False):
    """Since when an API is stopped, by whom, and how many replicas it has when it is started."""

    by: str


class _Status(TypedDict):
    ready: int
    requested: int
    up_to_date: int
    phase: str


class Status(_Status, total=False):
    """What an API is doing now. phase is live, updating, idle, stopped, degraded or failed."""

    reason: str
    replica_counts: Dict[str, int]
    replicas: List[Replica]
    traffic: Traffic
    warning: str
    stopped: Stopped


class _APIVersion(TypedDict):
    api_id: str
    spec_id: str
    number: int
    last_updated: int
    current: bool
    serving: bool
    cause: str
    result: str


class APIVersion(_APIVersion, total=False):
    """One line of an API's history. Times are in Unix seconds.

    result is live, failed, superseded or pending; empty where an earlier Cortex deployed it.
    """

    reason: str
    first_live: int


class _Programs(TypedDict):
    path: str


class Programs(_Programs, total=False):
    """Where the processes of an API find what they run: the PATH, and the file that each name stood for."""

    found: Dict[str, str]


class _Spec(TypedDict):
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
    submitted_api_spec: Any
    initial_deployment_time: int
    last_updated: int


class Spec(_Spec, total=False):
    """A deployed version: the whole configuration with its defaults filled in."""

    directory: str
    programs: Programs


class _API(TypedDict):
    metadata: Metadata


class Copies(TypedDict):
    """What became of the copies for a shadow; dropped were not made, or not answered."""

    answered: int
    dropped: int


class API(_API, total=False):
    """One API; what is in it depends on which call returned it."""

    spec: Spec
    status: Status
    num_traffic_splitter_targets: int
    copies: Copies
    endpoint: str
    dashboard_url: str
    api_versions: List[APIVersion]


class _FullAPI(API):
    spec: Spec


class FullAPI(_FullAPI, total=False):
    """One API with its specification, as get_api and get_version return it.

    status is absent for kinds that have no replicas of their own, such as TrafficSplitter.
    """



#: "from" is a word of Python.
_From = TypedDict("_From", {"from": str})


class Difference(_From):
    """One key path at which two versions differ, with both values as JSON; those of variables are masked."""

    path: str
    to: str


class _DeployResult(TypedDict):
    api: Optional[API]
    message: str
    error: str


class DeployResult(_DeployResult, total=False):
    """What a deploy did to one API. error is empty on success."""

    name: str
    action: str
    changes: List[str]
    differences: List[Difference]
    code: str


class Secret(TypedDict):
    """What is known of a secret: everything but its value."""

    name: str
    set_at: str
    used_by: List[str]


class _VolumeInfo(TypedDict):
    name: str
    used_by: List[str]


class VolumeInfo(_VolumeInfo, total=False):
    """A volume that one machine keeps; path is its folder, to users of the machine."""

    path: str


class SecretSet(TypedDict):
    """The answer to setting a secret; run_with_old are APIs whose replicas have the value of before."""

    name: str
    created: bool
    run_with_old: List[str]


class _Key(TypedDict):
    name: str
    id: str
    apis: List[str]
    state: str
    created_at: str


class Key(_Key, total=False):
    """What is known of an access key: everything but what its holder has. Without apis it is good for all."""

    labels: Dict[str, str]
    created_by: str
    expires_at: str


class _KeyText(TypedDict):
    key: str


class KeyMade(Key, _KeyText):
    """A new access key; its key is what the caller shows, and is returned this once."""


class Calls(TypedDict):
    """What one caller has asked of one API within an hour."""

    hour: str
    api: str
    caller: str
    requests: int
    succeeded: int
    client_errors: int
    server_errors: int
    broken: int
    limited: int
    seconds: float


class CallSession(TypedDict):
    """A session with which an AWS identity calls APIs."""

    token: str
    expires_at: str
    principal: Dict[str, Any]
    apis: List[str]


class LogLine(TypedDict):
    """One line a container wrote."""

    time: str
    replica: str
    container: str
    stream: str
    text: str


class _Event(TypedDict):
    time: str
    api: str
    type: str
    reason: str
    message: str


class Event(_Event, total=False):
    """Something that happened to an API."""

    kind: str
    replica: str


class Refused(TypedDict):
    """Why a specification was refused that was written as a custom resource. waiting: it is judged again."""

    resource: str
    message: str
    since: str


class _Rates(TypedDict):
    requests_per_second: float


class Rates(_Rates, total=False):
    """What an API did in the last seconds. Without requests there is no latency: its mean, and quantiles.

    error_share: of all requests, those that were answered with 500 and above; absent: none.
    """

    latency_seconds: float
    p50_seconds: float
    p90_seconds: float
    p99_seconds: float
    error_share: float


class Series(_From):
    """What an API did over time: a value for each step, -1 where it is not known."""

    api: str

    step_seconds: int
    requests: List[float]
    errors: List[float]
    p50: List[float]
    p99: List[float]
    in_flight: List[float]
    ready: List[float]
    requested: List[float]


class WatchedAPI(Metadata, total=False):
    """One API as watch shows it; status has no replicas."""

    endpoint: str
    status: Status
    rates: Rates
    num_traffic_splitter_targets: int
    running_jobs: int
    refused: Refused
    last_event: Event


class _Watched(TypedDict):
    id: str
    snapshot: bool
    apis: List[WatchedAPI]


class Watched(_Watched, total=False):
    """What there is (snapshot), or those APIs that have changed and the names of those that are gone."""

    gone: List[str]


class _Step(TypedDict):
    layer: str
    ok: bool
    detail: str


class Step(_Step, total=False):
    """One layer of an explanation. pending: waiting may be all that it takes."""

    pending: bool


class _Explanation(TypedDict):
    name: str
    kind: str
    healthy: bool
    summary: str
    steps: List[Step]
    at: str


class Explanation(_Explanation, total=False):
    """The first cause of an API not being ready."""

    cause: Reason


class ItemReason(TypedDict):
    """Why an item, or one execution of it, did not succeed."""

    code: str
    message: str


class _ItemAttempt(TypedDict):
    n: int
    started_at: str


class ItemAttempt(_ItemAttempt, total=False):
    """One execution of an item. outcome is absent while it runs."""

    outcome: str
    http_status: int
    reason: ItemReason
    replica: str
    revision: str
    duration: str


class _ItemQueue(TypedDict):
    ahead: int
    approximate: bool


class ItemQueue(_ItemQueue, total=False):
    """Where an item waits, and for about how long."""

    estimate: str


class _ItemProgress(TypedDict):
    at: str


class ItemProgress(_ItemProgress, total=False):
    """How far an execution is, as its container says."""

    percent: float
    message: str


class _Item(TypedDict):
    id: str
    status: str
    state: str
    timestamp: str
    accepted_at: str


class Item(_Item, total=False):
    """One request to an AsyncAPI and what became of it."""

    result: Any
    result_url: str
    reason: ItemReason
    attempts: List[ItemAttempt]
    next_attempt_at: str
    expires_at: str
    queue: ItemQueue
    progress: ItemProgress
    priority: str
    labels: Dict[str, str]


class _Environment(TypedDict):
    name: str


class Environment(_Environment, total=False):
    """A place where APIs are deployed. The local one has no operator_endpoint."""

    operator_endpoint: str
