"""Evaluates the models of a run on the same held-out tasks with the same planner, at the end or after each epoch.

The metrics are in `gapclose.evaluation.gap`.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from pydantic import ConfigDict, PositiveInt, validate_call

from gapclose.data.trajectories import Trajectories
from gapclose.envs.simulator import Simulator
from gapclose.errors import UserError
from gapclose.evaluation.gap import METRICS, WAYS, HeldOut, measure_gap, policy_alone
from gapclose.evaluation.metrics_file import MODELS
from gapclose.logging.metrics import flatten
from gapclose.models.oracle import OracleWorldModel
from gapclose.models.world_model import WorldModel
from gapclose.planning.execution import Execution
from gapclose.planning.mpc import MPC
from gapclose.planning.objective import Objective
from gapclose.runs.setup.parts import pick_device
from gapclose.seeds import generator
from gapclose.training.checkpoint import valid_history

log = logging.getLogger(__name__)


class Evaluation:
    """Evaluates models on tasks that are not used in training.

    Args:
        simulator: executes the plans.
        mpc: MPC and the planner in it.
        objective: scores the plans.
        planner_name: name of the planner in the results.
        num_tasks: number of tasks.
        seed: seed of the tasks and of the plans for them.
        device: device of the evaluation at the end; `auto` is a GPU if there is one.
        models: which of `MODELS` are evaluated at the end; those that the run does not have are left out.
        each_epoch: whether the model is also evaluated after each epoch of finetuning.

    Raises:
        UserError: `models` is empty or has unknown names, the device does not exist, or the oracle is to be evaluated
            and the planner cannot plan with it.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        simulator: Simulator,
        mpc: MPC,
        objective: Objective,
        planner_name: str,
        num_tasks: PositiveInt = 100,
        seed: int = 0,
        device: str = "auto",
        models: list[str] = MODELS,
        each_epoch: bool = False,
    ) -> None:
        if not models or not set(models) <= set(MODELS):
            raise UserError(
                f"evaluation.models is [{', '.join(models)}]; give a list of baseline, finetuned and oracle, such as "
                "evaluation.models=[finetuned]."
            )
        if "oracle" in models:
            mpc.planner.require(OracleWorldModel(simulator))
        self.simulator, self.mpc, self.objective, self.planner_name = simulator, mpc, objective, planner_name
        self.tasks, self.seed = simulator.sample_tasks(num_tasks, generator(seed, "evaluation tasks")), seed
        self.device, self.models, self.each_epoch = pick_device(device), models, each_epoch

    def possible_metrics(self, finetuned: bool) -> list[str]:
        """Returns the paths of the numbers that `measure` writes into metrics.json for the models of a run.

        Args:
            finetuned: whether the run has a finetuned model.
        """
        paths = []
        for model in self.models:
            if model == "finetuned" and not finetuned:
                continue
            ways = [*WAYS, *(["open_loop_policy_alone"] if policy_alone(self.mpc.planner) else [])]
            if model != "oracle":
                ways += ["mpc_adapted"] if self.mpc.adaptation else []
                ways += ["open_loop_without_disagreement"] if self.objective.weight("disagreement") else []
            paths += metric_paths(model, ways)
        return paths

    def measure(
        self, model: WorldModel, trajectories: Trajectories, device: torch.device, ways: Sequence[str] = WAYS
    ) -> tuple[dict[str, Any], dict[str, Execution]]:
        """Returns metrics and executions as `measure_gap` does, for a model on the given device."""
        objective = self.objective
        if isinstance(model, OracleWorldModel):  # It has a single member.
            objective = objective.without("disagreement")
        held_out = HeldOut.of(self.tasks, trajectories, device)
        return measure_gap(model, self.mpc, self.simulator, objective, held_out, self.seed, self.planner_name, ways)


def metric_paths(model: str, ways: Sequence[str]) -> list[str]:
    """Returns the paths in metrics.json of the numbers of a model whose plans are executed in these ways."""
    names = [name for name in METRICS if name != "train_test_gap" or model != "oracle"]  # Its expert error is 0.
    return [f"{model}/expert_error", *(f"{model}/{way}/{name}" for way in ways for name in names)]


def all_metric_paths() -> list[str]:
    """Returns the paths of all numbers that metrics.json can contain, whatever the settings of the run."""
    ways = [*WAYS, "mpc_adapted", "open_loop_policy_alone", "open_loop_without_disagreement"]
    return [path for model in MODELS for path in metric_paths(model, ways)]


class EvaluationEachEpoch(Callback):
    """Evaluates the model open loop after each epoch. It does not affect the random numbers of training.

    Args:
        evaluation: evaluates the model.
        trajectories: the data of the run.
    """

    def __init__(self, evaluation: Evaluation, trajectories: Trajectories) -> None:
        self.evaluation, self.trajectories = evaluation, trajectories
        self.history: list[dict[str, Any]] = []
        """One entry per epoch: `epoch`, counted from 1, and the metrics of `measure_gap`."""

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        gap, _ = self.evaluation.measure(module.world_model, self.trajectories, module.device, ("open_loop",))
        epoch = trainer.current_epoch + 1
        self.history.append({"epoch": epoch, **gap})
        logged = {name: float(value) for name, value in flatten(gap, "held_out/").items()}
        module.log_dict(logged, on_step=False, on_epoch=True, rank_zero_only=True)
        log.info(
            "After epoch %d of %d: held-out success %.2f, model error %.2g",
            epoch,
            trainer.max_epochs,
            gap["open_loop"]["success_rate"],
            gap["open_loop"]["world_model_error"],
        )

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = valid_history(state_dict["history"])
