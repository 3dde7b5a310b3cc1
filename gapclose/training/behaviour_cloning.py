"""Behaviour cloning with hindsight goals: a trajectory's actions are expert actions for every state it visits."""

from typing import Any

import torch
from torch import Tensor

from gapclose.data.trajectories import Window
from gapclose.models.policy import GoalConditionedPolicy
from gapclose.training.training_module import TrainingModule


class BehaviourCloning(TrainingModule):
    """Trains a policy to imitate the data's actions toward a random later state of the same window.

    Ding et al. 2019, *Goal-conditioned imitation learning* (arXiv 1906.05838, section 4.2: expert relabeling).

    Args:
        policy: the policy.
        settings: those of `TrainingModule`.
    """

    def __init__(self, policy: GoalConditionedPolicy, **settings: Any) -> None:
        super().__init__(**settings)
        self.policy = policy

    def training_loss(self, window: Window) -> Tensor:
        batch, steps = window.actions.shape[:2]
        now = torch.arange(steps, device=window.states.device)
        later = now + 1 + (torch.rand(batch, steps, device=now.device) * (steps - now)).long()
        goals = window.states.gather(1, later[..., None].expand(-1, -1, window.states.shape[2]))
        return self.policy.loss(window.states[:, :-1], goals, window.actions)

    def expert_error(self, window: Window) -> Tensor:
        goals = window.states[:, -1:].expand_as(window.states[:, 1:])
        return self.policy.loss(window.states[:, :-1], goals, window.actions)
