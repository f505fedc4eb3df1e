"""Objects as the API server would tell them, for tests of the operator's memory."""

import base64
import copy
from typing import Any

from mqtt_operator.desired.manifest import Manifest
from support.resource_examples import BROKER, CLIENT, PERMISSION, changed


def _there(base: Manifest, name: str, changes: dict[str, Any]) -> Manifest:
    base = copy.deepcopy(base)
    base["metadata"] |= {"namespace": "mqtt", "uid": f"uid-{name}", "generation": 1, "resourceVersion": "1"}
    return changed(base, {"metadata.name": name, **changes})


def broker(name: str = "plant", **changes: Any) -> Manifest:
    """`changes`: paths with __ for dots, such as metadata__namespace."""
    return _there(BROKER, name, _paths(changes))


def client(name: str = "pump-7", **changes: Any) -> Manifest:
    return _there(CLIENT, name, _paths(changes))


def permission(name: str = "pumps", **changes: Any) -> Manifest:
    return _there(PERMISSION, name, _paths(changes))


def secret(name: str = "pump-7", kind: str = "Secret", version: str = "1", **values: str) -> Manifest:
    metadata: Manifest = {"name": name, "namespace": "mqtt", "uid": f"uid-{name}", "resourceVersion": version}
    data = {
        key: base64.b64encode(value.encode()).decode() if kind == "Secret" else value for key, value in values.items()
    }
    return {"apiVersion": "v1", "kind": kind, "type": "Opaque", "metadata": metadata, "data": data}


def _paths(changes: dict[str, Any]) -> dict[str, Any]:
    return {path.replace("__", "."): value for path, value in changes.items()}
