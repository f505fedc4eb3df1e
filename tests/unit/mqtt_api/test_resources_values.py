"""Amounts of bytes and lengths of time as the custom resources write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import PydanticCustomError

from mqtt_api.kinds.quantities import Bytes, Duration


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", 0),
        ("4096", 4_096),
        (4_096, 4_096),
        ("1Ki", 1_024),
        ("256Ki", 262_144),
        ("1Mi", 1_048_576),
        ("1.5Gi", 1_610_612_736),
        ("2Ti", 2_199_023_255_552),
        ("500k", 500_000),
        ("1M", 1_000_000),
        ("1G", 1_000_000_000),
        ("1T", 1_000_000_000_000),
        ("0.0", 0),
        ("0.001", 1),
    ],
)
def test_an_amount_of_bytes_is_read_as_kubernetes_reads_it(text: object, amount: int) -> None:
    assert Bytes.parse(text).bytes == amount


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 Mi", "-1", "+1", "1mi", "1K", "1m", "1e3", ".5", "1.", "1Mi\n", "0x10", "1" * 16, -1, 1.5, None],
)
def test_what_is_no_amount_of_bytes_is_refused(text: object) -> None:
    with pytest.raises(PydanticCustomError, match="must be an amount of bytes"):
        Bytes.parse(text)


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_a_plain_number_of_bytes_is_exact(amount: int) -> None:
    assert Bytes.parse(amount).bytes == Bytes.parse(str(amount)).bytes == amount


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0),
        ("90s", 90),
        ("10m", 600),
        ("24h", 86_400),
        ("2160h", 7_776_000),
        ("1h30m", 5_400),
        ("18h12m15s", 65_535),
    ],
)
def test_a_length_of_time_is_read_as_go_reads_it(text: str, seconds: int) -> None:
    assert Duration.parse(text).seconds == seconds


@pytest.mark.parametrize(
    "text", ["", "10", "1d", "10M", "1m1h", "1s1s", "-1s", "1.5h", "1h ", "1h\n", "100000h", 60, None]
)
def test_what_is_no_length_of_time_is_refused(text: object) -> None:
    with pytest.raises(PydanticCustomError, match="must be a length of time"):
        Duration.parse(text)


def test_values_keep_the_words_they_were_written_in() -> None:
    assert Bytes.parse("1024Ki") == "1024Ki"
    assert Duration.parse("60m") == "60m"
