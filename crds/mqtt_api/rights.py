"""The decision: what one client may do under one policy revision.

Knows precedence, coverage and the default; does not know connections, packets, time, or how to explain a refusal.
"""

from itertools import chain

from mqtt_api.filter_index import lowest
from mqtt_api.policy_values import Activity, Decision, Effect, Facts, Grant, Policy, Rule, Step
from mqtt_api.policy_words import NO_RULE_FORBIDS, allowed_by, denied_by, walk, why_no_rule
from mqtt_api.rule_set import Ask, Rules, RuleSet
from mqtt_api.templates import ATTRIBUTE_PREFIX
from mqtt_api.topics import Levels, filter_levels

_ALLOWED_BY_DEFAULT = Decision(allowed=True, rule=None, reason=NO_RULE_FORBIDS)

SERVER_LEVEL = "$SYS"
_SERVERS_OWN = Decision(allowed=False, rule=None, reason="only the broker itself publishes below $SYS")


class Rights:
    """What one client may do under one policy revision: its rules with templates resolved, ready to be asked.

    Made by `resolve`. Immutable. Every method is pure and expects topics and filters that `topics` accepted, a QoS of
    0, 1 or 2, and a share name that is not empty (`group` None = not shared).
    """

    __slots__ = ("_decisions", "_default", "_rules")

    def __init__(self, rules: RuleSet, default_effect: Effect) -> None:
        self._rules = rules
        self._decisions = rules.decisions  # by entry, those that were taken: a rule decides many times
        self._default = _ALLOWED_BY_DEFAULT if default_effect is Effect.ALLOW else None

    def may_publish(self, topic: str, qos: int, retain: bool) -> Decision:
        """`topic` is the resolved name, never an alias. Wills and retained messages are publishes too.

        What a broker says of itself can be trusted because no rule lets a client say it.
        """
        levels = topic.split("/")
        if levels[0] == SERVER_LEVEL:
            return _SERVERS_OWN
        hits = self._rules.index.covering(levels) & self._rules.for_publish(qos, retain)
        return self._decided(hits) or self._undecided(Ask(levels, Activity.PUBLISH, qos, retain=retain))

    def may_receive(self, topic: str, qos: int, group: str | None) -> Decision:
        """The decision at delivery: `qos` is the one granted to the subscription that matched."""
        levels = topic.split("/")
        hits = self._rules.index.covering(levels) & self._rules.for_subscribe(qos, group)
        return self._decided(hits) or self._undecided(Ask(levels, Activity.SUBSCRIBE, qos, group=group))

    def may_subscribe(self, topic_filter: str, qos: int, group: str | None) -> Grant:
        """`topic_filter` without its `$share/group/` prefix. Grants the highest level not above `qos` that is allowed.

        One filter of one allow rule must cover `topic_filter`: several that cover it only together do not.
        """
        levels = filter_levels(topic_filter)
        asked = Ask(levels, Activity.SUBSCRIBE, qos, group=group)
        covering = self._rules.index.covering(levels)
        denial: Decision | None = None
        for granted in range(qos, -1, -1):
            fitting = self._rules.for_subscribe(granted, group)
            hits = covering & fitting
            decision = self._decided(hits) or self._default
            if decision and decision.allowed:
                reason = decision.reason
                if granted < qos:
                    refusal = denial or self._undecided(asked)
                    reason = f"{reason} at QoS {granted}, not at QoS {qos}: {refusal.reason}"
                return Grant(granted, decision.rule, reason, self._has_exceptions(levels, hits, fitting))
            denial = denial or decision
        refusal = denial or self._undecided(asked)
        return Grant(None, refusal.rule, refusal.reason)

    def walk_publish(self, topic: str, qos: int, retain: bool) -> tuple[Step, ...]:
        """Every rule of the client in order of precedence, with what became of it."""
        ask = Ask(topic.split("/"), Activity.PUBLISH, qos, retain=retain)
        return walk(self._rules, ask, self._default is not None)

    def walk_subscribe(self, topic_filter: str, qos: int, group: str | None) -> tuple[Step, ...]:
        """Every rule of the client in order of precedence, with what became of it at the QoS that is granted.

        At the one asked for if none is.
        """
        granted = self.may_subscribe(topic_filter, qos, group).qos
        seen_at = qos if granted is None else granted
        ask = Ask(filter_levels(topic_filter), Activity.SUBSCRIBE, seen_at, group=group)
        return walk(self._rules, ask, self._default is not None)

    def _decided(self, hits: int) -> Decision | None:
        """The decision of the entry that takes precedence among `hits`; None if there are none."""
        if not hits:
            return None
        entry = lowest(hits)
        decision = self._decisions.get(entry)
        if decision is None:
            decision = self._decisions[entry] = _decision(self._rules.owners[entry])
        return decision

    def _undecided(self, ask: Ask) -> Decision:
        """The decision where no rule speaks: no, unless the policy's default says otherwise."""
        return self._default or Decision(allowed=False, rule=None, reason=why_no_rule(self._rules, ask))

    def _has_exceptions(self, levels: Levels, hits: int, fitting: int) -> bool:
        """True if a deny that overlaps the granted filter outranks the grant. None covers it, or it would have won."""
        outranking = (hits & -hits) - 1  # entries before the granting one; all of them if the default granted
        denies = self._rules.denies & fitting & outranking
        return bool(denies and denies & self._rules.index.overlapping(levels))


