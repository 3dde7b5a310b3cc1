"""Builds all objects of a run of train.py from its configuration."""

from typing import NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf

from gapclose.building import build
from gapclose.errors import UserError
from gapclose.explanation import naming_setting
from gapclose.models.oracle import OracleWorldModel
from gapclose.runs.setup.evaluation import Evaluation
from gapclose.runs.setup.named_planners import EXPLORER_SETTING, naming_entry, with_groups
from gapclose.runs.setup.optimized_metric import check_metric
from gapclose.runs.setup.parts import Parts, set_threads
from gapclose.runs.setup.world_models import build_world_model
from gapclose.seeds import derive_seed
from gapclose.training.checkpoint import load_weights, read_checkpoint
from gapclose.training.planner_rollouts import PlannerRollouts
from gapclose.training.stage import Stage


class TrainSetup:
    """All objects of a run. They are built before any work starts, so that impossible settings are refused at once.

    Args:
        config: configuration of the run.

    Raises:
        UserError: a setting is impossible.
    """

    def __init__(self, config: DictConfig) -> None:
        self.parts = Parts.build(config)
        set_threads(config.num_threads, config.num_workers)
        with naming_setting("evaluation"):
            self.evaluation = self.make_evaluation(config, self.parts)
        if config.choices.model == "oracle":
            raise UserError("model=oracle has nothing to train; plan with it by python plan.py model=oracle.")
        torch.manual_seed(derive_seed(config.seed, "initial weights"))
        self.world_model = build_world_model(config, self.parts.simulator)
        self.parts.objective.require(self.world_model)
        if config.base_checkpoint is not None:
            load_weights(self.world_model, read_checkpoint(config.base_checkpoint), config.base_checkpoint)
        self.baseline = build(config.baseline, Stage, "baseline")
        self.finetune = build(config.finetune, Stage, "finetune") if config.finetune is not None else None
        for name, stage in (("baseline", self.baseline), ("finetune", self.finetune)):
            if stage:
                with naming_setting(f"{name}.module"):
                    stage.check(self.world_model, config, name)
        if not self.finetune and set(self.evaluation.models) == {"finetuned"}:
            raise UserError(
                "evaluation.models is [finetuned], but finetune=none trains no finetuned model; add baseline or oracle."
            )
        check_metric(config.get("optimized_metric"), self.evaluation.possible_metrics(finetuned=bool(self.finetune)))
        self.explorer = self.parts
        """The parts with the planner of the rollouts."""
        if config.explorer is not None:
            with naming_entry(EXPLORER_SETTING, config.finetune.rollouts.planner):
                self.explorer = Parts.build(with_groups(config, config.explorer))
                self.explorer.objective.require(self.world_model)
        self.rollouts: PlannerRollouts | None = None
        if self.finetune:
            with naming_setting("finetune.rollouts"):
                self.rollouts = self.finetune.make_rollouts(
                    self.world_model,
                    config.data.steps,
                    simulator=self.parts.simulator,
                    planner=self.explorer.planner,
                    objective=self.explorer.objective,
                    seed=config.seed,
                )
        self.compared: dict[str, ComparedPlanner] = {}
        """The other planners that the models are evaluated with, by entry of `compare`."""
        for entry, groups in config.compared.items():
            with naming_entry("compare", entry):
                self.compared[entry] = self.make_compared(config, entry, groups)

    def make_evaluation(self, config: DictConfig, parts: Parts) -> Evaluation:
        """Builds the evaluation with the planner of these parts."""
        return Evaluation(
            simulator=self.parts.simulator,
            mpc=parts.mpc,
            objective=self.parts.objective,
            planner_name=config.choices.planner,
            **OmegaConf.to_container(config.evaluation),
        )

    def make_compared(self, config: DictConfig, entry: str, groups: DictConfig) -> "ComparedPlanner":
        """Builds the evaluation with a planner of `compare`; the oracle is left out if it cannot plan with it."""
        config = with_groups(config, groups)
        config.choices.planner, config.compare, config.compared = entry, None, {}
        parts = Parts.build(config)
        if not parts.planner.can_plan_with(OracleWorldModel(parts.simulator)):
            config.evaluation.models = [name for name in config.evaluation.models if name != "oracle"]
        return ComparedPlanner(config, parts, self.make_evaluation(config, parts))


class ComparedPlanner(NamedTuple):
    """A planner of `compare`, with which the models are evaluated in addition to the run's own.

    Attributes:
        config: configuration of the run with this planner instead of its own.
        parts: objects of that configuration.
        evaluation: evaluation with this planner.
    """

    config: DictConfig
    parts: Parts
    evaluation: Evaluation
