"""A TLS handshake in memory: both ends in one process, no sockets."""

import ssl
from dataclasses import dataclass

FLIGHTS_MAX = 4  # more than any handshake takes


@dataclass(frozen=True)
class Ends:
    """Both ends of a finished handshake, over which a byte went each way."""

    server: ssl.SSLObject
    client: ssl.SSLObject

    def exchange(self) -> None:
        """One byte each way. Raises ssl.SSLError where an end has refused the other."""
        self.client.write(b"x")
        assert self.server.read(1) == b"x"
        self.server.write(b"y")
        assert self.client.read(1) == b"y"


def shake_hands(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    *,
    server_name: str = "localhost",
    session: ssl.SSLSession | None = None,
) -> Ends:
    """Raises ssl.SSLError where either end refuses. `session`: one the client would like to resume."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = Ends(
        server=server.wrap_bio(to_server, to_client, server_side=True),
        client=client.wrap_bio(to_client, to_server, server_hostname=server_name, session=session),
    )
    for _ in range(FLIGHTS_MAX):
        for end in (ends.client, ends.server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    ends.exchange()  # with TLS 1.3 the client is done before the server has looked at its certificate
    return ends
