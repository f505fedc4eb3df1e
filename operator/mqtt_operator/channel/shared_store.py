"""The store that nodes share, as the operator sees it: everything it asks of it or writes to it, bound to one place.

Knows nothing of its own; the modules beside it do the work. A new connection is made for each call: calls are rare, and
passwords and primaries change.
"""

from mqtt_api.node_settings import RedisSettings
from mqtt_operator.channel.members import order_to_drain, read_members
from mqtt_operator.channel.policy import write_policy
from mqtt_operator.channel.terms import Found, Members, Writer, Written
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

    def members(self) -> Members:
        """See channel/members.py."""
        return read_members(self.settings)

    def order_to_drain(self, node: str, token: int) -> None:
        """See channel/members.py."""
        order_to_drain(self.settings, node, token)
