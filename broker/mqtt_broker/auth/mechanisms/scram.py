"""SCRAM: an MQTTClient proves that it knows its password without sending it (RFC 5802, RFC 7677).

Knows when a proof fits a verifier, and how to look the same to a client whose user name nobody has; does not know
packets, or how verifiers are made. The messages themselves are the library's business.

Nothing here costs more than a few keyed hashes: the slow part of SCRAM was done when the verifier was made, and is done
by the client. So it runs in the event loop, on messages of bounded size.

There is no channel binding: TLS 1.3 has none that the library speaks.
"""

import secrets
import unicodedata
from collections.abc import Callable, Sequence
from functools import partial

from msgspec.structs import replace
from scramp import ScramException  # type: ignore[import-untyped]
from scramp import ScramMechanism as Method
from scramp.core import ScramServer  # type: ignore[import-untyped]
from scramp.utils import ServerError  # type: ignore[import-untyped]

from mqtt_api.node_settings import AuthenticationSettings
from mqtt_api.policy import Facts, Policy, Principal, ScramMechanism, ScramVerifier
from mqtt_api.scram import HASH_BYTES, ITERATIONS, derived, salt_of
from mqtt_broker.auth.exchange import Challenge, Exchange, Progress, Proved
from mqtt_broker.auth.mechanisms.answer import Answer, Attempt, NotMine, identity_of
from mqtt_broker.auth.principal import Identity, Refused
from mqtt_broker.wire.packets import Connect
from mqtt_broker.wire.reasons import ReasonCode

# Room for a user name of 300 bytes beside nonce and proof. The library prepares user names (RFC 4013) character by
# character, and one character may become eighteen: so the bound is on what it becomes.
MESSAGE_BYTES_MAX = 512
MESSAGE_CHARS_PREPARED_MAX = 512
NONCE_BYTES = 24
TRIES_PER_FAILURE = 2  # a principal has at most two passwords, while one replaces the other

_Found = tuple[bytes, bytes, bytes, int]


class Scram:
    """One entry of a chain. `methods`: the authentication methods it answers to."""

    def __init__(self, settings: AuthenticationSettings) -> None:
        """Raises ValueError for a mechanism that does not exist, and for none at all."""
        unknown = set(settings.mechanisms) - set(ScramMechanism)
        if unknown:
            raise ValueError(f"authentication {settings.name}: unknown mechanism {sorted(unknown)[0]!r}")
        if not settings.mechanisms:
            raise ValueError(f"authentication {settings.name}: mechanisms is empty, nobody could connect")
        self._name = settings.name
        self.methods = frozenset(settings.mechanisms)

    async def authenticate(self, attempt: Attempt) -> Answer:
        del attempt
        return NotMine("the client did not ask for SCRAM (authentication method, MQTT 5)")

    def exchange(self, connect: Connect) -> Exchange:
        """`connect` names one of `methods`."""
        return ScramExchange(self._name, connect)


