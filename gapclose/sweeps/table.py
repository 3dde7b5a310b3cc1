"""The results of a sweep in words: tables, best rows first, and sentences."""

import math
from collections.abc import Sequence

from gapclose.evaluation.paired import corrected, in_words, probability
from gapclose.evaluation.statistics import Estimate
from gapclose.sweeps.results import MEASURES, ORACLE, Setting, has_control
from gapclose.sweeps.runs import Value

PLANNED = ("planning, open_loop", "planning, mpc")
REFERENCES = {
    "control": (
        "control: finetune=continue, as many gradient steps on the same data alone, on the same tasks and seeds"
    ),
    "baseline": "baseline: the same runs before finetuning, on the same tasks",
}
MEANING = (
    "means over tasks and seeds with 95 % intervals; λ = 0: the planner ignores disagreement; model error: MSE of the "
    "imagined states under open-loop planning; gap: its ratio to the error on held-out data; {reference}{planning}"
    "seconds: of a run"
)
PLANNING = "planning: seconds for all tasks, open loop and under MPC; "
CLOSED = "closed: share of the way from the control's success to that of the true dynamics; "
BETTER = "P(better), P(lower): probability of more success, of less model error, under the paired bootstrap; "


def caption(settings: Sequence[Setting]) -> str:
    """What the columns of the table mean."""
    reference = reference_of(settings)
    planning = PLANNING if any("planner" in setting.values for setting in settings) else ""
    closed = CLOSED if any(setting.closed for setting in settings) else ""
    return MEANING.format(
        reference=f"{REFERENCES[reference]}; {BETTER}{closed}" if reference else "", planning=planning
    )


def reference_of(settings: Sequence[Setting]) -> str:
    """What the settings of a sweep are compared with; empty if there is nothing."""
    return next((setting.reference for setting in settings if setting.reference), "")


def table_of(settings: Sequence[Setting]) -> tuple[list[str], list[list[str]]]:
    """Columns and cells of the table, a row for each setting.

    Where methods are compared, they stand scene by scene; else each varied key has a column of its own. Columns in
    which nothing stands are left out.
    """
    keys = [] if has_control(settings) else list(settings[0].values)
    reference = reference_of(settings)
    columns = [*(short(keys) or ["scene", "method"]), "seeds", *MEASURES]
    columns += [f"success − {reference}", "P(better)", "closed", f"MPC success − {reference}", "MPC closed"]
    columns += [f"error / {reference}", "P(lower)"]
    columns += ["gap", "simulator steps", "gradient steps", "planning, s", "MPC planning, s", "seconds"]
    rows = []
    for scene, members in (by_scene(settings) if not keys else {"": best_first(settings)}).items():
        for setting in members:
            row = [text(setting.values[key]) for key in keys] or [scene, label(setting)]
            rows.append([*row, str(len(setting.seeds)), *results(setting, "planner" in setting.values)])
    kept = [place for place in range(len(columns)) if any(row[place] not in ("–", "") for row in rows)]
    return [columns[place] for place in kept], [[row[place] for place in kept] for row in rows]


def results(setting: Setting, planners: bool) -> list[str]:
    """The cells of the numbers that a setting has found; where planners are compared, also of how long they took."""
    success, mpc, error = (setting.against.get(name) for name in ("success", "MPC success", "model error"))
    counted = setting.counts | {"seconds": setting.seconds["run"]}
    planning = [setting.seconds.get(name, math.nan) if planners else math.nan for name in PLANNED]
    return [
        *(interval(setting.estimates.get(name), ".2g" if name == "model error" else ".2f") for name in MEASURES),
        interval(success and success.difference, "+.2f"),
        probability(success.better) if success else "–",
        interval(setting.closed.get("success"), ".2f"),
        interval(mpc and mpc.difference, "+.2f"),
        interval(setting.closed.get("MPC success"), ".2f"),
        interval(error and error.ratio, ".2g"),
        probability(error.better) if error else "–",
        *(count(counted[name]) for name in ("gap", "simulator_steps", "gradient_steps")),
        *("–" if math.isnan(seconds) else f"{seconds:.1f}" for seconds in planning),
        count(counted["seconds"]),
    ]


