"""The rules of one client, templates filled in, as sets that one question can be asked of.

Knows rules, their order and the whole tuple they are limited by; does not decide and has no words for people.

One filter of one rule is an *entry*. Entries are numbered in the order of precedence: higher priority first, deny
before allow at equal priority. So among the entries that fit a question the lowest number decides.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mqtt_api.filter_index import FilterIndex, FilterIndexes, bits
from mqtt_api.policy_values import Activity, Decision, Effect, Retained, Rule, Sharing
from mqtt_api.templates import fill, literal_filter
from mqtt_api.topics import Levels

QOS_LEVELS = (0, 1, 2)
SHARED_INDEX_MIN = 32  # so many filters without placeholders are indexed once for all clients; fewer cost little each


class Ask(NamedTuple):
    """One question. `activity` is Publish (then `retain` counts) or Subscribe (then `group`, None = not shared)."""

    levels: Levels
    activity: Activity
    qos: int
    retain: bool = False
    group: str | None = None


class Rules:
    """What is the same for every client that the rules are for: everything but what placeholders stand for. Immutable.

    Raises TopicError if a template is malformed, so that nothing is decided by such rules. `rules` and `owners` (of
    entries) are in order of precedence. `literal` indexes the filters without placeholders, `templates` are the others
    by their entry. `few` are the filters of `literal` if they are so few that each client can index them again.
    `denies` are the entries of deny rules, `by_activity` those that speak about publishing or subscribing.
    `decisions` remembers, by entry, how decisions by it are told: for whoever takes them.
    """

    __slots__ = (
        "_starts",
        "by_activity",
        "by_group",
        "decisions",
        "denies",
        "few",
        "literal",
        "owners",
        "plain",
        "publish",
        "rules",
        "shared",
        "templates",
        "unnamed_group",
    )

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(sorted(rules, key=_precedence))
        owners: list[Rule] = []
        starts: list[int] = []
        literal: list[tuple[int, Levels]] = []
        templates: list[tuple[int, str]] = []
        for rule in self.rules:
            starts.append(len(owners))
            for template in rule.topics:
                levels = literal_filter(template)
                if levels is None:
                    templates.append((len(owners), template))
                else:
                    literal.append((len(owners), levels))
                owners.append(rule)
        self.owners = tuple(owners)
        self.decisions: dict[int, Decision] = {}
        self.templates = tuple(templates)
        self.literal = FilterIndex(literal)
        self.few = tuple(literal) if len(literal) < SHARED_INDEX_MIN else None
        self._starts = (*starts, len(owners))
        self._sort_entries()

    def _sort_entries(self) -> None:
        """Rules that differ in their topics alone are looked at together: a fleet has thousands of them."""
        kinds: dict[tuple[Effect, Activity, tuple[int, ...], Retained, Sharing], list[int]] = {}
        named: dict[str, list[int]] = {}
        unnamed: list[int] = []
        for number, rule in enumerate(self.owners):
            kind = (rule.effect, rule.activity, rule.qos, rule.retain, rule.shared_subscription)
            kinds.setdefault(kind, []).append(number)
            if not rule.shared_groups:
                unnamed.append(number)
            for group in rule.shared_groups:
                named.setdefault(group, []).append(number)
        sets = {kind: bits(numbers) for kind, numbers in kinds.items()}
        self.denies = _joined(those for kind, those in sets.items() if kind[0] is Effect.DENY)
        publish = {kind: those for kind, those in sets.items() if kind[1] is not Activity.SUBSCRIBE}
        subscribe = {kind: those for kind, those in sets.items() if kind[1] is not Activity.PUBLISH}
        self.by_activity: dict[Activity, int] = {
            Activity.PUBLISH: _joined(publish.values()),
            Activity.SUBSCRIBE: _joined(subscribe.values()),
        }
        without = {kind: those for kind, those in publish.items() if kind[3] is not Retained.RETAINED}
        retained = {kind: those for kind, those in publish.items() if kind[3] is not Retained.NOT_RETAINED}
        plain = {kind: those for kind, those in subscribe.items() if kind[4] is not Sharing.SHARED}
        shared = {kind: those for kind, those in subscribe.items() if kind[4] is not Sharing.NOT_SHARED}

        def of_qos(sets: Mapping[tuple[Effect, Activity, tuple[int, ...], Retained, Sharing], int], qos: int) -> int:
            return _joined(those for kind, those in sets.items() if qos in kind[2])

        self.publish = tuple((of_qos(without, qos), of_qos(retained, qos)) for qos in QOS_LEVELS)
        self.plain = tuple(of_qos(plain, qos) for qos in QOS_LEVELS)
        self.shared = tuple(of_qos(shared, qos) for qos in QOS_LEVELS)
        self.unnamed_group = bits(unnamed)
        self.by_group = {group: self.unnamed_group | bits(numbers) for group, numbers in named.items()}

    def entries_of(self, position: int) -> int:
        """The entries of the rule at this position of `rules`."""
        return (1 << self._starts[position + 1]) - (1 << self._starts[position])


class RuleSet:
    """`Rules` with the values of one client filled in. Immutable.

    `index` holds the filters of all entries, `problems` what is wrong with an entry's template. `idle` are the allow
    entries with a problem: they fit no question, and are kept to explain refusals.
    """

    __slots__ = ("_fit", "_rules", "idle", "index", "problems")

    def __init__(self, rules: Rules, values: Mapping[str, str]) -> None:
        self._rules = rules
        self.problems: dict[int, str] = {}
        filters: list[tuple[int, Levels]] = []
        for number, template in rules.templates:
            filled = fill(template, values)
            filters += [(number, levels) for levels in filled.filters]
            if filled.problem:
                self.problems[number] = filled.problem
        self.index = _index(rules, filters)
        self.idle = bits(self.problems) & ~rules.denies
        self._fit = ~self.idle

    @property
    def rules(self) -> tuple[Rule, ...]:
        return self._rules.rules

    @property
    def decisions(self) -> dict[int, Decision]:
        return self._rules.decisions

    @property
    def owners(self) -> tuple[Rule, ...]:
        return self._rules.owners

    @property
    def denies(self) -> int:
        return self._rules.denies

    @property
    def by_activity(self) -> Mapping[Activity, int]:
        return self._rules.by_activity

    def for_publish(self, qos: int, retain: bool) -> int:
        """The entries that speak about such a publish, whatever its topic."""
        return self._rules.publish[qos][retain] & self._fit

    def for_subscribe(self, qos: int, group: str | None) -> int:
        """The entries that speak about such a subscription, whatever its filter."""
        rules = self._rules
        if group is None:
            return rules.plain[qos] & self._fit
        return rules.shared[qos] & rules.by_group.get(group, rules.unnamed_group) & self._fit

    def fitting(self, ask: Ask) -> int:
        """The entries that speak about all of the question but its levels."""
        if ask.activity is Activity.PUBLISH:
            return self.for_publish(ask.qos, ask.retain)
        return self.for_subscribe(ask.qos, ask.group)

    def entries_of(self, position: int) -> int:
        """The entries of the rule at this position of `rules`."""
        return self._rules.entries_of(position)


def _index(rules: Rules, filters: list[tuple[int, Levels]]) -> FilterIndex | FilterIndexes:
    """All filters of one client: `filters` are those with its values filled in."""
    if not filters:
        return rules.literal
    if rules.few is None:
        return FilterIndexes(rules.literal, FilterIndex(filters))
    return FilterIndex([*rules.few, *filters])


def _joined(sets: Iterable[int]) -> int:
    joined = 0
    for one in sets:
        joined |= one
    return joined


def _precedence(rule: Rule) -> tuple[int, bool]:
    return -rule.priority, rule.effect is Effect.ALLOW
