"""A SCRAM client for tests (the library's client side over AUTH packets), and policies that know its passwords.

Knows how an exchange goes when both sides are honest; what a test wants to break it sends by itself.
"""

from collections.abc import Iterable
from functools import cache

from msgspec.structs import replace
from scramp import ScramClient  # type: ignore[import-untyped]

from mqtt_api.node_settings import AuthenticationSettings
from mqtt_api.policy import Policy, ScramMechanism, ScramVerifier
from mqtt_broker.wire.packets import Auth, ConnAck, Connect, Packet, Properties
from mqtt_broker.wire.reasons import ReasonCode
from mqtt_operator.credentials.scram import make_verifier
from support.client import Client
from support.policies import PASSWORD

SCRAM = AuthenticationSettings(name="scram", type="SCRAM")
SALT_KEY = bytes(range(32))
SHA_256, SHA_512 = (mechanism.value for mechanism in ScramMechanism)


@cache
def scram_verifiers(username: str, *passwords: str) -> tuple[ScramVerifier, ...]:
    """As the operator makes them, for both mechanisms."""
    return tuple(
        make_verifier(SALT_KEY, mechanism, username, password.encode())
        for password in passwords
        for mechanism in ScramMechanism
    )


def with_scram(policy: Policy, **passwords: Iterable[str]) -> Policy:
    """The policy with SCRAM verifiers of PASSWORD for each principal, or of these passwords."""
    principals = {
        name: replace(principal, scram=scram_verifiers(name, *passwords.get(name, (PASSWORD,))))
        for name, principal in policy.principals.items()
    }
    return replace(policy, principals=principals, scram_salt_key=SALT_KEY)


class Prover:
    """One exchange, seen from the client. `method` is also the authentication method."""

    def __init__(self, username: str, password: str = PASSWORD, method: str = SHA_256) -> None:
        self.method = method
        self._library = ScramClient([method], username, password)
        self.first: bytes = self._library.get_client_first().encode()

    def answer(self, server_first: bytes) -> bytes:
        self._library.set_server_first(server_first.decode())
        final: str = self._library.get_client_final()
        return final.encode()

    def check(self, server_final: bytes | None) -> None:
        """Raises ScramException if the server does not know the password's verifier."""
        assert server_final is not None
        self._library.set_server_final(server_final.decode())

    def properties(self, data: bytes | None) -> Properties:
        return Properties(authentication_method=self.method, authentication_data=data)

    def connect(self, client: Client, client_id: str, username: str | None = None) -> Connect:
        return Connect(
            client.version,
            client_id,
            clean_start=True,
            keep_alive=60,
            username=username,
            properties=self.properties(self.first),
        )

    def auth(self, reason: ReasonCode, data: bytes | None) -> Auth:
        return Auth(reason, self.properties(data))


async def prove(client: Client, prover: Prover, opening: Packet) -> Packet:
    """Send the opening (CONNECT, or AUTH 0x19), answer the challenge, and return what ends the exchange.

    A success is checked: the broker has to prove itself as well.
    """
    await client.send(opening)
    answer = await client.receive()
    if isinstance(answer, Auth):
        assert answer.reason is ReasonCode.CONTINUE_AUTHENTICATION
        assert answer.properties.authentication_method == prover.method
        assert answer.properties.authentication_data is not None
        proof = prover.answer(answer.properties.authentication_data)
        await client.send(prover.auth(ReasonCode.CONTINUE_AUTHENTICATION, proof))
        answer = await client.receive()
    if isinstance(answer, (ConnAck, Auth)) and answer.reason is ReasonCode.SUCCESS:
        assert answer.properties.authentication_method == prover.method
        prover.check(answer.properties.authentication_data)
    return answer


async def log_in(
    client: Client, username: str, password: str = PASSWORD, method: str = SHA_256, client_id: str | None = None
) -> ConnAck:
    """The whole exchange; the CONNACK at its end, whatever it says."""
    prover = Prover(username, password, method)
    answer = await prove(client, prover, prover.connect(client, username if client_id is None else client_id))
    assert isinstance(answer, ConnAck), answer
    return answer


async def prove_anew(client: Client, username: str, password: str = PASSWORD, method: str = SHA_256) -> Packet:
    """Repeat the authentication on a connected client; AUTH 0x00 or the DISCONNECT at its end."""
    prover = Prover(username, password, method)
    return await prove(client, prover, prover.auth(ReasonCode.RE_AUTHENTICATE, prover.first))
