"""An authentication of several messages (MQTT 5.0, 4.12): what is asked of it step by step, and its answers.

Knows the steps; does not know any mechanism, packets' bytes, or who carries the messages.
"""

from typing import Protocol

from msgspec import Struct

from mqtt_api.policy import Policy
from mqtt_broker.auth.principal import Identity, Refused


class Challenge(Struct, frozen=True):
    """Send this and wait for the client's next message."""

    data: bytes


class Proved(Struct, frozen=True):
    """The client is who it says. `data` is for it: the last message, by which the server proves itself as well."""

    identity: Identity
    data: bytes


Progress = Challenge | Proved | Refused


class Exchange(Protocol):
    """One attempt of one client. Forget it after Proved or Refused."""

    def proceed(self, policy: Policy, data: bytes | None) -> Progress:
        """Judge the client's next message by the policy of this moment. Bounded in work and in steps; no I/O."""
        ...
