"""Which client identifiers belong to an MQTTClient, so that nobody without a name takes one.

Knows the patterns of one policy's principals; does not know who asks or what else a principal may do.
"""

from mqtt_api.client_ids import USERNAME, client_id_allowed
from mqtt_api.policy import Policy
from mqtt_broker.auth.principal import USERNAME_EXACTLY


class ClaimedClientIds:
    """The client identifiers that the principals of one policy claim, indexed by what their patterns start with.

    A pattern of nothing but `*` allows its principal any identifier and claims none: otherwise one such principal would
    shut out every anonymous client.
    """

    def __init__(self, policy: Policy) -> None:
        self._by_prefix: dict[str, list[tuple[str, str]]] = {}
        self._prefix_chars_max = 0
        for username, principal in policy.principals.items():
            for pattern in principal.client_ids or USERNAME_EXACTLY:
                if pattern.strip("*"):
                    self._add(pattern, username)

    def claims(self, client_id: str) -> bool:
        """True if a principal claims it. Time grows with the identifier and the patterns that start as it does."""
        return any(
            client_id_allowed((pattern,), username, client_id)
            for length in range(min(len(client_id), self._prefix_chars_max) + 1)
            for pattern, username in self._by_prefix.get(client_id[:length], ())
        )

    def _add(self, pattern: str, username: str) -> None:
        # The placeholder is filled in after the cut: a `*` in a user name is a character, not a pattern.
        prefix = pattern.partition("*")[0].replace(USERNAME, username)
        self._by_prefix.setdefault(prefix, []).append((pattern, username))
        self._prefix_chars_max = max(self._prefix_chars_max, len(prefix))
