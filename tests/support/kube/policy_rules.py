"""NetworkPolicies as packet filter rules: which pods are isolated, and what passes to and from them all the same.

Pure: objects go in, lines for `iptables-restore` come out. Each isolated pod has a chain for each direction; what
passes it is looked at by the chain of the other end as well. Follows the API of networking.k8s.io/v1, with named ports,
ranges of ports, and blocks with exceptions; knows IPv4 only.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

Manifest = Mapping[str, Any]

ROOT_CHAIN = "POD-POLICIES"
ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True)
class World:
    """All namespaces, pods and policies."""

    namespaces: Sequence[Manifest]
    pods: Sequence[Manifest]
    policies: Sequence[Manifest]


@dataclass(frozen=True)
class Peer:
    """One end that a rule speaks of: an address or a block. `pod`: whose address it is."""

    block: str
    pod: Manifest | None = None


def table(world: World, earlier: Iterable[str] = ()) -> tuple[str, set[str]]:
    """The text for `iptables-restore --noflush`, and the chains in it. `earlier`: chains that may be there already."""
    chains = {name: rules for pod in _running(world.pods) for name, rules in _chains_of(pod, world)}
    lines = ["*mangle", f":{ROOT_CHAIN} - [0:0]"]
    lines += [f":{name} - [0:0]" for name in sorted({*chains, *earlier})]
    lines.append(f"-A {ROOT_CHAIN} -m conntrack --ctstate RELATED,ESTABLISHED -j RETURN")
    for pod in _running(world.pods):
        for flag, name in (("-s", _chain("egress", pod)), ("-d", _chain("ingress", pod))):
            if name in chains:
                lines.append(f"-A {ROOT_CHAIN} {flag} {_address(pod)} -j {name}")
    for name, rules in sorted(chains.items()):
        lines += [f"-A {name} {rule}" for rule in rules]
    lines += [f"-X {name}" for name in sorted({*earlier} - {*chains})]
    return "\n".join([*lines, "COMMIT", ""]), set(chains)


def is_selected(selector: Manifest | None, labels: Mapping[str, str]) -> bool:
    """By the rules of label selectors: an empty one selects everything."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    return all(_meets(one, labels) for one in selector.get("matchExpressions") or ())


def _chains_of(pod: Manifest, world: World) -> Iterator[tuple[str, list[str]]]:
    """The chains of a pod in the directions in which it is isolated."""
    mine = [policy for policy in world.policies if _applies(policy, pod)]
    for direction in ("ingress", "egress"):
        policies = [policy for policy in mine if direction in _directions(policy)]
        if policies:
            passes = [rule for policy in policies for rule in _rules_of(policy, direction, pod, world)]
            itself = f"-s {_address(pod)} -d {_address(pod)} -j RETURN"
            yield _chain(direction, pod), [itself, *dict.fromkeys(passes), "-j DROP"]


def _rules_of(policy: Manifest, direction: str, pod: Manifest, world: World) -> Iterator[str]:
    flag, key = ("-s", "from") if direction == "ingress" else ("-d", "to")
    for rule in policy["spec"].get(direction) or ():
        for peer in _peers(rule.get(key), policy, world):
            target = pod if direction == "ingress" else peer.pod
            for ports in _ports(rule.get("ports"), target):
                yield " ".join(part for part in (flag, peer.block, ports, "-j RETURN") if part)


def _peers(peers: Sequence[Manifest] | None, policy: Manifest, world: World) -> Iterator[Peer]:
    if not peers:
        yield Peer("0.0.0.0/0")
        return
    for peer in peers:
        if block := peer.get("ipBlock"):
            yield from (Peer(str(part)) for part in _without(block["cidr"], block.get("except") or ()))
            continue
        for pod in _running(world.pods):
            if _is_peer(peer, pod, policy["metadata"]["namespace"], world):
                yield Peer(_address(pod), pod=pod)


def _without(block: str, excepted: Sequence[str]) -> list[IPv4Network]:
    """The blocks that are left of one."""
    left = [IPv4Network(block)]
    for gap in map(IPv4Network, excepted):
        left = [part for one in left for part in (one.address_exclude(gap) if gap.subnet_of(one) else [one])]
    return sorted(left)


def _is_peer(peer: Manifest, pod: Manifest, own_namespace: str, world: World) -> bool:
    namespace = pod["metadata"]["namespace"]
    if "namespaceSelector" in peer:
        labels = next((_labels(item) for item in world.namespaces if item["metadata"]["name"] == namespace), {})
        if not is_selected(peer["namespaceSelector"], labels):
            return False
    elif namespace != own_namespace:
        return False
    return "podSelector" not in peer or is_selected(peer["podSelector"], _labels(pod))


def _ports(ports: Sequence[Manifest] | None, target: Manifest | None) -> Iterator[str]:
    """Matches for each of them; "" for any port."""
    if not ports:
        yield ""
        return
    for port in ports:
        protocol = port.get("protocol", "TCP").lower()
        number = port.get("port")
        if isinstance(number, str):
            number = _named_port(target, number)
            if number is None:
                continue
        if number is None:
            yield f"-p {protocol}"
        else:
            last = port.get("endPort", number)
            yield f"-p {protocol} --dport {number}:{last}" if last != number else f"-p {protocol} --dport {number}"


def _named_port(pod: Manifest | None, name: str) -> int | None:
    for container in pod["spec"]["containers"] if pod else ():
        for port in container.get("ports") or ():
            if port.get("name") == name:
                return int(port["containerPort"])
    return None


def _directions(policy: Manifest) -> list[str]:
    kinds = policy["spec"].get("policyTypes") or ["Ingress", *(["Egress"] if "egress" in policy["spec"] else [])]
    return [kind.lower() for kind in kinds]


def _applies(policy: Manifest, pod: Manifest) -> bool:
    same = policy["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return same and is_selected(policy["spec"].get("podSelector", {}), _labels(pod))


def _running(pods: Iterable[Manifest]) -> list[Manifest]:
    """Those with an address of their own."""
    return [
        pod
        for pod in pods
        if pod.get("status", {}).get("podIP")
        and not pod["spec"].get("hostNetwork")
        and pod["status"].get("phase") not in ENDED
    ]


def _meets(expression: Manifest, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels


def _labels(item: Manifest) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def _address(pod: Manifest) -> str:
    return str(pod["status"]["podIP"])


def _chain(direction: str, pod: Manifest) -> str:
    """At most 28 characters."""
    return f"POD-{direction.upper()}-{hashlib.sha256(pod['metadata']['uid'].encode()).hexdigest()[:12]}"
