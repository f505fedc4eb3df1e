"""Anonymous: whoever brings neither user name nor password, if a chain names this.

Knows which client identifiers are taken by MQTTClients; does not know what an anonymous client may do.
"""

from mqtt_api.node_settings import AuthenticationSettings
from mqtt_api.policy import Facts
from mqtt_broker.auth.client_ids import ClaimedClientIds
from mqtt_broker.auth.mechanisms.answer import Answer, Attempt, NotMine
from mqtt_broker.auth.principal import ANY_CLIENT_ID, Identity, Refused
from mqtt_broker.auth.revision import PerPolicy
from mqtt_broker.wire.reasons import ReasonCode


class Anonymous:
    """All anonymous clients are one principal without a name.

    `ignores_login`: a client that brings a user name or password is let in all the same, as the anonymous one. Only for
    a chain that holds nothing else: nobody there could check a log-in, and without it the client would be let in too.
    Beside a mechanism that checks, a wrong log-in must never turn into an anonymous client.
    """

    def __init__(self, settings: AuthenticationSettings, *, ignores_login: bool) -> None:
        self._name = settings.name
        self._ignores_login = ignores_login
        self._claimed = PerPolicy(ClaimedClientIds)

    async def authenticate(self, attempt: Attempt) -> Answer:
        connect = attempt.connect
        if not self._ignores_login and (connect.username is not None or connect.password is not None):
            return NotMine("the client brought a user name or password")
        if self._claimed.of(attempt.policy).claims(connect.client_id):
            return Refused(
                ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
                "an MQTTClient claims this client id: connect with its credentials, or use another client id",
            )
        facts = Facts(client_id=connect.client_id, source=self._name, anonymous=True)
        return Identity(facts=facts, client_ids=ANY_CLIENT_ID)
