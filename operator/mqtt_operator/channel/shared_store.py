"""The store that nodes share, as the operator sees it: everything it asks of it or writes to it, bound to one place.

Knows nothing of its own; the modules beside it do the work. A new connection is made for each call: calls are rare, and
passwords and primaries change.
"""

from collections.abc import Collection, Container, Mapping, Sequence

from mqtt_api.node_settings import RedisSettings
from mqtt_api.policy_lines import Part
from mqtt_operator.channel.members import order_to_drain, read_members
from mqtt_operator.channel.policy import NONE_KNOWN, read_parts, write_parts, write_policy
from mqtt_operator.channel.terms import Found, Members, Writer, Written
from mqtt_operator.channel.verifiers import change_verifiers, read_verifiers
from mqtt_operator.channel.world import found_world


class SharedStore:
    """`settings` are those of the operator: with its own user. Every method raises SharedStoreError."""

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings

    def found(self, world: str, *, may_be_new: bool) -> Found:
        """See channel/world.py."""
        return found_world(self.settings, world, may_be_new=may_be_new)

    def write_policy(self, writer: Writer, revision: int, document: bytes) -> Written:
        """See channel/policy.py."""
        return write_policy(self.settings, writer, revision, document)

    def write_parts(
        self, writer: Writer, revision: int, parts: Sequence[Part], there: Container[str] = NONE_KNOWN
    ) -> Written:
        """See channel/policy.py."""
        return write_parts(self.settings, writer, revision, parts, there)

    def read_parts(self) -> list[bytes] | None:
        """See channel/policy.py."""
        return read_parts(self.settings)

    def read_verifiers(self) -> dict[str, bytes]:
        """See channel/verifiers.py."""
        return read_verifiers(self.settings)

    def change_verifiers(self, added: Mapping[str, bytes], gone: Collection[str]) -> None:
        """See channel/verifiers.py."""
        change_verifiers(self.settings, added, gone)

    def members(self) -> Members:
        """See channel/members.py."""
        return read_members(self.settings)

    def order_to_drain(self, node: str, token: int) -> None:
        """See channel/members.py."""
        order_to_drain(self.settings, node, token)
