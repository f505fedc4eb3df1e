"""I9: memory, descriptors and the store stay within bounds, and the store is nearly empty once all is delivered."""

from cluster.chaos.history import History
from cluster.chaos.record import Sampled, only
from cluster.chaos.terms import Terms
from cluster.chaos.verdict import Finding

STORE = "store"


def judge(history: History) -> Finding:
    finding = Finding("I9", "everything stays bounded")
    for event in only(history.record, Sampled):
        finding.looked_at += 1
        is_store = event.name == STORE
        name = "store_mib" if is_store else "node_mib"
        finding.figures[name] = max(finding.figures.get(name, 0.0), round(event.rss_bytes / 2**20, 1))
        _judge_bytes(finding, event, history.terms, is_store)
        if not is_store and event.fds > history.terms.node_fds_max:
            finding.accuse(f"{event.name} has {event.fds} descriptors", [event])
    return finding


def _judge_bytes(finding: Finding, event: Sampled, terms: Terms, is_store: bool) -> None:
    bound = terms.node_rss_bytes_max
    if is_store:
        bound = terms.store_bytes_left_max if event.is_final else terms.store_bytes_max
    if event.rss_bytes > bound:
        finding.accuse(f"{event.name} uses {event.rss_bytes} bytes, and {bound} are allowed", [event])
