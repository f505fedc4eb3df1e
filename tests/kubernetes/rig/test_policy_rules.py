"""NetworkPolicies as packet filter rules: what passes, and what does not."""

import ipaddress
import itertools
from typing import Any

import pytest

from support.kube.policy_rules import World, is_selected, table

Manifest = dict[str, Any]


def _pod(name: str, address: str, namespace: str = "mqtt", **labels: str) -> Manifest:
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}", "labels": labels},
        "spec": {"containers": [{"ports": [{"name": "redis", "containerPort": 6379}]}]},
        "status": {"podIP": address, "phase": "Running"},
    }


def _policy(spec: Manifest, namespace: str = "mqtt") -> Manifest:
    return {"metadata": {"name": "policy", "namespace": namespace}, "spec": spec}


def _world(*policies: Manifest) -> World:
    namespaces = [{"metadata": {"name": name, "labels": {"team": name}}} for name in ("mqtt", "other")]
    pods = [
        _pod("store", "10.0.0.1", app="store"),
        _pod("node", "10.0.0.2", app="node"),
        _pod("stranger", "10.0.0.3", "other", app="node"),
    ]
    return World(namespaces, pods, policies)


def _passes(world: World, source: str, target: str, port: int, protocol: str = "tcp") -> bool:
    """What the rules mean for the first packet of a connection."""
    lines = [line.split() for line in table(world)[0].splitlines() if line.startswith("-A")]

    def decide(chain: str) -> bool | None:
        for words in (line[2:] for line in lines if line[1] == chain):
            if _matches(words, source, target, port, protocol):
                verdict = words[words.index("-j") + 1]
                if verdict in ("RETURN", "DROP"):
                    return verdict == "RETURN"
                if decide(verdict) is False:
                    return False
        return None

    return decide("POD-POLICIES") is not False


def _matches(words: list[str], source: str, target: str, port: int, protocol: str) -> bool:
    facts = dict(itertools.pairwise(words))
    if "conntrack" in words:
        return False
    for flag, address in (("-s", source), ("-d", target)):
        if flag in facts and ipaddress.ip_address(address) not in ipaddress.ip_network(facts[flag]):
            return False
    if "-p" in facts and facts["-p"] != protocol:
        return False
    first, _, last = facts.get("--dport", f"{port}").partition(":")
    return int(first) <= port <= int(last or first)


STORE, NODE, STRANGER, OUTSIDE = "10.0.0.1", "10.0.0.2", "10.0.0.3", "192.0.2.1"
ISOLATED = {"podSelector": {"matchLabels": {"app": "store"}}}


def test_without_a_policy_everything_passes() -> None:
    assert _passes(_world(), OUTSIDE, STORE, 6379)


def test_a_policy_without_rules_lets_nothing_in_but_the_pod_itself() -> None:
    world = _world(_policy({"podSelector": {}}))
    assert not _passes(world, NODE, STORE, 6379)
    assert _passes(world, STORE, STORE, 6379)
    assert _passes(world, STORE, STRANGER, 80), "no policy is about what goes out, nor about the other namespace"


@pytest.mark.parametrize(
    ("peer", "let_in"),
    [
        ({"podSelector": {"matchLabels": {"app": "node"}}}, {NODE}),
        ({"namespaceSelector": {"matchLabels": {"team": "other"}}}, {STRANGER}),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "node"}}}, {NODE, STRANGER}),
        ({"ipBlock": {"cidr": "192.0.2.0/24"}}, {OUTSIDE}),
        ({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["192.0.2.0/24", "10.0.0.2/32"]}}, {STRANGER}),
    ],
)
def test_peers_are_let_in_and_nobody_else(peer: Manifest, let_in: set[str]) -> None:
    world = _world(_policy({**ISOLATED, "ingress": [{"from": [peer]}]}))
    assert {source for source in (NODE, STRANGER, OUTSIDE) if _passes(world, source, STORE, 1)} == let_in


@pytest.mark.parametrize(
    ("port", "open_ports"),
    [
        ({"port": 6379}, {6379}),
        ({"port": "redis"}, {6379}),
        ({"port": "nowhere"}, set()),
        ({"port": 6000, "endPort": 6400}, {6379}),
        ({"protocol": "TCP"}, {80, 6379}),
        ({"protocol": "UDP", "port": 6379}, set()),
    ],
)
def test_ports_are_open_and_no_others(port: Manifest, open_ports: set[int]) -> None:
    world = _world(_policy({**ISOLATED, "ingress": [{"ports": [port]}]}))
    assert {number for number in (80, 6379) if _passes(world, NODE, STORE, number)} == open_ports


def test_both_ends_have_to_agree() -> None:
    let_in = _policy({**ISOLATED, "ingress": [{}]})
    nothing_out = _policy({"podSelector": {"matchLabels": {"app": "node"}}, "policyTypes": ["Egress"]})
    store_only = _policy(
        {
            "podSelector": {"matchLabels": {"app": "node"}},
            "policyTypes": ["Egress"],
            "egress": [{"to": [ISOLATED], "ports": [{"port": "redis"}]}],
        }
    )
    assert not _passes(_world(let_in, nothing_out), NODE, STORE, 6379)
    assert _passes(_world(let_in, nothing_out, store_only), NODE, STORE, 6379), "what one of them allows passes"
    assert not _passes(_world(let_in, nothing_out, store_only), NODE, STORE, 80)


def test_chains_of_pods_that_are_gone_are_emptied_and_removed() -> None:
    text, chains = table(_world(_policy(ISOLATED)))
    (chain,) = chains
    later, left = table(World([], [], []), chains)
    assert left == set()
    assert f":{chain} - [0:0]" in later
    assert later.index(f":{chain}") < later.index(f"-X {chain}")
    assert text.startswith("*mangle\n")
    assert text.endswith("COMMIT\n")


@pytest.mark.parametrize(
    ("operator", "values", "is_met"),
    [
        ("In", ["node"], True),
        ("In", ["store"], False),
        ("NotIn", ["node"], False),
        ("NotIn", ["store"], True),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
    ],
)
def test_expressions_of_a_selector(operator: str, values: list[str], is_met: bool) -> None:
    selector = {"matchExpressions": [{"key": "app", "operator": operator, "values": values}]}
    assert is_selected(selector, {"app": "node"}) is is_met
    assert not is_selected({**selector, "matchLabels": {"app": "x"}}, {"app": "node"})
