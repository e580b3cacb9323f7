"""The Python client of Cortex: deploy, call and manage models and other containers as APIs.

    import cortex

    client = cortex.client()                      # the default environment, or this machine
    client.deploy_from_file("cortex.yaml", wait=True)
    print(client.predict("iris", {"sepal_length": 5.1}))

It speaks to the operator itself, over HTTP, and needs nothing but Python. On one
machine it starts the local environment with the cortex command line when it is
not running. To prove an AWS identity to an operator elsewhere it needs botocore:
pip install 'cortex[iam]'.
"""

from __future__ import annotations

from typing import List, Optional, cast

from cortex import environment as _environment
from cortex import iam as _iam
from cortex import local as _local
from cortex import transport as _transport
from cortex import trust as _trust
from cortex.client import Client
from cortex.exceptions import (
    CortexBinaryException,
    CortexException,
    DeployFailed,
    ItemFailed,
    NotFound,
    PredictionFailed,
)
from cortex.items import Item
from cortex.local import run_cli
from cortex.shapes import Environment

__version__ = "1.0.0.dev0"

__all__ = [
    "Client",
    "CortexBinaryException",
    "CortexException",
    "DeployFailed",
    "Item",
    "ItemFailed",
    "NotFound",
    "PredictionFailed",
    "client",
    "env_delete",
    "env_list",
    "new_client",
    "run_cli",
]


def client(env_name: Optional[str] = None) -> Client:
    """Returns a client of the named environment, else of the default one.

    Without a configuration that is `local`, this machine.

    Raises:
        NotFound: There is no such environment, or several and no default.
    """
    env = _environment.read().choose(env_name)
    if env["name"] == _environment.LOCAL:
        folder = _environment.config_dir()
        path = _local.socket_path(folder)
        return Client({"name": _environment.LOCAL}, _transport.over_socket(path, lambda: _local.start(folder)))
    transport = _iam.transport_to(env)
    return Client({"name": env["name"], "operator_endpoint": transport.where}, transport)


def new_client(
    env_name: str, operator_endpoint: str, *, ca_file: Optional[str] = None, fingerprint: Optional[str] = None
) -> Client:
    """Configures an environment, replacing one of the same name, and returns a client of it.

    Nothing is changed when no operator answers there, or when it does not show what
    it has to. No identity is needed for that.

    Args:
        ca_file: A PEM file: the operator's certificate has to be signed by one of
            these authorities. Without it, and without fingerprint, by one that the
            system trusts.
        fingerprint: sha256 of the operator's certificate (or, from Python 3.13 on, of
            an authority that it shows).
    """
    _environment.check_name(env_name)
    endpoint = _environment.canonical_endpoint(operator_endpoint)
    entry = {"name": env_name, "operator_endpoint": endpoint, **_trust.by_hand(endpoint, ca_file, fingerprint)}
    if endpoint.startswith("https://"):
        entry["cluster_id"] = _iam.cluster_of(endpoint, entry)
    made = Client({"name": env_name, "operator_endpoint": endpoint}, _iam.transport_to(entry))
    if "cluster_id" not in entry:
        made.info()
    with _environment.change() as config:
        config.put(entry)
    return made


def env_list() -> List[Environment]:
    """Returns every environment. The local one is always there."""
    return [
        cast(Environment, {k: e[k] for k in ("name", "operator_endpoint") if e.get(k)})
        for e in _environment.read().all()
    ]


def env_delete(name: str) -> None:
    """Removes an environment from the configuration, and its kept sessions; nothing that is deployed there changes."""
    with _environment.change() as config:
        gone = next((e for e in config.environments if e["name"] == name), {}).get("operator_endpoint")
        config.remove(name)
        shared = any(e.get("operator_endpoint") == gone for e in config.environments)
    if gone and not shared:
        _iam.forget(str(gone))
