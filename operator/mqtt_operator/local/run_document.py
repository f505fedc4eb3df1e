"""What a `stoa up` runs, written down for commands that ask about it from elsewhere.

Knows the file; does not know whether anything of it still lives. No secret stands in it.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from mqtt_api.node_settings import RedisSettings
from mqtt_operator.errors import ExpectedError
from mqtt_operator.local.data_folder import DataFolder, default_root
from mqtt_operator.local.deploy import Deployment
from mqtt_operator.local.files import read_or_none, write_private_if_changed
from mqtt_operator.local.folder import read_broker


class RunNode(Struct, frozen=True, kw_only=True):
    """A node, where to ask it, and the ports of its listeners by name."""

    node: str
    admin_socket: str
    host: str
    ports: Mapping[str, int]


class Run(Struct, frozen=True, kw_only=True):
    """`store` is how an operator reaches the store that the nodes share, None = one node with a file."""

    broker: str
    nodes: tuple[RunNode, ...]
    store: RedisSettings | None = None


def find_run(folder: Path, data: Path | None) -> Run:
    """What runs from this folder. Raises ExpectedError if nothing ever did, or the folder is not right."""
    root = data or default_root(Path.cwd(), read_broker(folder).broker.metadata.name)
    return read_run(DataFolder(root))


def write_run(deployment: Deployment) -> None:
    """Raises DataFolderError."""
    nodes = [each.settings for each in deployment.nodes]
    run = Run(
        broker=deployment.declared.broker.reference,
        nodes=tuple(
            RunNode(
                node=each.node,
                admin_socket=each.admin_socket,
                host=each.listeners[0].host,
                ports={listener.name: listener.port for listener in each.listeners},
            )
            for each in nodes
        ),
        store=deployment.store,
    )
    write_private_if_changed(deployment.data.run, msgspec.json.format(msgspec.json.encode(run)))


def read_run(data: DataFolder) -> Run:
    """Raises ExpectedError if nothing ever ran from this folder."""
    stored = read_or_none(data.run)
    if stored is None:
        raise ExpectedError(
            "No `stoa up` has run from this data folder.",
            where=f"path: {data.root}",
            to_do="Start it with `stoa up FOLDER`, or name its data folder with --data.",
        )
    try:
        return msgspec.json.decode(stored, type=Run)
    except msgspec.DecodeError as error:
        raise ExpectedError(
            "What was written down about the running nodes cannot be read.",
            where=f"path: {data.run}: {error}",
            to_do="Start `stoa up` again with this version.",
        ) from error
