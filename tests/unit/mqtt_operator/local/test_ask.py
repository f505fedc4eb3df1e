"""How people name a client when they ask what it may do."""

from typing import Any

import pytest

from mqtt_api.policy import Activity
from mqtt_operator.errors import UsageError
from mqtt_operator.local.ask import Asked, ask
from mqtt_operator.policy.can_i import Answer


def answer(folder: Any, client: str, topic: str) -> Answer:
    return ask(folder.read(), Asked(client=client, activity=Activity.PUBLISH, topic=topic))


@pytest.mark.parametrize("name", ["pump-7", "default/pump-7", "seven"])
def test_a_client_goes_by_its_name_or_its_user_name(
    folder: Any, broker: Any, client: Any, permission: Any, name: str
) -> None:
    folder.put("a.yaml", broker(), client(username="seven"), permission())
    assert answer(folder, name, "plant/seven/temp").allowed


def test_the_objects_name_comes_before_somebody_elses_user_name(
    folder: Any, broker: Any, client: Any, permission: Any
) -> None:
    folder.put("a.yaml", broker(), client("pump-7", username="a"), client("b", username="pump-7"), permission())
    assert answer(folder, "pump-7", "plant/a/temp").allowed


def test_an_unknown_client_is_a_usage_error_that_names_the_known(folder: Any, broker: Any, client: Any) -> None:
    folder.put("a.yaml", broker(), client())
    with pytest.raises(UsageError) as refused:
        answer(folder, "pmp", "x")
    assert "Known: pump-7" in refused.value.to_do


def test_anonymous_is_nobody_unless_a_chain_names_it(folder: Any, broker: Any) -> None:
    folder.put("a.yaml", broker())
    with pytest.raises(UsageError, match="No listener of this broker lets anonymous clients in"):
        answer(folder, "anonymous", "x")


def test_anonymous_may_be_let_in_by_one_listener(folder: Any, broker: Any, permission: Any) -> None:
    chain = [{"name": "anyone", "type": "Anonymous"}]
    listeners = [{"name": "mqtts", "port": 1, "tls": {}, "authentication": chain}]
    open_rule = permission(subjects=[{"kind": "Anonymous"}], rule={"topics": ["#"]})
    folder.put("a.yaml", broker(listeners=listeners), open_rule)
    assert answer(folder, "anonymous", "x").allowed


@pytest.mark.parametrize(("field", "placeholder"), [("CommonName", "cert.cn"), ("SANDNS", "cert.san.dns")])
def test_an_open_chain_lets_unknown_names_in_with_what_their_certificate_says(
    folder: Any, broker: Any, permission: Any, field: str, placeholder: str
) -> None:
    chain = [{"name": "devices", "type": "X509", "usernameFrom": field, "principals": "Open"}]
    rule = {"topics": [f"d/${{{placeholder}}}"]}
    folder.put("a.yaml", broker(authentication=chain), permission(subjects=[{"kind": "Authenticated"}], rule=rule))
    assert answer(folder, "device-1", "d/device-1").allowed
    assert not answer(folder, "device-1", "d/device-2").allowed


def test_a_client_with_only_a_certificate_has_its_names(folder: Any, broker: Any, client: Any, permission: Any) -> None:
    certificate = {"certificates": [{"match": {"commonName": "cn-7", "sanDNS": "dns-7"}}]}
    rule = {"topics": ["c/${cert.cn}", "d/${cert.san.dns}"]}
    folder.put("a.yaml", broker(), client(credentials=certificate), permission(rule=rule))
    assert answer(folder, "pump-7", "c/cn-7").allowed
    assert answer(folder, "pump-7", "d/dns-7").allowed


def test_a_client_with_a_password_is_taken_to_use_it(folder: Any, broker: Any, client: Any, permission: Any) -> None:
    both = {
        "certificates": [{"match": {"commonName": "cn-7"}}],
        "passwords": [{"generate": {"secretName": "s"}}],
    }
    folder.put("a.yaml", broker(), client(credentials=both), permission(rule={"topics": ["c/${cert.cn}"]}))
    assert not answer(folder, "pump-7", "c/cn-7").allowed
