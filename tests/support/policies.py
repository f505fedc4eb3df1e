"""Small policies in few words, for brokers under test."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec
from argon2 import PasswordHasher

from mqtt_api.policy import Activity, Effect, Policy, Principal, Rule

PASSWORD = "correct horse battery staple"


@cache
def verifier(password: str = PASSWORD) -> str:
    """An Argon2id verifier, as cheap as the format allows."""
    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(password)


def rule(effect: Effect, topics: tuple[str, ...], activity: Activity, more: Any) -> Rule:
    fields = {"permission": "test/permission", "name": effect.lower(), **more}
    return Rule(effect=effect, activity=activity, topics=topics, **fields)


def allow(*topics: str, activity: Activity = Activity.ALL, **more: Any) -> Rule:
    """`more`: the other fields of Rule, or another `name`."""
    return rule(Effect.ALLOW, topics, activity, more)


def deny(*topics: str, activity: Activity = Activity.ALL, **more: Any) -> Rule:
    return rule(Effect.DENY, topics, activity, more)


def policy(
    revision: int = 1,
    *,
    users: Mapping[str, Iterable[Rule]] | None = None,
    anonymous: Iterable[Rule] = (),
    authenticated: Iterable[Rule] = (),
    principals: Mapping[str, Principal] | None = None,
    default_effect: Effect = Effect.DENY,
) -> Policy:
    """`users` have PASSWORD and may use client ids that begin with their name; `principals` overrides that per name."""
    permissions: dict[str, tuple[Rule, ...]] = {}

    def granted(wanted: Iterable[Rule]) -> tuple[str, ...]:
        """A permission of their own for these rules."""
        rules = tuple(wanted)
        if not rules:
            return ()
        reference = f"test/permission-{len(permissions)}" if permissions else "test/permission"
        permissions[reference] = tuple(msgspec.structs.replace(each, permission=reference) for each in rules)
        return (reference,)

    made: dict[str, Principal] = {}
    for name, own in (users or {}).items():
        template = (principals or {}).get(name) or Principal(
            username=name, uid=f"uid-{name}", namespace="test", client_ids=(name, f"{name}-*"), passwords=(verifier(),)
        )
        made[name] = msgspec.structs.replace(template, permissions=granted(own))
    return Policy(
        revision=revision,
        digest=f"test-{revision}",
        default_effect=default_effect,
        anonymous=granted(anonymous),
        authenticated=granted(authenticated),
        principals=made,
        permissions=permissions,
    )


def open_policy(revision: int = 1) -> Policy:
    """Anybody may do anything, by name: the only way to have an open broker."""
    return policy(revision, anonymous=[allow("#")])
