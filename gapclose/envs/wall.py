"""Wall: a point in a square arena that is divided by a wall with one door."""

from typing import Literal

import torch
from pydantic import FiniteFloat, validate_call
from torch import Tensor

from gapclose.envs.simulator import Simulator, Tasks
from gapclose.errors import UserError
from gapclose.setting_types import Positive

TOUCH = 1e-6
"""How far rounding may put a state that touches the wall inside it, as a fraction of the arena's half-width."""


class Wall(Simulator):
    """A point without inertia: the action is its displacement, clipped to the action bounds.

    If the straight path of a step meets the wall outside the door, the point keeps its displacement along the wall and
    stays on its side. The jambs of the door and the border of the arena stop it in the same way. `step` is
    differentiable and runs on the device of its arguments.

    Args:
        action_max: bound of each action coordinate, in units of length per step.
        arena: half-width of the arena, the square `[-arena, arena]²`.
        wall_x: x of the wall's centre line.
        wall_thickness: thickness of the wall.
        door: lower and upper end of the door, in y.
        success_radius: distance to the goal within which it is reached.
        task: `cross` puts start and goal on opposite sides of the wall, `any` puts them anywhere.

    Raises:
        UserError: the wall is too thin, the wall or the door lies outside the arena, or the door is empty.
    """

    name = "wall"
    state_dim = 2
    action_dim = 2
    differentiable = True
    task_clearance = 0.05
    """Least distance of starts and goals from the wall's faces."""

    @validate_call
    def __init__(
        self,
        action_max: Positive = 0.25,
        arena: Positive = 2.0,
        wall_x: FiniteFloat = 0.0,
        wall_thickness: Positive = 0.2,
        door: tuple[FiniteFloat, FiniteFloat] = (-0.5, 0.5),
        success_radius: Positive = 0.25,
        task: Literal["cross", "any"] = "cross",
    ) -> None:
        if wall_thickness < 100 * TOUCH * arena:
            raise UserError(
                f"wall_thickness is {wall_thickness:g}, too thin for an arena of half-width {arena:g}; "
                f"give at least {100 * TOUCH * arena:g}."
            )
        if not abs(wall_x) + wall_thickness / 2 + self.task_clearance < arena:
            raise UserError(
                f"wall_x is {wall_x:g} and wall_thickness {wall_thickness:g}, which leaves no room on one side in the "
                f"arena of half-width {arena:g}; put the wall inside it."
            )
        if not -arena <= door[0] < door[1] <= arena:
            raise UserError(
                f"door is [{door[0]:g}, {door[1]:g}]; expected a lower end below an upper end, "
                f"both in the arena's [{-arena:g}, {arena:g}]."
            )
        self.settings = dict(
            action_max=action_max,
            arena=arena,
            wall_x=wall_x,
            wall_thickness=wall_thickness,
            door=list(door),
            success_radius=success_radius,
            task=task,
        )
        self.arena = arena
        self.wall_x = wall_x
        self.half_thickness = wall_thickness / 2
        self.door = door
        self.success_radius = success_radius
        self.task = task
        self.action_low = torch.full((2,), -action_max)
        self.action_high = torch.full((2,), action_max)
        self.state_low = torch.full((2,), -arena)
        self.state_high = torch.full((2,), arena)
        self.action_max = action_max

    def in_door(self, y: Tensor) -> Tensor:
        """Whether points of the wall with y `[...]` are in the door, bool `[...]`."""
        return (y >= self.door[0]) & (y <= self.door[1])

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        x, y = state.unbind(-1)
        dx, dy = action.clamp(-self.action_max, self.action_max).unbind(-1)
        depth = x - self.wall_x
        side = torch.where(depth >= 0, 1.0, -1.0).to(x.dtype)
        new_depth, new_y = depth + dx, (y + dy).clamp(-self.arena, self.arena)
        # The straight path is inside the wall between the fractions `enters` and `leaves` of its length.
        inside = self.half_thickness - TOUCH * self.arena
        still = dx == 0
        faces = torch.stack((-inside - depth, inside - depth)) / torch.where(still, 1.0, dx)
        enters = torch.where(still, 0.0, faces.amin(0)).clamp(0, 1)
        leaves = torch.where(still, (depth.abs() < inside).to(x.dtype), faces.amax(0)).clamp(0, 1)
        through_wall = leaves > enters
        heights = (y + torch.stack((enters, leaves)) * dy).clamp(-self.arena, self.arena)
        enters_door, leaves_door = self.in_door(heights)
        new_depth = torch.where(through_wall & ~enters_door, side * self.half_thickness, new_depth)
        new_y = torch.where(through_wall & enters_door & ~leaves_door, new_y.clamp(*self.door), new_y)
        new_x = (self.wall_x + new_depth).clamp(-self.arena, self.arena)
        return torch.stack((new_x, new_y), -1)

    def sample_tasks(self, n: int, generator: torch.Generator) -> Tasks:
        clear = self.half_thickness + self.task_clearance

        def positions(right: Tensor) -> Tensor:
            low = torch.where(right, self.wall_x + clear, -self.arena)
            high = torch.where(right, self.arena, self.wall_x - clear)
            u = torch.rand(n, 2, generator=generator)
            return torch.stack((low + (high - low) * u[:, 0], self.arena * (2 * u[:, 1] - 1)), -1)

        share_right = 0.5 * (self.arena - self.wall_x) / self.arena
        start_right = torch.rand(n, generator=generator) < (0.5 if self.task == "cross" else share_right)
        goal_right = ~start_right if self.task == "cross" else torch.rand(n, generator=generator) < share_right
        return Tasks(positions(start_right), positions(goal_right))

    def expert_action(self, state: Tensor, goal: Tensor) -> Tensor:
        """Goes straight and at full speed to the door, through it, and to the goal, without touching the wall."""
        depth, goal_side = state[:, 0] - self.wall_x, torch.where(goal[:, 0] >= self.wall_x, 1.0, -1.0)
        middle, width = sum(self.door) / 2, self.door[1] - self.door[0]
        past_wall = goal_side * depth >= self.half_thickness
        before_door = (state[:, 1] - middle).abs() <= width / 4
        beside_wall = goal_side * (self.half_thickness + self.task_clearance)
        door_x = self.wall_x + torch.where(before_door, beside_wall, -beside_wall)
        way = torch.where(past_wall[:, None], goal, torch.stack((door_x, torch.full_like(door_x, middle)), -1)) - state
        # One factor for both coordinates keeps the direction when the step is shortened.
        return way * (self.action_max / way.abs().amax(-1, keepdim=True).clamp(min=self.action_max))

    def validate_states(self, states: Tensor, what: str) -> None:
        def refuse(wrong: Tensor, why: str) -> None:
            if wrong.any():
                x, y = states[wrong.nonzero()[0, 0]].tolist()
                raise UserError(f"{what} ({x:g}, {y:g}) {why}.")

        if states.dim() != 2 or states.shape[1] != self.state_dim:
            raise UserError(f"{what} has shape {list(states.shape)}; expected [N, {self.state_dim}] (x and y).")
        refuse(~states.isfinite().all(-1), "is not finite; give two numbers")
        refuse(
            (states.abs() > self.arena).any(-1),
            f"lies outside the arena; give coordinates in [{-self.arena:g}, {self.arena:g}]",
        )
        low, high = self.wall_x - self.half_thickness, self.wall_x + self.half_thickness
        refuse(
            self.in_wall(states),
            f"lies inside the wall, which fills x in [{low:g}, {high:g}]; move it off the wall or into the door, "
            f"y in [{self.door[0]:g}, {self.door[1]:g}]",
        )

    def possible(self, states: Tensor) -> Tensor:
        return super().possible(states) & ~self.in_wall(states)

    def in_wall(self, states: Tensor) -> Tensor:
        """Whether states `[..., 2]` lie inside the wall: bool `[...]`."""
        x, y = states.unbind(-1)
        return ((x - self.wall_x).abs() < self.half_thickness - TOUCH * self.arena) & ~self.in_door(y)

    def distance(self, state: Tensor, goal: Tensor) -> Tensor:
        return (state - goal).norm(dim=-1)

    def success(self, state: Tensor, goal: Tensor) -> Tensor:
        return self.distance(state, goal) <= self.success_radius

    def position(self, state: Tensor) -> Tensor:
        return state

    def outline(self) -> Tensor:
        def box(left: float, right: float, low: float, high: float) -> list[list[tuple[float, float]]]:
            corners = [(left, low), (right, low), (right, high), (left, high)]
            return [[corners[i - 1], corners[i]] for i in range(4)]

        r, (low, high) = self.arena, self.door
        left, right = self.wall_x - self.half_thickness, self.wall_x + self.half_thickness
        return torch.tensor(box(-r, r, -r, r) + box(left, right, -r, low) + box(left, right, high, r))

    def render(self, state: Tensor, goal: Tensor | None = None, size: int = 96) -> Tensor:
        """Draws the arena in white, the wall in black, the point in blue and the goal in green; y points up."""
        ticks = (torch.arange(size, device=state.device) + 0.5) / size * 2 * self.arena - self.arena
        pixel_x, pixel_y = ticks[None, :], -ticks[:, None]

        def disc(centre: Tensor, radius: float) -> Tensor:
            squared = (pixel_x - centre[:, 0, None, None]) ** 2 + (pixel_y - centre[:, 1, None, None]) ** 2
            return squared <= radius**2

        frames = torch.full((len(state), size, size, 3), 255, dtype=torch.uint8, device=state.device)
        if goal is not None:
            frames[disc(goal, self.success_radius)] = frames.new_tensor([144, 200, 144])
        wall = ((pixel_x - self.wall_x).abs() <= max(self.half_thickness, self.arena / size)) & ~self.in_door(pixel_y)
        frames[wall.expand(len(state), -1, -1)] = 0
        frames[disc(state, self.arena / 25)] = frames.new_tensor([31, 119, 180])
        return frames
