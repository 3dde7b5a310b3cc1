"""Adapting the world model, while it is planned with, to what was just observed."""

import torch
from pydantic import NonNegativeInt, PositiveInt, validate_call
from torch import Tensor

from gapclose.data.trajectories import Window
from gapclose.errors import UserError
from gapclose.models.adapted import AdaptedWorldModel
from gapclose.models.world_model import LearnedWorldModel, WorldModel, frozen
from gapclose.settings import Positive


class GradientAdaptation:
    """A few gradient steps on the transitions that a task has observed so far, before each further plan in MPC.

    *AdaJEPA: an adaptive latent world model* (arXiv 2606.32026): plan, execute the first actions, learn from where they
    really led, and plan again with the updated model. Here each task has weights of its own, which start from those
    of the original model; the loss is the original's on windows of one step, or of its context, and the encoder stays
    as it is.

    Args:
        steps: gradient steps of Adam before each plan but the first; Adam starts anew each time.
        lr: their learning rate.
        memory: of how many of the last transitions it learns; none: of all since the task began.
    """

    @validate_call
    def __init__(self, steps: NonNegativeInt = 10, lr: Positive = 1e-3, memory: PositiveInt | None = 10) -> None:
        self.steps, self.lr, self.memory = steps, lr, memory

    def start(self, world_model: WorldModel, n: int) -> AdaptedWorldModel:
        """A model with weights of their own for each of `n` tasks, which are those of the original as yet.

        Raises:
            UserError: the model is not a learned one.
        """
        if not isinstance(world_model, LearnedWorldModel):
            raise UserError("The oracle has nothing to adapt; leave out adaptation, or plan with a learned model.")
        return AdaptedWorldModel.copies(world_model, n)

    def adapt(self, world_model: AdaptedWorldModel, states: Tensor, actions: Tensor) -> AdaptedWorldModel:
        """The model adapted to what each of its tasks has observed; what was given stays as it was.

        Args:
            world_model: with weights for each of `N` tasks.
            states: `[N, L+1, S]`.
            actions: `[N, L, A]`, which led from each state to the next.
        """
        observed = self.windows(states, actions, world_model.context)
        weights = {name: weight.clone().requires_grad_() for name, weight in world_model.weights.items()}
        adapted = AdaptedWorldModel(world_model.model, weights)
        # Elementwise, Adam on the weights of all tasks is Adam for each, as long as no loss is divided by their number.
        optimizer = torch.optim.Adam(weights.values(), lr=self.lr)
        with frozen(world_model.model), torch.enable_grad():
            for _ in range(self.steps):
                optimizer.zero_grad()
                adapted.losses(observed).sum().backward()
                optimizer.step()
        return AdaptedWorldModel(world_model.model, {name: weight.detach() for name, weight in weights.items()})

    def windows(self, states: Tensor, actions: Tensor, context: int) -> Window:
        """What is learnt from, in windows of the model's context or of all that there is, as many for each task."""
        steps = min(self.memory or actions.shape[1], actions.shape[1])
        length = min(context, steps)
        cut = states[:, -steps - 1 :].unfold(1, length + 1, 1), actions[:, -steps:].unfold(1, length, 1)
        return Window(*(x.movedim(-1, 2).flatten(0, 1) for x in cut))
