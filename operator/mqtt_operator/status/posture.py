"""SecurityPostureLowered: the broker was told to be less strict than it is by itself; True is abnormal. Pure."""

from mqtt_api.conditions import ConditionType, Reason
from mqtt_api.kinds.mqttbroker import AuthenticationType, DefaultPolicy
from mqtt_api.resources import MQTTBroker
from mqtt_operator.status.observation import Observation
from mqtt_operator.status.verdict import Problem, Verdict, fails, holds

KIND = ConditionType.SECURITY_POSTURE_LOWERED


def posture(seen: Observation) -> Verdict:
    found = weaknesses(seen.broker)
    if not found:
        return fails(KIND, Reason.DEFAULTS_KEPT, "Nothing weakens the broker.")
    reason = found[0].reason if len(found) == 1 else Reason.SEVERAL_WEAKNESSES
    return holds(KIND, reason, " ".join(each.sentence for each in found))


def weaknesses(broker: MQTTBroker) -> list[Problem]:
    """Everything in the spec that weakens the broker, the worst first."""
    spec = broker.spec
    found = []
    if spec.authorization.default_policy is DefaultPolicy.ALLOW:
        sentence = "authorization.defaultPolicy is Allow: what no rule denies is granted."
        found.append(Problem(Reason.DEFAULT_POLICY_ALLOW, sentence))
    plain = [listener.name for listener in spec.listeners if listener.tls is None]
    if plain:
        sentence = f"No TLS on {', '.join(plain)}: anybody on the way can read and change what is sent."
        found.append(Problem(Reason.PLAINTEXT_LISTENER, sentence))
    anonymous = [listener.name for listener in spec.listeners if _lets_in_anybody(broker, listener.authentication)]
    if anonymous:
        sentence = f"Clients without a name are let in on {', '.join(anonymous)}."
        found.append(Problem(Reason.ANONYMOUS_ALLOWED, sentence))
    return found


def _lets_in_anybody(broker: MQTTBroker, own_chain: object) -> bool:
    chain = broker.spec.authentication or () if own_chain is None else own_chain
    assert isinstance(chain, tuple)
    return any(entry.type is AuthenticationType.ANONYMOUS for entry in chain)
