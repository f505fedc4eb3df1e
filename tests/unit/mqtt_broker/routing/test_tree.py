"""SubscriptionTree: what matches, what is replaced, what is let go."""

from hypothesis import given
from hypothesis import strategies as st

from mqtt_api.topics import matches
from mqtt_broker.routing.tree import SubscriptionTree
from mqtt_broker.session.session import Subscription


def tree_of(*filters: str) -> SubscriptionTree:
    """One client per filter, named after it."""
    tree = SubscriptionTree()
    for topic_filter in filters:
        tree.add(topic_filter, Subscription(filter=topic_filter))
    return tree


def matching(tree: SubscriptionTree, topic: str) -> set[str]:
    return {client_id for client_id, _ in tree.match(topic)}


def test_exact_filter_matches_its_topic_alone() -> None:
    """[MQTT-3.3.2-3] [3.1.1 MQTT-3.3.2-3]"""
    tree = tree_of("a/b", "a", "a/b/c", "A/b")
    assert matching(tree, "a/b") == {"a/b"}


def test_plus_stands_for_exactly_one_level_that_may_be_empty() -> None:
    """MQTT 5.0, 4.7.1.3. [MQTT-3.3.2-3] [3.1.1 MQTT-3.3.2-3]"""
    tree = tree_of("a/+", "+/b", "+", "a/+/c", "/+")
    assert matching(tree, "a/b") == {"a/+", "+/b"}
    assert matching(tree, "a/") == {"a/+"}
    assert matching(tree, "a") == {"+"}
    assert matching(tree, "/x") == {"/+"}


def test_hash_matches_the_parent_and_everything_below() -> None:
    """MQTT 5.0, 4.7.1.2: sport/tennis/player1/# matches sport/tennis/player1 as well."""
    tree = tree_of("a/#", "a/b/#", "#")
    assert matching(tree, "a") == {"a/#", "#"}
    assert matching(tree, "a/b") == {"a/#", "a/b/#", "#"}
    assert matching(tree, "a/b/c/d") == {"a/#", "a/b/#", "#"}
    assert matching(tree, "ab") == {"#"}


def test_a_leading_wildcard_never_matches_a_dollar_topic() -> None:
    """[MQTT-4.7.2-1] [3.1.1 MQTT-4.7.2-1]"""
    tree = tree_of("#", "+/x", "+/#", "$SYS/#", "$SYS/+", "$SYS/x")
    assert matching(tree, "$SYS/x") == {"$SYS/#", "$SYS/+", "$SYS/x"}
    assert matching(tree, "$SYS") == {"$SYS/#"}


def test_dollar_below_the_first_level_is_an_ordinary_character() -> None:
    tree = tree_of("a/+", "a/#")
    assert matching(tree, "a/$b") == {"a/+", "a/#"}


def test_the_same_client_filter_and_group_is_replaced() -> None:
    """[MQTT-3.8.4-3]"""
    tree = SubscriptionTree()
    tree.add("c", Subscription(filter="a/#", qos=0))
    tree.add("c", Subscription(filter="a/#", qos=2))
    assert len(tree) == 1
    assert tree.match("a/b") == [("c", Subscription(filter="a/#", qos=2))]


def test_shared_and_plain_subscriptions_of_one_filter_live_side_by_side() -> None:
    tree = SubscriptionTree()
    plain, shared = Subscription(filter="t"), Subscription(filter="t", group="g")
    tree.add("c", plain)
    tree.add("c", shared)
    assert tree.match("t") == [("c", plain), ("c", shared)]
    assert tree.remove("c", ("t", "g"))
    assert tree.match("t") == [("c", plain)]


def test_members_are_those_of_one_group_and_filter() -> None:
    tree = SubscriptionTree()
    for client_id, group, topic_filter in [("a", "g", "t/+"), ("b", "g", "t/+"), ("c", "h", "t/+"), ("d", "g", "t")]:
        tree.add(client_id, Subscription(filter=topic_filter, group=group))
    tree.add("e", Subscription(filter="t/+"))
    assert [client_id for client_id, _ in tree.members("g", "t/+")] == ["a", "b"]
    assert [client_id for client_id, _ in tree.members("g", "t")] == ["d"]
    assert tree.members("none", "t/+") == []
    assert tree.members("g", "no/filter") == []
    assert tree.members("g", "no/+") == []


def test_removing_what_is_not_there_changes_nothing() -> None:
    tree = tree_of("a/+", "a")
    before = tree.version("a")
    for key in [("a/+", "g"), ("a/+", None), ("b/+", None), ("b", None), ("a/+/c", None), ("a/#", None)]:
        assert not tree.remove("nobody", key)
    assert len(tree) == 2
    assert tree.version("a") == before


def test_an_emptied_tree_keeps_no_level() -> None:
    filters = ["a/+/c/#", "a/+/c", "#", "+", "a/b", "a/+/d/e/+"]
    tree = tree_of(*filters)
    for topic_filter in filters:
        assert tree.remove(topic_filter, (topic_filter, None))
    for topic_filter in ("t", "t/+"):
        tree.add("member", Subscription(filter=topic_filter, group="g"))
        assert tree.remove("member", (topic_filter, "g"))
    assert len(tree) == 0
    assert tree._root.is_empty
    assert not tree._exact


