"""A search for plans: what it asks of world model and objective, what it may cost, and the best found so far."""

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
    """Action bounds. Searches are in normalised actions: there, the bounds are -1 and 1.

    Attributes:
        low: `[A]`.
        high: `[A]`.
    """

    low: Tensor
    high: Tensor

    def normalize(self, actions: Tensor) -> Tensor:
        """Normalised actions `[..., A]` of actions `[..., A]` in the simulator's units."""
        return ((2 * actions - self.low - self.high) / (self.high - self.low)).clamp(-1, 1)

    def denormalize(self, actions: Tensor) -> Tensor:
        """Actions in the simulator's units, `[..., A]`, of normalised actions `[..., A]`."""
        return (self.low + (self.high - self.low) * (actions + 1) / 2).clamp(self.low, self.high)


class Budget(NamedTuple):
    """What a search may cost.

    Attributes:
        iterations: how many at most; none leaves the end to `seconds`.
        seconds: after how much time no further iteration begins; none leaves the end to `iterations`.
        target_cost: a task whose best plan costs no more is finished, and costs no more time; none finishes no task.
    """

    iterations: int | None
    seconds: float | None = None
    target_cost: float | None = None


class Search:
    """One search for the plans of `N` tasks, in normalised actions.

    Of what it is asked to score or to differentiate, it remembers the best; so a planner need not, unless it settles
    upon another.

    Args:
        world_model: predicts where actions lead.
        objective: says what that costs.
        start: latents `[N, M, ...]` of where to start.
        goal: latents `[N, M, ...]` of where to go.
        steps: length `T` of the sequences.
        bounds: of the actions.
        budget: what it may cost.
        generator: source of randomness, on the CPU; the global one by default.
        remember: whether to remember the best after each iteration.

    Attributes:
        best: the best sequences so far, `[N, T, A]`.
        best_cost: their costs, `[N]`; infinite before anything was judged.
        model_calls: transitions predicted or differentiated so far.
        progress: the share of the budget that is spent, from 0 to 1.
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
        self._noted: list[tuple[float, float, Tensor | None]] = []

    def shape(self, k: int) -> tuple[int, int, int, int]:
        """Shape `(N, k, T, A)` of `k` sequences per task."""
        return len(self.best), k, *self.best.shape[1:]

    def normal(self, k: int) -> Tensor:
        """Standard Gaussians `[N, k, T, A]`, independent but for the tasks: see `for_all`."""
        return self.for_all(torch.randn(self.shape(k)[1:], generator=self.generator))

    def for_all(self, noise: Tensor) -> Tensor:
        """The same noise `[...]` for every task, `[N, ...]`.

        So a plan depends on the seed and on its own task, not on which others are planned beside it.
        """
        return noise.to(self.best).expand(len(self.best), *noise.shape)

    def elapsed(self) -> float:
        """Seconds since the search began."""
        return now(self.best) - self.began

    def exhausted(self) -> bool:
        """Whether the time is over, or every task is finished."""
        return (self.budget.seconds is not None and self.elapsed() >= self.budget.seconds) or not self.live.any()

    def iterations(self) -> Iterator[int]:
        """Counts the iterations that the budget allows, and notes after each how far it has come."""
        most, seconds, _ = self.budget
        for iteration in track(itertools.count() if most is None else range(most), "planning"):
            self.progress = max(iteration / most if most else 0.0, self.elapsed() / seconds if seconds else 0.0)
            if self.exhausted():
                break
            yield iteration
            self.note()
        self.progress = 1.0

    @property
    def live(self) -> Tensor:
        """Which tasks are not finished, bool `[N]`."""
        target = self.budget.target_cost
        return self.best_cost > (-torch.inf if target is None else target)

    def note(self) -> None:
        """Puts down the best so far, and the time."""
        self._noted.append((self.best_cost.mean().item(), self.elapsed(), self.best.clone() if self.remember else None))

    def history(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """What was noted: mean best costs `[I]`, seconds `[I]` and, if remembered, actions `[I, N, T, A]`."""
        costs, seconds, best = zip(*self._noted)
        actions = self.bounds.denormalize(torch.stack(best)) if self.remember else None
        return torch.tensor(costs), torch.tensor(seconds), actions

    def score(self, candidates: Tensor) -> Tensor:
        """Costs `[N, K]` of `K` sequences per task, `[N, K, T, A]`: infinite where the model gives no number.

        All those of a finished task cost the same.
        """
        costs, final = self._judge(candidates, None)
        self.offer(candidates, final)
        return costs

    def gradient(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Costs `[N, K]` of `K` sequences per task, `[N, K, T, A]`, and gradients `[N, K, T, A]` to descend.

        Where weights change, the costs are those with all of their weights, by which sequences can be compared. All
        those of a finished task cost the same, and their gradient is 0; so is what the model gives no number for.
        """
        gradients = torch.zeros_like(candidates)
        _, final = self._judge(candidates, gradients)
        self.offer(candidates, final)
        return final, gradients.nan_to_num(0.0, 0.0, 0.0)

    def perturbed(self, candidates: Tensor, noise: Tensor) -> Tensor:
        """Mean costs `[N, K]` of `K` sequences per task, `[N, K, T, A]`, with noise `[N, P, T, A]` of `P` kinds.

        With their noise they are no candidates themselves.
        """
        copies = (candidates.unsqueeze(2) + noise.unsqueeze(1)).clamp(-1, 1)
        return self._judge(copies.flatten(1, 2), None)[1].unflatten(1, copies.shape[1:3]).mean(2)

    def settle(self, candidates: Tensor, costs: Tensor, criterion: Tensor) -> None:
        """Makes the candidate `[N, K, T, A]` with the least criterion `[N, K]` the best of its task.

        `costs [N, K]` are those of the candidates. A finished task keeps the best that it has, as does one where every
        candidate's cost or criterion is infinite.
        """
        least, number = criterion.masked_fill(costs.isinf(), torch.inf).min(1, keepdim=True)
        chosen = self.live & least.squeeze(1).isfinite()
        self.best = torch.where(chosen[:, None, None], select(candidates, number).squeeze(1), self.best)
        self.best_cost = torch.where(chosen, costs.gather(1, number).squeeze(1), self.best_cost)

    def _judge(self, candidates: Tensor, gradients: Tensor | None) -> tuple[Tensor, Tensor]:
        """Costs `[N, K]` of the candidates, with the weights of now and with all of them.

        Their gradients with the weights of now are put into `gradients`, if there are any.
        """
        costs = self.best_cost.unsqueeze(1).repeat(1, candidates.shape[1])
        final = costs.clone()
        for world_model, task, number in self.portions(candidates.shape[1], gradients is not None):
            with torch.set_grad_enabled(gradients is not None):
                rows = candidates[task, number].requires_grad_(gradients is not None)
                actions = self.bounds.denormalize(rows)
                latents, goal = world_model.rollout(self.start[task], actions), self.goal[task]
                cost = self.objective.cost(latents, actions, goal, self.progress)
                with torch.no_grad():
                    at_end = self.objective.cost(latents, actions, goal) if self.objective.changes else cost
                if gradients is not None:
                    (gradients[task, number],) = torch.autograd.grad(cost.sum(), rows)
            costs[task, number], final[task, number] = cost.detach(), at_end.detach()
            self.count(len(rows) * self.steps, gradients is not None)
        return costs.nan_to_num(torch.inf, torch.inf), final.nan_to_num(torch.inf, torch.inf)

    def pull(self, latents: Tensor, actions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions of single steps, and what would bring them closer to their targets.

        Args:
            latents: `[N, K, M, Z...]`.
            actions: normalised, `[N, K, A]`.
            targets: `[N, K, M, Z...]`.

        Returns:
            Predicted latents `[N, K, M, Z...]`, and for the actions the gradient `[N, K, A]` of half their squared
            distance to the targets, summed over coordinates and members; 0 where the model gives no number for it. A
            finished task stays at its latents, with a gradient of 0.
        """
        predicted, gradients = latents.clone(), torch.zeros_like(actions)
        for world_model, task, number in self.portions(actions.shape[1], True):
            with torch.enable_grad():
                action = actions[task, number].detach().requires_grad_()
                after = world_model.step(latents[task, number], self.bounds.denormalize(action))
            (gradient,) = torch.autograd.grad(after, action, (after - targets[task, number]).detach())
            predicted[task, number], gradients[task, number] = after.detach(), gradient.nan_to_num(0.0, 0.0, 0.0)
            self.count(len(action), True)
        return predicted, gradients

    def portions(self, k: int, gradients: bool) -> Iterator[tuple[WorldModel, Tensor, Tensor]]:
        """Portions of `k` rows for each task that is not finished: their model, and the rows' tasks `[R]` and numbers.

        A portion has equally many rows of each of its tasks, as a model with weights for each task needs them.
        """
        at_once, numbers = self.rows_at_once(gradients), torch.arange(k, device=self.best.device)
        live, tasks_at_once = self.live.nonzero().squeeze(1), max(1, round(at_once / k))
        if self.best.device.type == "cpu" and isinstance(self.world_model, AdaptedWorldModel):
            tasks_at_once = min(tasks_at_once, 16)  # With few rows for each, their weights fill a processor's cache.
        for tasks in live.split(tasks_at_once) if len(live) else ():
            world_model = self.world_model.for_tasks(tasks)
            for part in numbers.chunk(max(1, round(k / at_once))):
                yield world_model, tasks.repeat_interleave(len(part)), part.repeat(len(tasks))

    def rows_at_once(self, gradients: bool) -> int:
        """About how many rows go together: more would leave a processor's cache, or fill an accelerator's memory."""
        return 512 if self.best.device.type == "cpu" else 8192 if gradients else 65_536

    def count(self, transitions: int, gradients: bool) -> None:
        """Counts calls of the model, those backward, too."""
        self.model_calls += 2 * transitions if gradients else transitions

    def offer(self, candidates: Tensor, costs: Tensor) -> None:
        """Takes the candidates `[N, K, T, A]` that cost `[N, K]` less than the best so far."""
        cost, number = costs.nan_to_num(torch.inf, torch.inf).min(1)
        chosen = select(candidates, number.unsqueeze(1)).squeeze(1)
        self.best, self.best_cost = cheaper(self.best, self.best_cost, chosen, cost)


def select(candidates: Tensor, index: Tensor) -> Tensor:
    """The sequences `[N, R, T, A]` with the numbers `index [N, R]` among candidates `[N, K, T, A]`."""
    return candidates.gather(1, index[:, :, None, None].expand(-1, -1, *candidates.shape[2:]))


def cheaper(first: Tensor, first_costs: Tensor, second: Tensor, second_costs: Tensor) -> tuple[Tensor, Tensor]:
    """Of two sequences each, `[..., T, A]`, the one that costs less, and its cost `[...]`; the first if none does."""
    better = second_costs < first_costs
    return torch.where(better[..., None, None], second, first), torch.where(better, second_costs, first_costs)


def cheapest(candidates: Tensor, costs: Tensor, r: int) -> Tensor:
    """The `r` cheapest sequences, best first, `[N, r, T, A]`, of candidates `[N, K, T, A]` that cost `[N, K]`."""
    return select(candidates, costs.topk(r, 1, largest=False).indices)
