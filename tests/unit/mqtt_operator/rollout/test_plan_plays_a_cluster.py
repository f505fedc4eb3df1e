"""A cluster that does what it likes, and a plan that is carried out step by step: what never happens, and what will."""

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mqtt_operator.rollout.plan import DeletePod, Rest, SetReplicas, Step, Wait, plan
from mqtt_operator.rollout.snapshot import Health, NodePod, Snapshot

NODES_MAX = 5
STEPS_TO_REST_MAX = 200  # each of five nodes is removed, made and becomes ready several times over in that


@dataclass(frozen=True)
class Pod:
    number: int
    uid: int
    revision: int
    health: Health = Health.STARTING
    is_leaving: bool = False


@dataclass
class World:
    """A StatefulSet of pods that it does not replace by itself, its controller, and kubelets."""

    wanted: int = 1
    replicas: int = 1
    revision: int = 1
    seen: bool = True
    broken: set[int] = field(default_factory=set)
    pods: dict[int, Pod] = field(default_factory=dict)
    store_answers: bool = True
    is_paused: bool = False
    uids: int = 0

    def snapshot(self) -> Snapshot:
        return Snapshot(
            wanted=self.wanted,
            replicas=self.replicas,
            revision=str(self.revision) if self.seen else None,
            pods=tuple(
                NodePod(
                    name=f"plant-{pod.number}",
                    uid=str(pod.uid),
                    ordinal=pod.number,
                    revision=str(pod.revision),
                    health=pod.health,
                    is_leaving=pod.is_leaving,
                )
                for pod in self.pods.values()
            ),
            store_answers=self.store_answers,
            is_paused=self.is_paused,
        )

    def controller_acts(self) -> None:
        """Makes what is missing, of the newest revision, and ends what is too much, all at once."""
        self.seen = True
        for number in range(self.replicas):
            if number not in self.pods:
                self.uids += 1
                self.pods[number] = Pod(number, self.uids, self.revision)
        for number in [number for number in self.pods if number >= self.replicas]:
            self.change(number, is_leaving=True)

    def kubelet_acts(self, number: int, health: Health) -> None:
        pod = self.pods[number]
        if pod.is_leaving:
            del self.pods[number]
        else:
            works = pod.revision not in self.broken
            self.change(number, health=health if works or health is Health.STARTING else Health.FAILING)

    def change(self, number: int, **facts: Any) -> None:
        self.pods[number] = replace(self.pods[number], **facts)

    def carry_out(self, step: Step) -> None:
        match step:
            case DeletePod(name=name, uid=uid):
                number = int(name.removeprefix("plant-"))
                assert str(self.pods[number].uid) == uid
                self.change(number, is_leaving=True)
            case SetReplicas(replicas=replicas):
                self.replicas = replicas


class Cluster(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()

    @initialize(count=st.integers(1, NODES_MAX))
    def a_running_broker(self, count: int) -> None:
        self.world = World(wanted=count, replicas=count)
        self.world.controller_acts()
        for number in range(count):
            self.world.change(number, health=Health.READY)

    # What people do --------------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, NODES_MAX))
    def somebody_scales(self, count: int) -> None:
        self.world.wanted = count

    @rule(works=st.booleans())
    def somebody_changes_the_template(self, works: bool) -> None:
        self.world.revision += 1
        self.world.seen = False
        if not works:
            self.world.broken.add(self.world.revision)

    @rule(paused=st.booleans())
    def somebody_pauses_or_not(self, paused: bool) -> None:
        self.world.is_paused = paused

    @rule(count=st.integers(1, NODES_MAX))
    def somebody_scales_the_stateful_set_behind_our_back(self, count: int) -> None:
        self.world.replicas = count

    # What the world does ---------------------------------------------------------------------------------------------

    @rule(answers=st.booleans())
    def the_store_goes_or_comes(self, answers: bool) -> None:
        self.world.store_answers = answers

    @rule()
    def the_controller_acts(self) -> None:
        self.world.controller_acts()

    @precondition(lambda self: self.world.pods)
    @rule(data=st.data(), health=st.sampled_from(Health))
    def a_kubelet_acts(self, data: st.DataObject, health: Health) -> None:
        self.world.kubelet_acts(data.draw(st.sampled_from(sorted(self.world.pods))), health)

    @precondition(lambda self: self.world.pods)
    @rule(data=st.data())
    def a_machine_is_emptied(self, data: st.DataObject) -> None:
        self.world.change(data.draw(st.sampled_from(sorted(self.world.pods))), is_leaving=True)

    # What the operator does ------------------------------------------------------------------------------------------

    @rule()
    def the_operator_takes_a_step(self) -> None:
        before = self.world.snapshot()
        step = plan(before)
        self.check(step, before)
        self.world.carry_out(step)

    def check(self, step: Step, before: Snapshot) -> None:
        if isinstance(step, Rest | Wait):
            return
        assert before.store_answers
        assert not before.is_paused
        if isinstance(step, SetReplicas) and step.replicas > before.replicas:
            assert step.replicas == before.wanted
            return
        if isinstance(step, SetReplicas):
            assert step.replicas == before.replicas - 1 >= before.wanted
            victim = next(pod for pod in before.pods if pod.ordinal == step.replicas)
        else:
            victim = next(pod for pod in before.pods if pod.name == step.name)
            assert victim.revision != before.revision
        assert not any(pod.is_leaving for pod in before.pods)
        assert {pod.ordinal for pod in before.pods} == set(range(before.replicas))
        others = [pod for pod in before.pods if pod is not victim]
        assert victim.health is Health.FAILING or all(pod.is_ready for pod in others)

    @invariant()
    def a_step_is_taken_once(self) -> None:
        """After a node was taken away nothing more is, until it is back or gone."""
        world = self.world
        now = world.snapshot()
        if now.leaving and now.wanted <= now.replicas:
            assert isinstance(plan(now), Wait)

    def teardown(self) -> None:
        """When the world behaves, the broker becomes what is wanted."""
        world = self.world
        world.store_answers, world.is_paused = True, False
        world.broken.discard(world.revision)
        for _ in range(STEPS_TO_REST_MAX):
            before = world.snapshot()
            step = plan(before)
            self.check(step, before)
            world.carry_out(step)
            if isinstance(step, Rest):
                break
            world.controller_acts()
            for number in list(world.pods):
                world.kubelet_acts(number, Health.READY)
        assert world.replicas == world.wanted == len(world.pods)
        assert all(pod.revision == world.revision for pod in world.pods.values())


Cluster.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestCluster = Cluster.TestCase
