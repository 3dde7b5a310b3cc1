import pytest
import torch

from gapclose.diagnostics.disagreement import disagreement_metrics, rank_correlation, rank_correlation_over_tasks
from gapclose.diagnostics.error_maps import ErrorMaps, Grid, along_plans, error_metrics, single_steps
from gapclose.envs.simulator import Tasks
from gapclose.envs.wall import Wall
from gapclose.models.oracle import OracleWorldModel
from gapclose.planning.execution import Execution

CPU = torch.device("cpu")


class Leaning(OracleWorldModel):
    """The true dynamics, except for an error along y that equals `x` at the start of the step."""

    def step(self, latent, action):
        return super().step(latent, action) + torch.stack((0 * latent[..., 0], latent[..., 0]), -1)


def test_a_known_error_field_is_measured(wall):
    grid = Grid.over(wall, 8)
    found = ErrorMaps(8, 3).over_arena(Leaning(wall), wall, grid, CPU, torch.Generator().manual_seed(0))
    expected = (grid.centres()[..., 0].square() / 2).where(grid.possible, torch.nan)
    torch.testing.assert_close(found.error, expected, equal_nan=True)
    assert (found.disagreement[grid.possible] == 0).all()


def test_the_true_dynamics_have_no_error_and_an_ensemble_has_a_finite_one(wall, ensemble):
    grid = Grid.over(wall, 8)
    for model, expected in ((OracleWorldModel(wall), 0.0), (ensemble, None)):
        found = ErrorMaps(8, 3).over_arena(model, wall, grid, CPU, torch.Generator().manual_seed(0))
        assert found.error[grid.possible].isfinite().all()
        if expected is not None:
            assert (found.error[grid.possible] == expected).all()
    assert (found.disagreement[grid.possible] > 0).all()


def test_the_grid_excludes_the_wall_and_counts_states():
    wall = Wall(wall_thickness=1.0, door=(-1.0, 1.0))
    grid = Grid.over(wall, 8)  # Cells of half a unit; the wall fills the middle two columns beside the door.
    assert grid.possible.tolist() == [[not (c in (3, 4) and r not in (2, 3, 4, 5)) for c in range(8)] for r in range(8)]
    assert grid.centres()[1, 7].tolist() == [1.75, -1.25]
    counts = grid.counts(torch.tensor([[1.75, -1.25], [1.6, -1.4], [-9.0, -9.0], [2.0, 2.0]]))
    assert {tuple(cell): counts[tuple(cell)].item() for cell in counts.nonzero().tolist()} == {
        (1, 7): 2,
        (0, 0): 1,
        (7, 7): 1,
    }


def test_states_that_touch_the_wall_count_on_their_own_side():
    wall = Wall(wall_thickness=1.0, door=(-1.0, 1.0))
    grid = Grid.over(wall, 8)
    counts = grid.counts(torch.tensor([[-0.5, 1.75], [0.5, 1.75], [0.0, 1.75]]))
    assert counts[7, 2] == counts[7, 5] == 1
    assert counts[7, 3:5].sum() == 1  # No state of the world's: where it was imagined.


def test_there_is_no_grid_if_a_state_is_more_than_a_position(wall, monkeypatch):
    monkeypatch.setattr(Wall, "state_dim", 4)
    assert Grid.over(Wall(), 8) is None


@pytest.fixture
def execution():
    """Two tasks of two steps; in one the imagined states are inside the wall and outside the arena."""
    states = torch.tensor([[[-1.0, 0.0], [-0.9, 0.0], [-0.8, 0.0]], [[-0.3, 1.0], [-0.1, 1.0], [-0.1, 1.0]]])
    imagined = states.clone()
    imagined[1, 1:] = torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    tasks, actions = Tasks(states[:, 0], states[:, -1]), 0.1 * torch.ones(2, 2, 2)
    return Execution(tasks, actions, states, imagined, torch.ones(2, 2).bool(), imagined[:, -1], 1.0, 10)


def test_errors_along_plans_are_those_of_single_steps(wall, execution):
    found = along_plans(Leaning(wall), wall, execution)
    torch.testing.assert_close(found["real"].error, execution.states[:, :-1, 0].square() / 2)
    assert found["imagined"].error.isnan().tolist() == [[False, False], [False, True]]
    grid = Grid.over(wall, 40)
    arena = ErrorMaps(40, 1).over_arena(Leaning(wall), wall, grid, CPU, torch.Generator())
    metrics = error_metrics(arena, found, execution, wall, grid, training_states=execution.states[0])
    assert metrics["real"]["mean"] == pytest.approx((1 + 0.81 + 0.09 + 0.01) / 2 / 4)
    assert metrics["impossible"]["mean"] == 0.5
    assert metrics["unvisited_real"]["mean"] == metrics["unvisited_imagined"]["mean"] == 0.5
    assert metrics["arena"]["mean"] > metrics["arena"]["median"] > 0


def test_without_a_grid_there_are_the_errors_along_plans(wall, execution):
    plans = along_plans(OracleWorldModel(wall), wall, execution)
    metrics = error_metrics(None, plans, execution, wall, None, execution.states[0])
    assert set(metrics) == {"real", "imagined", "impossible"}
    assert metrics["real"]["mean"] == 0


def test_a_large_batch_of_steps_equals_its_parts(wall, ensemble, monkeypatch):
    states = torch.rand(3, 5, 2, generator=torch.Generator().manual_seed(0)) + 0.5
    whole = single_steps(ensemble, wall, states, 0.1 * states)
    monkeypatch.setattr("gapclose.diagnostics.error_maps.AT_ONCE", 4)
    torch.testing.assert_close(single_steps(ensemble, wall, states, 0.1 * states), whole)


def test_the_rank_correlation_depends_only_on_the_order():
    x = torch.tensor([1.0, 2.0, torch.nan, 4.0])
    assert rank_correlation(x, x.exp()) == pytest.approx(1)
    assert rank_correlation(x, -x) == pytest.approx(-1)
    assert rank_correlation(x, torch.ones(4)) != rank_correlation(x, torch.ones(4))  # NaN


def test_the_interval_of_the_rank_correlation_resamples_tasks():
    random = torch.Generator().manual_seed(0)
    x = torch.rand(30, 5, generator=random)
    found = rank_correlation_over_tasks(x, x + 0.5 * torch.rand(30, 5, generator=random))
    low, high = found["ci95"]
    assert 0.5 < low < found["rank_correlation"] < high < 1
    # Copies of the same pairs within each task tell nothing new.
    copied = rank_correlation_over_tasks(*(y.repeat(1, 4) for y in (x, x.roll(1, 0))))
    single = rank_correlation_over_tasks(x, x.roll(1, 0))
    assert copied["ci95"] == pytest.approx(single["ci95"], abs=0.02)


def test_disagreement_is_compared_over_the_arena_and_along_plans(wall, ensemble, execution):
    plans = along_plans(ensemble, wall, execution)
    grid = Grid.over(wall, 8)
    arena = ErrorMaps(8, 3).over_arena(ensemble, wall, grid, CPU, torch.Generator().manual_seed(0))
    found = disagreement_metrics(ensemble, arena, plans, execution)
    assert set(found) == {"arena", "real", "imagined", "plans"}
    assert -1 <= found["arena"]["rank_correlation"] <= 1
