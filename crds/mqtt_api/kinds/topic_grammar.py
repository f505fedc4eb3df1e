"""The grammar of topic filters as one expression, for the API server.

Knows MQTT 5.0, section 4.7.1, and says the same as `mqtt_api.topics`; does not know placeholders.
"""

from mqtt_api.topics import LEVELS_MAX

_LEVEL = r"(\+|[^+#/\x00]*)"  # MQTT 5.0, 4.7.1.3
FILTER_PATTERN = (  # '#' is the last level (MQTT 5.0, 4.7.1.2)
    rf"^(#|{_LEVEL}(/{_LEVEL}){{0,{LEVELS_MAX - 1}}}|{_LEVEL}(/{_LEVEL}){{0,{LEVELS_MAX - 2}}}/#)$"
)
FILTER_MESSAGE = f"must have '+' as a whole level only, '#' as the last level only, and at most {LEVELS_MAX} levels"
