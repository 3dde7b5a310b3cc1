"""PushT: an agent pushes a T-shaped block to where it shall be."""

import math

import torch
from pydantic import PositiveInt, validate_call
from torch import Tensor

from gapclose.engines.pusht import SIZE, PushTEngine, geometry, table
from gapclose.envs.engine_simulator import EngineSimulator
from gapclose.envs.pusht_expert import PushTExpert, angle_between, rotation
from gapclose.envs.simulator import Tasks
from gapclose.errors import UserError
from gapclose.settings import Positive


class PushT(EngineSimulator):
    """The PushT of gym-pusht (Chi et al. 2023, Diffusion Policy, arXiv 2303.04137), simulated by Pymunk.

    A state is `[agent x, agent y, agent vx, agent vy, block x, block y, sin, cos]` of the block's angle, in pixels of
    an arena of 512 and in pixels per second. An action says how far from the agent its target is when the action
    begins; a spring and a damper lead the agent there. A step of the engine takes 0.01 s; the library's actions last
    ten.

    A goal is reached, as in DINO-WM (arXiv 2411.04983), when `sqrt(|agent - agent'|² + |block - block'|²) < 20` px and
    the block's angle is less than 20 degrees (π/9) off; velocities do not count.

    Every step begins with a block at rest and new contacts (see `PushTEngine`). With the defaults, 2.5 s of contact end
    within 3 px and 2 degrees of what the library simulates without interruption in 95 of 100 cases, and half of them
    within 0.5 px and 0.3 degrees; with `frameskip=10`, which interrupts it five times as often, within 8 px and 4
    degrees, and 3 px and 1.5 degrees.

    Args:
        frameskip: steps of the engine in one step.
        action_block: how many actions there are in a step, each held for an equal share of it.
        action_max: bound of each action coordinate, in px.
        goal_steps: actions of the library (0.1 s) from the start of a task to its goal.

    Raises:
        UserError: gym-pusht is not installed, the frameskip is no multiple of the action block, or the time between
            start and goal is no multiple of a step.
    """

    name = "pusht"
    state_dim = 8
    angles = ((6, 7),)
    alike = ((0, 1, 4, 5), (2, 3))
    tolerance = 20.0
    """In px, and in degrees."""
    approach = 2.0
    """Seconds, at least, that a trajectory has lasted when a task begins: the agent is at the block by then."""
    attempts = 10
    """How often, at most, tasks are drawn in place of those whose goal is reached at the start."""
    goal_weights = torch.tensor([1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    scale = torch.tensor([tolerance, tolerance, 200.0, 200.0, tolerance, tolerance, *[math.radians(tolerance)] * 2])
    """What is tolerated at the goal; and of velocities, which are not compared, what is usual."""

    @validate_call
    def __init__(
        self,
        frameskip: PositiveInt = 50,
        action_block: PositiveInt = 5,
        action_max: Positive = 100.0,
        goal_steps: PositiveInt = 25,
    ) -> None:
        super().__init__(PushTEngine(), frameskip, action_block)
        if 10 * goal_steps % frameskip:
            raise UserError(
                f"env.goal_steps is {goal_steps}, which is {10 * goal_steps} steps of the engine, and env.frameskip "
                f"{frameskip}; a goal lies whole steps ahead, so choose one of them so that the first is a multiple "
                "of the second."
            )
        self.settings = dict(
            frameskip=frameskip, action_block=action_block, action_max=action_max, goal_steps=goal_steps
        )
        self.goal_after, self.start_after = 10 * goal_steps // frameskip, math.ceil(100 * self.approach / frameskip)
        self.action_high = torch.full((self.action_dim,), action_max)
        self.action_low = -self.action_high
        engine, body = table(), geometry()
        self.expert = PushTExpert(engine.k_p, engine.k_v, engine.dt, self.hold, action_block, action_max)
        self.corners, self.centre = (torch.tensor(x, dtype=torch.float32) for x in (body.corners, body.centre))
        angles = torch.arange(6) * torch.pi / 3
        self.disc = body.radius * torch.stack((angles.cos(), angles.sin()), 1)
        beyond = self.centre.norm().item()  # The block's origin may lie so far outside while its centre does not.
        self.state_low = torch.tensor([0.0, 0.0, -torch.inf, -torch.inf, -beyond, -beyond, -1.0, -1.0])
        self.state_high = torch.tensor([SIZE, SIZE, torch.inf, torch.inf, SIZE + beyond, SIZE + beyond, 1.0, 1.0])

    def sample_tasks(self, n: int, generator: torch.Generator) -> Tasks:
        """From a state on the expert's way from somewhere to somewhere to one that it comes to `goal_steps` later."""
        found = torch.empty(0, 2, self.state_dim)
        for _ in range(self.attempts):
            state, somewhere = (self.scatter(max(n - len(found), 16), generator) for _ in range(2))
            visited = [state]
            for _ in range(self.start_after + self.goal_after):
                visited.append(self.step(visited[-1], self.expert_action(visited[-1], somewhere)))
            pairs = torch.stack((visited[self.start_after], visited[-1]), 1)
            found = torch.cat((found, pairs[~self.success(*pairs.unbind(1))]))
            if len(found) >= n:
                return Tasks(*found[:n].unbind(1))
        raise UserError(
            f"Nearly everything that happens in env.goal_steps={self.settings['goal_steps']} with "
            f"env.action_max={self.settings['action_max']:g} counts as success already; choose more of either."
        )

    def scatter(self, n: int, generator: torch.Generator) -> Tensor:
        """States `[n, 8]` at rest; the block lies inside the walls however it is turned, and the agent beside it."""
        angle = 2 * torch.pi * torch.rand(n, generator=generator)
        centre = 100 + (SIZE - 200) * torch.rand(n, 2, generator=generator)
        around, far = 2 * torch.pi * torch.rand(n, generator=generator), 95 + 60 * torch.rand(n, 1, generator=generator)
        agent = (centre + far * torch.stack((around.cos(), around.sin()), 1)).clamp(0, SIZE)
        state = torch.cat((agent, torch.zeros(n, 4), angle.sin()[:, None], angle.cos()[:, None]), 1)
        state[:, 4:6] = centre - rotation(state) @ self.centre
        return state

    def expert_action(self, state: Tensor, goal: Tensor) -> Tensor:
        """Around the block to where a push helps most, and through it."""
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
                f"{what} {[round(x, 2) for x in states[wrong.nonzero()[0, 0]].tolist()]} is not possible: the agent is "
                f"in [0, {SIZE:g}] x [0, {SIZE:g}], and so is the block's centre of gravity; the last two are the sine "
                "and cosine of an angle."
            )

    def possible(self, states: Tensor) -> Tensor:
        agent, centre = states[..., :2], self.position(states)
        inside = ((agent >= 0) & (agent <= SIZE) & (centre >= 0) & (centre <= SIZE)).all(-1)
        return inside & ((states[..., 6:].norm(dim=-1) - 1).abs() < 0.01)

    def distance(self, state: Tensor, goal: Tensor) -> Tensor:
        """The larger of `sqrt(|agent - agent'|² + |block - block'|²)` in px and the block's angle off in degrees."""
        off = (state - goal)[..., [0, 1, 4, 5]].norm(dim=-1)
        return torch.maximum(off, angle_between(state, goal).abs().rad2deg())

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
