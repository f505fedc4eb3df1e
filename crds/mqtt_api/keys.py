"""The names both programs and Kubernetes know the custom resources by.

Knows words only; does not know the shapes behind them or who uses them.
"""

GROUP = "mqtt.stoa.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

BROKER_KIND = "MQTTBroker"
CLIENT_KIND = "MQTTClient"
PERMISSION_KIND = "TopicPermission"
