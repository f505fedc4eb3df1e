"""The only reader of this program's settings file. A document that does not fit is refused with the field's path."""

from pathlib import Path

import msgspec
from msgspec.structs import replace

from mqtt_api.node_settings import NodeSettings


class SettingsError(Exception):
    """The settings cannot be used; the text names the file, the field and what to do."""


NODE = "{node}"  # in `server_reference`: the node's name


def read_settings(path: Path, node: str | None = None) -> NodeSettings:
    """Read and validate. `node`, if given, is the name instead of the one in the file, which many nodes may share.

    Raises SettingsError; nothing is changed then.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise SettingsError(f"settings file {path} cannot be read: {problem.strerror}") from problem
    try:
        settings = msgspec.json.decode(data, type=NodeSettings)
    except msgspec.DecodeError as problem:  # ValidationError is one of them and names the field
        raise SettingsError(f"settings file {path}: {problem}") from problem
    return _named(settings, settings.node if node is None else node)


def _named(settings: NodeSettings, node: str) -> NodeSettings:
    return replace(settings, node=node, server_reference=settings.server_reference.replace(NODE, node))
