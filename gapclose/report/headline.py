"""What a run has found, in plain words."""

from typing import Any

from gapclose.evaluation.statistics import number
from gapclose.evaluation.tables import reached

REMEDIES = {
    "continue": "as many more gradient steps on the same data, the control",
    "online": "training on what really happened when its own plans were executed",
    "adversarial": "training on inputs that were disturbed to where the model errs most",
    "online_adversarial": "training on its own executed plans, and on inputs disturbed to where the model errs most",
}
"""What the modes of finetuning do."""


def headline(metrics: dict[str, Any]) -> str:
    """One sentence, from the metrics of train.py."""
    before, after, oracle = (metrics.get(name) for name in ("baseline", "finetuned", "oracle"))
    if before and after:
        kept, errors = ratio(after, before), [gap["open_loop"]["world_model_error"] for gap in (before, after)]
        verdict = (
            "mended a model that had diverged" if errors[0] is None and errors[1] is not None
            else "closed the gap almost completely" if kept <= 0.05
            else "closed most of the gap" if kept <= 0.3
            else "narrowed the gap" if kept <= 0.9
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
    """What went wrong, what was done about it, what changed, and what remains: titles and sentences."""
    before, after, oracle = (metrics.get(name) for name in ("baseline", "finetuned", "oracle"))
    told = []
    if before:
        told.append(("What went wrong", what_went_wrong(before)))
    if after:
        told.append(("What was done", what_was_done(metrics)))
        told.append(("What changed" if before else "What came of it", before_and_after(before, after)))
    if oracle:
        told.append(
            (
                "What remains",
                f"With the true dynamics in the place of the model, the same planner reaches {reached(oracle)}: what "
                "a model lacks up to there is its own fault, what lies beyond is the planner's.",
            )
        )
    return told


def what_went_wrong(gap: dict[str, Any]) -> str:
    """Error, promise and outcome before finetuning."""
    result = gap["open_loop"]
    promised = result["imagined_goal_distance"]
    promise = (
        "Where it promised to end is beyond all numbers" if promised is None
        else f"It promised to end {promised:.2f} from the goal"
    )  # fmt: skip
    return (
        f"On data like that of its training the model is nearly perfect: its mean squared error for one step is "
        f"{amount(gap['expert_error'], '.1g')}. Then a planner searched for actions through it, and found those "
        f"that only the model believes in: along these plans its error is {amount(result['world_model_error'])}, "
        f"{factor(result['train_test_gap'])} on such data. {promise}; in truth the plans ended "
        f"{amount(result['goal_distance'], '.2f')} away, and {reached(gap)} of {result['num_tasks']} reached it."
    )


def what_was_done(metrics: dict[str, Any]) -> str:
    """The mode of finetuning and what it cost."""
    remedy = f": {REMEDIES[metrics['finetune']]}" if metrics["finetune"] in REMEDIES else ""
    steps = [f"{metrics['gradient_steps']:,} gradient steps"] if "gradient_steps" in metrics else []
    if "simulator_steps" in metrics:
        steps.append(f"{metrics['simulator_steps']:,} steps of the simulator")
    cost = f" It took {' and '.join(steps)}." if steps else ""
    return f"The model was finetuned by the mode “{metrics['finetune']}”{remedy}.{cost}"


def before_and_after(before: dict[str, Any] | None, after: dict[str, Any]) -> str:
    """Error, distance and success after finetuning, beside those before."""
    new, old = after["open_loop"], before and before["open_loop"]
    error, distance = amount(new["world_model_error"]), amount(new["goal_distance"], ".2f")
    if old:
        error = f"{error} ({fell(before, after)})"
        distance = f"{distance} instead of {amount(old['goal_distance'], '.2f')}"
    mpc = ""
    if "mpc" in after:
        was = f", after {reached(before, 'mpc')}" if old and "mpc" in before else ""
        mpc = (
            f" When the planner may look where it really is and plan again (MPC), {reached(after, 'mpc')} succeed{was}."
        )
    return (
        f"Along its plans the model now errs by {error}. They end {distance} from the goal, and {reached(after)} reach "
        f"it.{mpc}"
    )


def factor(times: float | None) -> str:
    """How many times as much, in words."""
    if times is None:
        return "more than"
    return f"{times:,.0f} times as much as" if times >= 10 else f"{times:.1f} times as much as"


def amount(value: float | None, form: str = ".2g") -> str:
    """A number; metrics.json has none where it was infinite."""
    return "infinite" if value is None else number(value, form)


def fell(before: dict[str, Any], after: dict[str, Any]) -> str:
    """By how much the error under planning fell, in words; of an infinite one there is no part."""
    old, new = (gap["open_loop"]["world_model_error"] for gap in (before, after))
    if old is None or new is None:
        return f"before: {amount(old)}"
    lower = 100 * (1 - ratio(after, before))
    return f"{lower:.3g} % less" if lower >= 0 else f"{-lower:.3g} % more"


def ratio(after: dict[str, Any], before: dict[str, Any]) -> float:
    """What is left of the error under planning."""
    old, new = (gap["open_loop"]["world_model_error"] for gap in (before, after))
    return new / old if old and new is not None else 1.0
