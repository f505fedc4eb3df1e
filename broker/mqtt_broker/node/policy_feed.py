"""The policy's way into a running node: read, validate, swap by one assignment, decide every session again.

A file that cannot be read or understood changes nothing: the policy in force stays, and the log says so. Revisions only
grow; a lower one is ignored.
"""

import logging
from pathlib import Path

from mqtt_api.policy import Facts, Policy, Principal, client_id_allowed, decode_policy
from mqtt_broker.auth.credential import still_proves
from mqtt_broker.auth.principal import USERNAME_EXACTLY
from mqtt_broker.node import groups
from mqtt_broker.node.hub import Hub
from mqtt_broker.node.live import LiveSession
from mqtt_broker.store.ports import Subscribe
from mqtt_broker.wire.reasons import ReasonCode

log = logging.getLogger("mqtt_broker.policy")


class PolicyFeed:
    """Follows one policy file. `read` is called at the start and whenever the file may have changed."""

    def __init__(self, hub: Hub, path: Path) -> None:
        self._hub = hub
        self._path = path
        self._seen: bytes | None = None

    def read(self) -> None:
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
        try:
            policy = decode_policy(data)
        except ValueError as problem:
            log.error("policy file %s is not a policy, the one in force stays: %s", self._path, problem)
            return
        if policy.revision > self._hub.revision:
            apply(self._hub, policy)
        elif policy.revision < self._hub.revision:
            log.error("policy revision %d is older than %d in force: ignored", policy.revision, self._hub.revision)


def apply(hub: Hub, policy: Policy) -> None:
    """Swap, then decide again whatever was decided before: sessions living and sleeping, what waits, what is open."""
    before = hub.policy
    hub.swap_policy(policy)
    muted = ended = 0
    for session in list(hub.sessions.values()):
        if before is not None and _bundle(before, session.facts) == _bundle(policy, session.facts):
            continue  # the rights it has decide the same
        why = refused(hub, session)
        if why is not None and session.client_id in hub.connections:
            ended += 1
            log.info("%s is sent away: %s", session.client_id, why)
            hub.connections[session.client_id].end(ReasonCode.NOT_AUTHORIZED)
            if hub.sessions.get(session.client_id) is not session:
                continue  # it ended with its connection
        muted += decide_again(hub, session)
    log.info(
        "policy revision %d in force: %d subscriptions muted, %d connections ended",
        policy.revision,
        muted,
        ended,
        extra={
            "event": "policy.applied",
            "fields": {"revision": policy.revision, "digest": policy.digest, "muted": muted, "ended": ended},
        },
    )


def _bundle(policy: Policy, facts: Facts) -> tuple[object, ...]:
    """Everything of a policy that can matter to one client: two equal bundles decide alike."""
    principal = None if facts.anonymous else policy.principals.get(facts.username)
    if principal is not None:
        indexes = principal.rules
    else:
        indexes = policy.anonymous if facts.anonymous else policy.authenticated
    return (principal and _without_indexes(principal), policy.default_effect, [policy.rules[i] for i in indexes])


def _without_indexes(principal: Principal) -> tuple[object, ...]:
    """The principal but for where its rules stand in the table: that changes with every other object."""
    return tuple(getattr(principal, name) for name in principal.__struct_fields__ if name != "rules")


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


def decide_again(hub: Hub, session: LiveSession) -> int:
    """Mute what is not allowed any more, bring back what is again; returns how many were muted."""
    session.forget_rights()
    changed = [current for before in session.subscriptions.values() if (current := session.decided(before)) != before]
    muted = [s for s in changed if s.muted and not session.subscriptions[s.key].muted]
    for subscription in changed:
        hub.route(session, subscription)
        if subscription.group is not None and not subscription.muted:
            key = (subscription.group, subscription.filter)
            hub.group_backlog[key] = max(1, hub.group_backlog.get(key, 0))  # it may have waited for this member
    if changed:
        write = Subscribe(
            client_id=session.client_id,
            incarnation=session.incarnation,
            epoch=None,
            subscriptions=tuple(changed),
        )
        hub.pump.submit(write)
    if session.outlet is not None:
        session.outlet.drop_disallowed()
    if muted and hub.settings.on_revoke == "Disconnect" and session.client_id in hub.connections:
        hub.connections[session.client_id].end(ReasonCode.NOT_AUTHORIZED)
    groups.wake_all(hub, session)
    return len(muted)
