"""What Redis answers instead of an answer, as the errors of the port.

Knows the words that error replies begin with; does not know connections or what was asked.
"""

from mqtt_broker.store.ports import Fenced, StoreError, StoreFull, StoreMismatch, StoreUnavailable

NOSCRIPT = "NOSCRIPT"

# These speak of the server, not of the call: another one may be the primary by now, or other credentials be valid.
REOPENS = frozenset({"CLUSTERDOWN", "LOADING", "MASTERDOWN", "NOAUTH", "NOPERM", "READONLY", "UNBLOCKED", "WRONGPASS"})

_ADVICE = {
    "NOAUTH": "the store asks for a password: give its user and the password file",
    "WRONGPASS": "the store does not accept this user and password: check the user's ACL entry and the password file",
    "NOPERM": "the store's user may not do what the broker needs: set its ACL to the rules that the operator prints",
    "READONLY": "this server is a replica: writes go to the primary",
    "MISCONF": "the store refuses writes because it cannot save to its disk: look at its log and its volume",
    "NOREPLICAS": "the store refuses writes because too few replicas are in step (min-replicas-to-write)",
    "LOADING": "the store is still reading its data from disk",
}


def code(text: str) -> str:
    """The first word of an error reply, which says what kind it is."""
    return text.partition(" ")[0]


def as_store_error(text: str) -> StoreError:
    """The port's error for an error reply. Whatever is not known leaves the outcome unknown: StoreUnavailable."""
    word = code(text)
    if word == "OOM":
        return StoreFull("the store has reached its maxmemory")
    if word == "FENCED":
        return Fenced(text.removeprefix("FENCED "))
    if word == "WORLD":
        return StoreMismatch(text.removeprefix("WORLD "))
    advice = _ADVICE.get(word)
    return StoreUnavailable(f"{advice} ({text})" if advice else f"the store answered: {text}")
