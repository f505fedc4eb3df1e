"""The users of a store server that is ours alone: nodes, which cannot write a policy, and the operator, which can.

Knows how Redis writes users in its configuration; does not know files. No password is in it, only its digest.
"""

from collections.abc import Mapping
from hashlib import sha256

from mqtt_api.store_keys import StoreKeys

# Nobody logs in as `default`, but it must keep every right: Redis reads its append-only file in the name of this user,
# and would leave out, with a line in its log, each transaction that the user may not run.
_NOBODY = "user default off resetpass ~* &* +@all"
NODE_USER = "node"
OPERATOR_USER = "operator"


def user_lines(keys: StoreKeys, passwords: Mapping[str, str]) -> list[str]:
    """Lines for a server's configuration: the two users, and nobody else. `passwords` by user."""
    rules = {NODE_USER: keys.broker_rules, OPERATOR_USER: keys.operator_rules}
    users = [
        f"user {name} on #{sha256(passwords[name].encode()).hexdigest()} {' '.join(rules[name])}" for name in rules
    ]
    return [_NOBODY, *users]
