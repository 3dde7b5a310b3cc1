"""Is the landscape smooth? How fast the gradient of the planning cost changes, and slices through the cost."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple, Self

import torch
from pydantic import Field, PositiveInt, validate_call
from torch import Tensor

from gapclose.diagnostics.action_sequences import Path
from gapclose.evaluation.statistics import estimate
from gapclose.planning.search import Search
from gapclose.setting_types import Positive

CURVATURE_STEP = 0.03
"""Half the distance over which gradients are compared for the curvature; it sets the scale at which kinks count."""


class Roughness:
    """Measures how fast the gradient of a cost changes.

    All lengths are Euclidean, in the space of normalised action sequences: a corner of the bounds is `√(T·A)` from
    their middle.

    Args:
        step_sizes: distances between the compared gradients.
        num_directions: random directions per sequence.
        power_iterations: iterations for the largest curvature.
    """

    @validate_call
    def __init__(
        self,
        step_sizes: Annotated[list[Positive], Field(min_length=1)] = (0.1, 0.3, 1.0, 3.0),
        num_directions: PositiveInt = 2,
        power_iterations: PositiveInt = 8,
    ) -> None:
        self.step_sizes, self.num_directions = list(step_sizes), num_directions
        self.power_iterations = power_iterations

    def measure(self, search: Search, actions: Tensor, random: torch.Generator) -> dict[str, Any]:
        """Measures `gradient_variation`, for each of `step_sizes`, and `curvature` around sequences `[N, K, T, A]`."""
        variation = gradient_variation(search, actions, self.step_sizes, self.num_directions, random)
        curvature = largest_curvature(search, actions, self.power_iterations, random)
        return {
            "step_sizes": self.step_sizes,
            "gradient_variation": [estimate(of_step) for of_step in variation.unbind(1)],
            "curvature": estimate(curvature.mean(1)),
        }


def norm(sequences: Tensor) -> Tensor:
    """Lengths `[...]` of sequences `[..., T, A]`."""
    return sequences.flatten(-2).norm(dim=-1)


def random_directions(like: Tensor, random: torch.Generator) -> Tensor:
    """Draws sequences of length 1 and uniform direction with the shape `[..., T, A]` of `like`."""
    directions = torch.randn(like.shape, generator=random).to(like)
    return directions / norm(directions)[..., None, None]


def gradient_variation(
    search: Search, actions: Tensor, step_sizes: Sequence[float], num_directions: int, random: torch.Generator
) -> Tensor:
    """`‖g(a + s d) - g(a)‖ / s`, averaged over random directions and sequences: a local Lipschitz constant of `g`.

    A step that would leave the bounds ends there and `s` is its remaining length: outside the cost is constant because
    actions are clipped, not because of the model.

    Args:
        search: gives the gradient `g` of the cost.
        actions: sequences `[N, K, T, A]`.
        step_sizes: the `s`, `[S]`.
        num_directions: random directions `d` of length 1 for each sequence.
        random: source of randomness.

    Returns:
        `[N, S]`.
    """
    centre = actions.repeat_interleave(num_directions, 1)
    at_centre = search.costs_and_gradients(actions)[1].repeat_interleave(num_directions, 1)
    directions, ratios = random_directions(centre, random), []
    for step_size in step_sizes:
        moved = (centre + step_size * directions).clamp(-1, 1)
        ratio = norm(search.costs_and_gradients(moved)[1] - at_centre) / norm(moved - centre)
        ratios.append(ratio.nanmean(1))  # NaN: at a corner the step may have no length.
    return torch.stack(ratios, 1)


def largest_curvature(search: Search, actions: Tensor, iterations: int, random: torch.Generator) -> Tensor:
    """The largest absolute eigenvalue of the cost's Hessian at sequences `[N, K, T, A]`, by power iteration: `[N, K]`.

    Products with the Hessian are finite differences of gradients, not derivatives: the gradients of the true dynamics
    are piecewise linear, so their derivatives do not contain the kinks. After a few iterations the result is a lower
    bound.
    """
    centre = actions.clamp(CURVATURE_STEP - 1, 1 - CURVATURE_STEP)  # Keeps the compared sequences within the bounds.
    direction = random_directions(centre, random)
    for _ in range(iterations):
        ahead, behind = (search.costs_and_gradients(centre + sign * CURVATURE_STEP * direction)[1] for sign in (1, -1))
        product = (ahead - behind) / (2 * CURVATURE_STEP)
        curvature = norm(product)
        flat = curvature[..., None, None] == 0
        direction = torch.where(flat, direction, product / norm(product)[..., None, None])
    return curvature


def variation_along(path: Path) -> Tensor:
    """`‖g' - g‖ / ‖a' - a‖` between successive points of a descent, averaged over them: `[N]`.

    Santurkar et al. 2018 (arXiv 1805.11604, section 3.2) call it the effective smoothness.
    """
    moves = norm(path.actions[:, 1:-1] - path.actions[:, :-2])
    ratios = norm(path.gradients[:, 1:] - path.gradients[:, :-1]) / moves
    return torch.where(moves > 0, ratios, torch.nan).nanmean(1)


class Plane(NamedTuple):
    """A plane in the space of action sequences for each task.

    Attributes:
        origin: `[N, T, A]`.
        axes: two orthogonal directions of length 1, `[N, 2, T, A]`.
    """

    origin: Tensor
    axes: Tensor

    @classmethod
    def through(cls, paths: Sequence[Tensor]) -> Self:
        """Fits the plane through the mean of the paths' starts that is closest to their points `[N, I, T, A]`.

        Its axes are the principal directions of the paths' movement (Li et al. 2018, arXiv 1712.09913, section 7).
        """
        origin = torch.stack([path[:, 0] for path in paths]).mean(0)
        moves = torch.cat(paths, 1) - origin.unsqueeze(1)
        directions = torch.linalg.svd(moves.flatten(2), full_matrices=False).Vh[:, :2]
        return cls(origin, directions.unflatten(2, origin.shape[1:]))

    def project(self, actions: Tensor) -> Tensor:
        """Projects sequences `[N, I, T, A]` onto the plane: coordinates `[N, I, 2]`."""
        moves = actions - self.origin.unsqueeze(1)
        return torch.einsum("nita,ncta->nic", moves, self.axes)

    def at(self, coordinates: Tensor) -> Tensor:
        """Sequences `[N, I, T, A]` at coordinates `[N, I, 2]`."""
        return self.origin.unsqueeze(1) + torch.einsum("nic,ncta->nita", coordinates, self.axes)

    def share_in_plane(self, paths: Sequence[Tensor]) -> Tensor:
        """The share of the paths' squared distances from the origin that is in the plane, `[N]`."""
        moves = torch.cat(paths, 1) - self.origin.unsqueeze(1)
        total = moves.square().sum((1, 2, 3))
        return self.project(torch.cat(paths, 1)).square().sum((1, 2)) / total.clamp(min=1e-12)


