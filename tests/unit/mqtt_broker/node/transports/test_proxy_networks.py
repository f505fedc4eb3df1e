"""Whom a listener trusts to tell a client's address."""

import pytest

from mqtt_broker.node.transports.proxy_socket import is_trusted, networks, plain_address

TRUSTED = networks(["10.0.0.0/8", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("address", "trusted"),
    [
        ("10.1.2.3", True),
        ("11.1.2.3", False),
        ("2001:db8::1", True),
        ("2001:db9::1", False),
        ("2001:db8::1%eth0", True),
        ("", False),
        ("a unix socket", False),
    ],
)
def test_a_peer_is_trusted_by_its_network(address: str, trusted: bool) -> None:
    assert is_trusted(address, TRUSTED) is trusted


@pytest.mark.parametrize(
    ("shown", "plain"),
    [
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("", ""),
    ],
)
def test_an_ipv4_address_reads_the_same_on_a_socket_for_both_families(shown: str, plain: str) -> None:
    assert plain_address(shown) == plain


@pytest.mark.parametrize("wrong", ["10.0.0.1/8", "10.0.0.0/33", "everybody", ""])
def test_what_is_no_network_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        networks([wrong])
