"""One CONNECT at one door, and what is answered. Knows MQTT as far as that; keeps no connection."""

import socket
import ssl

from cluster.chaos.link import PACKET_BYTES_MAX, Door
from mqtt_broker.wire.codec import decode, encode
from mqtt_broker.wire.packets import ConnAck, Connect, Disconnect, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode

ANSWER_S_MAX = 30.0  # a node that verifies passwords for hundreds of others takes its time
READ_BYTES = 4096
KEEP_ALIVE_S = 30
VERSION = ProtocolVersion.V5


def knock(door: Door, client: str, log_in: tuple[str, bytes] | None = None) -> ReasonCode | None:
    """What CONNACK says; None: the connection, or TLS, was refused. Raises TimeoutError if nothing is answered."""
    username, password = (None, None) if log_in is None else log_in
    ask = Connect(
        version=VERSION,
        client_id=client,
        clean_start=True,
        keep_alive=KEEP_ALIVE_S,
        username=username,
        password=password,
    )
    try:
        with (
            socket.create_connection((door.host, door.port), ANSWER_S_MAX) as plain,
            _secured(plain, door) as connection,
        ):
            connection.sendall(encode(ask, VERSION))
            answer = _answer(connection)
            connection.sendall(encode(Disconnect(), VERSION))
    except (ssl.SSLError, ConnectionError):
        return None
    return None if answer is None else answer.reason


def _secured(plain: socket.socket, door: Door) -> socket.socket:
    return plain if door.tls is None else door.tls.wrap_socket(plain, server_hostname=door.name)


def _answer(connection: socket.socket) -> ConnAck | None:
    """None: the peer closed the connection without one."""
    received = b""
    while (found := decode(received, 0, VERSION, PACKET_BYTES_MAX)) is None:
        data = connection.recv(READ_BYTES)
        if not data:
            return None
        received += data
    answer, _ = found
    assert isinstance(answer, ConnAck)
    return answer
