"""How a policy lies in a document: lines of JSON, so that a small change is a small part of it.

Knows which entries share a line and how content is named; does not know what an entry says, or how lines travel.

The first line holds what is said once (`Outline`). Each other line holds some permissions or some principals, in the
order of their names. Where a line begins follows from the names alone: whatever changes in an object changes its own
line, and one that comes or goes changes one line or two.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple
from zlib import crc32

import msgspec
from msgspec import Struct

from mqtt_api.policy_values import Effect, Policy, Purge

ENTRIES_PER_LINE = 64  # on average: a line is some 30 KiB then, and 10,000 principals are some 150 lines
LINE_BYTES_MAX = 256 * 1024  # of several entries; one entry alone may be longer

_encoder = msgspec.json.Encoder(order="sorted")


class Section(StrEnum):
    """What a line holds entries of."""

    PERMISSIONS = "permissions"
    PRINCIPALS = "principals"


class Outline(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first line: the fields of Policy that are no table."""

    revision: int = 0
    digest: str = ""
    default_effect: Effect = Effect.DENY
    scram_salt_key: bytes = b""
    authenticated: tuple[str, ...] = ()
    anonymous: tuple[str, ...] = ()
    purges: Mapping[str, Purge] = {}


class Part(NamedTuple):
    """A line with its end, and the name of what it says: what a store keeps, and what a reader fetches."""

    digest: str
    line: bytes


def outline_of(policy: Policy) -> Outline:
    return Outline(
        revision=policy.revision,
        digest=policy.digest,
        default_effect=policy.default_effect,
        scram_salt_key=policy.scram_salt_key,
        authenticated=policy.authenticated,
        anonymous=policy.anonymous,
        purges=policy.purges,
    )


def lines_of(policy: Policy) -> list[bytes]:
    """The whole document, each line with its end. Equal policies give equal lines."""
    return [outline_line(outline_of(policy)), *_content(policy)]


def parts_of(document: bytes) -> list[Part]:
    """The lines of a document; at least one."""
    return [part(line) for line in document.splitlines(keepends=True) or [b""]]


def part(line: bytes) -> Part:
    return Part(line_digest(line), line)


def content_digest(policy: Policy) -> str:
    """Names what the policy says, whatever its revision."""
    return digest_of(outline_of(policy), [line_digest(line) for line in _content(policy)])


def digest_of(outline: Outline, line_digests: Iterable[str]) -> str:
    """The digest of a policy of which only the outline and the digests of the other lines are at hand."""
    bare = outline_line(msgspec.structs.replace(outline, revision=0, digest=""))
    return line_digest("\n".join([line_digest(bare), *line_digests]).encode())


def line_digest(line: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return sha256(line).hexdigest()


def parts_digest(digests: Iterable[str]) -> str:
    """Names a document by the digests of its lines in order."""
    return line_digest(" ".join(digests).encode())


def outline_line(outline: Outline) -> bytes:
    return _encoder.encode(outline) + b"\n"


def encode_entry(value: object) -> bytes:
    """One value of a table, as it stands in its line."""
    return _encoder.encode(value)


def begins_line(name: str) -> bool:
    """True if an entry of this name is always the first of its line."""
    return crc32(name.encode()) % ENTRIES_PER_LINE == 0


def section_lines(section: Section, entries: Iterable[tuple[str, bytes]]) -> Iterator[bytes]:
    """Encoded entries, sorted by name, in lines."""
    for members in _gathered(entries):
        yield b'{"%b":{%b}}\n' % (section.encode(), b",".join(members))


def _gathered(entries: Iterable[tuple[str, bytes]]) -> Iterator[Sequence[bytes]]:
    members: list[bytes] = []
    length = 0
    for name, value in entries:
        member = b"%b:%b" % (_encoder.encode(name), value)
        if members and (begins_line(name) or length + len(member) > LINE_BYTES_MAX):
            yield members
            members, length = [], 0
        members.append(member)
        length += len(member)
    if members:
        yield members


def _content(policy: Policy) -> Iterator[bytes]:
    tables = {Section.PERMISSIONS: policy.permissions, Section.PRINCIPALS: policy.principals}
    for section, table in tables.items():
        yield from section_lines(section, ((name, encode_entry(table[name])) for name in sorted(table)))
