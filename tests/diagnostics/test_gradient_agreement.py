import pytest
import torch

from gapclose.diagnostics.action_sequences import Landscape, uniform_sequences
from gapclose.diagnostics.gradient_agreement import gradient_agreement
from gapclose.envs.simulator import Tasks
from gapclose.envs.wall import Wall
from gapclose.models.oracle import OracleWorldModel, TrueDynamics


@pytest.fixture
def agreement(open_landscape):
    def measure(model, truth):
        search = open_landscape(model).search()
        actions = 0.9 * uniform_sequences(search, 4, torch.Generator().manual_seed(0))
        return gradient_agreement(search, open_landscape(truth).search(), actions)

    return measure


def test_the_true_gradient_agrees_with_itself(agreement, wall):
    truth = OracleWorldModel(wall)
    found = agreement(truth, truth)
    assert found["cosine"]["mean"] == pytest.approx(1)
    assert found["share_negative"]["mean"] == found["without_gradient"]["mean"] == found["erased"]["mean"] == 0


def test_an_exact_model_agrees_with_the_true_dynamics(agreement, wall, point_model):
    assert agreement(point_model(), TrueDynamics(wall, point_model()))["cosine"]["mean"] == pytest.approx(1)


def test_the_gradient_of_a_model_that_negates_actions_has_the_wrong_sign(wall, point_model, goal_distance):
    # From far away, where what the actions do does not change the direction of the goal.
    tasks = Tasks(torch.tensor([[0.5, 0.0]] * 3), torch.tensor([[2.0, 2.0]] * 3))
    landscapes = [
        Landscape(model, goal_distance, Wall(action_max=1e-4), tasks, 6)
        for model in (point_model(-1.0), OracleWorldModel(wall))
    ]
    search, truth = (landscape.search() for landscape in landscapes)
    actions = uniform_sequences(search, 4, torch.Generator().manual_seed(0))
    found = gradient_agreement(search, truth, actions)
    assert found["cosine"]["mean"] == pytest.approx(-1, abs=1e-3)
    assert found["share_negative"]["mean"] == 1


def test_sequences_without_a_true_gradient_are_counted_separately(point_model, goal_distance):
    wall = Wall()
    # Pushed into the corner of arena and wall; the other task is free.
    tasks = Tasks(torch.tensor([[2.0, 2.0], [1.0, 0.0]]), torch.tensor([[-1.0, -1.0], [1.2, 0.2]]))
    actions = torch.full((2, 3, 4, 2), 0.5)
    actions[1] *= 0.1
    search, truth = (
        Landscape(model, goal_distance, wall, tasks, 4).search() for model in (point_model(), OracleWorldModel(wall))
    )
    found = gradient_agreement(search, truth, actions)
    assert found["without_gradient"]["mean"] == found["erased"]["mean"] == 0.5
    assert found["cosine"]["mean"] == pytest.approx(1)
    assert found["cosine"]["num_tasks"] == found["share_negative"]["num_tasks"] == 1


def test_the_agreement_of_an_ensemble_is_finite(agreement, wall, ensemble):
    found = agreement(ensemble, TrueDynamics(wall, ensemble))
    assert all(entry["num_tasks"] == 5 and -1 <= entry["mean"] <= 1 for entry in found.values())
