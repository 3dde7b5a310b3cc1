"""Test-time adaptation: MPC updates the world model on the transitions that it has just observed."""

import torch
from pydantic import NonNegativeInt, PositiveInt, validate_call
from torch import Tensor

from gapclose.data.trajectories import Window
from gapclose.errors import UserError
from gapclose.models.adapted import AdaptedWorldModel
from gapclose.models.world_model import LearnedWorldModel, WorldModel, frozen
from gapclose.setting_types import Positive


class GradientAdaptation:
    """Takes a few gradient steps on the observed transitions of each task before each plan of MPC but the first.

    *AdaJEPA: an adaptive latent world model* (arXiv 2606.32026): plan, execute the first actions, learn from the
    observed states, and plan again with the updated model. Here each task has its own weights, which start from those
    of the original model. The loss is that of the original model, on windows of its context; the encoder does not
    change.

    Args:
        steps: gradient steps of Adam before each plan but the first; Adam's state is reset each time.
        lr: learning rate of Adam.
        memory: number of most recent transitions to learn from; `None` means all since the task started.
    """

    @validate_call
    def __init__(self, steps: NonNegativeInt = 10, lr: Positive = 1e-3, memory: PositiveInt | None = 10) -> None:
        self.steps, self.lr, self.memory = steps, lr, memory

    def start(self, world_model: WorldModel, n: int) -> AdaptedWorldModel:
        """Returns a model with separate weights for each of `n` tasks, all equal to the original ones.

        Raises:
            UserError: the model is not a learned one.
        """
        if not isinstance(world_model, LearnedWorldModel):
            raise UserError("The oracle has nothing to adapt; leave out adaptation, or plan with a learned model.")
        return AdaptedWorldModel.copies(world_model, n)

    def adapt(self, world_model: AdaptedWorldModel, states: Tensor, actions: Tensor) -> AdaptedWorldModel:
        """Returns the model adapted to the observed transitions of each task; the given model does not change.

        Args:
            world_model: a model with weights for each of `N` tasks.
            states: observed states `[N, L+1, S]`.
            actions: executed actions `[N, L, A]`.
        """
        observed = self.windows(states, actions, world_model.context)
        weights = {name: weight.clone().requires_grad_() for name, weight in world_model.weights.items()}
        adapted = AdaptedWorldModel(world_model.model, weights)
        # Adam is elementwise: one optimizer for all tasks equals one for each if the losses are summed, not averaged.
        optimizer = torch.optim.Adam(weights.values(), lr=self.lr)
        with frozen(world_model.model), torch.enable_grad():
            for _ in range(self.steps):
                optimizer.zero_grad()
                adapted.losses(observed).sum().backward()
                optimizer.step()
        return AdaptedWorldModel(world_model.model, {name: weight.detach() for name, weight in weights.items()})

    def windows(self, states: Tensor, actions: Tensor, context: int) -> Window:
        """Cuts the last transitions into windows of the model's context, or shorter if there are fewer."""
        steps = min(self.memory or actions.shape[1], actions.shape[1])
        length = min(context, steps)
        cut = states[:, -steps - 1 :].unfold(1, length + 1, 1), actions[:, -steps:].unfold(1, length, 1)
        return Window(*(x.movedim(-1, 2).flatten(0, 1) for x in cut))
