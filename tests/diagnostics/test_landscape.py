import math

import pytest
import torch

from gapclose.diagnostics.action_sequences import (
    Path,
    descend,
    initial_sequences,
    path_with_gradients,
    subsample,
    uniform_sequences,
)
from gapclose.diagnostics.landscape import (
    Plane,
    Roughness,
    gradient_variation,
    largest_curvature,
    norm,
    slices,
    variation_along,
)
from gapclose.models.oracle import OracleWorldModel, TrueDynamics
from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.initialization import Knots
from gapclose.planning.objective import Disagreement, GoalDistance, Objective


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def inside(search, k=3, scale=0.5):
    return scale * uniform_sequences(search, k, seeded(3))


# The cost is the mean over 2 coordinates of (z + Σ 0.05 g a - goal)²; so each coordinate's Hessian is a block of six by
# six equal entries (0.05 g)², whose one eigenvalue is 6 (0.05 g)².
QUADRATIC = 6 * 0.05**2


@pytest.mark.parametrize("gain", [1.0, 3.0])
def test_the_curvature_of_a_quadratic_cost_is_its_largest_eigenvalue(open_landscape, point_model, gain):
    search = open_landscape(point_model(gain)).search()
    curvature = largest_curvature(search, inside(search), 8, seeded())
    torch.testing.assert_close(curvature, torch.full((5, 3), QUADRATIC * gain**2), rtol=2e-3, atol=0)


def test_the_curvature_at_the_bounds_is_that_inside(open_landscape, point_model):
    search = open_landscape(point_model()).search()
    curvature = largest_curvature(search, inside(search).sign(), 8, seeded())
    torch.testing.assert_close(curvature, torch.full((5, 3), QUADRATIC), rtol=2e-3, atol=0)


def test_the_gradient_of_a_quadratic_cost_varies_equally_at_every_distance(open_landscape, point_model):
    search = open_landscape(point_model()).search()
    variation = gradient_variation(search, inside(search), [0.01, 0.1, 0.4], 64, seeded())
    # Of a random direction in 12 dimensions, two lie in the space that matters.
    torch.testing.assert_close(variation, torch.full((5, 3), QUADRATIC * math.sqrt(2 / 12)), rtol=0.15, atol=0)
    torch.testing.assert_close(variation[:, 0], variation[:, 2], rtol=1e-2, atol=0)


def test_steps_end_at_the_bounds(open_landscape, point_model):
    search = open_landscape(point_model()).search()
    corner = inside(search).sign()
    assert gradient_variation(search, corner, [0.1, 10.0], 4, seeded()).isfinite().all()
    # However long the step, the gradients are compared over the distance that is left of it.
    variation = gradient_variation(search, corner, [1000.0], 4, seeded())
    assert ((variation > 0.1 * QUADRATIC) & (variation <= QUADRATIC)).all()


def test_roughness_is_finite_for_ensemble_member_and_true_dynamics(open_landscape, ensemble, point_model, wall):
    for model in (ensemble, point_model(), OracleWorldModel(wall), TrueDynamics(wall, ensemble)):
        search = open_landscape(model).search()
        found = Roughness([0.1, 1.0], 2, 3).measure(search, inside(search, 2), seeded())
        assert len(found["gradient_variation"]) == 2
        for entry in (*found["gradient_variation"], found["curvature"]):
            assert entry["num_tasks"] == 5
            assert all(math.isfinite(x) and x >= 0 for x in (entry["mean"], *entry["ci95"]))


def planner(**settings):
    low = torch.full((2,), -0.05)
    settings = dict(horizon=6, iterations=5, lr=0.1, init=Knots(2)) | settings
    return GradientPlanner(action_low=low, action_high=-low, **settings)


def test_a_path_contains_every_iterate_of_the_planners_descent(open_landscape, point_model):
    landscape = open_landscape(point_model())
    search = landscape.search()
    starts = initial_sequences(search, Knots(2), 2)[:, 0]
    path = path_with_gradients(landscape, descend(planner(optimizer="sgd", lr=0.3), landscape, starts, seeded()))
    assert path.actions.shape == (5, 6, 6, 2)
    torch.testing.assert_close(path.actions[:, 0], starts)
    torch.testing.assert_close(path.gradients, search.costs_and_gradients(path.actions[:, :-1])[1])
    torch.testing.assert_close(path.actions[:, 1:], (path.actions[:, :-1] - 0.3 * path.gradients).clamp(-1, 1))
    assert subsample(path, 3).shape == (5, 3, 6, 2)
    assert (variation_along(path) <= QUADRATIC * 1.01).all()


