"""Random clients against the model broker: the same programs each time. `hack/fuzz broker` looks further."""

from hypothesis import HealthCheck, settings

from fuzz.broker_machine import BrokerMachine

TestBroker = BrokerMachine.TestCase
TestBroker.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
