"""A kubeconfig: where the API server is, whom to trust, and who one is. All in one file, so that it can be copied."""

import base64
import json
from pathlib import Path

from support.kube.certificates import Pair
from support.kube.place import Place


def write(place: Place, file: str, server: str, authority: Path, user: Pair) -> Path:
    """JSON is YAML too."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": place.name, "cluster": {"server": server, "certificate-authority-data": _encoded(authority)}}
        ],
        "users": [
            {
                "name": "user",
                "user": {
                    "client-certificate-data": _encoded(user.certificate),
                    "client-key-data": _encoded(user.key),
                },
            }
        ],
        "contexts": [{"name": place.name, "context": {"cluster": place.name, "user": "user"}}],
        "current-context": place.name,
    }
    return place.file(file, json.dumps(document, indent=2) + "\n")


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
