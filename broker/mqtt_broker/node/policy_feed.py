"""The policy's way into a running node: read, validate, swap by one assignment, decide every session again.

Deciding goes in slices, so that a policy with many rules or for many sessions keeps nobody's messages waiting. A file
that cannot be read or understood changes nothing: the policy in force stays, and the log says so. Revisions only grow;
a lower one is ignored.
"""

import asyncio
import logging
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mqtt_api.policy import Facts, Policy, client_id_allowed
from mqtt_broker.auth.credential import still_proves
from mqtt_broker.auth.principal import USERNAME_EXACTLY
from mqtt_broker.node import groups
from mqtt_broker.node.hub import RULES_PER_EFFORT, Hub
from mqtt_broker.node.live import LiveSession
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.ports import Subscribe
from mqtt_broker.wire.reasons import ReasonCode

log = logging.getLogger("mqtt_broker.policy")

# How much of it costs as much as one unit of `hub.turns`, some 50 µs.
SESSIONS_PER_EFFORT = 100  # facts refreshed
PRINCIPALS_PER_EFFORT = 200  # compared with what they were
FILTERS_PER_EFFORT = 8  # subscriptions decided
FILTERS_PER_SLICE = 80


class PolicyFeed:
    """Follows one policy file. `read` is called at the start and whenever the file may have changed."""

    def __init__(self, hub: Hub, path: Path) -> None:
        self._hub = hub
        self._path = path
        self._seen: bytes | None = None

    async def read(self) -> None:
        """Apply the file if it holds a newer policy. Never raises for its content."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return  # not written yet: this node is not ready, and refuses
        except OSError as problem:
            log.error("policy file %s cannot be read, the policy in force stays: %s", self._path, problem)
            return
        if data == self._seen:
            return
        self._seen = data
        await offer(self._hub, data, f"policy file {self._path}")


async def offer(hub: Hub, document: bytes | Sequence[bytes], where: str) -> None:
    """Apply a policy document, whole or in lines, if it is newer. Never raises for its content.

    `where` tells people where it came from.
    """
    try:
        policy = await asyncio.to_thread(hub.policy_decoder.decode, document)  # the first of a large one takes long
    except ValueError as problem:
        log.error("%s is not a policy, the one in force stays: %s", where, problem)
        return
    newest = hub.next_policy or hub.policy
    if newest is None or policy.revision > newest.revision:
        apply(hub, policy)
    elif policy.revision < newest.revision:
        log.error("policy revision %d is older than %d in force: ignored", policy.revision, newest.revision)


# Apply ---------------------------------------------------------------------------------------------------------------


@dataclass
class _Tally:
    """What a policy did."""

    muted: int = 0
    ended: int = 0


def apply(hub: Hub, policy: Policy) -> None:
    """Swap, then decide again whatever was decided before: sessions living and sleeping, what waits, what is open.

    It begins now, and goes on in later turns if there is much to decide: every session changes at one moment of its
    own. Of policies that come meanwhile the newest follows.
    """
    hub.next_policy = policy
    if not hub.is_deciding:
        hub.turns.run(_applied(hub))


def _applied(hub: Hub) -> Iterator[int]:
    hub.is_deciding = True
    try:
        while hub.next_policy is not None:
            policy, hub.next_policy = hub.next_policy, None
            yield from _in_force(hub, policy)
    finally:  # also after a bug of ours: the next policy must not wait for ever
        hub.is_deciding = False


def _in_force(hub: Hub, policy: Policy) -> Iterator[int]:
    changes = yield from _changes(hub.policy, policy)
    hub.swap_policy(policy)
    affected = [session for session in hub.sessions.values() if changes.concern(session.facts)]
    for session in affected:  # at once: nothing new is decided by the old rules
        session.facts = hub.refreshed(session.facts)
        session.forget_rights()
    yield len(affected) // SESSIONS_PER_EFFORT
    tally = _Tally()
    for session in affected:
        if hub.sessions.get(session.client_id) is session:  # else it ended, or was decided when its client came back
            yield from _follow(hub, session, tally)
    hub.revision = policy.revision
    log.info(
        "policy revision %d in force: %d subscriptions muted, %d connections ended",
        policy.revision,
        tally.muted,
        tally.ended,
        extra={
            "event": "policy.applied",
            "fields": {
                "revision": policy.revision,
                "digest": policy.digest,
                "muted": tally.muted,
                "ended": tally.ended,
            },
        },
    )


def _follow(hub: Hub, session: LiveSession, tally: _Tally) -> Iterator[int]:
    """Bring one session under the policy in force."""
    why = refused(hub, session)
    if why is not None and session.client_id in hub.connections:
        tally.ended += 1
        log.info("%s is sent away: %s", session.client_id, why)
        hub.connections[session.client_id].end(ReasonCode.NOT_AUTHORIZED)
        if hub.sessions.get(session.client_id) is not session:
            return  # it ended with its connection
    tally.muted += yield from deciding(hub, session)


# What changed --------------------------------------------------------------------------------------------------------


@dataclass
class _Changes:
    """Whose rights, limits or credentials two policies do not agree on. Principals are told by their user names."""

    everybody: bool = False
    principals: set[str] = field(default_factory=set)
    authenticated: bool = False  # everybody who is logged in
    anonymous: bool = False

    def concern(self, facts: Facts) -> bool:
        if self.everybody:
            return True
        if facts.anonymous:
            return self.anonymous
        return self.authenticated or facts.username in self.principals


def _changes(before: Policy | None, policy: Policy) -> Generator[int, None, _Changes]:
    if before is None or before.default_effect != policy.default_effect:
        return _Changes(everybody=True)
    changed = _changed_permissions(before, policy)

    def is_same(old: Sequence[str], new: Sequence[str]) -> bool:
        return old == new and changed.isdisjoint(new)

    changes = _Changes(
        principals=before.principals.keys() - policy.principals.keys(),
        authenticated=not is_same(before.authenticated, policy.authenticated),
        anonymous=not is_same(before.anonymous, policy.anonymous),
    )
    for count, (name, principal) in enumerate(policy.principals.items(), 1):
        old = before.principals.get(name)  # the same object, for most after a small change
        is_same_alone = old is principal or old == principal
        if not is_same_alone or (changed and not changed.isdisjoint(principal.permissions)):
            changes.principals.add(name)
        if count % PRINCIPALS_PER_EFFORT == 0:
            yield 1
    return changes


def _changed_permissions(before: Policy, policy: Policy) -> set[str]:
    """Those that the two do not agree on."""
    names = before.permissions.keys() | policy.permissions.keys()
    return {name for name in names if before.permissions.get(name) != policy.permissions.get(name)}


# One session ---------------------------------------------------------------------------------------------------------


def refused(hub: Hub, session: LiveSession) -> str | None:
    """Why this principal may not be connected any more; None if it may. Its facts are refreshed."""
    facts = session.facts
    client = hub.connections.get(session.client_id)
    principal = hub.principal(facts)
    if principal is None:
        deleted = client is not None and client.credential is not None and client.credential.had_object
        return "its MQTTClient is gone" if deleted else None
    if principal.suspended:
        return "its MQTTClient is suspended"
    if not client_id_allowed(principal.client_ids or USERNAME_EXACTLY, principal.username, session.client_id):
        return "its MQTTClient does not allow this client id any more"
    if client is not None and client.credential is not None and not still_proves(client.credential, principal):
        return "the credential it connected with was removed"
    session.facts = hub.refreshed(facts)
    session.limits = principal.limits
    return None


def decide_again(hub: Hub, session: LiveSession) -> None:
    """Mute what is not allowed any more, bring back what is again."""
    for _ in deciding(hub, session):
        pass


def deciding(hub: Hub, session: LiveSession) -> Generator[int, None, int]:
    """`decide_again` in slices, for `hub.turns`; returns how many subscriptions were muted.

    Between two slices each subscription is as the old policy has it, or as the new one does. A session that ended
    meanwhile is left alone.
    """
    session.forget_rights()
    muted, effort = 0, 1
    keys = list(session.subscriptions)
    for start in range(0, len(keys), FILTERS_PER_SLICE):
        some, resolved = keys[start : start + FILTERS_PER_SLICE], hub.rules_resolved
        muted += _decide(hub, session, [s for key in some if (s := session.subscriptions.get(key)) is not None])
        yield effort + len(some) // FILTERS_PER_EFFORT + (hub.rules_resolved - resolved) // RULES_PER_EFFORT
        effort = 0
        if hub.sessions.get(session.client_id) is not session:
            return muted
    if session.outlet is not None:
        groups.redeliver(hub, session.outlet.drop_disallowed())
    if muted and hub.settings.on_revoke == "Disconnect" and session.client_id in hub.connections:
        hub.connections[session.client_id].end(ReasonCode.NOT_AUTHORIZED)
    groups.wake_all(hub, session)
    hub.release_rights(session)
    yield effort
    return muted


def _decide(hub: Hub, session: LiveSession, subscriptions: list[Subscription]) -> int:
    """Route these by the rights of now; returns how many of them were muted."""
    changed = [(before, now) for before in subscriptions if (now := session.decided(before)) != before]
    if not changed:
        return 0
    for _, subscription in changed:
        hub.route(session, subscription)
        if subscription.group is not None and not subscription.muted:
            key = (subscription.group, subscription.filter)
            hub.group_backlog[key] = max(1, hub.group_backlog.get(key, 0))  # it may have waited for this member
    hub.decisions += 1
    write = Subscribe(
        client_id=session.client_id,
        incarnation=session.incarnation,
        epoch=None,
        subscriptions=tuple(now for _, now in changed),
        only_known=True,  # an UNSUBSCRIBE may be on its way
    )
    if hub.peers.keeps(session):
        hub.pump.submit(write)
    return sum(now.muted and not before.muted for before, now in changed)
