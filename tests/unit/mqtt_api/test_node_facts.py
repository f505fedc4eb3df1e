"""What nodes tell with their leases is read by nodes and operators of other versions."""

import msgspec

from mqtt_api.node_facts import ListenerCertificate, NodeFacts, word_of_client_cas


def test_what_an_older_node_does_not_tell_is_assumed_to_be_unknown() -> None:
    told = msgspec.json.decode(b'{"applied":7,"connections":2}', type=NodeFacts)
    assert told == NodeFacts(applied=7, connections=2)
    assert (told.ready, told.version, told.certificates) == (False, "", {})


def test_what_a_newer_node_tells_beyond_that_is_skipped() -> None:
    document = b'{"ready":true,"shape":{"new":1},"certificates":{"s":{"serial":"0a","not_after":"x","curve":"p"}}}'
    told = msgspec.json.decode(document, type=NodeFacts)
    assert told == NodeFacts(ready=True, certificates={"s": ListenerCertificate(serial="0a", not_after="x")})


def test_what_is_as_assumed_is_not_told() -> None:
    assert msgspec.json.encode(NodeFacts(version="1.2.0", ready=True)) == b'{"ready":true,"version":"1.2.0"}'


def test_the_word_for_cas_changes_with_their_content_their_order_and_their_files() -> None:
    lists: tuple[list[bytes], ...] = ([b"a"], [b"b"], [b"a", b"b"], [b"b", b"a"], [b"ab"], [])
    assert len({word_of_client_cas(files) for files in lists}) == len(lists)
    assert word_of_client_cas([b"a", b"b"]) == word_of_client_cas(iter([b"a", b"b"]))
