"""Reason codes of MQTT 5.0, and the few words that MQTT 3.1.1 has for them.

Knows the numbers and what each packet may carry; does not know when to use one.
The rest of the broker speaks only the vocabulary of MQTT 5.0 (MQTT 5.0, table 2-6); translation to the
return codes of MQTT 3.1.1 happens here, at the edge.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final


class ReasonCode(IntEnum):
    """A reason code of MQTT 5.0, table 2-6. Three names share 0x00; they are aliases of SUCCESS."""

    SUCCESS = 0x00
    NORMAL_DISCONNECTION = 0x00
    GRANTED_QOS_0 = 0x00
    GRANTED_QOS_1 = 0x01
    GRANTED_QOS_2 = 0x02
    DISCONNECT_WITH_WILL_MESSAGE = 0x04
    NO_MATCHING_SUBSCRIBERS = 0x10
    NO_SUBSCRIPTION_EXISTED = 0x11
    CONTINUE_AUTHENTICATION = 0x18
    RE_AUTHENTICATE = 0x19
    UNSPECIFIED_ERROR = 0x80
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    UNSUPPORTED_PROTOCOL_VERSION = 0x84
    CLIENT_IDENTIFIER_NOT_VALID = 0x85
    BAD_USER_NAME_OR_PASSWORD = 0x86
    NOT_AUTHORIZED = 0x87
    SERVER_UNAVAILABLE = 0x88
    SERVER_BUSY = 0x89
    BANNED = 0x8A
    SERVER_SHUTTING_DOWN = 0x8B
    BAD_AUTHENTICATION_METHOD = 0x8C
    KEEP_ALIVE_TIMEOUT = 0x8D
    SESSION_TAKEN_OVER = 0x8E
    TOPIC_FILTER_INVALID = 0x8F
    TOPIC_NAME_INVALID = 0x90
    PACKET_IDENTIFIER_IN_USE = 0x91
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    MESSAGE_RATE_TOO_HIGH = 0x96
    QUOTA_EXCEEDED = 0x97
    ADMINISTRATIVE_ACTION = 0x98
    PAYLOAD_FORMAT_INVALID = 0x99
    RETAIN_NOT_SUPPORTED = 0x9A
    QOS_NOT_SUPPORTED = 0x9B
    USE_ANOTHER_SERVER = 0x9C
    SERVER_MOVED = 0x9D
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E
    CONNECTION_RATE_EXCEEDED = 0x9F
    MAXIMUM_CONNECT_TIME = 0xA0
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xA1
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2

    @property
    def is_error(self) -> bool:
        """True from 0x80 upwards: the operation failed (MQTT 5.0, 2.4)."""
        return self >= 0x80


# Which packet may carry which code. A code that the table does not hold is a Protocol Error. Where the two sides may
# say different things, there is a table for each side and one of both: bytes alone do not tell who sent them.

ReasonTable = Mapping[int, ReasonCode]


def _table(*reasons: ReasonCode) -> ReasonTable:
    return {int(reason): reason for reason in reasons}


# [MQTT-3.2.2-8], MQTT 5.0, table 3-1.
CONNACK_REASONS: Final = _table(
    ReasonCode.SUCCESS,
    ReasonCode.UNSPECIFIED_ERROR,
    ReasonCode.MALFORMED_PACKET,
    ReasonCode.PROTOCOL_ERROR,
    ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    ReasonCode.NOT_AUTHORIZED,
    ReasonCode.SERVER_UNAVAILABLE,
    ReasonCode.SERVER_BUSY,
    ReasonCode.BANNED,
    ReasonCode.BAD_AUTHENTICATION_METHOD,
    ReasonCode.TOPIC_NAME_INVALID,
    ReasonCode.PACKET_TOO_LARGE,
    ReasonCode.QUOTA_EXCEEDED,
    ReasonCode.PAYLOAD_FORMAT_INVALID,
    ReasonCode.RETAIN_NOT_SUPPORTED,
    ReasonCode.QOS_NOT_SUPPORTED,
    ReasonCode.USE_ANOTHER_SERVER,
    ReasonCode.SERVER_MOVED,
    ReasonCode.CONNECTION_RATE_EXCEEDED,
)

# [MQTT-3.4.2-1], [MQTT-3.5.2-1].
PUBACK_REASONS: Final = _table(
    ReasonCode.SUCCESS,
    ReasonCode.NO_MATCHING_SUBSCRIBERS,
    ReasonCode.UNSPECIFIED_ERROR,
    ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
    ReasonCode.NOT_AUTHORIZED,
    ReasonCode.TOPIC_NAME_INVALID,
    ReasonCode.PACKET_IDENTIFIER_IN_USE,
    ReasonCode.QUOTA_EXCEEDED,
    ReasonCode.PAYLOAD_FORMAT_INVALID,
)
PUBREC_REASONS: Final = PUBACK_REASONS

# [MQTT-3.6.2-1], [MQTT-3.7.2-1].
PUBREL_REASONS: Final = _table(ReasonCode.SUCCESS, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
PUBCOMP_REASONS: Final = PUBREL_REASONS

# [MQTT-3.9.3-2].
SUBACK_REASONS: Final = _table(
    ReasonCode.GRANTED_QOS_0,
    ReasonCode.GRANTED_QOS_1,
    ReasonCode.GRANTED_QOS_2,
    ReasonCode.UNSPECIFIED_ERROR,
    ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
    ReasonCode.NOT_AUTHORIZED,
    ReasonCode.TOPIC_FILTER_INVALID,
    ReasonCode.PACKET_IDENTIFIER_IN_USE,
    ReasonCode.QUOTA_EXCEEDED,
    ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
    ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
)

# [MQTT-3.11.3-2].
UNSUBACK_REASONS: Final = _table(
    ReasonCode.SUCCESS,
    ReasonCode.NO_SUBSCRIPTION_EXISTED,
    ReasonCode.UNSPECIFIED_ERROR,
    ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
    ReasonCode.NOT_AUTHORIZED,
    ReasonCode.TOPIC_FILTER_INVALID,
    ReasonCode.PACKET_IDENTIFIER_IN_USE,
)

# [MQTT-3.14.2-1], MQTT 5.0, table 3-10.
_DISCONNECT_REASONS_OF_BOTH: Final = (
    ReasonCode.NORMAL_DISCONNECTION,
    ReasonCode.UNSPECIFIED_ERROR,
    ReasonCode.MALFORMED_PACKET,
    ReasonCode.PROTOCOL_ERROR,
    ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR,
    ReasonCode.TOPIC_NAME_INVALID,
    ReasonCode.RECEIVE_MAXIMUM_EXCEEDED,
    ReasonCode.TOPIC_ALIAS_INVALID,
    ReasonCode.PACKET_TOO_LARGE,
    ReasonCode.MESSAGE_RATE_TOO_HIGH,
    ReasonCode.QUOTA_EXCEEDED,
    ReasonCode.ADMINISTRATIVE_ACTION,
    ReasonCode.PAYLOAD_FORMAT_INVALID,
)
DISCONNECT_REASONS_OF_CLIENT: Final = _table(*_DISCONNECT_REASONS_OF_BOTH, ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)
DISCONNECT_REASONS_OF_SERVER: Final = _table(
    *_DISCONNECT_REASONS_OF_BOTH,
    ReasonCode.NOT_AUTHORIZED,
    ReasonCode.SERVER_BUSY,
    ReasonCode.SERVER_SHUTTING_DOWN,
    # Missing in table 3-10, but table 2-6 gives it to DISCONNECT as well.
    ReasonCode.BAD_AUTHENTICATION_METHOD,
    ReasonCode.KEEP_ALIVE_TIMEOUT,
    ReasonCode.SESSION_TAKEN_OVER,
    ReasonCode.TOPIC_FILTER_INVALID,
    ReasonCode.RETAIN_NOT_SUPPORTED,
    ReasonCode.QOS_NOT_SUPPORTED,
    ReasonCode.USE_ANOTHER_SERVER,
    ReasonCode.SERVER_MOVED,
    ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
    ReasonCode.CONNECTION_RATE_EXCEEDED,
    ReasonCode.MAXIMUM_CONNECT_TIME,
    ReasonCode.SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
    ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
)
DISCONNECT_REASONS: Final = {**DISCONNECT_REASONS_OF_CLIENT, **DISCONNECT_REASONS_OF_SERVER}

# [MQTT-3.15.2-1], MQTT 5.0, table 3-11.
AUTH_REASONS_OF_CLIENT: Final = _table(ReasonCode.CONTINUE_AUTHENTICATION, ReasonCode.RE_AUTHENTICATE)
AUTH_REASONS_OF_SERVER: Final = _table(ReasonCode.SUCCESS, ReasonCode.CONTINUE_AUTHENTICATION)
AUTH_REASONS: Final = {**AUTH_REASONS_OF_CLIENT, **AUTH_REASONS_OF_SERVER}

# What MQTT 3.1.1 can say in CONNACK (3.1.1, table 3.1), and MQTT 3.1 with the same numbers.
_RETURN_CODES: Final = {
    ReasonCode.SUCCESS: 0,
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION: 1,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID: 2,
    ReasonCode.SERVER_UNAVAILABLE: 3,
    ReasonCode.SERVER_BUSY: 3,
    ReasonCode.QUOTA_EXCEEDED: 3,
    ReasonCode.USE_ANOTHER_SERVER: 3,
    ReasonCode.SERVER_MOVED: 3,
    ReasonCode.CONNECTION_RATE_EXCEEDED: 3,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD: 4,
    ReasonCode.NOT_AUTHORIZED: 5,
    ReasonCode.BANNED: 5,
}
_REASONS_OF_RETURN_CODES: Final = (
    ReasonCode.SUCCESS,
    ReasonCode.UNSUPPORTED_PROTOCOL_VERSION,
    ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
    ReasonCode.SERVER_UNAVAILABLE,
    ReasonCode.BAD_USER_NAME_OR_PASSWORD,
    ReasonCode.NOT_AUTHORIZED,
)
SUBACK_FAILURE: Final = 0x80  # the one failure that SUBACK of MQTT 3.1.1 knows


def return_code_of(reason: ReasonCode) -> int | None:
    """The CONNACK return code of MQTT 3.1.1 that says what `reason` says.

    None: there is none, and the server must close without a CONNACK ([3.1.1 MQTT-3.2.2-6]).
    """
    return _RETURN_CODES.get(reason)


def reason_of_return_code(code: int) -> ReasonCode | None:
    """What a CONNACK return code of MQTT 3.1.1 means; None for a reserved one."""
    return _REASONS_OF_RETURN_CODES[code] if 0 <= code < len(_REASONS_OF_RETURN_CODES) else None
