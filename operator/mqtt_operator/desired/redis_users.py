"""The users of a Redis of our own, as the lines of its users.acl: who may log in, with which passwords, and do what.

Knows how Redis writes users; does not know where passwords come from. Only digests of passwords are ever written.
"""

from collections.abc import Iterable
from hashlib import sha256

from mqtt_api.store_keys import StoreKeys
from mqtt_operator.desired.inputs import ManagedStore, Passwords

NODE_USER = "broker"
OPERATOR_USER = "operator"
ADMIN_USER = "admin"

# Nobody logs in as `default`, but it must keep every right: Redis reads its append-only file in the name of this user,
# and would leave out, with a line in its log, each transaction that the user may not run.
_NOBODY = "user default off resetpass ~* &* +@all"
# Passwords and certificates are replaced while Redis runs; for nothing else does anybody log in as this user. Loading
# users.acl again would close every connection (Redis 7.0), setting one user closes none.
ADMIN_RULES = ("-@all", "+@connection", "+acl|setuser", "+config|set")


def users_acl(keys: StoreKeys, managed: ManagedStore) -> str:
    """The whole file."""
    lines = [f"user {name} {' '.join(rules)}" for name, rules in user_rules(keys, managed).items()]
    return "\n".join([_NOBODY, *lines, ""])


def user_rules(keys: StoreKeys, managed: ManagedStore) -> dict[str, tuple[str, ...]]:
    """By user, what stands in users.acl and what ACL SETUSER is given so that a running Redis agrees with it."""
    return {
        NODE_USER: _rules(managed.node, keys.broker_rules),
        OPERATOR_USER: _rules(managed.operator, keys.operator_rules),
        ADMIN_USER: _rules(managed.admin, ADMIN_RULES),
    }


def digest(password: str) -> str:
    """How a password is written down: SHA-256, in hexadecimal."""
    return sha256(password.encode()).hexdigest()


def _rules(passwords: Passwords, rules: Iterable[str]) -> tuple[str, ...]:
    """Said from nothing: what an earlier file or command gave the user is gone."""
    digests = dict.fromkeys([digest(passwords.password), *passwords.also_accepted])
    return ("reset", "on", *(f"#{each}" for each in digests), *rules)