def test_gradients_along_a_path_use_the_weights_at_the_end_of_a_search(open_landscape, ensemble):
    goal = GoalDistance("last")
    final, changing = (
        open_landscape(ensemble, Objective({"goal": goal, "disagreement": Disagreement(50.0, initial_share=share)}))
        for share in (1.0, 0.0)
    )
    starts = initial_sequences(final.search(), Knots(2), 1)[:, 0]
    path = path_with_gradients(changing, descend(planner(), changing, starts, seeded()))
    torch.testing.assert_close(path.gradients, path_with_gradients(final, path.actions).gradients)
    assert not torch.allclose(path.actions, descend(planner(), final, starts, seeded()))


def test_a_descent_that_does_not_move_has_no_variation():
    still = Path(torch.zeros(2, 4, 3, 2), torch.zeros(2, 3, 3, 2))
    assert variation_along(still).isnan().all()


def test_initial_sequences_differ_between_tasks_and_not_between_models(open_landscape, point_model, ensemble):
    drawn = [
        initial_sequences(open_landscape(m).search(random=seeded()), Knots(2), 3) for m in (point_model(), ensemble)
    ]
    assert torch.equal(*drawn)
    assert drawn[0].shape == (5, 3, 6, 2)
    assert len({tuple(sequence.flatten().tolist()) for sequence in drawn[0].flatten(0, 1)}) == 15


def test_a_plane_contains_the_paths_that_span_it():
    axes = torch.linalg.qr(torch.randn(3, 8, 2, generator=seeded()))[0].mT.unflatten(2, (4, 2))
    paths = [torch.einsum("nic,ncta->nita", torch.randn(3, 5, 2, generator=seeded(i)), axes) for i in (1, 2)]
    for path in paths:
        path[:, 0] = 0
    plane = Plane.through(paths)
    torch.testing.assert_close(plane.share_in_plane(paths), torch.ones(3))
    for path in paths:
        torch.testing.assert_close(plane.at(plane.project(path)), path, atol=1e-5, rtol=0)
    gram = torch.einsum("ncta,ndta->ncd", plane.axes, plane.axes)
    torch.testing.assert_close(gram, torch.eye(2).expand(3, 2, 2), atol=1e-5, rtol=0)


def test_a_slice_shows_every_models_cost_on_the_same_plane(open_landscape, point_model):
    landscapes = {name: open_landscape(point_model(gain)) for name, gain in dict(a=1.0, b=-1.0).items()}
    starts = initial_sequences(landscapes["a"].search(random=seeded()), Knots(2), 1)[:, 0]
    paths = {name: descend(planner(), x, starts, seeded()) for name, x in landscapes.items()}
    searches = {name: landscape.search() for name, landscape in landscapes.items()}
    cut = slices(searches, paths, 7)
    assert {name: tuple(costs.shape) for name, costs in cut.costs.items()} == dict(a=(5, 7, 7), b=(5, 7, 7))
    plane = Plane.through(list(paths.values()))
    for row, column in ((0, 0), (2, 5), (6, 1)):
        point = torch.stack((cut.ticks[:, 0, column], cut.ticks[:, 1, row]), -1).unsqueeze(1)
        cost = searches["b"].score(plane.at(point)).squeeze(1)
        torch.testing.assert_close(cut.costs["b"][:, row, column], cost)
    for name, path in cut.paths.items():
        assert path.shape == (5, 6, 2), name
        low, high = cut.ticks.amin(2).unsqueeze(1), cut.ticks.amax(2).unsqueeze(1)
        assert ((path > low) & (path < high)).all()


def test_lengths_are_over_all_steps_and_coordinates():
    assert norm(torch.ones(2, 3, 8, 2)).tolist() == [[4.0] * 3] * 2
