"""The model adapts between the plans of MPC: to what was observed, for what is planned and imagined next."""

import pytest
import torch

from gapclose.envs.wall import Wall
from gapclose.errors import UserError
from gapclose.models.oracle import OracleWorldModel
from gapclose.planning.adaptation import GradientAdaptation
from gapclose.planning.mpc import MPC
from tests.planning.conftest import LAST_STEP, make, seeded
from tests.planning.walking import BOUNDS, Walker, run, tasks


class Witness(GradientAdaptation):
    """Records the transitions that it adapts to, and the models that it makes."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.observed, self.models = [], []

    def adapt(self, world_model, states, actions):
        self.observed.append((states, actions))
        self.models.append(super().adapt(world_model, states, actions))
        return self.models[-1]


def test_the_model_adapts_to_the_observations_of_the_active_tasks(ensemble):
    witness = Witness(steps=1)
    # Distances at which 0, 2, 5 and 11 steps of at most 0.25 come within the radius of 0.25.
    execution = run(
        Walker(horizon=12), ensemble, tasks(0.2, 0.7, 1.4, 2.9), replan_every=4, max_steps=12, adaptation=witness
    )
    assert [len(states) for states, _ in witness.observed] == [2, 1]
    for number, (states, actions) in enumerate(witness.observed):
        live = slice(2 + number, 4)
        assert torch.equal(states, execution.states[live, : 4 * number + 5])
        assert torch.equal(actions, execution.actions[live, : 4 * number + 4])
    assert 0 < execution.adaptation_seconds < execution.seconds


def test_the_time_of_adapting_waits_for_the_device(ensemble, monkeypatch):
    ticks = iter(range(100))
    monkeypatch.setattr("gapclose.planning.mpc.now", lambda computed: 7.0 * next(ticks))
    execution = run(
        Walker(horizon=9), ensemble, tasks(3.0), replan_every=3, max_steps=9, adaptation=GradientAdaptation(steps=1)
    )
    assert execution.adaptation_seconds == 14
    assert next(ticks) == 4


def test_imagined_states_come_from_the_model_adapted_so_far(ensemble):
    witness, drawn = Witness(steps=3, lr=0.01), tasks(3.0, 3.6)
    execution = run(Walker(horizon=9), ensemble, drawn, replan_every=3, max_steps=9, adaptation=witness)
    for number, model in enumerate([ensemble, *witness.models]):
        first = 3 * number
        latents = model.rollout(model.encode(execution.states[:, first]), execution.actions[:, first : first + 3])
        torch.testing.assert_close(execution.imagined[:, first + 1 : first + 4], model.decode(latents[:, 1:]).detach())


def test_an_execution_with_adaptation_depends_only_on_the_generator_and_does_not_change_the_model(ensemble, kind):
    planner, drawn = make(kind, *BOUNDS, horizon=6, iterations=2), Wall().sample_tasks(3, seeded(1))
    settings = dict(replan_every=2, max_steps=6)
    before = [parameter.clone() for parameter in ensemble.parameters()]
    plain = run(planner, ensemble, drawn, **settings).states
    first, second = (
        run(planner, ensemble, drawn, **settings, adaptation=GradientAdaptation(steps=3, lr=0.1)).states
        for _ in range(2)
    )
    assert torch.equal(first, second)
    torch.testing.assert_close(first[:, :3], plain[:, :3], atol=1e-3, rtol=0)
    assert not torch.allclose(first, plain, atol=1e-3)
    assert not first.requires_grad
    assert all(map(torch.equal, before, ensemble.parameters()))


def test_without_gradient_steps_nothing_changes(ensemble):
    planner, drawn = make("multistart", *BOUNDS, horizon=6, iterations=2), Wall().sample_tasks(3, seeded(1))
    settings = dict(replan_every=2, max_steps=6)
    plain = run(planner, ensemble, drawn, **settings).states
    adapted = run(planner, ensemble, drawn, **settings, adaptation=GradientAdaptation(steps=0)).states
    torch.testing.assert_close(adapted, plain, atol=1e-3, rtol=0)


def test_adapting_the_oracle_is_refused_unless_adaptation_is_switched_off(ensemble):
    wall, drawn = Wall(), tasks(1.0)
    mpc = MPC(Walker(5), adaptation=GradientAdaptation())
    with pytest.raises(UserError, match="nothing to adapt"):
        mpc.execute(wall, OracleWorldModel(wall), LAST_STEP, drawn)
    assert mpc.execute(wall, OracleWorldModel(wall), LAST_STEP, drawn, adapt=False).adaptation_seconds == 0
