"""The PROXY header: what is one, what is none, and that no byte behind it is ever asked for."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_broker.node.transports.proxy_protocol import (
    V1_BYTES_MAX,
    V2_BYTES_MAX,
    ProxyHeader,
    ProxyProtocolError,
    parse,
)
from support.proxy_headers import (
    LOCAL,
    SIGNATURE,
    TCP4,
    TCP6,
    UDP4,
    UNIX,
    UNSPECIFIED,
    addresses,
    tls_tlv,
    tlv,
    v1,
    v2,
)

IPV4 = addresses("192.0.2.7", "198.51.100.1")
IPV6 = addresses("2001:db8::7", "2001:db8::1")


@pytest.mark.parametrize(
    ("header", "address"),
    [
        (v1("TCP4", "192.0.2.7", "198.51.100.1", "50000", "8883"), "192.0.2.7"),
        (v1("TCP6", "2001:db8::7", "2001:db8::1", "0", "65535"), "2001:db8::7"),
        (v1("UNKNOWN"), None),
        (v1("UNKNOWN", "ffff:f...f:ffff", "whatever", "1", "2"), None),
        (v2(IPV4), "192.0.2.7"),
        (v2(IPV6, family=TCP6), "2001:db8::7"),
        (v2(IPV4 + tlv(0x04, bytes(20))), "192.0.2.7"),
        (v2(command=LOCAL, family=UNSPECIFIED), None),
        (v2(IPV4 + b"anything", command=LOCAL), None),
    ],
)
@pytest.mark.parametrize("behind", [b"", b"\x16\x03\x01", b"\r\n"])
def test_a_header_names_the_client_and_ends_where_it_ends(header: bytes, address: str | None, behind: bytes) -> None:
    """LOCAL and UNKNOWN name no client: the proxy speaks for itself."""
    assert parse(header + behind) == ProxyHeader(address=address, size_bytes=len(header))
    for end in range(len(header)):
        assert parse(header[:end]) is None


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x10\x0c\x00\x04MQTT", "no PROXY header"),
        (b"\x16\x03\x01", "no PROXY header"),
        (b"GET / HTTP/1.1\r\n", "no PROXY header"),
        (b"proxy TCP4", "no PROXY header"),
        (SIGNATURE[:-1] + b"\r", "no PROXY header"),
        (v1("TCP4", "192.0.2.7", "198.51.100.1", "50000", "8883")[:-2].ljust(V1_BYTES_MAX, b" "), "no end of line"),
        (v1("UNKNOWN", "x" * 100), "no end of line"),
        (v1("TCP4", "192.0.2.7", "198.51.100.1", "50000"), "two addresses and two ports"),
        (v1("TCP4", "192.0.2.7", "198.51.100.1", "50000", "8883", ""), "two addresses and two ports"),
        (v1("TCP4", "", "192.0.2.7", "198.51.100.1", "50000", "8883"), "two addresses and two ports"),
        (v1("UDP4", "192.0.2.7", "198.51.100.1", "50000", "8883"), "two addresses and two ports"),
        (v1(""), "two addresses and two ports"),
        (v1("TCP4", "2001:db8::7", "2001:db8::1", "1", "2"), "does not fit TCP4"),
        (v1("TCP6", "192.0.2.7", "2001:db8::1", "1", "2"), "does not fit TCP6"),
        (v1("TCP6", "fe80::1%eth0", "2001:db8::1", "1", "2"), "does not fit TCP6"),
        (v1("TCP4", "192.0.2.7", "198.51.100.999", "1", "2"), "does not fit TCP4"),
        (v1("TCP4", "192.0.2.007", "198.51.100.1", "1", "2"), "does not fit TCP4"),
        (v1("TCP4", "192.0.2.7", "198.51.100.1", "65536", "1"), "a port"),
        (v1("TCP4", "192.0.2.7", "198.51.100.1", "01", "1"), "a port"),
        (v1("TCP4", "192.0.2.7", "198.51.100.1", "-1", "1"), "a port"),
        (v1("TCP4", "192.0.2.7", "198.51.100.1", "1", "9" * 6), "a port"),
        (v1("TCP4", "192.0.2.\u0667", "198.51.100.1", "1", "1"), "not ASCII"),
        (v2(IPV4, command=0x22), "unknown version and command"),
        (v2(IPV4, command=0x11), "unknown version and command"),
        (v2(IPV4, family=UDP4), "not TCP"),
        (v2(IPV4, family=UNIX), "not TCP"),
        (v2(family=UNSPECIFIED), "not TCP"),
        (v2(IPV4, family=TCP6), "cannot hold"),
        (v2(IPV4, length=11), "cannot hold"),
        (v2(length=0xFFFF), f"more than {V2_BYTES_MAX}"),
        (v2(length=0xFFFF, command=LOCAL), f"more than {V2_BYTES_MAX}"),
        (v2(IPV4 + b"\x04"), "after the last TLV"),
        (v2(IPV4 + b"\x04\x00"), "after the last TLV"),
        (v2(IPV4 + tlv(0x04, b"x", length=2)), "longer than what holds it"),
        (v2(IPV4 + tlv(0x04, b"x", length=0xFFFF)), "longer than what holds it"),
        (v2(IPV4 + tlv(0x20, b"\x01\0\0\0")), "too short"),
        (v2(IPV4 + tlv(0x20, b"\x01\0\0\0\0" + tlv(0x22, b"x", length=9))), "longer than what holds it"),
        (v2(IPV4 + tls_tlv(b"\xff")), "not UTF-8"),
    ],
)
def test_what_is_no_header_is_refused(data: bytes, problem: str) -> None:
    with pytest.raises(ProxyProtocolError, match=problem):
        parse(data)


def test_a_lie_is_refused_before_its_bytes_are_waited_for() -> None:
    for lie in (v2(length=0xFFFF), v2(length=11), v2(family=UNIX), v2(command=0x2F)):
        assert len(lie) == 16
        with pytest.raises(ProxyProtocolError):
            parse(lie)


def test_a_length_that_lies_about_what_follows_is_waited_for() -> None:
    """Only the deadline ends that: the missing bytes may be under way."""
    assert parse(v2(IPV4, length=len(IPV4) + 1)) is None


@pytest.mark.parametrize(
    ("tls", "name"),
    [
        (tls_tlv("pump-7"), "pump-7"),
        (tls_tlv("Pumpe №7", client=0x03), "Pumpe №7"),
        (tls_tlv("pump-7", client=0x01), ""),
        (tls_tlv("pump-7", verify=1), ""),
        (tlv(0x20, bytes(5)), ""),
    ],
    ids=["this connection", "of the connection only", "no certificate", "not verified", "no name"],
)
def test_a_certificates_name_is_told_if_the_proxy_verified_it(tls: bytes, name: str) -> None:
    header = parse(v2(IPV4 + tlv(0x05, b"id") + tls))
    assert header is not None
    assert header.certificate_name == name


@given(st.ip_addresses(), st.data())
def test_every_address_arrives_in_both_versions(
    source: ipaddress.IPv4Address | ipaddress.IPv6Address, data: st.DataObject
) -> None:
    destination = data.draw(st.ip_addresses(v=source.version))
    port = data.draw(st.integers(0, 65_535))
    line = v1(f"TCP{source.version}", str(source), str(destination), str(port), "1")
    binary = v2(addresses(str(source), str(destination), port), family=TCP4 if source.version == 4 else TCP6)
    for header in (line, binary):
        assert parse(header + b"rest") == ProxyHeader(address=str(source), size_bytes=len(header))


@given(
    st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11", v2(IPV4, length=60)]),
    st.binary(max_size=300),
)
def test_random_bytes_are_a_header_or_a_refusal_and_cutting_changes_nothing(start: bytes, rest: bytes) -> None:
    """What is one as a whole is incomplete before its end; what was refused stays refused with more bytes."""
    data = start + rest
    try:
        header = parse(data)
    except ProxyProtocolError:
        with pytest.raises(ProxyProtocolError):
            parse(data + b"\r\n")
        return
    end = len(data) + 1 if header is None else header.size_bytes
    assert end <= max(len(data) + 1, V2_BYTES_MAX)
    for cut in range(min(end, len(data) + 1)):
        assert parse(data[:cut]) is None or cut == len(data)
