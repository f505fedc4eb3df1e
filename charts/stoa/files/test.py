"""Publishes to one topic over TLS, is refused at another, and says so. Waits until the broker lets the client in."""

import socket
import ssl
import struct
import sys
import time
from pathlib import Path

DEADLINE_S = 90
SUCCESS, NO_SUBSCRIBERS, NOT_AUTHORIZED = 0x00, 0x10, 0x87
CONNACK, PUBACK = 2, 4

folder, host, port, allowed, denied = Path(sys.argv[1]), *sys.argv[2:]


def text(value):
    data = value.encode()
    return struct.pack("!H", len(data)) + data


def packet(head, body):
    length, rest = bytearray(), len(body)
    while rest > 0x7F:
        length.append(rest & 0x7F | 0x80)
        rest >>= 7
    length.append(rest)
    return bytes([head, *length]) + body


def byte(stream):
    read = stream.read(1)
    if not read:
        raise ConnectionError("the broker closed the connection")
    return read[0]


def read(stream, kind):
    head, length, shift = byte(stream), 0, 0
    while True:
        part = byte(stream)
        length |= (part & 0x7F) << shift
        shift += 7
        if part < 0x80:
            break
    body = stream.read(length)
    if head >> 4 != kind:
        raise ConnectionError(f"the broker sent packet {head >> 4}: {body.hex()}")
    return body


def connect():
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    user = (folder / "username").read_text()
    password = (folder / "password").read_text()
    body = text("MQTT") + b"\x05\xc2" + struct.pack("!H", 60) + b"\x00" + text(user) + text(user) + text(password)
    connection = context.wrap_socket(socket.create_connection((host, int(port)), 10), server_hostname=host)
    stream = connection.makefile("rwb")
    stream.write(packet(0x10, body))
    stream.flush()
    reason = read(stream, CONNACK)[1]
    if reason != SUCCESS:
        raise ConnectionError(f"CONNACK {reason:#04x}")
    print(f"connected over {connection.version()} as {user}")
    return stream


def publish(stream, topic, number):
    stream.write(packet(0x32, text(topic) + struct.pack("!H", number) + b"\x00" + b"test"))
    stream.flush()
    body = read(stream, PUBACK)
    return body[2] if len(body) > 2 else SUCCESS


def waiting(attempt, until):
    while True:
        try:
            return attempt()
        except OSError as problem:
            if time.monotonic() > until:
                sys.exit(f"not within {DEADLINE_S} s: {problem}")
            time.sleep(1)


def allowed_is_acknowledged(stream):
    reason = publish(stream, allowed, 1)
    if reason not in (SUCCESS, NO_SUBSCRIBERS):
        raise ConnectionError(f"publish to {allowed}: {reason:#04x}")
    print(f"published to {allowed}: {reason:#04x}")


until = time.monotonic() + DEADLINE_S
stream = waiting(connect, until)
waiting(lambda: allowed_is_acknowledged(stream), until)  # the permission may be on its way
reason = publish(stream, denied, 2)
if reason != NOT_AUTHORIZED:
    sys.exit(f"publish to {denied} was not refused: {reason:#04x}")
print(f"refused at {denied}: {reason:#04x}, not authorized")