def _decision(rule: Rule) -> Decision:
    if rule.effect is Effect.ALLOW:
        return Decision(allowed=True, rule=rule.reference, reason=allowed_by(rule))
    return Decision(allowed=False, rule=rule.reference, reason=denied_by(rule))


class Resolver:
    """`resolve` for the clients of one policy: what they have in common is worked out once.

    `work` grows by the rules that had to be gone through, whoever they were for.
    """

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._rules: dict[tuple[str, ...], Rules] = {}
        self._rights: dict[tuple[str, ...], Rights] = {}
        self.work = 0

    def resolve(self, facts: Facts) -> Rights:
        """As `resolve`. Clients whose rules have no placeholders share one answer."""
        permissions = _permissions_of(self._policy, facts)
        rights = self._rights.get(permissions)
        if rights is None:
            rules = self._rules_of(permissions)
            self.work += len(rules.templates)
            rights = Rights(RuleSet(rules, _values(facts)), self._policy.default_effect)
            if not rules.templates:
                self._rights[permissions] = rights
        return rights

    def _rules_of(self, permissions: tuple[str, ...]) -> Rules:
        rules = self._rules.get(permissions)
        if rules is None:
            named = (self._policy.permissions[permission] for permission in dict.fromkeys(permissions))
            all_rules = list(chain.from_iterable(named))
            self.work += len(all_rules)
            rules = Rules(all_rules)
            self._rules[permissions] = rules
        return rules


def resolve(policy: Policy, facts: Facts) -> Rights:
    """The rights of this client: of the `anonymous` permissions, or of the `authenticated` ones and its principal's.

    Their templates are filled in with the facts. Raises ValueError if one is malformed: `decode_policy` lets no such
    policy through.
    """
    return Resolver(policy).resolve(facts)


def _permissions_of(policy: Policy, facts: Facts) -> tuple[str, ...]:
    if facts.anonymous:
        return policy.anonymous
    principal = policy.principals.get(facts.username)
    if principal is None or not principal.permissions:
        return policy.authenticated
    return (*policy.authenticated, *principal.permissions)


def _values(facts: Facts) -> dict[str, str]:
    """What the placeholders stand for; an attribute can never stand for one of the other names."""
    values = {
        "clientid": facts.client_id,
        "username": facts.username,
        "cert.cn": facts.certificate_cn,
        "cert.san.dns": facts.certificate_san_dns,
        "namespace": facts.namespace,
    }
    values.update((ATTRIBUTE_PREFIX + key, value) for key, value in facts.attributes.items())
    return values
