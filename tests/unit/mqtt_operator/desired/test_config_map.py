"""Each sort of pod has its own entry: what is new in the settings reaches only pods that are made for it."""

import msgspec

from mqtt_operator.desired.config_map import in_force, settings_config_map, settings_key
from mqtt_operator.desired.node_place import shared_settings
from support.desired_examples import INPUTS, example

OLD = {settings_key("0ld"): "old settings", settings_key("lost"): "nobody reads these", "other": "x"}


def test_entries_that_pods_still_read_are_kept_as_they_are() -> None:
    broker = example("plant")
    kept = in_force({"data": OLD}, ["0ld", "unknown", "0ld"])
    assert kept == {"settings-0ld.json": "old settings"}
    inputs = msgspec.structs.replace(INPUTS, settings_in_force=kept)
    data = settings_config_map(broker, inputs, shared_settings(broker, inputs), "new")["data"]
    assert list(data) == ["settings-0ld.json", "settings-new.json"]
    assert data["settings-0ld.json"] == "old settings"


def test_pods_that_are_up_to_date_get_the_new_settings() -> None:
    broker = example("plant")
    inputs = msgspec.structs.replace(INPUTS, settings_in_force={settings_key("new"): "older ones of the same hash"})
    (document,) = settings_config_map(broker, inputs, shared_settings(broker, inputs), "new")["data"].values()
    assert msgspec.json.decode(document)["broker"] == "mqtt/plant"


def test_without_a_config_map_nothing_is_in_force() -> None:
    assert in_force(None, ["0ld"]) == {}
    assert in_force({"data": None}, ["0ld"]) == {}
