"""What people should know of a permission's rules: which never decide, and which contradict others of equal priority.

Knows precedence and what a rule speaks of; does not know how it is told, or who a client is: clients are bits of a
number. Follows changes: what one change cannot have touched is not looked at again. Pure.

- A rule is *shadowed* if, for each of its topics, a rule that outranks it covers that topic and everything else that it
  speaks of, for every client that it is for.
- Two rules *contradict* each other if they are of different permissions and equal priority, one allows and one denies,
  and they share a topic, something else that they speak of, and a client. The deny holds there.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from msgspec import Struct

from mqtt_api.policy import Activity, Effect, Retained, Rule, Sharing
from mqtt_api.topics import covers, overlaps
from mqtt_operator.policy.topic_trie import TopicTrie

EXAMPLES_MAX = 3  # of each sort: enough for a person to see what is meant
RIVALS_MAX = 1_000  # looked at for one topic: whoever writes more of a kind is not told of all

Reach = Callable[[str], int]
"""The clients that a permission is for."""

_Place = tuple[str, int]  # a permission, and which of its rules
_ANY_GROUP = "+"  # no name of a group

Aspect = tuple[str, int, object]
"""One thing that a rule speaks of, whatever the topic."""


class Finding(Struct, frozen=True, order=True):
    """`rule` of this permission, by its name, and `other` rule, by its reference."""

    rule: str
    other: str


class RuleFacts(Struct, frozen=True, kw_only=True):
    """The first few of each sort."""

    shadowed: tuple[Finding, ...] = ()
    contradicted: tuple[Finding, ...] = ()


NO_FACTS = RuleFacts()


def aspects(rule: Rule) -> frozenset[Aspect]:
    """Publishes by QoS and retain, subscriptions by QoS and group (None = not shared)."""
    found: set[Aspect] = set()
    for qos in rule.qos:
        if rule.activity is not Activity.SUBSCRIBE:
            found |= {("publish", qos, retain) for retain in _retained(rule.retain)}
        if rule.activity is not Activity.PUBLISH:
            if rule.shared_subscription is not Sharing.SHARED:
                found.add(("subscribe", qos, None))
            if rule.shared_subscription is not Sharing.NOT_SHARED:
                found |= {("subscribe", qos, group) for group in rule.shared_groups or (_ANY_GROUP,)}
    return frozenset(found)


def _retained(retain: Retained) -> tuple[bool, ...]:
    return {Retained.ALL: (False, True), Retained.RETAINED: (True,), Retained.NOT_RETAINED: (False,)}[retain]


def covers_aspects(wide: frozenset[Aspect], narrow: frozenset[Aspect]) -> bool:
    return all(each in wide or _any_group(each) in wide for each in narrow)


def share_aspects(one: frozenset[Aspect], other: frozenset[Aspect]) -> bool:
    return not one.isdisjoint(other) or any(
        _any_group(each) in there for here, there in ((one, other), (other, one)) for each in here
    )


def _any_group(aspect: Aspect) -> Aspect | None:
    """The one that includes it, if it is a shared subscription."""
    word, qos, group = aspect
    return (word, qos, _ANY_GROUP) if isinstance(group, str) else None


def outranks(one: Rule, other: Rule) -> bool:
    """True if, where both speak, the first decides."""
    if one.priority != other.priority:
        return one.priority > other.priority
    return one.effect is Effect.DENY and other.effect is Effect.ALLOW


class _Known(Struct, frozen=True):
    rules: tuple[Rule, ...]
    aspects: tuple[frozenset[Aspect], ...]


class RuleBook:
    """All rules in force. `reach` must answer for every permission that was put."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._known: dict[str, _Known] = {}
        self._topics: TopicTrie[_Place] = TopicTrie()
        self._stale: dict[str, None] = {}
        self._moved: set[str] = set()

    def put(self, reference: str, rules: Sequence[Rule]) -> None:
        """The permission has these rules now."""
        self.drop(reference)
        self._known[reference] = _Known(tuple(rules), tuple(aspects(rule) for rule in rules))
        for number, rule in enumerate(rules):
            for topic in rule.topics:
                self._topics.add(topic, (reference, number))
        self._touch(reference)
        self._stale[reference] = None

    def drop(self, reference: str) -> None:
        """The permission is not in force any more. Idempotent."""
        known = self._known.get(reference)
        if known is None:
            return
        self._touch(reference)
        del self._known[reference]
        self._stale.pop(reference, None)
        self._moved.discard(reference)
        for number, rule in enumerate(known.rules):
            for topic in rule.topics:
                self._topics.discard(topic, (reference, number))

    def moved(self, reference: str) -> None:
        """The clients of this permission are others now."""
        if reference in self._known:
            self._moved.add(reference)

    def news(self) -> Iterator[tuple[str, RuleFacts]]:
        """The facts of every permission that may have got others; each is looked at as it is asked for."""
        for reference in self._moved:
            self._touch(reference)
            self._stale[reference] = None
        self._moved.clear()
        while self._stale:
            reference = next(iter(self._stale))
            del self._stale[reference]
            yield reference, self._facts(reference)

    def _touch(self, reference: str) -> None:
        """Whatever is said of its rivals may be wrong from now on."""
        for rule in self._known[reference].rules:
            for topic in rule.topics:
                self._stale.update((place[0], None) for place in self._rivals(topic) if place[0] != reference)

    def _rivals(self, topic: str) -> Iterator[_Place]:
        return islice(self._topics.overlapping(topic), RIVALS_MAX)

    def _facts(self, reference: str) -> RuleFacts:
        if not self._reach(reference):
            return NO_FACTS
        shadowed: set[Finding] = set()
        contradicted: set[Finding] = set()
        for number, rule in enumerate(self._known[reference].rules):
            hiding = [self._hiding(reference, number, topic) for topic in rule.topics]
            if all(hiding):
                shadowed.update(Finding(rule.name, min(each)) for each in hiding)
            contradicted.update(Finding(rule.name, each) for each in self._contradicting(reference, number))
        return RuleFacts(
            shadowed=tuple(sorted(shadowed)[:EXAMPLES_MAX]), contradicted=tuple(sorted(contradicted)[:EXAMPLES_MAX])
        )

    def _hiding(self, reference: str, number: int, topic: str) -> list[str]:
        """The rules that decide this topic of the rule wherever it speaks."""
        rule, spoken = self._at((reference, number))
        reach = self._reach(reference)
        found = []
        for place in self._rivals(topic):
            other, others = self._at(place)
            if (
                outranks(other, rule)
                and not reach & ~self._reach(place[0])
                and covers_aspects(others, spoken)
                and any(covers(each, topic) for each in other.topics)
            ):
                found.append(other.reference)
        return found

    def _contradicting(self, reference: str, number: int) -> set[str]:
        rule, spoken = self._at((reference, number))
        reach = self._reach(reference)
        found = set()
        for topic in rule.topics:
            for place in self._rivals(topic):
                other, others = self._at(place)
                if (
                    place[0] != reference
                    and (other.priority, other.effect is rule.effect) == (rule.priority, False)
                    and reach & self._reach(place[0])
                    and share_aspects(spoken, others)
                    and any(overlaps(each, topic) for each in other.topics)
                ):
                    found.add(other.reference)
        return found

    def _at(self, place: _Place) -> tuple[Rule, frozenset[Aspect]]:
        known = self._known[place[0]]
        return known.rules[place[1]], known.aspects[place[1]]
