"""The PROXY protocol's header, versions 1 and 2: what a load balancer says about the client behind it.

Knows the bytes of the header; does not know sockets, time, or whom to trust. Pure: the caller reads, and asks `parse`
after each read. Source: haproxy.org, "The PROXY protocol, versions 1 & 2" (2020/03/05), cited as PROXY 2.1 and so on.

A header of a proxy that speaks for itself (version 2's LOCAL, version 1's UNKNOWN: health checks) is accepted and names
no client: the connection keeps its own address. What a header says about a client's certificate is hearsay, for logs.
"""

import ipaddress
from collections.abc import Iterator
from struct import Struct as Layout

from msgspec import Struct

V1_BYTES_MAX = 107  # the longest line of version 1, its CRLF included (PROXY 2.1)
V2_BYTES_MAX = 4_096  # room for addresses and many TLVs; a longer one is a lie or an attack
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"  # of version 2 (PROXY 2.2)

_V1_START = b"PROXY "
_V2_FIXED = Layout(">12sBBH")  # signature, version and command, family and transport, bytes that follow
_TLV_HEAD = Layout(">BH")
_SSL_HEAD = Layout(">BI")

_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESS_BYTES = {_TCP4: 4, _TCP6: 16}
_TLV_SSL, _TLV_SSL_CN = 0x20, 0x22
_CERTIFICATE_SHOWN = 0x02 | 0x04  # PP2_CLIENT_CERT_CONN, PP2_CLIENT_CERT_SESS


class ProxyProtocolError(ValueError):
    """Not a PROXY header, or one that contradicts itself. The text says what is wrong; the connection is closed."""


class ProxyHeader(Struct, frozen=True, kw_only=True):
    """What one header says. `address` None: the proxy speaks for itself.

    `certificate_name` is the common name of the certificate that the client showed to the proxy; empty if it showed
    none, or none that the proxy verified. It proves nothing here.
    """

    address: str | None
    size_bytes: int
    certificate_name: str = ""


def parse(data: bytes) -> ProxyHeader | None:
    """The header at the start of `data`, or None while `data` is only a part of it.

    As long as the answer is None every byte of `data` belongs to the header, so the caller never takes a byte of what
    follows. Raises ProxyProtocolError as soon as no continuation could make it right.
    """
    if data[: len(SIGNATURE)] == SIGNATURE[: len(data)]:
        return _parse_v2(data)
    if data[: len(_V1_START)] == _V1_START[: len(data)]:
        return _parse_v1(data)
    raise ProxyProtocolError("there is no PROXY header")


# Version 1 -----------------------------------------------------------------------------------------------------------


def _parse_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, V1_BYTES_MAX)
    if end < 0:
        if len(data) >= V1_BYTES_MAX:
            raise ProxyProtocolError(f"version 1: no end of line within {V1_BYTES_MAX} bytes")
        return None
    try:
        words = data[:end].decode("ascii").split(" ")
    except UnicodeDecodeError as error:
        raise ProxyProtocolError("version 1: not ASCII") from error
    size_bytes = end + 2
    if words[1] == "UNKNOWN":  # whatever follows it on the line is to be ignored (PROXY 2.1)
        return ProxyHeader(address=None, size_bytes=size_bytes)
    if len(words) != 6 or words[1] not in {"TCP4", "TCP6"}:
        raise ProxyProtocolError("version 1: the line is not PROXY, TCP4 or TCP6, two addresses and two ports")
    _, family, source, destination, *ports = words
    address = _v1_address(family, source)
    _v1_address(family, destination)
    for port in ports:
        if not port.isdecimal() or len(port) > 5 or int(port) > 65_535 or port != str(int(port)):
            raise ProxyProtocolError("version 1: a port is not a number from 0 to 65535")
    return ProxyHeader(address=address, size_bytes=size_bytes)


def _v1_address(family: str, text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text) if family == "TCP4" else _ipv6(text))
    except ValueError as error:
        raise ProxyProtocolError(f"version 1: an address does not fit {family}") from error


def _ipv6(text: str) -> ipaddress.IPv6Address:
    if "%" in text:
        raise ValueError("a zone means nothing on another machine")
    return ipaddress.IPv6Address(text)


# Version 2 -----------------------------------------------------------------------------------------------------------


def _parse_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_FIXED.size:
        return None
    _, command, family, length = _V2_FIXED.unpack_from(data)
    if command not in (_LOCAL, _PROXY):
        raise ProxyProtocolError(f"version 2: unknown version and command {command:#04x}")
    size_bytes = _V2_FIXED.size + length
    if size_bytes > V2_BYTES_MAX:
        raise ProxyProtocolError(f"version 2: {size_bytes} bytes are more than {V2_BYTES_MAX}")
    addresses = _ADDRESS_BYTES.get(family)
    if command == _PROXY:
        if addresses is None:
            raise ProxyProtocolError(f"version 2: family and transport {family:#04x} are not TCP over IPv4 or IPv6")
        if length < 2 * addresses + 4:
            raise ProxyProtocolError(f"version 2: {length} bytes cannot hold two addresses and two ports")
    if len(data) < size_bytes:
        return None
    if command == _LOCAL:  # the receiver must use the connection's own address and skip the rest (PROXY 2.2)
        return ProxyHeader(address=None, size_bytes=size_bytes)
    assert addresses is not None
    start = _V2_FIXED.size
    address = ipaddress.ip_address(data[start : start + addresses])
    return ProxyHeader(
        address=str(address),
        size_bytes=size_bytes,
        certificate_name=_certificate_name(data[start + 2 * addresses + 4 : size_bytes]),
    )


def _certificate_name(tlvs: bytes) -> str:
    """Walk all TLVs, so that none may overrun the header, and read the one about TLS (PROXY 2.2.5)."""
    name = ""
    for kind, value in _walk(tlvs):
        if kind != _TLV_SSL:
            continue
        if len(value) < _SSL_HEAD.size:
            raise ProxyProtocolError("version 2: the TLV about TLS is too short")
        client, verify = _SSL_HEAD.unpack_from(value)
        inner = list(_walk(value[_SSL_HEAD.size :]))
        if client & _CERTIFICATE_SHOWN and verify == 0:
            name = next((_text(text) for inner_kind, text in inner if inner_kind == _TLV_SSL_CN), "")
    return name


def _walk(tlvs: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(tlvs):
        if len(tlvs) - position < _TLV_HEAD.size:
            raise ProxyProtocolError("version 2: bytes are left after the last TLV")
        kind, length = _TLV_HEAD.unpack_from(tlvs, position)
        position += _TLV_HEAD.size
        if length > len(tlvs) - position:
            raise ProxyProtocolError(f"version 2: a TLV of type {kind:#04x} is longer than what holds it")
        yield kind, tlvs[position : position + length]
        position += length


def _text(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProxyProtocolError("version 2: the certificate's name is not UTF-8") from error
