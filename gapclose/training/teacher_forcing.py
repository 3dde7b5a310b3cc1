"""Teacher forcing: training on predictions that start from observed states."""

from typing import Any

import torch
from pydantic import ConfigDict, validate_call
from torch import Tensor

from gapclose.data.trajectories import Window
from gapclose.models.world_model import LearnedWorldModel
from gapclose.setting_types import NonNegative
from gapclose.training.training_module import TrainingModule


class TeacherForcing(TrainingModule):
    """Trains a world model to predict the states of a window that follow its first, observed states.

    With noise on the inputs, the model learns to return to the data from states close to it (Sanchez-Gonzalez et al.
    2020, arXiv 2002.09405, section 4.4).

    Args:
        world_model: the model.
        input_noise: standard deviation of the Gaussian noise on the latents that predictions start from, in units of
            the data's standard deviation, independent for each member; actions and targets have no noise.
        settings: settings of `TrainingModule`.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(self, world_model: LearnedWorldModel, *, input_noise: NonNegative = 0.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.world_model, self.input_noise = world_model, input_noise

    def training_loss(self, window: Window) -> Tensor:
        return self.world_model.rollout_loss(*self.noisy_inputs(window))

    def noisy_inputs(self, window: Window) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the arguments of `rollout_loss`: latents with noise, actions, and targets."""
        latent, actions, targets = self.world_model.encode_window(window)
        if self.input_noise:
            latent = latent + self.input_noise * torch.randn_like(latent)
        return latent, actions, targets

    def expert_error(self, window: Window) -> Tensor:
        return self.world_model.one_step_error(window)
