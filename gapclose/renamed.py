"""Translates old names of classes and settings in stored configurations, so that older checkpoints and runs load."""

from typing import Any

TARGETS = {
    "gapclose.finetuning.adversarial.AdversarialTraining": "gapclose.training.adversarial.AdversarialTraining",
    "gapclose.finetuning.attacks.ProjectedGradient": "gapclose.training.attacks.ProjectedGradient",
    "gapclose.finetuning.behaviour_cloning.BehaviourCloning": "gapclose.training.behaviour_cloning.BehaviourCloning",
    "gapclose.finetuning.planner_rollouts.PlannerRollouts": "gapclose.training.planner_rollouts.PlannerRollouts",
    "gapclose.finetuning.radii.AdaptiveRadii": "gapclose.training.radii.AdaptiveRadii",
    "gapclose.finetuning.radii.FixedRadii": "gapclose.training.radii.FixedRadii",
    "gapclose.finetuning.radii.LearnedRadii": "gapclose.training.radii.LearnedRadii",
    "gapclose.finetuning.teacher_forcing.TeacherForcing": "gapclose.training.teacher_forcing.TeacherForcing",
    "gapclose.models.body_frame.BodyFrameDynamics": "gapclose.models.dynamics.body_frame.BodyFrameDynamics",
    "gapclose.models.dynamics.MLPDynamics": "gapclose.models.dynamics.mlp.MLPDynamics",
    "gapclose.models.encoders.StateEncoder": "gapclose.models.encoders.state.StateEncoder",
    "gapclose.models.transformer.TransformerDynamics": "gapclose.models.dynamics.transformer.TransformerDynamics",
    "gapclose.runs.stage.AdversarialStage": "gapclose.training.stage.AdversarialStage",
    "gapclose.runs.stage.Stage": "gapclose.training.stage.Stage",
}
"""Old names of classes, and their present names."""
KEYS = {"rivals": "compared"}
"""Old names of settings, and their present names."""


def with_present_names(config: Any) -> Any:
    """Returns a stored configuration, or a part of one, with the present names of its classes and settings."""
    if isinstance(config, dict):
        return {
            KEYS.get(key, key): TARGETS.get(value, value)
            if key == "_target_" and isinstance(value, str)
            else with_present_names(value)
            for key, value in config.items()
        }
    return [with_present_names(value) for value in config] if isinstance(config, list) else config
