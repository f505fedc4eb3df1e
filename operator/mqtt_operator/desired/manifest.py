"""What a Kubernetes object is here: a plain dict with the names of the API, built whole and never changed in place.

Knows the shape that all objects share; does not know any kind, the API server, or what exists.
"""

from typing import Any, TypeAlias

Manifest: TypeAlias = dict[str, Any]
