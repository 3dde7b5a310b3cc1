"""Online finetuning: plan with the current model, execute in the simulator, learn from what really happened."""

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
from gapclose.planning.execution import execute_open_loop
from gapclose.planning.objective import Objective
from gapclose.planning.planner import Planner
from gapclose.seeds import generator
from gapclose.training.rollout_tasks import TASKS

log = logging.getLogger(__name__)


class PlannerRollouts(Callback):
    """Fills the replay buffer at the start of every epoch, in the manner of DAgger (Ross et al. 2011).

    Success and error, which it logs before the model learns from the plans, are those on tasks that are new in this
    epoch, and so honest estimates of how good the model was after the epoch before. Processes of a distributed run plan
    their share each and exchange the results, so that all hold the same buffer.

    Args:
        simulator: executes the plans.
        planner: makes them.
        objective: what they are judged by.
        replay: receives the trajectories.
        seed: of tasks and plans.
        plans_per_epoch: how many tasks are planned for each epoch, over all processes; rounded up to equal shares.
        tasks: what is planned for: `random` tasks of the simulator, pairs of states of the `dataset`, or the `failures`
            so far beside random tasks (see `rollout_tasks`).
        aggregate: whether the buffer keeps what earlier epochs added; else each epoch's plans take its place.
        max_simulator_steps: a budget for all epochs. The last plans are as many as it has whole plans left for (in
            equal shares); from then on training goes on with what there is. By default there is no limit.

    Raises:
        UserError: the replay buffer has no room for a single plan, or the budget does not suffice for one (`setup`: for
            one of each process).
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
        """For each epoch with plans, how those for new tasks fared, and how many simulator steps all of them took."""

    @property
    def simulator_steps(self) -> int:
        """How many steps the simulator has executed so far."""
        return sum(entry["simulator_steps"] for entry in self.history)

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Raises `UserError` if the budget does not suffice for a plan of each process."""
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
        """How many plans this epoch makes: equal shares, as what the processes exchange must have equal shapes."""
        share = -(-self.plans_per_epoch // processes)
        if self.max_simulator_steps is not None:
            left = (self.max_simulator_steps - self.simulator_steps) // self.planner.horizon
            share = min(share, left // processes)
        return processes * share

    def roll_out(self, plans: int, trainer: Trainer, module: LightningModule) -> None:
        """Plans, executes, and adds what happened to the replay buffer and to the history."""
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
                execution.squared_errors().mean(1),
            ],
            1,
        )
        rows = execution.states, execution.actions, outcomes
        if processes > 1:  # Back into the order of the tasks.
            rows = (module.all_gather(x).transpose(0, 1).flatten(0, 1) for x in rows)
        states, actions, outcomes = (x.cpu() for x in rows)
        if not self.aggregate:
            self.replay.clear()
        self.replay.add(states, actions)
        self.tasks.note(tasks, outcomes[:, 0] > 0)
        names = ("success_rate", "goal_distance", "world_model_error")
        result = dict(zip(names, outcomes[new].double().mean(0).tolist()), simulator_steps=actions.shape[:2].numel())
        self.history.append({"epoch": trainer.current_epoch, **result})
        logged = {f"rollouts/{name}": float(value) for name, value in result.items()}
        module.log_dict(logged, on_step=False, on_epoch=True)
        if rank == 0:
            log.info(
                "Epoch %d of %d: %d new plans, success %.2f, model error %.2g",
                trainer.current_epoch + 1,
                trainer.max_epochs,
                plans,
                result["success_rate"],
                result["world_model_error"],
            )

    def held_out(self, trainer: Trainer, device: torch.device) -> Trajectories:
        """The trajectories that the run validates on, as long as plans."""
        pieces = trainer.datamodule.validation.pieces(self.planner.horizon)
        return Trajectories(*(tensor.to(device) for tensor in pieces))

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history, "tasks": self.tasks.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]
        self.tasks.load_state_dict(state_dict["tasks"])


def one_step_errors(world_model: WorldModel, trajectories: Trajectories, device: torch.device) -> Tensor:
    """The model's squared error on each transition of trajectories, averaged over coordinates: `[N, T]`, on the CPU."""
    with frozen(world_model):
        errors = [
            world_model.squared_errors(Window(*(tensor.to(device) for tensor in window))).mean(-1).cpu()
            for window in OrderedWindows(trajectories, 1)
        ]
    return torch.cat(errors).view(trajectories.actions.shape[:2])
