"""The rules of one client, templates filled in, as sets that one question can be asked of.

Knows rules, their order and the whole tuple they are limited by; does not decide and has no words for people.

One filter of one rule is an *entry*. Entries are numbered in the order of precedence: higher priority first, deny
before allow at equal priority. So among the entries that fit a question the lowest number decides.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from mqtt_api.filter_index import FilterIndex, bits
from mqtt_api.policy_values import Activity, Effect, Retained, Rule, Sharing
from mqtt_api.templates import fill
from mqtt_api.topics import Levels

QOS_LEVELS = (0, 1, 2)


class Ask(NamedTuple):
    """One question. `activity` is Publish (then `retain` counts) or Subscribe (then `group`, None = not shared)."""

    levels: Levels
    activity: Activity
    qos: int
    retain: bool = False
    group: str | None = None


class RuleSet:
    """Immutable. Raises TopicError if a rule's template is malformed, so that nothing is decided by such rules.

    `rules` and `owners` (of entries) are in order of precedence. `index` holds the filters of all entries, `denies`
    the entries of deny rules, `by_activity` those that speak about publishing or subscribing, `problems` what is wrong
    with an entry's template. `idle` are the allow entries with a problem: they fit no question, and are kept to explain
    refusals.
    """

    __slots__ = (
        "_by_group",
        "_plain",
        "_publish",
        "_shared",
        "_starts",
        "_unnamed_group",
        "by_activity",
        "denies",
        "idle",
        "index",
        "owners",
        "problems",
        "rules",
    )

    def __init__(self, rules: Iterable[Rule], values: Mapping[str, str]) -> None:
        self.rules = tuple(sorted(rules, key=_precedence))
        self.problems: dict[int, str] = {}
        owners: list[Rule] = []
        filters: list[Levels] = []
        starts: list[int] = []
        for rule in self.rules:
            starts.append(len(owners))
            for template in rule.topics:
                filled = fill(template, values)
                for levels in filled.filters:
                    if filled.problem:
                        self.problems[len(owners)] = filled.problem
                    owners.append(rule)
                    filters.append(levels)
        self.owners = tuple(owners)
        self._starts = (*starts, len(owners))
        self.index = FilterIndex(filters)
        self._sort_entries()

    def _sort_entries(self) -> None:
        self.denies = self._where(lambda rule: rule.effect is Effect.DENY)
        self.idle = bits(self.problems) & ~self.denies
        publish = self._where(lambda rule: rule.activity is not Activity.SUBSCRIBE)
        subscribe = self._where(lambda rule: rule.activity is not Activity.PUBLISH)
        self.by_activity: dict[Activity, int] = {Activity.PUBLISH: publish, Activity.SUBSCRIBE: subscribe}
        by_qos = [self._of_qos(qos) & ~self.idle for qos in QOS_LEVELS]
        without = publish & self._where(lambda rule: rule.retain is not Retained.RETAINED)
        retained = publish & self._where(lambda rule: rule.retain is not Retained.NOT_RETAINED)
        plain = subscribe & self._where(lambda rule: rule.shared_subscription is not Sharing.SHARED)
        shared = subscribe & self._where(lambda rule: rule.shared_subscription is not Sharing.NOT_SHARED)
        self._publish = tuple((fits & without, fits & retained) for fits in by_qos)
        self._plain = tuple(fits & plain for fits in by_qos)
        self._shared = tuple(fits & shared for fits in by_qos)
        self._unnamed_group = self._where(lambda rule: not rule.shared_groups)
        named: dict[str, list[int]] = {}
        for number, rule in enumerate(self.owners):
            for group in rule.shared_groups:
                named.setdefault(group, []).append(number)
        self._by_group = {group: self._unnamed_group | bits(numbers) for group, numbers in named.items()}

    def _of_qos(self, qos: int) -> int:
        return self._where(lambda rule: qos in rule.qos)

    def _where(self, holds: Callable[[Rule], bool]) -> int:
        return bits(number for number, rule in enumerate(self.owners) if holds(rule))

    def for_publish(self, qos: int, retain: bool) -> int:
        """The entries that speak about such a publish, whatever its topic."""
        return self._publish[qos][retain]

    def for_subscribe(self, qos: int, group: str | None) -> int:
        """The entries that speak about such a subscription, whatever its filter."""
        if group is None:
            return self._plain[qos]
        return self._shared[qos] & self._by_group.get(group, self._unnamed_group)

    def fitting(self, ask: Ask) -> int:
        """The entries that speak about all of the question but its levels."""
        if ask.activity is Activity.PUBLISH:
            return self.for_publish(ask.qos, ask.retain)
        return self.for_subscribe(ask.qos, ask.group)

    def entries_of(self, position: int) -> int:
        """The entries of the rule at this position of `rules`."""
        return (1 << self._starts[position + 1]) - (1 << self._starts[position])


def _precedence(rule: Rule) -> tuple[int, bool]:
    return -rule.priority, rule.effect is Effect.ALLOW
