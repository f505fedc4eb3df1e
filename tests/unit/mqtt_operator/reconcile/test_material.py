"""The passwords and certificates of a managed store, stage by stage: nobody is asked for what it has not got yet."""

from datetime import UTC, datetime, timedelta
from itertools import count

import msgspec
import pytest

from mqtt_operator.credentials.certificates import KeyPair
from mqtt_operator.desired.redis_users import digest
from mqtt_operator.reconcile.material import (
    OVERLAP,
    REPLACED_AFTER,
    Generation,
    Making,
    Material,
    Stage,
    advanced,
    again_after,
    decode_material,
    encode_material,
    managed_store,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
IMAGE = "redis"


class Maker:
    """Everything new has a number; a certificate names the CA that issued it."""

    def __init__(self) -> None:
        self.numbers = count(1)
        self.worn_out = False

    @property
    def making(self) -> Making:
        return Making(self._generation, self._server, self._why_new)

    def _generation(self) -> Generation:
        number = next(self.numbers)
        words = {who: f"{who}-{number}" for who in ("node", "operator", "admin")}
        return Generation(ca_certificate=f"ca-{number};", ca_key=f"key-{number}", **words)

    def _server(self, ca: KeyPair) -> KeyPair:
        return KeyPair(certificate=b"by " + ca.certificate, key=b"key")

    def _why_new(self, server: KeyPair, ca: KeyPair) -> str | None:
        return "it is worn out" if self.worn_out else None


def first(maker: Maker) -> Material:
    return advanced(None, "", NOW, maker.making, is_told=False)


def test_the_first_material_is_made_at_once_and_stays() -> None:
    maker = Maker()
    material = first(maker)
    assert (material.stage, material.current.node, material.certificate) == (Stage.STEADY, "node-1", "by ca-1;")
    assert advanced(material, "", NOW + timedelta(days=30), maker.making, is_told=True) is material
    assert again_after(material, NOW) is None


@pytest.mark.parametrize(
    ("asked", "after"), [("today", timedelta(0)), ("", REPLACED_AFTER)], ids=["a person asks", "its age"]
)
def test_it_is_replaced_in_three_stages(asked: str, after: timedelta) -> None:
    maker = Maker()
    now = NOW + after
    trusting = advanced(first(maker), asked, now, maker.making, is_told=True)
    store = managed_store(trusting, IMAGE)
    assert (trusting.stage, again_after(trusting, now)) == (Stage.TRUSTING, OVERLAP)
    assert (store.node.password, store.node.also_accepted) == ("node-1", (digest("node-2"),))
    assert (store.ca, store.certificate) == (b"ca-1;ca-2;", b"by ca-1;")

    now += OVERLAP
    retiring = advanced(trusting, asked, now, maker.making, is_told=True)
    store = managed_store(retiring, IMAGE)
    assert retiring.stage is Stage.RETIRING
    assert (store.admin.password, store.admin.also_accepted) == ("admin-2", (digest("admin-1"),))
    assert (store.ca, store.certificate) == (b"ca-2;ca-1;", b"by ca-2;")

    now += OVERLAP
    steady = advanced(retiring, asked, now, maker.making, is_told=True)
    store = managed_store(steady, IMAGE)
    assert steady.stage is Stage.STEADY
    assert (store.operator.password, store.operator.also_accepted) == ("operator-2", ())
    assert (store.ca, store.certificate) == (b"ca-2;", b"by ca-2;")
    assert advanced(steady, asked, now, maker.making, is_told=True) is steady


def test_a_stage_ends_neither_early_nor_before_the_server_was_told() -> None:
    maker = Maker()
    trusting = advanced(first(maker), "today", NOW, maker.making, is_told=True)
    early = NOW + OVERLAP - timedelta(seconds=1)
    assert advanced(trusting, "today", early, maker.making, is_told=True) is trusting
    assert advanced(trusting, "today", NOW + timedelta(days=1), maker.making, is_told=False) is trusting
    assert again_after(trusting, NOW + timedelta(days=1)) == timedelta(seconds=1)


def test_asking_again_while_a_replacement_is_under_way_waits_until_it_is_over() -> None:
    maker = Maker()
    material = advanced(first(maker), "a", NOW, maker.making, is_told=True)
    now = NOW
    for stage in (Stage.RETIRING, Stage.STEADY, Stage.TRUSTING):
        now += OVERLAP
        material = advanced(material, "b", now, maker.making, is_told=True)
        assert material.stage is stage
    assert material.asked == "b"


def test_a_certificate_that_wears_out_is_issued_anew_by_the_same_ca() -> None:
    maker = Maker()
    material = first(maker)
    worn = msgspec.structs.replace(material, certificate="old")
    maker.worn_out = True
    renewed = advanced(worn, "", NOW, maker.making, is_told=False)
    assert (renewed.certificate, renewed.current, renewed.stage) == ("by ca-1;", material.current, Stage.STEADY)


def test_it_is_kept_whole_and_shows_nothing_of_itself() -> None:
    maker = Maker()
    material = advanced(first(maker), "today", NOW, maker.making, is_told=True)
    assert decode_material(encode_material(material)) == material
    assert "node-" not in repr(material) + repr(material.current) + repr(managed_store(material, IMAGE))
