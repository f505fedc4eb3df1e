"""Whether the ports of a broker are free, asked before its node starts.

Knows sockets and the operating system's refusals; does not know settings beyond names and addresses.
"""

import errno
import socket
from collections.abc import Iterable

from mqtt_api.node_settings import ListenerSettings
from mqtt_operator.errors import ExpectedError

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


def check_ports(listeners: Iterable[ListenerSettings]) -> None:
    """Raises ExpectedError for the first port that cannot be opened. Another program may still be quicker than us."""
    for listener in listeners:
        refusal = _refusal(listener)
        if refusal is not None:
            raise port_error(listener, refusal)


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
