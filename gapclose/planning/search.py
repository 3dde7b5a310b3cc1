"""A search for plans: it computes costs and gradients, keeps within a budget, and keeps the best candidates.

Which candidates to try is up to the planners.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from gapclose.clock import now
from gapclose.models.adapted import AdaptedWorldModel
from gapclose.models.world_model import WorldModel
from gapclose.planning.objective import Objective
from gapclose.progress import track


class Bounds(NamedTuple):
    """Action bounds. A search uses normalised actions, whose bounds are -1 and 1.

    Attributes:
        low: `[A]`.
        high: `[A]`.
    """

    low: Tensor
    high: Tensor

    def normalize(self, actions: Tensor) -> Tensor:
        """Maps actions `[..., A]` in the simulator's units to normalised actions."""
        return ((2 * actions - self.low - self.high) / (self.high - self.low)).clamp(-1, 1)

    def denormalize(self, actions: Tensor) -> Tensor:
        """Maps normalised actions `[..., A]` to the simulator's units."""
        return (self.low + (self.high - self.low) * (actions + 1) / 2).clamp(self.low, self.high)


class Budget(NamedTuple):
    """Limits of a search.

    Attributes:
        iterations: largest number of iterations; `None` leaves the limit to `seconds`.
        seconds: time after which no further iteration starts; `None` means no limit.
        target_cost: cost at or below which the search for a task stops; `None`: no task stops early.
    """

    iterations: int | None
    seconds: float | None = None
    target_cost: float | None = None


