"""Password: user name and password of an MQTTClient, against its Argon2id verifiers.

Knows when a password proves a principal; does not know how hashing is done or bounded.
"""

from mqtt_api.node_settings import AuthenticationSettings
from mqtt_api.policy import Facts
from mqtt_broker.auth.mechanisms.answer import Answer, Attempt, NotMine, identity_of
from mqtt_broker.auth.passwords import Busy, PasswordVerifier
from mqtt_broker.auth.principal import Refused
from mqtt_broker.wire.reasons import ReasonCode


class Password:
    """An unknown user, a user without passwords and a wrong password are one answer at one cost."""

    def __init__(self, settings: AuthenticationSettings, passwords: PasswordVerifier) -> None:
        self._name = settings.name
        self._passwords = passwords

    async def authenticate(self, attempt: Attempt) -> Answer:
        connect = attempt.connect
        username, password = connect.username, connect.password
        if username is None or password is None:
            return NotMine("the client did not bring both user name and password")
        # A blank user name is nobody's, even if a principal should carry it.
        principal = attempt.policy.principals.get(username) if username else None
        try:
            fits = await self._passwords.verify(principal.passwords if principal else (), password)
        except Busy:
            return Refused(ReasonCode.SERVER_BUSY, "too many passwords are being verified at this moment")
        if principal is None or not fits:
            return Refused(
                ReasonCode.BAD_USER_NAME_OR_PASSWORD,
                "unknown user" if principal is None else "wrong password, or the MQTTClient declares none",
            )
        if principal.suspended:  # asked last: only who knows the password learns of it
            return Refused(ReasonCode.NOT_AUTHORIZED, "the MQTTClient is suspended")
        facts = Facts(
            client_id=connect.client_id,
            username=username,
            namespace=principal.namespace,
            source=self._name,
            attributes=principal.attributes,
        )
        return identity_of(principal, facts)
