"""The base class of simulators whose engine steps one state at a time, in worker processes."""

import torch
from torch import Tensor

from gapclose.engines.engine import Engine
from gapclose.engines.pool import workers
from gapclose.envs.drawing import draw_frames
from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError


class EngineSimulator(Simulator):
    """Steps states in an engine, and distributes them over worker processes.

    A step of the simulator is `frameskip` engine steps. It applies `action_block` actions one after the other, each for
    an equal share of the step; an action of the simulator is their concatenation.

    Args:
        engine: the physics.
        frameskip: engine steps per step of the simulator.
        action_block: actions per step of the simulator.

    Raises:
        UserError: `frameskip` is not a multiple of `action_block`.
    """

    def __init__(self, engine: Engine, frameskip: int, action_block: int) -> None:
        if frameskip % action_block:
            raise UserError(
                f"env.frameskip is {frameskip} and env.action_block is {action_block}; each action of the block lasts "
                f"an equal share of the step, so choose a multiple of {action_block} as env.frameskip."
            )
        self.engine, self.hold, self.action_block = engine, frameskip // action_block, action_block
        self.action_dim = action_block * engine.action_dim

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        return self.rollout(state, action.unsqueeze(1))[:, 1]

    @torch.no_grad()
    def rollout(self, state: Tensor, actions: Tensor) -> Tensor:
        low, high = self.action_low.to(actions), self.action_high.to(actions)
        blocks = actions.clamp(low, high).unflatten(2, (self.action_block, -1))
        visited = workers.rollout(self.engine, *(x.detach().cpu().numpy() for x in (state, blocks)), self.hold)
        return torch.cat((state.unsqueeze(1), torch.from_numpy(visited).to(state)), 1)

    def render(self, state: Tensor, goal: Tensor | None = None, size: int = 192) -> Tensor:
        """Draws the world's outline in black, the state in blue and the goal in green; y points up."""
        target = None if goal is None else (self.position(goal), self.figure(goal))
        return draw_frames(self.outline(), self.position(state), self.figure(state), target, self.success_radius, size)
