"""Online finetuning: plan with the current model, execute in the simulator, and train on the executed trajectories."""

import logging
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from pydantic import ConfigDict, PositiveInt, validate_call
from torch import Tensor

from gapclose.data.datamodule import OrderedWindows
from gapclose.data.replay import ReplayBuffer
from gapclose.data.trajectories import Trajectories, Window
from gapclose.envs.simulator import Simulator, Tasks
from gapclose.errors import UserError
from gapclose.models.world_model import WorldModel, frozen
from gapclose.planning.execution import error_quantiles, execute_open_loop
from gapclose.planning.objective import Objective
from gapclose.planning.planner import Planner
from gapclose.seeds import generator
from gapclose.training.checkpoint import valid_history
from gapclose.training.rollout_tasks import TASKS

log = logging.getLogger(__name__)


class PlannerRollouts(Callback):
    """Fills the replay buffer at the start of every epoch, as in DAgger (Ross et al. 2011).

    It logs success and model error on the tasks that are new in this epoch, before the model learns from them. So these
    are unbiased estimates for the model after the previous epoch. In a distributed run, each process plans an equal
    share of the tasks, and all processes exchange the results, so that their buffers are equal.

    Args:
        simulator: executes the plans.
        planner: makes the plans.
        objective: scores the plans.
        replay: replay buffer that receives the trajectories.
        seed: seed of tasks and plans.
        plans_per_epoch: number of plans per epoch, over all processes; rounded up to equal shares.
        tasks: tasks to plan for: `random` tasks of the simulator, pairs of states of the `dataset`, or earlier
            `failures` together with random tasks (see `rollout_tasks`).
        aggregate: whether the buffer keeps the trajectories of earlier epochs; otherwise each epoch replaces them.
        max_simulator_steps: limit on simulator steps over all epochs. The last epoch with plans makes as many whole
            plans as it allows (in equal shares); then training continues without new plans. By default no limit.

    Raises:
        UserError: the replay buffer or the limit is too small for a single plan (`setup`: for one per process).
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        simulator: Simulator,
        planner: Planner,
        objective: Objective,
        replay: ReplayBuffer,
        seed: int,
        plans_per_epoch: PositiveInt = 100,
        tasks: Literal["random", "dataset", "failures"] = "random",
        aggregate: bool = True,
        max_simulator_steps: PositiveInt | None = None,
    ) -> None:
        if replay.capacity < planner.horizon:
            raise UserError(
                f"The replay buffer's capacity is {replay.capacity}, less than one plan of {planner.horizon} steps; "
                "make it larger."
            )
        if max_simulator_steps is not None and max_simulator_steps < planner.horizon:
            raise UserError(
                f"max_simulator_steps is {max_simulator_steps}, less than one plan of {planner.horizon} steps; give at "
                "least that many, or null for no limit."
            )
        self.simulator, self.planner, self.objective = simulator, planner, objective
        self.replay, self.seed, self.plans_per_epoch = replay, seed, plans_per_epoch
        self.tasks = TASKS[tasks](simulator, planner.horizon)
        self.aggregate, self.max_simulator_steps = aggregate, max_simulator_steps
        self.history: list[dict[str, float]] = []
        """For each epoch with plans: results on new tasks, and the number of simulator steps of all plans."""

    @property
    def simulator_steps(self) -> int:
        """Number of steps that the simulator has executed so far."""
        return sum(entry["simulator_steps"] for entry in self.history)

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Raises `UserError` if `max_simulator_steps` does not suffice for one plan per process."""
        least = self.planner.horizon * trainer.world_size
        if self.max_simulator_steps is not None and self.max_simulator_steps < least:
            raise UserError(
                f"max_simulator_steps is {self.max_simulator_steps}, less than one plan of {self.planner.horizon} "
                f"steps for each of {trainer.world_size} processes; give at least {least}, or null for no limit."
            )

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        plans = self.affordable_plans(trainer.world_size)
        if plans:
            self.roll_out(plans, trainer, module)
        elif trainer.is_global_zero:
            log.info(
                "Epoch %d of %d: no new plans, %d of at most %d simulator steps are used",
                trainer.current_epoch + 1,
                trainer.max_epochs,
                self.simulator_steps,
                self.max_simulator_steps,
            )
        if self.replay.priority_exponent and len(self.replay):
            self.replay.prioritise(one_step_errors(module.world_model, self.replay.trajectories, module.device))

    def affordable_plans(self, processes: int) -> int:
        """Number of plans of this epoch, in equal shares: processes can only exchange tensors of equal shape."""
        share = -(-self.plans_per_epoch // processes)
        if self.max_simulator_steps is not None:
            left = (self.max_simulator_steps - self.simulator_steps) // self.planner.horizon
            share = min(share, left // processes)
        return processes * share

    def roll_out(self, plans: int, trainer: Trainer, module: LightningModule) -> None:
        """Plans and executes, and adds the trajectories to the replay buffer and the results to the history."""
        key = (self.seed, "planner rollouts", trainer.current_epoch)
        rank, processes = trainer.global_rank, trainer.world_size
        tasks, new = self.tasks.draw(plans, generator(*key, "tasks"), trainer.datamodule.train)
        share = Tasks(*(states[rank::processes].to(module.device) for states in tasks))
        objective = self.objective.calibrated(module.world_model, self.held_out(trainer, module.device))
        execution = execute_open_loop(
            self.planner, self.simulator, module.world_model, objective, share, generator(*key, rank)
        )
        final = execution.states[:, -1]
        outcomes = torch.stack(
            [
                self.simulator.success(final, share.goal).float(),
                self.simulator.distance(final, share.goal),
                execution.plan_errors(),
                execution.leaves_world(self.simulator).float(),
            ],
            1,
        )
        rows = execution.states, execution.actions, outcomes
        if processes > 1:  # Restore the order of the tasks.
            rows = (module.all_gather(x).transpose(0, 1).flatten(0, 1) for x in rows)
        states, actions, outcomes = (x.cpu() for x in rows)
        if not self.aggregate:
            self.replay.clear()
        self.replay.add(states, actions)
        self.tasks.record(tasks, outcomes[:, 0] > 0)
        names = ("success_rate", "goal_distance", "world_model_error", "left_world_rate")
        result = {
            **dict(zip(names, outcomes[new].double().mean(0).tolist())),
            **error_quantiles(outcomes[new, 2]),
            "simulator_steps": actions.shape[:2].numel(),
        }
        self.history.append({"epoch": trainer.current_epoch, **result})
        logged = {f"rollouts/{name}": float(value) for name, value in result.items()}
        module.log_dict(logged, on_step=False, on_epoch=True)
        if rank == 0:
            log.info(
                "Epoch %d of %d: %d new plans, success %.2f, model error %.2g (median %.2g)",
                trainer.current_epoch + 1,
                trainer.max_epochs,
                plans,
                result["success_rate"],
                result["world_model_error"],
                result["world_model_error_median"],
            )

    def held_out(self, trainer: Trainer, device: torch.device) -> Trajectories:
        """Returns the validation trajectories, cut to the length of a plan."""
        pieces = trainer.datamodule.validation.pieces(self.planner.horizon)
        return Trajectories(*(tensor.to(device) for tensor in pieces))

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "tasks": self.tasks.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = valid_history(state_dict["history"])
        self.tasks.load_state_dict(state_dict["tasks"])


def one_step_errors(world_model: WorldModel, trajectories: Trajectories, device: torch.device) -> Tensor:
    """Squared error of the model on each transition, averaged over coordinates: `[N, T]`, on the CPU."""
    with frozen(world_model):
        errors = [
            world_model.squared_errors(Window(*(tensor.to(device) for tensor in window))).mean(-1).cpu()
            for window in OrderedWindows(trajectories, 1)
        ]
    return torch.cat(errors).view(trajectories.actions.shape[:2])
