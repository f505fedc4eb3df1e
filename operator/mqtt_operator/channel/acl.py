"""The users of a store: nodes, which cannot write a policy, and the operator, which can.

Knows how Redis writes users; does not know files. Only the digest of a password is ever sent or written.
"""

from collections.abc import Mapping
from hashlib import sha256

import redis

from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.connection import connect, explained

NODE = "node"
OPERATOR = "operator"
# Nobody logs in as `default`, but it must keep every right: Redis reads its append-only file in the name of this user,
# and would leave out, with a line in its log, each transaction that the user may not run.
_NOBODY = "user default off resetpass ~* &* +@all"


def user_lines(keys: StoreKeys, passwords: Mapping[str, str]) -> list[str]:
    """Lines for the configuration of a server that is ours alone: the two users, and nobody else.

    `passwords` by user, NODE and OPERATOR.
    """
    users = [f"user {user} {' '.join(_rules(keys, user, password))}" for user, password in passwords.items()]
    return [_NOBODY, *users]


def create_users(settings: RedisSettings, passwords: Mapping[str, str]) -> bool:
    """Make the two users on a server that others use too; `passwords` by user. False: we may not. Idempotent.

    Their names are those of `user_name`. Raises SharedStoreError.
    """
    keys = StoreKeys(settings.key_prefix)
    with explained(settings), connect(settings) as client:
        try:
            for user, password in passwords.items():
                name = user_name(settings.key_prefix, user)
                client.execute_command("ACL", "SETUSER", name, "reset", *_rules(keys, user, password))
        except redis.exceptions.NoPermissionError:
            return False
    return True


def user_name(prefix: str, user: str) -> str:
    """What NODE or OPERATOR of the broker with this prefix is called where several brokers share a server."""
    return f"{prefix}.{user}"


def _rules(keys: StoreKeys, user: str, password: str) -> list[str]:
    rules = keys.operator_rules if user == OPERATOR else keys.broker_rules
    return ["on", f"#{sha256(password.encode()).hexdigest()}", *rules]
