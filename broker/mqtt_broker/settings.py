"""The only reader of this program's settings file. A document that does not fit is refused with the field's path."""

from pathlib import Path

import msgspec

from mqtt_api.node_settings import NodeSettings


class SettingsError(Exception):
    """The settings cannot be used; the text names the file, the field and what to do."""


def read_settings(path: Path) -> NodeSettings:
    """Read and validate. Raises SettingsError; nothing is changed then."""
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise SettingsError(f"settings file {path} cannot be read: {problem.strerror}") from problem
    try:
        return msgspec.json.decode(data, type=NodeSettings)
    except msgspec.DecodeError as problem:  # ValidationError is one of them and names the field
        raise SettingsError(f"settings file {path}: {problem}") from problem
