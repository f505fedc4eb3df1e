"""Random clients against the model broker: the same programs each time. `hack/fuzz broker` looks further."""

from hypothesis import HealthCheck, Phase, settings

from fuzz.broker_machine import BrokerMachine

TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # to shrink a failing program takes minutes: hack/fuzz does
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
