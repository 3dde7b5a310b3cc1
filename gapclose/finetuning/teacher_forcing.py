"""Teacher-forced training: every prediction starts from an observed state."""

from typing import Any

from torch import Tensor

from gapclose.data.trajectories import Window
from gapclose.finetuning.training import Training
from gapclose.models.world_model import LearnedWorldModel


class TeacherForcing(Training):
    """Trains a world model to predict the next state of the data.

    Args:
        world_model: the model.
        settings: those of `Training`.
    """

    def __init__(self, world_model: LearnedWorldModel, **settings: Any) -> None:
        super().__init__(**settings)
        self.world_model = world_model

    def training_loss(self, window: Window) -> Tensor:
        return self.world_model.loss(window)

    def expert_error(self, window: Window) -> Tensor:
        return self.world_model.one_step_error(window)
