"""Why: the sentences that explain a decision to the person who has to change it.

Knows how a rule fails to fit a question; takes no decision and changes none. Only refusals and walks come here.
"""

from collections.abc import Iterable

from mqtt_api.filter_index import lowest
from mqtt_api.policy_values import Activity, Effect, Retained, Rule, Sharing, Step
from mqtt_api.rule_set import Ask, RuleSet

NO_RULE_ALLOWS = "no rule allows it (default deny)"
NO_RULE_FORBIDS = "no rule forbids it (default allow)"


def allowed_by(rule: Rule) -> str:
    return f"allowed by {rule.reference}"


def denied_by(rule: Rule) -> str:
    return f"denied by {rule.reference}"


def limit(rule: Rule, ask: Ask) -> str | None:
    """What the rule is limited to that leaves this question out, its topics aside; None if nothing does."""
    if rule.activity not in (Activity.ALL, ask.activity):
        return "publishing only" if rule.activity is Activity.PUBLISH else "subscribing only"
    if ask.qos not in rule.qos:
        return f"QoS {_listed(str(qos) for qos in sorted(rule.qos))} only"
    if ask.activity is Activity.PUBLISH:
        return _retain_limit(rule, ask.retain)
    return _sharing_limit(rule, ask.group)


def why_no_rule(rules: RuleSet, ask: Ask) -> str:
    """Why no rule says yes to a question that no rule says no to: the allow rule that came nearest, if one did."""
    covering = rules.index.covering(ask.levels) & ~rules.denies
    nearest = covering & rules.by_activity[ask.activity]
    if sound := nearest & ~rules.idle:
        return _too_narrow(rules.owners[lowest(sound)], ask)
    if nearest:
        number = lowest(nearest)
        return f"the rule {rules.owners[number].reference} does not match: {rules.problems[number]}"
    if partly := rules.index.overlapping(ask.levels) & ~rules.denies & rules.fitting(ask):
        return f"the rule {rules.owners[lowest(partly)].reference} allows only a part of this filter"
    if other := covering & ~rules.idle:
        return _too_narrow(rules.owners[lowest(other)], ask)
    return NO_RULE_ALLOWS


def walk(rules: RuleSet, ask: Ask, default_allows: bool) -> tuple[Step, ...]:
    """What became of every rule, in order of precedence."""
    return _Walk(rules, ask, default_allows).steps()


class _Walk:
    """One question put to every rule in turn."""

    def __init__(self, rules: RuleSet, ask: Ask, default_allows: bool) -> None:
        self._rules, self._ask = rules, ask
        self._covering = rules.index.covering(ask.levels)
        self._overlapping = rules.index.overlapping(ask.levels)
        hits = self._covering & rules.fitting(ask)
        self._decider = rules.owners[lowest(hits)] if hits else None
        if self._decider is None:
            self._allowed, self._outranking = default_allows, -1
        else:
            self._allowed = self._decider.effect is Effect.ALLOW
            self._outranking = (1 << lowest(hits)) - 1

    def steps(self) -> tuple[Step, ...]:
        return tuple(
            Step(rule.reference, self._outcome(rule, self._rules.entries_of(position)))
            for position, rule in enumerate(self._rules.rules)
        )

    def _outcome(self, rule: Rule, entries: int) -> str:
        if not rule.topics:
            return "does not match: it names no topic that this version can read"
        covering = entries & self._covering
        if not covering and not entries & self._overlapping:
            return "does not match the topic"
        if limited := limit(rule, self._ask):
            return f"does not match: it is for {limited}"
        if not covering:
            return self._partial(rule, entries & self._overlapping)
        sound = covering & ~self._rules.idle
        if not sound:
            return f"does not match: {self._rules.problems[lowest(covering)]}"
        return self._matched(rule) + self._widened(lowest(sound))

    def _matched(self, rule: Rule) -> str:
        if rule is self._decider:
            return "matches and decides: " + ("allowed" if self._allowed else "denied")
        return f"matches, but is outranked by {self._decided_by}"

    def _partial(self, rule: Rule, overlapping: int) -> str:
        """A rule that speaks about some of the topics of the filter, not all."""
        if rule.effect is Effect.ALLOW:
            sound = overlapping & ~self._rules.idle
            problem = None if sound else self._rules.problems[lowest(overlapping)]
            return f"does not match: {problem or 'it allows only a part of this filter'}"
        if not self._allowed:
            return "does not match: it denies only a part of this filter"
        if overlapping & self._outranking:
            return "denies a part of this filter: decided again for each message" + self._widened(lowest(overlapping))
        return f"denies a part of this filter, but is outranked by {self._decided_by}"

    @property
    def _decided_by(self) -> str:
        return self._decider.reference if self._decider else "the default"

    def _widened(self, number: int) -> str:
        """Why a deny matches more than it was written for."""
        problem = self._rules.problems.get(number)
        return f" ({problem}, so its level is read as '+')" if problem else ""


def _too_narrow(rule: Rule, ask: Ask) -> str:
    return f"the rule {rule.reference} allows {limit(rule, ask)}"


def _retain_limit(rule: Rule, retain: bool) -> str | None:
    if retain and rule.retain is Retained.NOT_RETAINED:
        return "messages without the retain flag only"
    if not retain and rule.retain is Retained.RETAINED:
        return "retained messages only"
    return None


def _sharing_limit(rule: Rule, group: str | None) -> str | None:
    if group is None:
        return "shared subscriptions only" if rule.shared_subscription is Sharing.SHARED else None
    if rule.shared_subscription is Sharing.NOT_SHARED:
        return "subscriptions that are not shared only"
    if rule.shared_groups and group not in rule.shared_groups:
        noun = "group" if len(rule.shared_groups) == 1 else "groups"
        return f"the shared {noun} {_listed(rule.shared_groups)} only"
    return None


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
