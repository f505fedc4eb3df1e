"""The identity of the store: made once per data folder, given to every node, never made again in silence.

Knows when an identity may be new; does not know the store's format.
"""

import uuid
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec import Struct

from mqtt_operator.channel.terms import Found, Identity
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
    """The identity of the one node's own store, or a new one, written before it is returned.

    An empty store under a known identity would be served as "no sessions, nothing retained": refused.
    Raises DataFolderError.
    """
    world = _load(data.world, new_id)
    if world.established and not data.store.exists():
        raise DataFolderError(
            "The store is gone: sessions and retained messages that it held would be lost in silence.",
            where=f"path: {data.store}",
            to_do=f"Restore that file from a backup; to start empty on purpose, delete {data.world}.",
        )
    return world


def load_shared_world(data: DataFolder, new_id: Callable[[], str] = _new_id) -> World:
    """The identity that the store which nodes share must have, or a new one, written before it is returned.

    Whether it has that one, `check_found` says. Raises DataFolderError.
    """
    return _load(data.shared_world, new_id)


def check_found(data: DataFolder, found: Found) -> None:
    """Raises DataFolderError if the store that nodes share is not the one this folder belongs to."""
    if found.identity is Identity.EMPTY:
        raise DataFolderError(
            "The store is empty, but it was in use: sessions and retained messages would be lost in silence.",
            where=f"path: {data.shared_world}",
            to_do="Bring its data back, or name the right store; to start empty on purpose, delete that file.",
        )
    if found.identity is Identity.OTHER:
        raise DataFolderError(
            f"The store belongs to another data folder: its identity is {found.id}.",
            where=f"path: {data.shared_world}",
            to_do="Use that folder (--data), or another keyPrefix; to take the store over, put its identity into the "
            "file as id.",
        )


def establish_world(data: DataFolder, world: World) -> None:
    """Remember that the one node's own store exists now. Idempotent. Raises DataFolderError."""
    _establish(data.world, world)


def establish_shared_world(data: DataFolder, world: World) -> None:
    """Remember that the store which nodes share has this identity. Idempotent. Raises DataFolderError."""
    _establish(data.shared_world, world)


def _load(path: Path, new_id: Callable[[], str]) -> World:
    stored = read_or_none(path)
    if stored is None:
        world = World(id=new_id())
        write_private(path, msgspec.json.encode(world))
        return world
    try:
        return msgspec.json.decode(stored, type=World)
    except msgspec.DecodeError as error:
        raise DataFolderError(
            "The store's identity cannot be read.",
            where=f"path: {path}: {error}",
            to_do="Restore that file from a backup, or start anew with another --data.",
        ) from error


def _establish(path: Path, world: World) -> None:
    if not world.established:
        write_private(path, msgspec.json.encode(World(id=world.id, established=True)))
