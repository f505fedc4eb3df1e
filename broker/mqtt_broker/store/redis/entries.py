"""How messages and queue entries lie in Redis; inboxes carry the same values.

Knows the bytes of an entry; does not know keys, scripts or who an entry belongs to. An entry's value is put together in
Redis from a header and the message, so that many copies of a message send it once:

    1 byte   flags: 1-2 QoS, 4 retain, 8-16 the message's own QoS, 32 its own retain, 64 taken from a group
    4 bytes  the size that counts for bounds, big-endian
    4 bytes  length of the extension
    ...      extension, if any: MessagePack of `Extension`
    ...      the message: `body`
"""

import struct

import msgspec
from msgspec import Struct

from mqtt_broker.session.message import Message
from mqtt_broker.store.encoding import decode_message, encode
from mqtt_broker.store.ports import QueueEntry, StoreUnavailable

_HEADER = struct.Struct(">BII")
_TAKEN = 64


class Extension(Struct, frozen=True, array_like=True):
    """What few entries have. All but the identifiers only in entries that were taken from a group."""

    identifiers: tuple[int, ...] = ()
    share: str = ""
    filter: str = ""
    group_id: int = 0
    group_place: int = 0


_decode_extension = msgspec.msgpack.Decoder(Extension).decode

body = encode
"""A message as bytes."""


def decode_body(value: bytes) -> Message:
    """The message that `body` wrote. Raises StoreUnavailable for anything else."""
    try:
        return decode_message(value)
    except msgspec.MsgspecError as problem:
        raise StoreUnavailable(f"the store holds a message that cannot be read: {problem}") from problem


def header(message: Message, size: int, qos: int, *, retain: bool = False, identifiers: tuple[int, ...] = ()) -> bytes:
    """What stands before the message in a queue entry of this QoS; `size` is that of the message."""
    flags = qos | retain << 2 | message.qos << 3 | message.retain << 5
    if not identifiers:
        return _HEADER.pack(flags, size, 0)
    extension = encode((identifiers,))
    return _HEADER.pack(flags, size, len(extension)) + extension


def decode_entry(sequence: int, value: bytes, *, received: bool = False) -> QueueEntry:
    """The entry at `sequence`. `received`: PUBREC came. Raises StoreUnavailable if `value` is not an entry."""
    try:
        flags, _, length = _HEADER.unpack_from(value)
        extension = _decode_extension(value[9 : 9 + length]) if length else None
        message = decode_message(value[9 + length :])
    except (struct.error, msgspec.MsgspecError) as problem:
        raise StoreUnavailable(f"the store holds a queue entry that cannot be read: {problem}") from problem
    return QueueEntry(
        sequence=sequence,
        message=message,
        qos=flags & 3,
        retain=bool(flags & 4),
        identifiers=extension.identifiers if extension else (),
        received=received,
        group=(extension.share, extension.filter) if extension and flags & _TAKEN else None,
    )
