"""Which client ids a principal may use: patterns of literal text, `*` and `${username}`.

Knows the pattern and the two strings; does not know principals, sessions or who holds a client id now.
"""

from collections.abc import Iterable

USERNAME = "${username}"


def client_id_allowed(patterns: Iterable[str], username: str, client_id: str) -> bool:
    """True if one pattern matches the whole client id. `*` stands for any run of characters, also for none.

    Linear in the client id for each pattern; nothing of the client is ever read as a pattern: a `*` in the user name is
    a star. A pattern that asks for the user name of a client without one matches nothing.
    """
    return any(_matches(pattern, username, client_id) for pattern in patterns)


def _matches(pattern: str, username: str, client_id: str) -> bool:
    if not username and USERNAME in pattern:
        return False
    # Split before the user name is filled in, or its stars would become wildcards.
    first, *others = [piece.replace(USERNAME, username) for piece in pattern.split("*")]
    if not others:
        return client_id == first
    *middle, last = others
    end = len(client_id) - len(last)
    if not (client_id.startswith(first) and client_id.endswith(last)) or end < len(first):
        return False
    position = len(first)
    for piece in middle:
        # The leftmost place leaves the most room for the pieces after it, so there is never a reason to go back.
        position = client_id.find(piece, position, end)
        if position < 0:
            return False
        position += len(piece)
    return True
