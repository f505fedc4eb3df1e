"""Somebody with exactly the rights of the operator, or with one of them missing.

The rights are those of hack/rbac.py, bound in one namespace as the chart binds them.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from kubernetes.aio.client import Configuration

from mqtt_operator.kube.port import Call
from support.kube import kubectl
from support.kube.place import Place
from support.processes import ROOT

sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []

from hack import rbac  # noqa: E402 - found through the path

Part = rbac.Part
ACCOUNT = "stoa-operator"
ROLES = "rbac.authorization.k8s.io"
NAMESPACED = (Part.BROKERS, Part.SECRETS, Part.LEASE)


def every_right(parts: Iterable[Part]) -> set[Call]:
    """All of them, in the words of the door: one call for each verb on each resource."""
    wanted = set(parts)
    return {
        Call(verb, right.group, *resource.split("/"))
        for right in rbac.RIGHTS
        if right.part in wanted
        for resource in right.resources
        for verb in right.verbs
    }


def grant(place: Place, namespace: str, *, without: Call | None = None) -> None:
    """Make the account, and give it the rights that hold in a namespace."""
    kubectl.apply(
        place,
        [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT, "namespace": namespace}},
            _role("Role", {"name": ACCOUNT, "namespace": namespace}, NAMESPACED, without),
            _binding("RoleBinding", {"name": ACCOUNT, "namespace": namespace}, "Role", namespace),
        ],
    )


def grant_in(place: Place, namespace: str, home: str) -> None:
    """Give the account of the namespace `home` the operator's rights in another one."""
    metadata = {"name": ACCOUNT, "namespace": namespace}
    role = _role("Role", metadata, (Part.BROKERS, Part.SECRETS), None)
    kubectl.apply(place, [role, _binding("RoleBinding", metadata, "Role", home)])


def grant_everywhere(place: Place, namespace: str) -> None:
    """The rights of an operator that serves all namespaces: no Secrets among them."""
    name = f"{ACCOUNT}-{namespace}"
    kubectl.apply(
        place,
        [
            _role("ClusterRole", {"name": name}, (Part.BROKERS, Part.CLUSTER), None),
            _binding("ClusterRoleBinding", {"name": name}, "ClusterRole", namespace),
        ],
    )


def configuration(place: Place, namespace: str) -> Configuration:
    """How to log in as the account."""
    admin = yaml.safe_load(place.kubeconfig.read_text(encoding="utf-8"))
    cluster = admin["clusters"][0]["cluster"]
    made = Configuration(host=cluster["server"], ssl_ca_cert=str(place.keys / "ca.crt"))
    made.api_key["BearerToken"] = f"Bearer {token(place, namespace)}"
    return made


def kubeconfig(place: Place, namespace: str, path: Path) -> Path:
    """The same as a file."""
    document = yaml.safe_load(place.kubeconfig.read_text(encoding="utf-8"))
    document["users"][0]["user"] = {"token": token(place, namespace)}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def token(place: Place, namespace: str) -> str:
    return kubectl.call(place, "create", "token", ACCOUNT, "--namespace", namespace).strip()


def _role(kind: str, metadata: dict[str, str], parts: Iterable[Part], without: Call | None) -> dict[str, Any]:
    rules = [rule for part in parts for rule in rbac.rules(part)]
    if without is not None:
        rules = [each for rule in rules for each in _less(rule, without)]
    return {"apiVersion": f"{ROLES}/v1", "kind": kind, "metadata": metadata, "rules": rules}


def _less(rule: dict[str, list[str]], without: Call) -> list[dict[str, list[str]]]:
    """The rule, cut in two if one verb on one of its resources is to be missing."""
    name = f"{without.resource}/{without.subresource}" if without.subresource else without.resource
    if without.group not in rule["apiGroups"] or name not in rule["resources"] or without.verb not in rule["verbs"]:
        return [rule]
    others = [each for each in rule["resources"] if each != name]
    verbs = [each for each in rule["verbs"] if each != without.verb]
    cut = [{**rule, "resources": others}, {**rule, "resources": [name], "verbs": verbs}]
    return [each for each in cut if each["resources"] and each["verbs"]]


def _binding(kind: str, metadata: dict[str, str], role: str, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{ROLES}/v1",
        "kind": kind,
        "metadata": metadata,
        "roleRef": {"apiGroup": ROLES, "kind": role, "name": metadata["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": namespace}],
    }