class ScramExchange:
    """Two messages of the client: its name, then its proof. An unknown user fails at the proof, as a wrong one does."""

    def __init__(self, name: str, connect: Connect) -> None:
        self._name = name
        self._connect = connect
        self._mechanism = ScramMechanism(connect.properties.authentication_method or "")
        self._method = Method(self._mechanism.value)
        self._nonce = secrets.token_urlsafe(NONCE_BYTES)
        self._username = ""
        self._client_first = ""
        self._challenged: ScramVerifier | None = None

    def proceed(self, policy: Policy, data: bytes | None) -> Progress:
        if not policy.scram_salt_key:
            return self._refused(ReasonCode.BAD_AUTHENTICATION_METHOD, "the policy was not made for SCRAM (yet)")
        if data is None or len(data) > MESSAGE_BYTES_MAX:
            return self._malformed(f"the message is missing, or longer than {MESSAGE_BYTES_MAX} bytes")
        try:
            message = data.decode()
            if len(unicodedata.normalize("NFKC", message)) > MESSAGE_CHARS_PREPARED_MAX:
                return self._malformed("the user name becomes too long when it is prepared")
            return self._prove(policy, message) if self._challenged else self._challenge(policy, message)
        except (UnicodeDecodeError, ScramException) as problem:
            return self._malformed(str(problem))

    def _challenge(self, policy: Policy, message: str) -> Progress:
        """Salt and iterations of whom the client says it is."""
        self._client_first = message

        def found(username: str) -> _Found:
            self._username = username
            self._challenged = _declared(policy, username, self._mechanism, None)[0]
            return _as_found(self._challenged, username)

        server_first = self._served(found).get_server_first()
        if self._connect.username not in (None, self._username):
            return self._refused(
                ReasonCode.NOT_AUTHORIZED, f"CONNECT names another user than the proof is for ({self._username!r})"
            )
        return Challenge(server_first.encode())

    def _prove(self, policy: Policy, message: str) -> Progress:
        """Try the verifiers of this moment that the challenge was made for: one withdrawn meanwhile proves nothing."""
        for verifier in _declared(policy, self._username, self._mechanism, self._challenged):
            server = self._served(partial(_as_found, verifier))
            server.get_server_first()
            try:
                server.set_client_final(message)
            except ScramException as problem:
                if problem.server_error is not ServerError.INVALID_PROOF:
                    raise
                continue
            principal = policy.principals.get(self._username)
            if principal is None or verifier not in principal.scram:
                continue  # a decoy, which no proof is known for
            if principal.suspended:  # asked last: only who knows the password learns of it
                return self._refused(ReasonCode.NOT_AUTHORIZED, "the MQTTClient is suspended")
            return Proved(self._identity(principal, verifier), server.get_server_final().encode())
        known = self._username in policy.principals
        return self._refused(
            ReasonCode.BAD_USER_NAME_OR_PASSWORD,
            "wrong password, or the MQTTClient has no verifier for SCRAM" if known else "unknown user",
        )

    def _served(self, found: Callable[[str], _Found]) -> ScramServer:
        """The library's side of the exchange, the client's first message taken. Raises ScramException."""
        server = self._method.make_server(found, s_nonce=self._nonce)
        server.set_client_first(self._client_first)
        return server

    def _identity(self, principal: Principal, verifier: ScramVerifier) -> Identity:
        facts = Facts(
            client_id=self._connect.client_id,
            username=principal.username,
            namespace=principal.namespace,
            source=self._name,
            attributes=principal.attributes,
        )
        return replace(identity_of(principal, facts), scram=verifier)

    def _malformed(self, problem: str) -> Refused:
        return self._refused(ReasonCode.NOT_AUTHORIZED, f"not a SCRAM message: {problem}")

    def _refused(self, reason: ReasonCode, detail: str) -> Refused:
        return Refused(reason, f"{self._name}: {detail}")


def _declared(
    policy: Policy, username: str, mechanism: ScramMechanism, challenged: ScramVerifier | None
) -> Sequence[ScramVerifier]:
    """The verifiers of a user name for one challenge, filled up with decoys to TRIES_PER_FAILURE.

    `challenged` None: there is no challenge yet, the first verifier makes it.
    """
    principal = policy.principals.get(username)
    own = [verifier for verifier in (principal.scram if principal else ()) if verifier.mechanism is mechanism]
    decoy = _decoy(policy.scram_salt_key, mechanism, username)
    basis = challenged or (own[0] if own else decoy)
    fitting = [each for each in own if (each.salt, each.iterations) == (basis.salt, basis.iterations)]
    missing = TRIES_PER_FAILURE - len(fitting)
    return fitting + [replace(decoy, salt=basis.salt, iterations=basis.iterations)] * missing


def _decoy(key: bytes, mechanism: ScramMechanism, username: str) -> ScramVerifier:
    """What a user name that nobody has is challenged with: the same at each attempt, on every node, over restarts."""
    stored_key = derived(key, "decoy", mechanism, username, HASH_BYTES[mechanism])
    return ScramVerifier(
        mechanism=mechanism,
        salt=salt_of(key, mechanism, username),
        iterations=ITERATIONS,
        stored_key=stored_key,
        server_key=stored_key,
    )


def _as_found(verifier: ScramVerifier, _username: str) -> _Found:
    """As the library asks for it."""
    return verifier.salt, verifier.stored_key, verifier.server_key, verifier.iterations
