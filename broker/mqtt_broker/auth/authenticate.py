"""The chain: each mechanism accepts, refuses, or says "not mine"; nobody's is refused.

Knows the order and the ends of a chain, and which entry answers to an authentication method; does not know how a
mechanism judges, nor what an identity may do.
"""

from collections.abc import Sequence

from mqtt_api.node_settings import AuthenticationSettings
from mqtt_api.policy import Policy
from mqtt_broker.auth.exchange import Exchange
from mqtt_broker.auth.mechanisms.anonymous import Anonymous
from mqtt_broker.auth.mechanisms.answer import Attempt, Mechanism
from mqtt_broker.auth.mechanisms.password import Password
from mqtt_broker.auth.mechanisms.scram import Scram
from mqtt_broker.auth.mechanisms.x509 import X509
from mqtt_broker.auth.passwords import PasswordVerifier
from mqtt_broker.auth.principal import Identity, Peer, Refused
from mqtt_broker.wire.packets import Connect
from mqtt_broker.wire.reasons import ReasonCode


class Authenticator:
    """The authentication of one listener. An empty chain refuses everybody."""

    def __init__(self, chain: Sequence[AuthenticationSettings], passwords: PasswordVerifier) -> None:
        """`passwords` is shared by all listeners and closed by its owner.

        Raises ValueError for an unknown type, or a setting that does not go with it: the node must not start then.
        """
        self._chain = [(settings.name, _mechanism(settings, passwords, alone=len(chain) == 1)) for settings in chain]

    def exchange(self, connect: Connect) -> Exchange | Refused:
        """Begin what the authentication method of this CONNECT asks for; the client then proves itself step by step.

        Only entries that offer the method are asked: who names one wants to be judged by that alone.
        `connect.client_id` as in `authenticate`.
        """
        method = connect.properties.authentication_method
        for _, mechanism in self._chain:
            if isinstance(mechanism, Scram) and method in mechanism.methods:
                return mechanism.exchange(connect)
        return Refused(  # [MQTT-4.12.0-1]
            ReasonCode.BAD_AUTHENTICATION_METHOD,
            f"the client asks for {method}: a chain offers SCRAM by an entry of type SCRAM",
        )

    async def authenticate(self, policy: Policy, connect: Connect, peer: Peer) -> Identity | Refused:
        """Say who this is. The first mechanism that accepts or refuses ends the chain.

        `connect.client_id` is the one that will be used: the caller has put an assigned one in place of an empty one.
        Whether the identity may use it is `authorize.may_connect`'s question. One that names an authentication method
        is for `exchange`.
        """
        assert connect.properties.authentication_method is None
        passed_on = []
        attempt = Attempt(policy, connect, peer)
        for name, mechanism in self._chain:
            answer = await mechanism.authenticate(attempt)
            if isinstance(answer, Identity):
                return answer
            if isinstance(answer, Refused):
                return Refused(answer.reason, f"{name}: {answer.detail}")
            passed_on.append(f"{name}: {answer.detail}")
        return _nobodys(connect, passed_on)


def _mechanism(settings: AuthenticationSettings, passwords: PasswordVerifier, *, alone: bool) -> Mechanism:
    if settings.type == "X509":
        return X509(settings)
    if settings.principals != "RequireMQTTClient":
        raise ValueError(f"authentication {settings.name}: principals {settings.principals!r} is for X509 alone")
    if settings.type == "Password":
        return Password(settings, passwords)
    if settings.type == "SCRAM":
        return Scram(settings)
    if settings.type == "Anonymous":
        return Anonymous(settings, ignores_login=alone)
    raise ValueError(f"authentication {settings.name}: unknown type {settings.type!r}")


def _nobodys(connect: Connect, passed_on: list[str]) -> Refused:
    if not passed_on:
        return Refused(ReasonCode.NOT_AUTHORIZED, "this listener has no authentication: name one in its chain")
    brought = connect.username is not None or connect.password is not None
    reason = ReasonCode.BAD_USER_NAME_OR_PASSWORD if brought else ReasonCode.NOT_AUTHORIZED
    return Refused(reason, "; ".join(passed_on))
