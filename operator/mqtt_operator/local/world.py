"""The identity of the store: made once per data folder, given to every node, never made again in silence.

Knows when an identity may be new; does not know the store's format.
"""

import uuid
from collections.abc import Callable

import msgspec
from msgspec import Struct

from mqtt_operator.errors import DataFolderError
from mqtt_operator.local.data_folder import DataFolder
from mqtt_operator.local.files import read_or_none, write_private


class World(Struct, frozen=True, kw_only=True):
    """`established`: a node has been ready with this identity, so its store must exist from then on."""

    id: str
    established: bool = False


def _new_id() -> str:
    return uuid.uuid4().hex


def load_world(data: DataFolder, new_id: Callable[[], str] = _new_id) -> World:
    """The identity kept in the folder, or a new one, written before it is returned.

    An empty store under a known identity would be served as "no sessions, nothing retained": refused.
    Raises DataFolderError.
    """
    stored = read_or_none(data.world)
    if stored is None:
        world = World(id=new_id())
        write_private(data.world, msgspec.json.encode(world))
        return world
    try:
        world = msgspec.json.decode(stored, type=World)
    except msgspec.DecodeError as error:
        raise DataFolderError(
            "The store's identity cannot be read.",
            where=f"path: {data.world}: {error}",
            to_do="Restore that file from a backup, or start anew with another --data.",
        ) from error
    if world.established and not data.store.exists():
        raise DataFolderError(
            "The store is gone: sessions and retained messages that it held would be lost in silence.",
            where=f"path: {data.store}",
            to_do=f"Restore that file from a backup; to start empty on purpose, delete {data.world}.",
        )
    return world


def establish_world(data: DataFolder, world: World) -> None:
    """Remember that the store exists now. Idempotent. Raises DataFolderError."""
    if not world.established:
        write_private(data.world, msgspec.json.encode(World(id=world.id, established=True)))