class Slice(NamedTuple):
    """The cost over a part of a plane, for `N` tasks.

    Attributes:
        ticks: coordinates of the grid along both axes, `[N, 2, P]`.
        costs: by model, `[N, P, P]`: rows along the second axis, columns along the first.
        paths: by model, coordinates of its descent, `[N, I, 2]`.
        share_in_plane: share of the paths' movement that is in the plane, `[N]`.
    """

    ticks: Tensor
    costs: dict[str, Tensor]
    paths: dict[str, Tensor]
    share_in_plane: Tensor


def slices(searches: dict[str, Search], paths: dict[str, Tensor], num_points: int, margin: float = 0.35) -> Slice:
    """Computes the costs of several models over the same plane, that of all their descents from the same starts.

    Modelled on the figure of the planning loss around a plan in arXiv 2512.09929.

    Args:
        searches: by model, to compute the costs of normalised sequences.
        paths: by model, the points of its descent, `[N, I, T, A]`.
        num_points: `P` of the grid along each axis.
        margin: by which the grid is wider than the paths, as a share of their width.
    """
    plane = Plane.through(list(paths.values()))
    projected = {name: plane.project(path) for name, path in paths.items()}
    points = torch.cat(list(projected.values()), 1)
    low, high = points.amin(1), points.amax(1)
    middle, width = (low + high) / 2, (high - low).amax(1, keepdim=True).clamp(min=0.1)
    unit = torch.linspace(-0.5 - margin, 0.5 + margin, num_points).to(middle)
    ticks = middle.unsqueeze(2) + width.unsqueeze(2) * unit
    columns, rows = ticks[:, 0, None, :], ticks[:, 1, :, None]
    grid = torch.stack(torch.broadcast_tensors(columns, rows), -1).flatten(1, 2)
    costs = {
        name: search.score(plane.at(grid)).unflatten(1, (num_points, num_points)) for name, search in searches.items()
    }
    return Slice(ticks, costs, projected, plane.share_in_plane(list(paths.values())))
