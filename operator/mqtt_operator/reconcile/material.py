"""The passwords and certificates of a managed store: made once, kept as one value, replaced in stages.

Knows the stages; does not know Secrets, Redis or a clock: the time and everything new come in. Pure.

Replacing takes three steps, each long enough for every node to have read its files again: first the store accepts the
new passwords and nodes trust the new CA as well; then both use the new ones while the old are still good; then the old
are gone. Nobody is ever asked for something that it has not got yet.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec
from msgspec import Struct

from mqtt_operator.credentials.certificates import KeyPair
from mqtt_operator.desired.inputs import ManagedStore, Passwords
from mqtt_operator.desired.redis_users import digest

OVERLAP = timedelta(minutes=5)  # kubelets bring new files within two minutes, and at once if they are nudged
REPLACED_AFTER = timedelta(days=180)


class Stage(StrEnum):
    """STEADY: `current` alone. TRUSTING: `other` is to come. RETIRING: `other` was there before."""

    STEADY = "steady"
    TRUSTING = "trusting"
    RETIRING = "retiring"


class Generation(Struct, frozen=True, kw_only=True):
    """What is replaced together. PEM."""

    ca_certificate: str
    ca_key: str
    node: str
    operator: str
    admin: str

    def __repr__(self) -> str:
        return "Generation(...)"

    @property
    def ca(self) -> KeyPair:
        return KeyPair(certificate=self.ca_certificate.encode(), key=self.ca_key.encode())


class Material(Struct, frozen=True, kw_only=True):
    """`certificate` and `key`: the server's, issued by the current CA. `since`: when this stage began.

    `asked`: the word with which a person asked for new material the last time; another word asks again.
    """

    current: Generation
    certificate: str
    key: str
    since: datetime
    stage: Stage = Stage.STEADY
    other: Generation | None = None
    asked: str = ""

    def __repr__(self) -> str:
        return f"Material(stage={self.stage}, ...)"


class Making(Struct, frozen=True):
    """How a generation is made, and a server's certificate by a CA. `why_new`: why one must be replaced."""

    generation: Callable[[], Generation]
    server: Callable[[KeyPair], KeyPair]
    why_new: Callable[[KeyPair, KeyPair], str | None]


def advanced(material: Material | None, asked: str, now: datetime, making: Making, *, is_told: bool) -> Material:
    """The next step if it is time for one, else the same value; the first material if there is none.

    `is_told`: the running server agrees with the material as it is. No stage ends before: who has been locked out by a
    step too early cannot take it back.
    """
    if material is None:
        first = making.generation()
        return _with_server(Material(current=first, certificate="", key="", since=now, asked=asked), making)
    if material.stage is Stage.STEADY and (asked != material.asked or now >= material.since + REPLACED_AFTER):
        changes = {"stage": Stage.TRUSTING, "other": making.generation(), "since": now, "asked": asked}
        return msgspec.structs.replace(material, **changes)
    if material.stage is not Stage.STEADY and is_told and now >= material.since + OVERLAP:
        return _next_stage(material, now, making)
    server = KeyPair(certificate=material.certificate.encode(), key=material.key.encode())
    if making.why_new(server, material.current.ca) is not None:
        return _with_server(material, making)
    return material


def again_after(material: Material, now: datetime) -> timedelta | None:
    """When the next stage is due; None: no stage is under way."""
    return None if material.stage is Stage.STEADY else max(material.since + OVERLAP - now, timedelta(seconds=1))


def managed_store(material: Material, image: str) -> ManagedStore:
    """What its objects are built from."""
    current, other = material.current, material.other
    cas = [current.ca_certificate] if other is None else [current.ca_certificate, other.ca_certificate]

    def passwords(who: str) -> Passwords:
        accepted = () if other is None else (digest(getattr(other, who)),)
        return Passwords(password=getattr(current, who), also_accepted=accepted)

    return ManagedStore(
        image=image,
        node=passwords("node"),
        operator=passwords("operator"),
        admin=passwords("admin"),
        certificate=material.certificate.encode(),
        private_key=material.key.encode(),
        ca="".join(cas).encode(),
    )


def encode_material(material: Material) -> bytes:
    """As it is kept."""
    return msgspec.json.encode(material)


def decode_material(kept: bytes) -> Material:
    """Raises msgspec.DecodeError if it is none."""
    return msgspec.json.decode(kept, type=Material)


def _next_stage(material: Material, now: datetime, making: Making) -> Material:
    if material.stage is Stage.RETIRING:
        return msgspec.structs.replace(material, stage=Stage.STEADY, other=None, since=now)
    assert material.other is not None
    changes = {"stage": Stage.RETIRING, "current": material.other, "other": material.current, "since": now}
    return _with_server(msgspec.structs.replace(material, **changes), making)


def _with_server(material: Material, making: Making) -> Material:
    server = making.server(material.current.ca)
    return msgspec.structs.replace(material, certificate=server.certificate.decode(), key=server.key.decode())
