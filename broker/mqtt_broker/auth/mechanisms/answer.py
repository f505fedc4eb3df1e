"""What every mechanism is asked and answers, and the promise it makes.

Knows the question and the three answers; does not know any mechanism or the chain.
"""

from typing import Protocol

from msgspec import Struct

from mqtt_api.policy import Facts, Policy, Principal
from mqtt_broker.auth.principal import USERNAME_EXACTLY, Identity, Peer, Refused
from mqtt_broker.wire.packets import Connect


class Attempt(Struct, frozen=True):
    """One CONNECT to judge, and all there is to judge it by."""

    policy: Policy
    connect: Connect
    peer: Peer


class NotMine(Struct, frozen=True):
    """The client did not bring what this mechanism judges by; the next one is asked. `detail` is for the log."""

    detail: str


Answer = Identity | Refused | NotMine


class Mechanism(Protocol):
    """One entry of a chain."""

    async def authenticate(self, attempt: Attempt) -> Answer:
        """NotMine only if the client did not bring what this judges by: what proves nothing is refused."""
        ...


def identity_of(principal: Principal, facts: Facts) -> Identity:
    """The identity of an authenticated MQTTClient that is not suspended."""
    return Identity(facts=facts, client_ids=principal.client_ids or USERNAME_EXACTLY, limits=principal.limits)
