"""Whether the ports of a broker are free, asked before its node starts.

Knows sockets and the operating system's refusals; does not know settings beyond names and addresses.
"""

import errno
import socket
from collections.abc import Iterable
from typing import NamedTuple

from mqtt_api.node_settings import ListenerSettings
from mqtt_operator.errors import ExpectedError

PORT_MAX = 65_535

_ADVICE = {
    errno.EADDRINUSE: "Stop the program that has it (`ss -ltnp` or `lsof -i` shows which), or choose another port.",
    errno.EACCES: "Ports below 1024 belong to the system: choose one above, such as 8883.",
    errno.EADDRNOTAVAIL: "This machine has no such address: choose another one with --host.",
}
_WHAT = {
    errno.EADDRINUSE: "is in use by another program",
    errno.EACCES: "may not be opened by your user",
    errno.EADDRNOTAVAIL: "cannot be opened at this address",
}


class Wanted(NamedTuple):
    """A listener, and who is to open its port: a node, or the front."""

    owner: str
    listener: ListenerSettings


def check_distinct(wanted: Iterable[Wanted]) -> None:
    """Raises ExpectedError if two of our own processes would need one port."""
    owners: dict[int, Wanted] = {}
    for each in wanted:
        first = owners.setdefault(each.listener.port, each)
        if first is not each:
            raise ExpectedError(
                f"Port {each.listener.port} would be needed twice: by {_said(first)} and by {_said(each)}.",
                where="field: spec.listeners",
                to_do="Each further node takes the next port of every listener: leave room between the declared ports.",
            )
        if each.listener.port > PORT_MAX:
            raise ExpectedError(
                f"Port {each.listener.port} would be needed by {_said(each)}, and ports end at {PORT_MAX}.",
                where="field: spec.listeners",
                to_do="Each further node takes the next port of every listener: choose lower ones.",
            )


def _said(wanted: Wanted) -> str:
    return f"{wanted.listener.name} of {wanted.owner}"


def check_ports(listeners: Iterable[ListenerSettings]) -> None:
    """Raises ExpectedError for the first port that cannot be opened. Another program may still be quicker than us."""
    for listener in listeners:
        refusal = _refusal(listener)
        if refusal is not None:
            raise port_error(listener, refusal)


def is_open(listener: ListenerSettings) -> bool:
    """True if somebody listens there; found out without connecting, which would reach whoever stands behind it."""
    refusal = _refusal(listener)
    return refusal is not None and refusal.errno == errno.EADDRINUSE


def port_error(listener: ListenerSettings, refusal: OSError) -> ExpectedError:
    """The refusal in words."""
    number = refusal.errno or 0
    return ExpectedError(
        f"Port {listener.port} {_WHAT.get(number, f'cannot be opened: {refusal.strerror or refusal}')}.",
        where=f"field: spec.listeners, the one named {listener.name}; address {listener.host}",
        to_do=_ADVICE.get(number, "Choose another port or another address (--host)."),
    )


def _refusal(listener: ListenerSettings) -> OSError | None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            listener.host, listener.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As the node will: connections of a former run that linger must not look like a program.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # Only listening tells on Linux, where two sockets with SO_REUSEADDR may be bound to one address.
            probe.listen(1)
    except OSError as error:
        return error
    return None
