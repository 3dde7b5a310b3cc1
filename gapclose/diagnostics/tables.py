"""The results of diagnostics as tables, one for each question."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from gapclose.evaluation.statistics import Estimate, number
from gapclose.evaluation.tables import success

SEQUENCES = {"random": "random", "initial": "initial", "descent": "descent path", "plan": "plan"}
"""The kinds of action sequences at which gradients are examined, in words."""
COSTS = {"goal": "goal", "objective": "objective"}
"""The examined costs, in words."""


class DiagnosticTable(NamedTuple):
    """A table that answers one question."""

    title: str
    columns: list[str]
    rows: list[list[str]]
    caption: str


def diagnostic_tables(models: dict[str, dict[str, Any]]) -> Iterator[DiagnosticTable]:
    """Yields a table for each question that has an answer, from the metrics by model of `Diagnostics.run`."""
    learned = {name: metrics for name, metrics in models.items() if "attack" in metrics}
    yield outcome({name: metrics for name, metrics in models.items() if "open_loop" in metrics})
    yield attack_strength(learned)
    yield roughness({name: metrics for name, metrics in models.items() if "landscape" in metrics})
    yield errors(learned)
    if all("gradients" in metrics for metrics in learned.values()):
        yield gradient_agreement(learned)
    ensembles = {name: metrics["disagreement"] for name, metrics in learned.items() if "disagreement" in metrics}
    if ensembles:
        yield disagreement(ensembles)


def cell(entry: dict[str, Any], digits: str = ".2g", name: str = "mean") -> str:
    """Formats an estimate with its interval."""
    return format(Estimate.of(entry, name), digits)


def outcome(models: dict[str, dict[str, Any]]) -> DiagnosticTable:
    """The outcome of planning, which the other tables explain."""
    rows = []
    for name, metrics in models.items():
        result = metrics["open_loop"]
        distances = [number(result[key], ".3f") for key in ("goal_distance", "imagined_goal_distance")]
        rows.append([name, success(result), *distances, number(result["world_model_error"])])
    columns = ["model", "success [95 %]", "distance", "promised", "model error"]
    caption = "plans executed open loop; distance: to the goal at the end; model error: MSE of the imagined states"
    return DiagnosticTable("0. Outcome of planning", columns, rows, caption)


def attack_strength(models: dict[str, dict[str, Any]]) -> DiagnosticTable:
    """The loss by attack and radius of the perturbation."""
    rows, multiples = [], next(iter(models.values()))["attack"]["multiples"]
    for name, metrics in models.items():
        result = metrics["attack"]
        rows.append([name, "clean", *[cell(result["clean"], ".3g")] * len(multiples)])
        for key, words in (("loss", ""), ("error", ", true target")):
            for attack, estimates in result[key].items():
                rows.append([name, f"{attack}{words}", *(cell(estimate, ".3g") for estimate in estimates)])
    columns = ["model", "attack", *(f"radius × {multiple:g}" for multiple in multiples)]
    caption = (
        "loss on held-out expert transitions, in units of the variance of a step; true target: the simulator's next "
        "states for the perturbed inputs, so that only the model's error counts"
    )
    return DiagnosticTable("1. Is the attack strong?", columns, rows, caption)


def roughness(models: dict[str, dict[str, Any]]) -> DiagnosticTable:
    """Gradient variation and curvature by cost and kind of sequence."""
    rows = []
    for name, metrics in models.items():
        for cost, of_cost in metrics["landscape"].items():
            for kind in ("initial", "plan"):
                result = of_cost[kind]
                variation = [cell(entry) for entry in result["gradient_variation"]]
                rows.append([name, COSTS[cost], SEQUENCES[kind], *variation, cell(result["curvature"])])
            blank = [""] * (len(variation) - 1)
            rows.append([name, COSTS[cost], SEQUENCES["descent"], cell(of_cost["descent"]), *blank, ""])
    steps = next(iter(models.values()))["landscape"]["goal"]["plan"]["step_sizes"]
    columns = ["model", "cost", "around", *(f"s = {step:g}" for step in steps), "curvature"]
    caption = (
        "‖g(a + s d) - g(a)‖ / s in random directions d, of the cost's gradient g (descent path: between successive "
        "points, with their distance as s); curvature: the largest absolute one"
    )
    return DiagnosticTable("2. Is the landscape smooth?", columns, rows, caption)


def errors(models: dict[str, dict[str, Any]]) -> DiagnosticTable:
    """One-step errors on expert data, along plans and over the arena."""
    rows = []
    for name, metrics in models.items():
        result = metrics["errors"]
        arena = f"{number(result['arena']['mean'])} ({number(result['arena']['median'])})" if "arena" in result else "–"
        shares = [
            cell(result[key], ".2f") if key in result else "–"
            for key in ("impossible", "unvisited_real", "unvisited_imagined")
        ]
        rows.append([name, *(cell(result[key]) for key in ("expert", "real", "imagined")), arena, *shares])
    columns = [
        "model", "expert data", "real states", "imagined states", "arena (median)", "impossible", "no data: real",
        "imagined"
    ]  # fmt: skip
    caption = (
        "MSE of one step; real, imagined states: of executed plans; impossible: share of imagined states that are "
        "impossible in the world; no data: share of the plans' states in cells without training data"
    )
    return DiagnosticTable("3. Where are the errors?", columns, rows, caption)


def gradient_agreement(models: dict[str, dict[str, Any]]) -> DiagnosticTable:
    """Cosines with the true gradient by cost and kind of sequence."""
    rows = [
        [
            name,
            COSTS[cost],
            SEQUENCES[kind],
            cell(result["cosine"], "z.2f"),
            cell(result["share_negative"], ".2f"),
            number(result["without_gradient"]["mean"], ".3f"),
            number(result["erased"]["mean"], ".2f"),
        ]
        for name, metrics in models.items()
        for cost, of_cost in metrics["gradients"].items()
        for kind, result in of_cost.items()
    ]
    columns = ["model", "cost", "at", "cosine", "tasks below 0", "no true gradient", "erased"]
    caption = (
        "cosine with the gradient of the goal's cost under the true dynamics; no true gradient: share of sequences, "
        "left out of the cosine; erased: share of action coordinates on which the true cost does not depend"
    )
    return DiagnosticTable("4. Do gradients point the right way?", columns, rows, caption)


def disagreement(ensembles: dict[str, dict[str, Any]]) -> DiagnosticTable:
    """Rank correlations of disagreement and true error."""
    keys = {"arena": "arena", "real": "real states", "imagined": "imagined states", "plans": "whole plans"}
    rows = []
    for name, correlations in ensembles.items():
        cells = [
            "–" if key not in correlations
            else cell(correlations[key], "z.2f", "rank_correlation") if "ci95" in correlations[key]
            else number(correlations[key]["rank_correlation"], "z.2f")
            for key in keys
        ]  # fmt: skip
        rows.append([name, *cells])
    caption = "Spearman's rank correlation of the members' disagreement with the true error"
    return DiagnosticTable("5. Does disagreement predict the errors?", ["model", *keys.values()], rows, caption)
