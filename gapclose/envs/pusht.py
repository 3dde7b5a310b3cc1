"""PushT: an agent pushes a T-shaped block to a goal pose. Its scripted expert is in `pusht_expert`."""

import math

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.engines.pusht import SIZE, PushTEngine, geometry, shared_world
from gapclose.envs.engine_simulator import EngineSimulator
from gapclose.envs.pusht_expert import PushTExpert, angle_between, rotation
from gapclose.envs.simulator import Tasks
from gapclose.errors import UserError
from gapclose.setting_types import EngineSteps, Positive


class PushT(EngineSimulator):
    """The PushT of gym-pusht (Chi et al. 2023, Diffusion Policy, arXiv 2303.04137), simulated by Pymunk.

    A state is `[agent x, agent y, agent vx, agent vy, block x, block y, sin, cos]`, in pixels of an arena of width 512
    and in pixels per second; the last two are those of the block's angle. An action is the displacement from the agent
    to its target at the start of the action; a spring and a damper pull the agent there. An engine step takes 0.01 s;
    an action of gym-pusht lasts ten of them.

    A goal is reached, as in DINO-WM (arXiv 2411.04983), when `sqrt(|agent - agent'|² + |block - block'|²) < 20` px and
    the error of the block's angle is less than 20 degrees (π/9); velocities do not count.

    Every step starts with a block at rest and new contacts (see `PushTEngine`). The deviation from an uninterrupted
    simulation by gym-pusht, after 2.5 s of contact, is at most 3 px and 2 degrees in 95 of 100 cases with the defaults,
    and at most 0.5 px and 0.3 degrees in half of them. With `frameskip=10`, which interrupts five times as often, it is
    8 px and 4 degrees, and 3 px and 1.5 degrees.

    Args:
        frameskip: engine steps per step.
        action_block: actions per step, each held for an equal share of it.
        action_max: bound of each action coordinate, in px.
        goal_steps: time from the start of a task to its goal, in actions of gym-pusht (0.1 s).

    Raises:
        UserError: gym-pusht is not installed, `frameskip` is not a multiple of `action_block`, or the time between
            start and goal is not a multiple of a step.
    """

    name = "pusht"
    state_dim = 8
    angles = ((6, 7),)
    alike = ((0, 1, 4, 5), (2, 3))
    tolerance = 20.0
    """Largest error of a reached goal, in px and in degrees."""
    approach_seconds = 2.0
    """Minimum duration of the expert's trajectory before a task starts; by then the agent has reached the block."""
    max_attempts = 10
    """How often tasks are drawn to replace those whose goal is already reached at the start."""
    goal_weights = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    scale = torch.tensor([tolerance, tolerance, 200.0, 200.0, tolerance, tolerance, *[math.radians(tolerance)] * 2])
    """The tolerance at the goal; for velocities, which do not count there, a typical value."""

    @validate_call
    def __init__(
        self,
        frameskip: EngineSteps = 50,
        action_block: PositiveInt = 5,
        action_max: Positive = 100.0,
        goal_steps: EngineSteps = 25,
    ) -> None:
        super().__init__(PushTEngine(), frameskip, action_block)
        if 10 * goal_steps % frameskip:
            raise UserError(
                f"env.goal_steps is {goal_steps}, which is {10 * goal_steps} steps of the engine, and env.frameskip is "
                f"{frameskip}; the goal must be a whole number of steps ahead, so choose env.goal_steps or "
                "env.frameskip such that 10 * env.goal_steps is a multiple of env.frameskip."
            )
        self.settings = dict(
            frameskip=frameskip, action_block=action_block, action_max=action_max, goal_steps=goal_steps
        )
        self.steps_to_goal = 10 * goal_steps // frameskip
        self.steps_to_start = math.ceil(100 * self.approach_seconds / frameskip)
        self.action_high = torch.full((self.action_dim,), action_max)
        self.action_low = -self.action_high
        world, body = shared_world(), geometry()
        self.expert = PushTExpert(world.k_p, world.k_v, world.dt, self.hold, action_block, action_max)
        self.corners, self.centre = (torch.tensor(x, dtype=torch.float32) for x in (body.corners, body.centre))
        angles = torch.arange(6) * torch.pi / 3
        self.disc = body.radius * torch.stack((angles.cos(), angles.sin()), 1)
        # The block's origin may be this far outside the arena while its centre of gravity is inside.
        margin = self.centre.norm().item()
        self.state_low = torch.tensor([0.0, 0.0, -torch.inf, -torch.inf, -margin, -margin, -1.0, -1.0])
        self.state_high = torch.tensor([SIZE, SIZE, torch.inf, torch.inf, SIZE + margin, SIZE + margin, 1.0, 1.0])

    def sample_tasks(self, n: int, generator: torch.Generator) -> Tasks:
        """Draws pairs of states of an expert trajectory between random states; the goal is `goal_steps` later."""
        tasks = torch.empty(0, 2, self.state_dim)
        for _ in range(self.max_attempts):
            state, destination = (self.sample_states(max(n - len(tasks), 16), generator) for _ in range(2))
            visited = [state]
            for _ in range(self.steps_to_start + self.steps_to_goal):
                visited.append(self.step(visited[-1], self.expert_action(visited[-1], destination)))
            pairs = torch.stack((visited[self.steps_to_start], visited[-1]), 1)
            tasks = torch.cat((tasks, pairs[~self.success(*pairs.unbind(1))]))
            if len(tasks) >= n:
                return Tasks(*tasks[:n].unbind(1))
        raise UserError(
            f"With env.goal_steps={self.settings['goal_steps']} and env.action_max={self.settings['action_max']:g}, "
            "nearly every task is already solved at its start; increase one of them."
        )

    def sample_states(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws states `[n, 8]` at rest: the block is inside the walls at any angle, and the agent beside it."""
        angle = 2 * torch.pi * torch.rand(n, generator=generator)
        centre = 100 + (SIZE - 200) * torch.rand(n, 2, generator=generator)
        around, far = 2 * torch.pi * torch.rand(n, generator=generator), 95 + 60 * torch.rand(n, 1, generator=generator)
        agent = (centre + far * torch.stack((around.cos(), around.sin()), 1)).clamp(0, SIZE)
        state = torch.cat((agent, torch.zeros(n, 4), angle.sin()[:, None], angle.cos()[:, None]), 1)
        state[:, 4:6] = centre - rotation(state) @ self.centre
        return state

    def expert_action(self, state: Tensor, goal: Tensor) -> Tensor:
        """Goes around the block to the most useful push, and carries it out; see `PushTExpert`."""
        return self.expert(state.cpu(), goal.cpu()).flatten(1).to(state)

    def validate_states(self, states: Tensor, what: str) -> None:
        if states.dim() != 2 or states.shape[1] != self.state_dim:
            raise UserError(
                f"{what} has shape {list(states.shape)}; expected [N, 8] (the agent's x, y and their velocities, the "
                "block's x, y and the sine and cosine of its angle)."
            )
        wrong = ~(states.isfinite().all(-1) & self.possible(states))
        if wrong.any():
            raise UserError(
                f"{what} {[round(x, 2) for x in states[wrong.nonzero()[0, 0]].tolist()]} is not possible: the agent "
                f"and the block's centre of gravity must be in [0, {SIZE:g}] x [0, {SIZE:g}], and the last two "
                "numbers must be the sine and cosine of an angle."
            )

    def possible(self, states: Tensor) -> Tensor:
        agent, centre = states[..., :2], self.position(states)
        inside = ((agent >= 0) & (agent <= SIZE) & (centre >= 0) & (centre <= SIZE)).all(-1)
        return inside & ((states[..., 6:].norm(dim=-1) - 1).abs() < 0.01)

    def distance(self, state: Tensor, goal: Tensor) -> Tensor:
        """The maximum of `sqrt(|agent - agent'|² + |block - block'|²)` in px and the block's angle error in degrees."""
        position_error = (state - goal)[..., [0, 1, 4, 5]].norm(dim=-1)
        return torch.maximum(position_error, angle_between(state, goal).abs().rad2deg())

    def success(self, state: Tensor, goal: Tensor) -> Tensor:
        return self.distance(state, goal) < self.tolerance

    def position(self, state: Tensor) -> Tensor:
        """The block's centre of gravity."""
        return state[..., 4:6] + rotation(state) @ self.centre.to(state)

    def figure(self, state: Tensor) -> Tensor:
        """The outlines of block and agent."""
        block = state[..., None, 4:6] + self.corners.to(state) @ rotation(state).mT
        agent = state[..., None, :2] + self.disc.to(state)
        return torch.cat([torch.stack((points, points.roll(-1, -2)), -2) for points in (block, agent)], -3)

    def outline(self) -> Tensor:
        corners = SIZE * torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
        return torch.stack((corners, corners.roll(-1, 0)), 1)
