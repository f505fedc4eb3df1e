"""Packets put together by hand, byte by byte, so that they can be wrong."""


def string(text: str | bytes) -> bytes:
    """A UTF-8 string field: two bytes of length, then the bytes as they are."""
    data = text.encode() if isinstance(text, str) else text
    return len(data).to_bytes(2, "big") + data


def variable(value: int) -> bytes:
    """A variable byte integer (MQTT 5.0, 1.5.5)."""
    out = bytearray()
    while True:
        value, digit = divmod(value, 128)
        out.append(digit | (0x80 if value else 0))
        if not value:
            return bytes(out)


def frame(first_byte: int, body: bytes) -> bytes:
    """A whole packet: its first byte, its remaining length, its body."""
    return bytes([first_byte]) + variable(len(body)) + body


def properties(data: bytes) -> bytes:
    return variable(len(data)) + data


def connect(
    *,
    name: str | bytes = "MQTT",
    level: int = 5,
    flags: int = 0x02,
    keep_alive: int = 60,
    property_bytes: bytes = b"",
    payload: bytes = b"\x00\x01c",
    first_byte: int = 0x10,
) -> bytes:
    """A CONNECT; without changes a good one of MQTT 5 for client id "c"."""
    head = string(name) + bytes([level, flags]) + keep_alive.to_bytes(2, "big")
    return frame(first_byte, head + (properties(property_bytes) if level >= 5 else b"") + payload)