def best_first(settings: Sequence[Setting]) -> list[Setting]:
    """The most successful ones first, of equally successful ones those with the lowest error."""

    def rank(setting: Setting) -> tuple[float, float]:
        error = setting.estimates["model error"].mean
        return -setting.estimates["success"].mean, math.inf if math.isnan(error) else error

    return sorted(settings, key=rank)


def by_scene(settings: Sequence[Setting]) -> dict[str, list[Setting]]:
    """The settings of each scene, which is put in words; the best ones first."""
    scenes: dict[str, list[Setting]] = {}
    for setting in settings:
        scenes.setdefault(", ".join(named(setting.scene)) or "all", []).append(setting)
    return {scene: best_first(members) for scene, members in scenes.items()}


def label(setting: Setting) -> str:
    """The method in words, as far as it differs from the control.

    Adaptation is left out where the column of adapted MPC tells of it, and with the true dynamics, which do not adapt.
    """
    told = "adapted MPC success" in setting.estimates or setting.method.get("finetune") == ORACLE
    aside = ("finetune", *(["adaptation"] if told else []))
    own = {name: value for name, value in setting.method.items() if name not in aside and value != ""}
    own = {name: value for name, value in own.items() if setting.control.get(name, "") != value}
    return ", ".join([*filter(None, [setting.method.get("finetune")]), *named(own)]) or "default"


def named(values: dict[str, Value]) -> list[str]:
    """Values in words: the option of a group says what it is, a number does not."""
    return [
        " ".join([*name.split(".")[1:][-2:], text(value)]) if "." in name else option(name, value)
        for name, value in values.items()
        if value != ""
    ]


def option(name: str, value: Value) -> str:
    """The option of a group, or the value of a setting that belongs to none."""
    return value if isinstance(value, str) and value not in ("true", "false", "null", "none") else f"{name} {value}"


def short(keys: Sequence[str]) -> list[str]:
    """Keys by as many of their last parts as tell them apart."""
    names = []
    for key in keys:
        parts = key.split(".")
        ends = (".".join(parts[-length:]) for length in range(1, len(parts) + 1))
        names.append(next((end for end in ends if sum(f".{other}".endswith(f".{end}") for other in keys) == 1), key))
    return names


def text(value: Value) -> str:
    """A value as it stands in a cell; a dash for what a run does not have."""
    return "–" if value == "" else str(value)


def interval(value: Estimate | None, form: str) -> str:
    """An estimate, or a dash where there is none."""
    return "–" if value is None else format(value, form)


def count(value: float) -> str:
    """A number of things; the gap of a model whose rollouts diverge is no number that anybody would want to read."""
    return "–" if math.isnan(value) else f"{value:,.0f}" if value < 1e9 else f"{value:.2g}"


def sentences(settings: Sequence[Setting]) -> list[str]:
    """How the best method of each scene compares with the control, or else the best setting with its own baseline.

    The best of many is better than the control by luck alone; its p-value is corrected for that.
    """
    scenes = by_scene(settings) if has_control(settings) else {"": best_first(settings)}
    found = []
    for scene, members in scenes.items():
        compared = [one for one in members if "success" in one.against and one.method.get("finetune") != ORACLE]
        if not compared:
            continue
        best = compared[0]
        p_value, *_ = corrected([one.against["success"].p_value for one in compared])
        success = best.against["success"]._replace(p_value=p_value)
        one, other = (label(best), "continue") if best.reference == "control" else ("finetuned", "its baseline")
        where = scene if best.reference == "control" else ", ".join(named(best.values))
        sentence = in_words(one, other, success, best.against.get("model error"), len(compared))
        found.append(f"{where}: {sentence}" if where not in ("", "all") else sentence)
    return found
