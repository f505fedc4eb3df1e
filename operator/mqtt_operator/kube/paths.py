"""Where objects are in the API, and what a request for them is called in RBAC. Pure.

Knows the layout of the API's paths; does not know any kind, or how a request is sent.
"""

from urllib.parse import quote

from mqtt_operator.desired import kinds
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.kube.port import Call

_KNOWN = {(kind.api_version, kind.kind): kind for kind in vars(kinds).values() if isinstance(kind, Kind)}


def collection(kind: Kind, namespace: str) -> str:
    """The path of all objects of this kind, in the namespace or in all of them ("")."""
    within = f"/namespaces/{_part(namespace)}" if kind.namespaced and namespace else ""
    return f"{discovery(kind)}{within}/{kind.plural}"


def item(kind: Kind, namespace: str, name: str, subresource: str = "") -> str:
    """The path of one object, or of a part of it."""
    assert name
    assert namespace or not kind.namespaced
    path = f"{collection(kind, namespace)}/{_part(name)}"
    return f"{path}/{subresource}" if subresource else path


def discovery(kind: Kind) -> str:
    """The path that tells which kinds there are in this version of the group."""
    return f"/apis/{kind.api_version}" if kind.group else f"/api/{kind.version}"


def call(verb: str, kind: Kind, subresource: str = "") -> Call:
    """The request in the words of RBAC."""
    return Call(verb, kind.group, kind.plural, subresource)


def kind_of(manifest: Manifest) -> Kind:
    """The kind of an object that is at hand. It must be one of those in mqtt_operator.desired.kinds."""
    return _KNOWN[manifest["apiVersion"], manifest["kind"]]


def _part(name: str) -> str:
    """No name can reach outside of its place in a path."""
    return quote(name, safe="")
