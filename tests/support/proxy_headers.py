"""PROXY headers put together by hand, so that they can be wrong."""

import ipaddress

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6, UDP4, UNIX, UNSPECIFIED = 0x11, 0x21, 0x12, 0x31, 0x00


def v1(*words: str) -> bytes:
    return " ".join(("PROXY", *words)).encode() + b"\r\n"


def v2(payload: bytes = b"", *, command: int = PROXY, family: int = TCP4, length: int | None = None) -> bytes:
    """`length`: what it announces, if that is to differ from the truth."""
    announced = len(payload) if length is None else length
    return SIGNATURE + bytes([command, family]) + announced.to_bytes(2, "big") + payload


def addresses(source: str, destination: str, source_port: int = 50_000, destination_port: int = 8_883) -> bytes:
    packed = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    return packed + source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big")


def tlv(kind: int, value: bytes, *, length: int | None = None) -> bytes:
    announced = len(value) if length is None else length
    return bytes([kind]) + announced.to_bytes(2, "big") + value


def tls_tlv(common_name: str | bytes, *, client: int = 0x07, verify: int = 0) -> bytes:
    """What a proxy that ended TLS tells of it; by default: the client showed a certificate, and it was good."""
    name = common_name.encode() if isinstance(common_name, str) else common_name
    inner = tlv(0x21, b"TLSv1.3") + tlv(0x22, name)
    return tlv(0x20, bytes([client]) + verify.to_bytes(4, "big") + inner)
