"""Is the attack strong? The loss on held-out transitions, clean and under attack, and the model's error in it."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, validate_call
from torch import Tensor

from gapclose.data.trajectories import Trajectories
from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.evaluation.statistics import estimate
from gapclose.models.world_model import LearnedWorldModel
from gapclose.seeds import derive_seed
from gapclose.setting_types import Positive
from gapclose.training.attacks import ProjectedGradient
from gapclose.training.radii import FixedRadii


class AttackStrength:
    """Measures the loss under attacks of growing radius.

    Args:
        attacks: the attacks to compare, by name, with fixed radii.
        multiples: factors of the radii.

    Raises:
        UserError: the radii of an attack are learned.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        attacks: Mapping[str, ProjectedGradient],
        multiples: Annotated[list[Positive], Field(min_length=1)] = (0.5, 1.0, 2.0, 4.0, 8.0),
    ) -> None:
        for name, attack in attacks.items():
            if not isinstance(attack.radii, FixedRadii):
                raise UserError(
                    f"The radii of the attack {name} are learned; to be multiplied they must be fixed: radii=fixed."
                )
        self.attacks, self.multiples = dict(attacks), list(multiples)

    def measure(
        self, world_model: LearnedWorldModel, simulator: Simulator, test: Trajectories, seed: int
    ) -> dict[str, Any]:
        """Measures mean losses on the transitions of held-out trajectories.

        Transitions of one trajectory are correlated, so intervals are those of a mean over trajectories.

        Returns:
            `multiples`; `clean`: the loss without perturbation; `loss`: for each attack the losses under it
            (`estimate`), one for each multiple; and `error`: the same with the simulator's next states for the
            perturbed inputs as targets, with actions clipped to the bounds as in the simulator. The loss also counts
            that a perturbed start leads elsewhere, which is true of the true dynamics as well; the error does not.
        """
        with torch.no_grad():
            indices = torch.arange(test.num_windows(1), device=test.actions.device)
            inputs = world_model.encode_window(test.windows(indices, 1))
        bounds = [bound.to(inputs[1]) for bound in (simulator.action_low, simulator.action_high)]
        clean = estimate(loss_by_trajectory(world_model, *inputs, len(test.actions)))
        results: dict[str, Any] = {"multiples": self.multiples, "clean": clean, "loss": {}, "error": {}}
        for multiple in self.multiples:
            for name, attack in self.attacks.items():
                with torch.random.fork_rng():
                    torch.manual_seed(derive_seed(seed, "attack"))
                    delta = scale_radii(attack, multiple).to(inputs[0].device).perturb(world_model, *inputs)
                latent, actions = inputs[0] + delta.latent, inputs[1] + delta.actions
                possible = actions.clamp(*bounds)
                following = true_steps(world_model, simulator, latent, possible)
                for key, taken, targets in (("loss", actions, inputs[2]), ("error", possible, following)):
                    loss = loss_by_trajectory(world_model, latent, taken, targets, len(test.actions))
                    results[key].setdefault(name, []).append(estimate(loss))
        return results


def scale_radii(attack: ProjectedGradient, multiple: float) -> ProjectedGradient:
    """A copy of an attack with its radii multiplied and fixed."""
    attack = deepcopy(attack).eval()
    attack.radii.factors.mul_(multiple)
    return attack


@torch.no_grad()
def loss_by_trajectory(
    world_model: LearnedWorldModel, latent: Tensor, actions: Tensor, targets: Tensor, num_trajectories: int
) -> Tensor:
    """The `rollout_loss` of windows, ordered by trajectory, averaged over each trajectory: `[N]`."""
    errors = world_model.rollout_errors(latent, actions, targets)
    return errors.flatten(1).mean(1).view(num_trajectories, -1).mean(1)


@torch.no_grad()
def true_steps(world_model: LearnedWorldModel, simulator: Simulator, latent: Tensor, actions: Tensor) -> Tensor:
    """The latents `[B, 1, M, Z]` after one true step from each member's own latent `[B, 1, M, Z]`."""
    states = world_model.decode(latent.unsqueeze(-2))  # Each member separately, not their mean.
    following = simulator.step(states.flatten(0, 2), actions.repeat_interleave(latent.shape[2], 0).squeeze(1))
    return world_model.encode(simulator.observe(following))[:, 0].view_as(latent)
