"""Adversarial training: learn to predict the next state from perturbed inputs, too."""

from typing import Any

import torch
from torch import Tensor

from gapclose.data.trajectories import Window
from gapclose.errors import UserError
from gapclose.finetuning.attacks import Perturbation, ProjectedGradient
from gapclose.finetuning.radii import GROUPS
from gapclose.finetuning.teacher_forcing import TeacherForcing
from gapclose.models.world_model import LearnedWorldModel


class AdversarialTraining(TeacherForcing):
    """Minimises the error at inputs that the attack perturbed; the targets stay as they are.

    arXiv 2512.09929, section 3.2. Once per epoch it logs the radius of each group and how strong the attack was.

    Args:
        world_model: the model.
        attack: finds the perturbations.
        measure_every: after how many steps its strength is measured, for the log and for radii that are adjusted to it.
        settings: those of `Training`.

    Raises:
        UserError: it is never measured.
    """

    def __init__(
        self, world_model: LearnedWorldModel, *, attack: ProjectedGradient, measure_every: int = 10, **settings: Any
    ) -> None:
        super().__init__(world_model, **settings)
        if measure_every < 1:
            raise UserError(f"measure_every is {measure_every}; give a number of steps, at least 1.")
        self.attack, self.measure_every = attack, measure_every
        self.log_strengths: list[Tensor] = []
        # The clean loss, smoothed over measurements, and the lowest that it has been.
        self.register_buffer("clean_loss", torch.tensor([torch.nan, torch.inf]))

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.log_strengths.clear()

    def training_loss(self, window: Window) -> Tensor:
        latent, actions, targets = self.noisy(window)
        delta = self.attack.perturb(self.world_model, latent, actions, targets)
        steps_of_epoch = len(self.losses)
        if steps_of_epoch % self.measure_every == 0:
            strengths = self.strengths(latent, actions, targets, delta)
            self.attack.radii.adjust(strengths)
            self.log_strengths.append(strengths.log())
        return self.world_model.rollout_loss(latent + delta.latent, actions + delta.actions, targets)

    @torch.no_grad()
    def strengths(self, latent: Tensor, actions: Tensor, targets: Tensor, delta: Perturbation) -> Tensor:
        """Mean loss with only the latents perturbed, and with only the actions, over the clean loss: `[2]`.

        That is the lowest clean loss so far: training on attacks raises it, and radii that are adjusted to the strength
        would follow, which raises it further.
        """
        latents = torch.cat([latent, latent + delta.latent, latent])
        all_actions = torch.cat([actions, actions, actions + delta.actions])
        errors = self.world_model.rollout_errors(latents, all_actions, targets.repeat(3, *[1] * (targets.dim() - 1)))
        losses = errors.unflatten(0, (3, -1)).flatten(1).mean(1)
        if torch.distributed.is_initialized():  # All processes see the same strengths, and adjust the same radii.
            losses = self.all_gather(losses).mean(0)
        smoothed, lowest = self.clean_loss
        smoothed = torch.where(smoothed.isfinite(), smoothed.lerp(losses[0], 0.1), losses[0])
        lowest = smoothed.nan_to_num(torch.inf).minimum(lowest)
        self.clean_loss.copy_(torch.stack((smoothed, lowest)))
        return losses[1:] / torch.where(lowest.isfinite(), lowest, losses[0])

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        strengths = torch.stack(self.log_strengths).mean(0).exp()
        for group, radius, strength in zip(GROUPS, self.attack.radii.current(), strengths):
            self.log_dict({f"{self.name}/{group}_radius": radius, f"{self.name}/{group}_strength": strength})
