"""The names of what lies in Redis, and who may touch what: shared by the node, the operator and whoever sets up users.

Knows names only; does not know encodings, commands or a client. All keys of one broker carry one hash tag, for one
script call touches sessions, queues and the feed together.
"""

from msgspec import Struct

# What a script may do is what its caller may: these are the commands inside scripts, too.
_SCRIPTS = ("+evalsha", "+script|load", "+time", "+wait")
_VALUES = ("+@hash", "+@set", "+@stream", "+@string", "+exists", "+del", "+unlink")
_CHECKS = ("+info", "+config|get", "+role")


class StoreKeys(Struct, frozen=True):
    """The keys under one prefix, "mqtt.plant" for example. `data` keys are the nodes' own."""

    prefix: str

    @property
    def tag(self) -> str:
        """What every key starts with. The braces keep all of them on one slot of a Redis Cluster."""
        return f"{{{self.prefix}}}:"

    @property
    def world(self) -> str:
        """The identity of this store, written once by the operator: a hash of `id`, and `generation`."""
        return f"{self.tag}world"

    @property
    def policy(self) -> str:
        """The hash that points at the policy in force: `revision`, `fence`, `digest`, `parts`."""
        return f"{self.tag}policy"

    def policy_part(self, digest: str) -> str:
        """A part of a policy document, named by its content; written before the pointer that names it."""
        return f"{self.tag}policy:{digest}"

    @property
    def data(self) -> str:
        """What every key of the nodes' own starts with."""
        return f"{self.tag}d:"

    @property
    def feed(self) -> str:
        """The stream that all nodes follow. The operator appends to it too: that a policy was written."""
        return f"{self.data}feed"

    @property
    def leases(self) -> str:
        """The hash of leases, by node."""
        return f"{self.data}leases"

    def control(self, node: str, token: int) -> str:
        """The stream of orders to one node; the operator appends `drain`."""
        return f"{self.data}control:{node}:{token}"

    @property
    def broker_rules(self) -> tuple[str, ...]:
        """ACL rules of the user the nodes log in as: its own keys, and no writing of policy or world.

        Kinds of values rather than @read and @write: those would let it list, move and flush what is not its own.
        """
        return (
            f"~{self.data}*",
            f"%R~{self.tag}world",
            f"%R~{self.tag}policy*",
            "-@all",
            *_SCRIPTS,
            *_VALUES,
            "+@sortedset",
            "-@dangerous",
            "+ping",
            *_CHECKS,
        )

    @property
    def operator_rules(self) -> tuple[str, ...]:
        """ACL rules of the user the operator logs in as: identity, policy, the feed's announcement, and reading.

        What nodes wrote it may find and remove, for the end of a broker, and not write: the last rule is a selector.
        SCAN shows the names of other keys of the server as well, and never what is in them.
        """
        return (
            f"~{self.tag}world",
            f"~{self.tag}policy*",
            f"~{self.data}feed*",
            f"~{self.data}control:*",
            f"%R~{self.data}*",
            "-@all",
            "+@connection",
            "+@transaction",
            *_SCRIPTS,
            *_VALUES,
            "+scan",
            "-@dangerous",
            *_CHECKS,
            f"(~{self.tag}* +unlink)",
        )
