"""Adversarial training: learn to predict the next state from perturbed inputs, too."""

from typing import Any

from torch import Tensor

from gapclose.data.trajectories import Window
from gapclose.finetuning.attacks import FGSM
from gapclose.finetuning.teacher_forcing import TeacherForcing
from gapclose.models.world_model import LearnedWorldModel


class AdversarialTraining(TeacherForcing):
    """Minimises the error at inputs that the attack perturbed; the targets stay as they are.

    arXiv 2512.09929, section 3.2.

    Args:
        world_model: the model.
        attack: finds the perturbations.
        settings: those of `Training`.
    """

    def __init__(self, world_model: LearnedWorldModel, *, attack: FGSM, **settings: Any) -> None:
        super().__init__(world_model, **settings)
        self.attack = attack

    def training_loss(self, window: Window) -> Tensor:
        latent, actions, targets = self.noisy(window)
        delta = self.attack.perturb(self.world_model, latent, actions, targets)
        return self.world_model.rollout_loss(latent + delta.latent, actions + delta.actions, targets)
