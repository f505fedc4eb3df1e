"""Everything that is made for a broker, in the order in which it is applied; and what is no longer wanted of it.

Knows the list; what each object looks like stands in the file of its name.
"""

from collections.abc import Iterable

from mqtt_api.resources import MQTTBroker
from mqtt_operator.desired import kinds, names
from mqtt_operator.desired.autoscaler import autoscaler
from mqtt_operator.desired.certificates import listener_certificates
from mqtt_operator.desired.client_cas import client_cas
from mqtt_operator.desired.config_map import settings_config_map
from mqtt_operator.desired.disruption_budget import disruption_budget
from mqtt_operator.desired.headless_service import headless_service
from mqtt_operator.desired.inputs import Inputs
from mqtt_operator.desired.kinds import Kind
from mqtt_operator.desired.managed_store import store_secrets, store_server
from mqtt_operator.desired.manifest import Manifest
from mqtt_operator.desired.monitoring import monitoring
from mqtt_operator.desired.network_policies import network_policies
from mqtt_operator.desired.node_place import shared_settings
from mqtt_operator.desired.policy_secret import policy_secret
from mqtt_operator.desired.service_account import service_account
from mqtt_operator.desired.services import services
from mqtt_operator.desired.stateful_set import node_config_hash, stateful_set

# What may be left over when a broker is changed. Stores are not among them: a broker cannot change its kind of store.
_REMOVABLE = (
    kinds.SERVICE,
    kinds.SECRET,
    kinds.CONFIG_MAP,
    kinds.NETWORK_POLICY,
    kinds.HORIZONTAL_POD_AUTOSCALER,
    kinds.POD_DISRUPTION_BUDGET,
)


ISSUED_FOR_ANNOTATION = "cert-manager.io/certificate-name"  # of Secrets that cert-manager writes


def build(broker: MQTTBroker, inputs: Inputs) -> list[Manifest]:
    """All objects, each whole. Pods come last, when there is what they need and who may reach them is settled.

    The broker must have been read from a server (its uid becomes the owner).
    """
    settings = shared_settings(broker, inputs)
    word = node_config_hash(broker, inputs, settings)
    return [
        service_account(broker, inputs),
        *network_policies(broker, inputs),
        *store_secrets(broker, inputs),
        *policy_secret(broker, inputs),
        *client_cas(broker, inputs),
        settings_config_map(broker, inputs, settings, word),
        headless_service(broker, inputs),
        *services(broker, inputs),
        *listener_certificates(broker, inputs),
        disruption_budget(broker, inputs),
        *store_server(broker, inputs),
        stateful_set(broker, inputs, word),
        *autoscaler(broker, inputs),
        *monitoring(broker, inputs),
    ]


def removable_kinds(inputs: Inputs) -> tuple[Kind, ...]:
    """The kinds to look through for what is no longer wanted, by `labels.children_selector`."""
    optional = (
        (kinds.CERTIFICATE, inputs.has_cert_manager),
        (kinds.SERVICE_MONITOR, inputs.has_service_monitors),
        (kinds.PROMETHEUS_RULE, inputs.has_prometheus_rules),
    )
    return (*_REMOVABLE, *(kind for kind, is_known in optional if is_known))


def no_longer_wanted(broker: MQTTBroker, desired: Iterable[Manifest], found: Iterable[Manifest]) -> list[Manifest]:
    """Of what was `found` with the labels of this broker: what is ours and not among the `desired`.

    Labels alone make nothing ours: anybody can write them. Ours is what this very broker controls, and the Secrets that
    cert-manager wrote for listeners of it, which nobody controls.
    """
    wanted = {_identity(each) for each in desired}
    return [each for each in found if _identity(each) not in wanted and _is_left_over(broker, each)]


def _identity(manifest: Manifest) -> tuple[str, str]:
    return manifest["kind"], manifest["metadata"]["name"]


def _is_left_over(broker: MQTTBroker, manifest: Manifest) -> bool:
    metadata = manifest["metadata"]
    owners = [each["uid"] for each in metadata.get("ownerReferences", ()) if each.get("controller")]
    if owners:
        return broker.metadata.uid in owners
    return manifest["kind"] == kinds.SECRET.kind and _is_of_former_listener(broker, metadata)


def _is_of_former_listener(broker: MQTTBroker, metadata: Manifest) -> bool:
    certificate: str = metadata.get("annotations", {}).get(ISSUED_FOR_ANNOTATION, "")
    name = broker.metadata.name
    issued = {
        names.tls(name, each.name)
        for each in broker.spec.listeners
        if each.tls is not None and each.tls.secret_ref is None
    }
    is_listeners = certificate.startswith(f"{name}-") and certificate.endswith("-tls")
    return is_listeners and metadata["name"] == certificate and certificate not in issued
