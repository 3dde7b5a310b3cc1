"""Simulators as Gymnasium environments, for use outside gapclose."""

from typing import Any, ClassVar

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from gapclose.envs.ant_maze import AntMaze
from gapclose.envs.point_maze import PointMaze
from gapclose.envs.pusht import PushT
from gapclose.envs.simulator import Simulator, Tasks
from gapclose.envs.wall import Wall
from gapclose.errors import UserError
from gapclose.seeds import derive_seed

Observation = dict[str, np.ndarray]


class SimulatorEnv(gymnasium.Env[Observation, np.ndarray]):
    """A goal-conditioned environment for one task at a time.

    Observations have the keys `observation`, `achieved_goal` and `desired_goal`, all of them states. The reward is the
    negative distance to the goal; the episode terminates when the goal is reached.

    Args:
        simulator: the dynamics and the tasks.
        render_mode: `rgb_array`, or `None` for no pictures.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, simulator: Simulator, render_mode: str | None = None) -> None:
        self.simulator = simulator
        self.render_mode = render_mode
        low, high = (bound.numpy().astype(np.float32) for bound in (simulator.state_low, simulator.state_high))
        state = spaces.Box(low, high, dtype=np.float32)
        self.observation_space = spaces.Dict(observation=state, achieved_goal=state, desired_goal=state)
        self.action_space = spaces.Box(simulator.action_low.numpy(), simulator.action_high.numpy(), dtype=np.float32)
        self._task: Tasks | None = None
        self._state: torch.Tensor | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts a random task, or one with the given `options["start"]` and `options["goal"]`.

        Raises:
            UserError: an option is unknown, or the start or goal is not a possible state.
        """
        super().reset(seed=seed)
        options = options or {}
        if unknown := options.keys() - set(Tasks._fields):
            raise UserError(f"reset got the unknown options {sorted(unknown)}; the options are start and goal.")
        generator = torch.Generator().manual_seed(derive_seed(int(self.np_random.integers(2**31))))
        task = self.simulator.sample_tasks(1, generator)._asdict()
        for name, value in options.items():
            task[name] = torch.as_tensor(np.atleast_2d(value), dtype=torch.float32)
            self.simulator.validate_states(task[name], name)
        self._task = Tasks(**task)
        self._state = self._task.start
        return self._observation(), {"is_success": self._success()}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Executes one step of the simulator.

        Raises:
            UserError: the action has another shape than the action space, or is not finite.
        """
        action = np.asarray(action, np.float32)
        if action.shape != self.action_space.shape or not np.isfinite(action).all():
            raise UserError(f"The action is {action.tolist()}; give {self.action_space.shape[0]} finite numbers.")
        self._state = self.simulator.step(self._state, torch.as_tensor(action)[None])
        success = self._success()
        reward = -self.simulator.distance(self._state, self._task.goal).item()
        return self._observation(), reward, success, False, {"is_success": success}

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> np.ndarray:
        """Returns the rewards `[...]` of states `[..., S]` for goals `[..., S]`: for hindsight relabelling."""
        return -self.simulator.distance(*self._tensors(achieved_goal, desired_goal)).numpy()

    def compute_terminated(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> np.ndarray:
        """Returns whether states `[..., S]` have reached goals `[..., S]`, bool `[...]`."""
        return self.simulator.success(*self._tensors(achieved_goal, desired_goal)).numpy()

    def compute_truncated(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: Any) -> np.ndarray:
        """Returns false for all states: only the wrapper of `gymnasium.make` truncates episodes, bool `[...]`."""
        return np.zeros(np.asarray(achieved_goal).shape[:-1], bool)

    def render(self) -> np.ndarray | None:
        """Returns a picture `uint8 [H, W, 3]` of the state and the goal, or `None` without a render mode."""
        if self.render_mode is None:
            return None
        return self.simulator.render(self._state, self._task.goal)[0].numpy()

    @staticmethod
    def _tensors(*arrays: np.ndarray) -> tuple[torch.Tensor, ...]:
        return tuple(torch.as_tensor(np.asarray(array, np.float32)) for array in arrays)

    def _success(self) -> bool:
        return bool(self.simulator.success(self._state, self._task.goal))

    def _observation(self) -> Observation:
        state, goal = (x[0].numpy().astype(np.float32) for x in (self._state, self._task.goal))
        return {"observation": state, "achieved_goal": state.copy(), "desired_goal": goal}


WORLDS = {"Wall": Wall, "PointMaze": PointMaze, "AntMaze": AntMaze, "PushT": PushT}
"""The simulators that are registered, by name."""


def make(world: str, render_mode: str | None = None, **settings: Any) -> SimulatorEnv:
    """Makes an environment; behind `gymnasium.make("gapclose/Wall-v0", ...)` and the like.

    `settings` are those of the simulator.
    """
    return SimulatorEnv(WORLDS[world](**settings), render_mode)


for name in WORLDS:
    gymnasium.register(
        f"gapclose/{name}-v0",
        entry_point=f"{__name__}:make",  # By name, so that the specification of an environment can be stored.
        max_episode_steps=100,
        kwargs={"world": name},
    )
