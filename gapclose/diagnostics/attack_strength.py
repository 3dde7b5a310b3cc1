"""Is the attack strong? The loss on held-out transitions, clean and perturbed, and the model's share in it."""

from typing import Annotated, Any, Protocol

import torch
from pydantic import Field, validate_call
from torch import Tensor

from gapclose.data.trajectories import Trajectories
from gapclose.envs.simulator import Simulator
from gapclose.evaluation.statistics import estimate
from gapclose.finetuning.attacks import Perturbation, ProjectedGradient
from gapclose.finetuning.radii import FixedRadii
from gapclose.models.world_model import LearnedWorldModel
from gapclose.seeds import derive_seed
from gapclose.settings import NonNegative, Positive


class Attack(Protocol):
    """Whatever perturbs the inputs of a rollout."""

    def perturb(self, world_model: LearnedWorldModel, latent: Tensor, actions: Tensor, targets: Tensor) -> Perturbation:
        """The perturbation of what `rollout_loss` takes."""


def attacks(latent_radius: float, action_radius: float) -> dict[str, Attack]:
    """The attacks to compare, by name, all with the same radii."""
    radii = FixedRadii(latent_radius, action_radius)
    return {
        "random": ProjectedGradient(radii, steps=0),
        "fgsm": ProjectedGradient(radii),
        "pgd": ProjectedGradient(radii, steps=10, step_ratio=0.25, keep_best=True),
    }


class AttackStrength:
    """Measures the loss under attacks of growing radius.

    Args:
        latent_radius: l∞ radius of the perturbation of latents, in standard deviations of the data.
        action_radius: the same of actions.
        multiples: by which both radii are multiplied, one after the other.
    """

    @validate_call
    def __init__(
        self,
        latent_radius: NonNegative = 0.05,
        action_radius: NonNegative = 0.02,
        multiples: Annotated[list[Positive], Field(min_length=1)] = (0.5, 1.0, 2.0, 4.0, 8.0),
    ) -> None:
        self.latent_radius, self.action_radius, self.multiples = latent_radius, action_radius, list(multiples)

    def measure(
        self, world_model: LearnedWorldModel, simulator: Simulator, test: Trajectories, seed: int
    ) -> dict[str, Any]:
        """Mean losses on the transitions of held-out trajectories.

        Transitions of one trajectory are alike; so the intervals are those of a mean over trajectories.

        Returns:
            `multiples`; `clean`: the loss without perturbation; `loss`: for each attack the losses under it
            (`estimate`), one for each multiple; and `error`: the same with what the simulator makes of the perturbed
            inputs as targets. The loss counts against the model that a perturbed start leads elsewhere, which is so
            with the true dynamics, too; the error does not.
        """
        with torch.no_grad():
            everything = torch.arange(test.num_windows(1), device=test.actions.device)
            inputs = world_model.encode_window(test.windows(everything, 1))
        clean = estimate(loss_by_trajectory(world_model, *inputs, len(test.actions)))
        results: dict[str, Any] = {"multiples": self.multiples, "clean": clean, "loss": {}, "error": {}}
        for multiple in self.multiples:
            for name, attack in attacks(multiple * self.latent_radius, multiple * self.action_radius).items():
                with torch.random.fork_rng():
                    torch.manual_seed(derive_seed(seed, "attack"))
                    delta = attack.perturb(world_model, *inputs)
                latent, actions = inputs[0] + delta.latent, inputs[1] + delta.actions
                true_targets = true_steps(world_model, simulator, latent, actions)
                for key, targets in (("loss", inputs[2]), ("error", true_targets)):
                    loss = loss_by_trajectory(world_model, latent, actions, targets, len(test.actions))
                    results[key].setdefault(name, []).append(estimate(loss))
        return results


@torch.no_grad()
def loss_by_trajectory(
    world_model: LearnedWorldModel, latent: Tensor, actions: Tensor, targets: Tensor, num_trajectories: int
) -> Tensor:
    """`rollout_loss` of windows that stand one trajectory after the other, averaged over each trajectory: `[N]`."""
    errors = world_model.rollout_errors(latent, actions, targets)
    return errors.flatten(1).mean(1).view(num_trajectories, -1).mean(1)


@torch.no_grad()
def true_steps(world_model: LearnedWorldModel, simulator: Simulator, latent: Tensor, actions: Tensor) -> Tensor:
    """The latents `[B, 1, M, Z]` to which one true step leads each member's own latent `[B, M, Z]`."""
    states = world_model.decode(latent.unsqueeze(-2))  # A member for itself, not their mean.
    following = simulator.step(states.flatten(0, 1), actions.repeat_interleave(latent.shape[1], 0).squeeze(1))
    return world_model.encode(simulator.observe(following))[:, 0].view_as(latent).unsqueeze(1)
