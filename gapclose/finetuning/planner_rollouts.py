"""Online finetuning: plan with the current model, execute in the simulator, learn from what really happened."""

import logging
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from pydantic import ConfigDict, PositiveInt, validate_call

from gapclose.data.replay import ReplayBuffer
from gapclose.data.trajectories import Trajectories
from gapclose.envs.simulator import Simulator, Tasks
from gapclose.errors import UserError
from gapclose.planning.execution import execute_open_loop
from gapclose.planning.objective import Objective
from gapclose.planning.planner import Planner
from gapclose.seeds import generator

log = logging.getLogger(__name__)


class PlannerRollouts(Callback):
    """Fills the replay buffer at the start of every epoch, in the manner of DAgger (Ross et al. 2011).

    The tasks are new ones each epoch, so that success and error on them, which it logs before the model learns from
    them, are honest estimates of how good the model was after the epoch before. Processes of a distributed run plan
    their share each and exchange the results, so that all hold the same buffer.

    Args:
        simulator: executes the plans.
        planner: makes them.
        objective: what they are judged by.
        replay: receives the trajectories.
        seed: of tasks and plans.
        plans_per_epoch: how many tasks are planned for each epoch, over all processes; rounded up to equal shares.

    Raises:
        UserError: the replay buffer has no room for a single plan.
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
    ) -> None:
        if replay.capacity < planner.horizon:
            raise UserError(
                f"The replay buffer's capacity is {replay.capacity}, less than one plan of {planner.horizon} steps; "
                "make it larger."
            )
        self.simulator, self.planner, self.objective = simulator, planner, objective
        self.replay, self.seed, self.plans_per_epoch = replay, seed, plans_per_epoch
        self.history: list[dict[str, float]] = []
        """For each epoch, how well the plans at its start fared."""

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        key = (self.seed, "planner rollouts", trainer.current_epoch)
        rank, processes = trainer.global_rank, trainer.world_size
        # Equal shares: what the processes exchange must have equal shapes.
        plans = processes * -(-self.plans_per_epoch // processes)
        tasks = self.simulator.sample_tasks(plans, generator(*key, "tasks"))
        share = Tasks(*(states[rank::processes].to(module.device) for states in tasks))
        objective = self.objective.calibrated(module.world_model, self.held_out(trainer, module.device))
        execution = execute_open_loop(
            self.planner, self.simulator, module.world_model, objective, share, generator(*key, rank)
        )
        states, actions = execution.states, execution.actions
        metrics = torch.stack(
            [
                self.simulator.success(states[:, -1], share.goal).float().mean(),
                self.simulator.distance(states[:, -1], share.goal).mean(),
                execution.squared_errors().mean(),
            ]
        )
        if processes > 1:
            states, actions = (module.all_gather(x).flatten(0, 1) for x in (states, actions))
            metrics = module.all_gather(metrics).mean(0)
        self.replay.add(states.cpu(), actions.cpu())
        names = ("success_rate", "goal_distance", "world_model_error")
        result = dict(zip(names, metrics.tolist()))
        self.history.append({"epoch": trainer.current_epoch, **result})
        module.log_dict({f"rollouts/{name}": value for name, value in result.items()}, on_step=False, on_epoch=True)
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
        """The trajectories that the run validates on."""
        return Trajectories(*(tensor.to(device) for tensor in trainer.datamodule.validation))

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]