class Search:
    """One search for the plans of `N` tasks, in normalised actions.

    It keeps the best of all candidates that `score` or `costs_and_gradients` evaluates, so planners do not have to
    track it. A planner with its own criterion calls `choose_best`.

    Args:
        world_model: predicts the latents.
        objective: scores the predictions.
        start: latents `[N, M, ...]` of the starts.
        goal: latents `[N, M, ...]` of the goals.
        steps: length `T` of the sequences.
        bounds: action bounds.
        budget: limits of the search.
        generator: source of randomness, on the CPU; the global one by default.
        remember: whether to keep the best sequences after each iteration.

    Attributes:
        best: the best sequences so far, `[N, T, A]`.
        best_cost: their costs, `[N]`; infinite before any candidate was evaluated.
        model_calls: transitions predicted or differentiated so far.
        progress: share of the budget that is spent, from 0 to 1.
    """

    def __init__(
        self,
        world_model: WorldModel,
        objective: Objective,
        start: Tensor,
        goal: Tensor,
        steps: int,
        bounds: Bounds,
        budget: Budget,
        generator: torch.Generator | None = None,
        remember: bool = False,
    ) -> None:
        self.began = now(start)
        self.world_model, self.objective = world_model, objective
        self.start, self.goal, self.steps = start, goal, steps
        self.bounds, self.budget = Bounds(*(bound.to(start) for bound in bounds)), budget
        self.generator, self.remember = generator, remember
        self.best = start.new_zeros(len(start), steps, len(bounds.low))
        self.best_cost = start.new_full((len(start),), torch.inf)
        self.model_calls, self.progress = 0, 0.0
        self._records: list[tuple[float, float, Tensor | None]] = []

    def shape(self, k: int) -> tuple[int, int, int, int]:
        """Returns the shape `(N, k, T, A)` of `k` sequences per task."""
        return len(self.best), k, *self.best.shape[1:]

    def normal(self, k: int) -> Tensor:
        """Draws standard Gaussian noise `[N, k, T, A]`, the same for all tasks; see `for_all_tasks`."""
        return self.for_all_tasks(torch.randn(self.shape(k)[1:], generator=self.generator))

    def for_all_tasks(self, noise: Tensor) -> Tensor:
        """Repeats noise `[...]` for every task, `[N, ...]`.

        So the plan of a task depends on the seed and on that task, not on the other tasks of the batch.
        """
        return noise.to(self.best).expand(len(self.best), *noise.shape)

    def elapsed(self) -> float:
        """Seconds since the start of the search."""
        return now(self.best) - self.began

    def exhausted(self) -> bool:
        """Whether the time has run out or every task is finished."""
        return (self.budget.seconds is not None and self.elapsed() >= self.budget.seconds) or not self.active.any()

    def iterations(self) -> Iterator[int]:
        """Yields the numbers of the iterations that the budget allows, and records the best after each of them."""
        most, seconds, _ = self.budget
        for iteration in track(itertools.count() if most is None else range(most), "planning"):
            self.progress = max(iteration / most if most else 0.0, self.elapsed() / seconds if seconds else 0.0)
            if self.exhausted():
                break
            yield iteration
            self.record()
        self.progress = 1.0

    @property
    def active(self) -> Tensor:
        """Which tasks are not finished, bool `[N]`."""
        target = self.budget.target_cost
        return self.best_cost > (-torch.inf if target is None else target)

    def record(self) -> None:
        """Records the best so far and the elapsed time, for `history`."""
        self._records.append(
            (self.best_cost.mean().item(), self.elapsed(), self.best.clone() if self.remember else None)
        )

    def history(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Returns all records: mean best costs `[I]`, seconds `[I]` and, with `remember`, actions `[I, N, T, A]`."""
        costs, seconds, best = zip(*self._records)
        actions = self.bounds.denormalize(torch.stack(best)) if self.remember else None
        return torch.tensor(costs), torch.tensor(seconds), actions

    def score(self, candidates: Tensor) -> Tensor:
        """Returns the costs `[N, K]` of `K` sequences per task, `[N, K, T, A]`; infinite if they are not finite.

        Finished tasks are not evaluated: all their sequences get their best cost.
        """
        costs, final_costs = self._evaluate(candidates, None)
        self.update_best(candidates, final_costs)
        return costs

    def costs_and_gradients(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the costs `[N, K]` of `K` sequences per task, `[N, K, T, A]`, and their gradients `[N, K, T, A]`.

        If weights change during the search, the gradients use the present weights and the costs the final ones, so that
        candidates of all iterations can be compared. Finished tasks have gradient 0, and all their sequences get their
        best cost. Gradients that are not finite are 0.
        """
        gradients = torch.zeros_like(candidates)
        _, final_costs = self._evaluate(candidates, gradients)
        self.update_best(candidates, final_costs)
        return final_costs, gradients.nan_to_num(0.0, 0.0, 0.0)

    def perturbed_costs(self, candidates: Tensor, noise: Tensor) -> Tensor:
        """Returns the mean costs `[N, K]` of `K` sequences per task, `[N, K, T, A]`, over `P` noises `[N, P, T, A]`.

        The perturbed copies do not become candidates themselves.
        """
        copies = (candidates.unsqueeze(2) + noise.unsqueeze(1)).clamp(-1, 1)
        return self._evaluate(copies.flatten(1, 2), None)[1].unflatten(1, copies.shape[1:3]).mean(2)

    def choose_best(self, candidates: Tensor, costs: Tensor, criterion: Tensor) -> None:
        """Sets the best of each task to the candidate `[N, K, T, A]` with the least criterion `[N, K]`.

        `costs [N, K]` are the costs of the candidates. The best does not change for finished tasks, nor if the cost or
        the criterion of every candidate is infinite.
        """
        least, number = criterion.masked_fill(costs.isinf(), torch.inf).min(1, keepdim=True)
        chosen = self.active & least.squeeze(1).isfinite()
        self.best = torch.where(chosen[:, None, None], select(candidates, number).squeeze(1), self.best)
        self.best_cost = torch.where(chosen, costs.gather(1, number).squeeze(1), self.best_cost)

    def _evaluate(self, candidates: Tensor, gradients: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the costs `[N, K]` of candidates with the objective's present weights, and with the final ones.

        The gradients with the present weights are written into `gradients`, unless it is `None`.
        """
        costs = self.best_cost.unsqueeze(1).repeat(1, candidates.shape[1])
        final_costs = costs.clone()
        for world_model, task, number in self.batches(candidates.shape[1], gradients is not None):
            with torch.set_grad_enabled(gradients is not None):
                rows = candidates[task, number].requires_grad_(gradients is not None)
                actions = self.bounds.denormalize(rows)
                latents, goal = world_model.rollout(self.start[task], actions), self.goal[task]
                cost = self.objective.cost(latents, actions, goal, self.progress)
                with torch.no_grad():
                    final_cost = self.objective.cost(latents, actions, goal) if self.objective.changes else cost
                if gradients is not None:
                    (gradients[task, number],) = torch.autograd.grad(cost.sum(), rows)
            costs[task, number], final_costs[task, number] = cost.detach(), final_cost.detach()
            self.count_calls(len(rows) * self.steps, gradients is not None)
        return costs.nan_to_num(torch.inf, torch.inf), final_costs.nan_to_num(torch.inf, torch.inf)

    def step_gradient(self, latents: Tensor, actions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts single steps, and the gradients of their distances to targets with respect to the actions.

        Args:
            latents: `[N, K, M, Z...]`.
            actions: normalised actions `[N, K, A]`.
            targets: `[N, K, M, Z...]`.

        Returns:
            Predicted latents `[N, K, M, Z...]`, and the gradients `[N, K, A]` of half the squared distance to the
            targets, summed over coordinates and members; 0 where they are not finite. For finished tasks, the given
            latents and gradient 0.
        """
        predicted, gradients = latents.clone(), torch.zeros_like(actions)
        for world_model, task, number in self.batches(actions.shape[1], True):
            with torch.enable_grad():
                action = actions[task, number].detach().requires_grad_()
                after = world_model.step(latents[task, number], self.bounds.denormalize(action))
            (gradient,) = torch.autograd.grad(after, action, (after - targets[task, number]).detach())
            predicted[task, number], gradients[task, number] = after.detach(), gradient.nan_to_num(0.0, 0.0, 0.0)
            self.count_calls(len(action), True)
        return predicted, gradients

    def batches(self, k: int, gradients: bool) -> Iterator[tuple[WorldModel, Tensor, Tensor]]:
        """Splits `k` rows for each unfinished task into batches: the model, the rows' tasks `[R]` and numbers `[R]`.

        A batch has equally many rows of each of its tasks, as `AdaptedWorldModel` requires.
        """
        at_once, numbers = self.rows_at_once(gradients), torch.arange(k, device=self.best.device)
        active, tasks_at_once = self.active.nonzero().squeeze(1), max(1, round(at_once / k))
        if self.best.device.type == "cpu" and isinstance(self.world_model, AdaptedWorldModel):
            tasks_at_once = min(tasks_at_once, 16)  # With few rows per task, the weights fill the processor's cache.
        for tasks in active.split(tasks_at_once) if len(active) else ():
            world_model = self.world_model.for_tasks(tasks)
            for part in numbers.chunk(max(1, round(k / at_once))):
                yield world_model, tasks.repeat_interleave(len(part)), part.repeat(len(tasks))

    def rows_at_once(self, gradients: bool) -> int:
        """Approximate number of rows per batch, so that a batch fits the processor's cache or the GPU's memory."""
        return 512 if self.best.device.type == "cpu" else 8192 if gradients else 65_536

    def count_calls(self, transitions: int, gradients: bool) -> None:
        """Counts calls of the model, forward and backward."""
        self.model_calls += 2 * transitions if gradients else transitions

    def update_best(self, candidates: Tensor, costs: Tensor) -> None:
        """Replaces the best of each task if one of the candidates `[N, K, T, A]` has lower costs `[N, K]`."""
        cost, number = costs.nan_to_num(torch.inf, torch.inf).min(1)
        chosen = select(candidates, number.unsqueeze(1)).squeeze(1)
        self.best, self.best_cost = cheaper(self.best, self.best_cost, chosen, cost)


def select(candidates: Tensor, index: Tensor) -> Tensor:
    """Returns the sequences `[N, R, T, A]` at `index [N, R]` among candidates `[N, K, T, A]`."""
    return candidates.gather(1, index[:, :, None, None].expand(-1, -1, *candidates.shape[2:]))


def cheaper(first: Tensor, first_costs: Tensor, second: Tensor, second_costs: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the cheaper of two sequences `[..., T, A]` and its cost `[...]`, elementwise; the first if equal."""
    better = second_costs < first_costs
    return torch.where(better[..., None, None], second, first), torch.where(better, second_costs, first_costs)


def cheapest(candidates: Tensor, costs: Tensor, r: int) -> Tensor:
    """Returns the `r` cheapest of candidates `[N, K, T, A]` with costs `[N, K]`, best first: `[N, r, T, A]`."""
    return select(candidates, costs.topk(r, 1, largest=False).indices)
