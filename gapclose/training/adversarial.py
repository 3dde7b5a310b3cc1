"""Adversarial training: learning to predict the next state from perturbed inputs."""

from typing import Any

import torch
from pydantic import ConfigDict, PositiveInt, validate_call
from torch import Tensor

from gapclose.data.trajectories import Window
from gapclose.models.world_model import LearnedWorldModel
from gapclose.training.attacks import Perturbation, ProjectedGradient
from gapclose.training.radii import GROUPS
from gapclose.training.teacher_forcing import TeacherForcing


class AdversarialTraining(TeacherForcing):
    """Minimises the error on inputs perturbed by an attack; the targets are not perturbed.

    arXiv 2512.09929, section 3.2. Once per epoch, it logs the radius and the attack strength of each group of inputs.

    Args:
        world_model: the model.
        attack: computes the perturbations.
        measure_every: number of steps between measurements of the attack's strength, for the log and for learned radii.
        settings: settings of `TeacherForcing`.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        world_model: LearnedWorldModel,
        *,
        attack: ProjectedGradient,
        measure_every: PositiveInt = 10,
        **settings: Any,
    ) -> None:
        super().__init__(world_model, **settings)
        self.attack, self.measure_every = attack, measure_every
        self.log_strengths: list[Tensor] = []

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self.log_strengths.clear()

    def training_loss(self, window: Window) -> Tensor:
        latent, actions, targets = self.noisy_inputs(window)
        delta = self.attack.perturb(self.world_model, latent, actions, targets)
        steps_of_epoch = len(self.losses)
        if steps_of_epoch % self.measure_every == 0:
            strengths = self.strengths(latent, actions, targets, delta)
            self.attack.radii.adjust(strengths)
            self.log_strengths.append(strengths.log())
        return self.world_model.rollout_loss(latent + delta.latent, actions + delta.actions, targets)

    @torch.no_grad()
    def strengths(self, latent: Tensor, actions: Tensor, targets: Tensor, delta: Perturbation) -> Tensor:
        """Returns the mean loss with only the latents perturbed, and with only the actions perturbed: `[2]`.

        The loss is in units of the variance of a step: for single steps, predicting no movement has loss 1.
        """
        latents, all_actions = torch.cat([latent + delta.latent, latent]), torch.cat([actions, actions + delta.actions])
        errors = self.world_model.rollout_errors(latents, all_actions, targets.repeat(2, *[1] * (targets.dim() - 1)))
        losses = errors.unflatten(0, (2, -1)).flatten(1).mean(1)
        # The mean over processes gives all of them the same learned radii.
        return self.all_gather(losses).mean(0) if torch.distributed.is_initialized() else losses

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        strengths = torch.stack(self.log_strengths).mean(0).exp()
        for group, radius, strength in zip(GROUPS, self.attack.radii.current(), strengths):
            self.log_dict({f"{self.name}/{group}_radius": radius, f"{self.name}/{group}_strength": strength})
