"""The text of a run's report: the headline, and what went wrong, what was done, what changed and what remains."""

from typing import Any

from gapclose.evaluation.statistics import number
from gapclose.evaluation.tables import reached

REMEDIES = {
    "continue": "as many gradient steps on the same data alone (the control)",
    "online": "training on the real outcomes of its own plans",
    "adversarial": "training on inputs perturbed to where the model errs most",
    "online_adversarial": "training on the real outcomes of its own plans and on adversarially perturbed inputs",
}
"""What each mode of finetuning does, in words."""


def headline(metrics: dict[str, Any]) -> str:
    """Summarises a run in one sentence, from the metrics of train.py."""
    before, after, oracle = (metrics.get(name) for name in ("baseline", "finetuned", "oracle"))
    if before and after:
        remaining, errors = ratio(after, before), [gap["open_loop"]["world_model_error"] for gap in (before, after)]
        verdict = (
            "repaired a model that had diverged" if errors[0] is None and errors[1] is not None
            else "closed the gap almost completely" if remaining <= 0.05
            else "closed most of the gap" if remaining <= 0.3
            else "narrowed the gap" if remaining <= 0.9
            else "did not close the gap"
        )  # fmt: skip
        return (
            f"Finetuning {verdict}: {reached(before)} of the plans reached their goal before, {reached(after)} after."
        )
    if before or after:
        times = factor((before or after)["open_loop"]["train_test_gap"])
        return (
            f"Under planning the model errs {times} on held-out data: {reached(before or after)} of the plans succeed."
        )
    return f"With the true dynamics as its model the planner reaches {reached(oracle)} of the goals."


def story(metrics: dict[str, Any]) -> list[tuple[str, str]]:
    """Tells what went wrong, what was done, what changed and what remains, as titles and texts."""
    before, after, oracle = (metrics.get(name) for name in ("baseline", "finetuned", "oracle"))
    parts = []
    if before:
        parts.append(("What went wrong", what_went_wrong(before)))
    if after:
        parts.append(("What was done", what_was_done(metrics)))
        parts.append(("What changed" if before else "The result", what_changed(before, after)))
    if oracle:
        parts.append(
            (
                "What remains",
                f"With the true dynamics instead of the model, the planner reaches {reached(oracle)} of the goals. "
                "A lower rate is due to the model; the remaining failures are due to the planner.",
            )
        )
    return parts


def what_went_wrong(gap: dict[str, Any]) -> str:
    """The error, the promised and the real outcome before finetuning."""
    result = gap["open_loop"]
    promised = result["imagined_goal_distance"]
    promise = (
        "The distance to the goal that it promised is infinite" if promised is None
        else f"It promised to end {promised:.2f} from the goal"
    )  # fmt: skip
    return (
        f"On data like that of its training the model is nearly perfect: its mean squared error for one step is "
        f"{amount(gap['expert_error'], '.1g')}. Then a planner optimised actions through the model and exploited its "
        f"errors: along these plans the error is {amount(result['world_model_error'])}, "
        f"{factor(result['train_test_gap'])} on such data. {promise}; when executed, the plans ended "
        f"{amount(result['goal_distance'], '.2f')} away, and {reached(gap)} of {result['num_tasks']} reached it."
    )


def what_was_done(metrics: dict[str, Any]) -> str:
    """The mode of finetuning and its cost in steps."""
    explanation = f": {REMEDIES[metrics['finetune']]}" if metrics["finetune"] in REMEDIES else ""
    steps = [f"{metrics['gradient_steps']:,} gradient steps"] if "gradient_steps" in metrics else []
    if "simulator_steps" in metrics:
        steps.append(f"{metrics['simulator_steps']:,} steps of the simulator")
    cost = f" It took {' and '.join(steps)}." if steps else ""
    return f"The model was finetuned by the mode “{metrics['finetune']}”{explanation}.{cost}"


def what_changed(before: dict[str, Any] | None, after: dict[str, Any]) -> str:
    """Error, distance and success after finetuning, compared with those before."""
    new, old = after["open_loop"], before and before["open_loop"]
    error, distance = amount(new["world_model_error"]), amount(new["goal_distance"], ".2f")
    if old:
        error = f"{error} ({error_change(before, after)})"
        distance = f"{distance} instead of {amount(old['goal_distance'], '.2f')}"
    mpc = ""
    if "mpc" in after:
        earlier = f", compared with {reached(before, 'mpc')} before" if old and "mpc" in before else ""
        mpc = f" With replanning from the real state (MPC), {reached(after, 'mpc')} succeed{earlier}."
    return (
        f"Along its plans the model now errs by {error}. They end {distance} from the goal, and {reached(after)} reach "
        f"it.{mpc}"
    )


def factor(times: float | None) -> str:
    """Formats a factor in words."""
    if times is None:
        return "more than"
    return f"{times:,.0f} times as much as" if times >= 10 else f"{times:.1f} times as much as"


def amount(value: float | None, form: str = ".2g") -> str:
    """Formats a number; metrics.json has null where it was infinite."""
    return "infinite" if value is None else number(value, form)


def error_change(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Describes the change of the error under planning in per cent, or gives the old error if one is infinite."""
    old, new = (gap["open_loop"]["world_model_error"] for gap in (before, after))
    if old is None or new is None:
        return f"before: {amount(old)}"
    lower = 100 * (1 - ratio(after, before))
    return f"{lower:.3g} % less" if lower >= 0 else f"{-lower:.3g} % more"


def ratio(after: dict[str, Any], before: dict[str, Any]) -> float:
    """The error under planning after finetuning as a share of that before."""
    old, new = (gap["open_loop"]["world_model_error"] for gap in (before, after))
    return new / old if old and new is not None else 1.0