def test_pruning_a_branch_leaves_its_neighbours() -> None:
    tree = tree_of("a/+/c", "a/+", "a/+/#")
    tree.remove("a/+/c", ("a/+/c", None))
    assert matching(tree, "a/x") == {"a/+", "a/+/#"}
    tree.remove("a/+/#", ("a/+/#", None))
    assert matching(tree, "a/x") == {"a/+"}


def test_a_filter_of_very_many_levels_needs_no_recursion() -> None:
    deep = "/".join(["a"] * 30_000)
    tree = tree_of(deep + "/+", deep + "/#")
    assert matching(tree, deep + "/x") == {deep + "/+", deep + "/#"}
    assert tree.remove(deep + "/#", (deep + "/#", None))


def test_version_grows_when_a_match_may_have_changed() -> None:
    tree = tree_of("a/#")
    first = tree.version("a/x")
    tree.add("c", Subscription(filter="a/x"))
    second = tree.version("a/x")
    tree.remove("c", ("a/x", None))
    assert first < second < tree.version("a/x")


def test_a_wildcard_in_the_first_level_changes_every_version() -> None:
    tree = tree_of()
    versions = [tree.version(topic) for topic in ("a/b", "c", "/d")]
    tree.add("c", Subscription(filter="+/b"))
    assert all(tree.version(topic) > old for topic, old in zip(("a/b", "c", "/d"), versions, strict=True))


def test_a_change_elsewhere_leaves_most_versions_alone() -> None:
    """A cached answer stays good while others subscribe: only topics of the same bucket are touched."""
    tree = tree_of()
    before = {level: tree.version(f"{level}/x") for level in map(str, range(100))}
    tree.add("c", Subscription(filter="elsewhere/+"))
    unchanged = sum(tree.version(f"{level}/x") == old for level, old in before.items())
    assert unchanged > 90


def test_one_filter_of_several_clients_keeps_each_of_them_until_it_goes() -> None:
    """One holder, several, one again, none: in a dictionary of exact filters and in the trie alike."""
    for topic_filter in ("a/b", "a/+", "a/#"):
        tree = SubscriptionTree()
        for client_id in ("one", "two", "three"):
            tree.add(client_id, Subscription(filter=topic_filter))
        tree.add("two", Subscription(filter=topic_filter, qos=1))
        assert [(name, s.qos) for name, s in tree.match("a/b")] == [("one", 0), ("two", 1), ("three", 0)]
        for client_id in ("one", "three", "two"):
            assert tree.remove(client_id, (topic_filter, None))
            assert not tree.remove(client_id, (topic_filter, None))
            assert client_id not in matching(tree, "a/b")
        assert len(tree) == 0
        tree.add("one", Subscription(filter=topic_filter))
        assert matching(tree, "a/b") == {"one"}


LEVELS = st.sampled_from(["a", "b", "", "$x"])
TOPICS = st.lists(LEVELS, min_size=1, max_size=4).map("/".join).filter(bool)


@st.composite
def topic_filters(draw: st.DrawFn) -> str:
    levels = draw(st.lists(st.one_of(LEVELS, st.just("+")), min_size=0, max_size=4))
    if not levels or draw(st.booleans()):
        levels.append("#")
    return "/".join(levels) or "#"


@given(st.lists(topic_filters(), unique=True, max_size=12), st.data(), TOPICS)
def test_the_tree_agrees_with_the_definition_of_matching(filters: list[str], data: st.DataObject, topic: str) -> None:
    """Against mqtt_api.topics.matches, filter by filter, after random removals."""
    tree = tree_of(*filters)
    gone = data.draw(st.sets(st.sampled_from(filters))) if filters else set()
    for topic_filter in gone:
        assert tree.remove(topic_filter, (topic_filter, None))
    left = [topic_filter for topic_filter in filters if topic_filter not in gone]
    assert len(tree) == len(left)
    found = [client_id for client_id, _ in tree.match(topic)]
    assert sorted(found) == sorted(topic_filter for topic_filter in left if matches(topic_filter, topic))


CHANGES = st.lists(st.tuples(st.booleans(), st.sampled_from("xyz"), topic_filters(), st.sampled_from([None, "g"])))


@given(CHANGES, TOPICS)
def test_the_tree_agrees_with_a_list_of_what_came_and_went(
    changes: list[tuple[bool, str, str, str | None]], topic: str
) -> None:
    tree, held = SubscriptionTree(), set[tuple[str, str, str | None]]()
    for is_new, client_id, topic_filter, group in changes:
        if is_new:
            tree.add(client_id, Subscription(filter=topic_filter, group=group))
            held.add((client_id, topic_filter, group))
        else:
            known = (client_id, topic_filter, group) in held
            assert tree.remove(client_id, (topic_filter, group)) is known
            held.discard((client_id, topic_filter, group))
    assert len(tree) == len(held)
    found = sorted((client_id, s.filter, s.group or "") for client_id, s in tree.match(topic))
    assert found == sorted((c, f, g or "") for c, f, g in held if matches(f, topic))
