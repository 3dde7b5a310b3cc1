"""Planners side by side with their peers: python benchmarks/planners.py (needs pip install "gapclose[benchmarks]").

The same network, tasks, horizon, samples and iterations for all, in one process; planners alternate, and medians are
compared. The cost is what the plan costs under the network: the mean squared distance of the last state to the goal.
With --scaling: how planning time grows with tasks, horizon and iterations.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.ticker import NullLocator
from torch import Tensor, nn

from gapclose.data.behaviours import Expert
from gapclose.data.collect import collect
from gapclose.envs.wall import Wall
from gapclose.models.dynamics.mlp import MLPDynamics
from gapclose.models.encoders.state import StateEncoder
from gapclose.models.world_model import LearnedWorldModel
from gapclose.planning.cem import CEMPlanner
from gapclose.planning.gradient import GradientPlanner
from gapclose.planning.initialization import Normal
from gapclose.planning.mppi import MPPIPlanner
from gapclose.planning.objective import GoalDistance, Objective
from gapclose.planning.planner import Planner
from gapclose.seeds import generator

HIDDEN, HORIZON, SAMPLES, ELITES, ITERATIONS = 128, 30, 300, 30, 10
WALL = Wall()
HIGH = WALL.action_max
OBJECTIVE = Objective({"goal": GoalDistance()})


def train(steps: int = 1000, batch: int = 256) -> nn.Sequential:
    """A plain network that predicts the change of the state, fitted to expert data."""
    torch.manual_seed(0)
    data = collect(WALL, Expert(0.1), num_trajectories=1000, steps=HORIZON, seed=0)
    states, actions = data.states[:, :-1].flatten(0, 1), data.actions.flatten(0, 1)
    deltas = data.states.diff(dim=1).flatten(0, 1)
    hidden = [layer for ends in pairwise((4, HIDDEN, HIDDEN, HIDDEN)) for layer in (nn.Linear(*ends), nn.SiLU())]
    net = nn.Sequential(*hidden, nn.Linear(HIDDEN, 2))
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(steps):
        rows = torch.randint(len(states), (batch,))
        loss = (net(torch.cat((states[rows], actions[rows]), -1)) - deltas[rows]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net


def as_world_model(net: nn.Sequential) -> LearnedWorldModel:
    """The same function as a world model of gapclose."""
    dynamics = MLPDynamics(2, 2, hidden_dim=HIDDEN)
    linear = [layer for layer in net if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for weight, bias, layer in zip(dynamics.weights, dynamics.biases, linear):
            weight.copy_(layer.weight.T)
            bias.copy_(layer.bias)
    return LearnedWorldModel(StateEncoder(2), dynamics)


def ours(
    make: Callable[..., Planner], world_model: LearnedWorldModel, starts: Tensor, goals: Tensor, **settings
) -> Tensor:
    """The plans of a planner of gapclose."""
    planner = make(action_low=WALL.action_low, action_high=WALL.action_high, horizon=HORIZON, **settings)
    return planner.plan(world_model, OBJECTIVE, starts, goals, generator=generator(0)).actions


def alternate(planners: dict[str, Callable[[], Tensor]], repeats: int) -> dict[str, tuple[float, Tensor]]:
    """Median seconds and the last plans of each, taken in turns after one round to warm up."""
    seconds, plans = {name: [] for name in planners}, {}
    for repeat in range(repeats + 1):
        for name, run in planners.items():
            torch.manual_seed(0)
            began = time.perf_counter()
            plans[name] = run()
            if repeat:
                seconds[name].append(time.perf_counter() - began)
    return {name: (statistics.median(seconds[name]), plans[name]) for name in planners}


def compare(
    title: str, planners: dict[str, Callable[[], Tensor]], cost: Callable[[Tensor], float], repeats: int
) -> None:
    """Prints a Markdown table; the first planner is ours."""
    print(f"\n{title}\n\n| | seconds | of ours | cost |\n| --- | --- | --- | --- |")
    results = alternate(planners, repeats)
    own = next(iter(results.values()))[0]
    for name, (seconds, plans) in results.items():
        print(f"| {name} | {seconds:.3f} | {seconds / own:.2f} × | {cost(plans):.5f} |", flush=True)


def peers(args: argparse.Namespace) -> None:
    """The tables of benchmarks/README.md."""
    from peers import plain_loop_plans, pytorch_mppi_plans, torchrl_cem_plans, torchrl_mppi_plans

    net = train()
    world_model = as_world_model(net)
    starts, goals = WALL.sample_tasks(args.tasks, generator(0, "benchmark"))

    def cost(plans: Tensor) -> float:
        with torch.no_grad():
            end = world_model.rollout(world_model.encode(starts), plans)[:, -1, 0]
        return (end - goals).square().mean().item()

    def peer(plan: Callable[..., Tensor], **settings) -> Callable[[], Tensor]:
        return lambda: plan(net, starts, goals, HORIZON, HIGH, **settings)

    def own(make: Callable[..., Planner], model: LearnedWorldModel = world_model, **settings) -> Callable[[], Tensor]:
        return lambda: ours(make, model, starts, goals, **settings)

    budget = dict(num_samples=SAMPLES, iterations=ITERATIONS)
    elites = dict(budget, num_elites=ELITES)
    sampling = f"{args.tasks} tasks, horizon {HORIZON}, {SAMPLES} samples, {ITERATIONS} iterations"
    planners = {
        "gapclose CEMPlanner": own(CEMPlanner, **elites),
        "torchrl CEMPlanner": peer(torchrl_cem_plans, **elites, noise_std=1.0),
    }
    compare(f"CEM: {sampling}, {ELITES} elites", planners, cost, args.repeats)
    # Each with a temperature that suits it, the best of a few on other tasks.
    planners = {
        "gapclose MPPIPlanner": own(MPPIPlanner, **budget, noise_std=1.0, temperature=0.03),
        "pytorch-mppi": peer(pytorch_mppi_plans, **budget, noise_std=1.0, temperature=0.01),
        "torchrl MPPIPlanner": peer(torchrl_mppi_plans, **elites, noise_std=1.0, temperature=0.2),
    }
    compare(f"MPPI: {sampling}", planners, cost, args.repeats)
    compiled = as_world_model(net)
    began = time.perf_counter()
    compiled.compile_step()
    print(f"\nCompiling a step took {time.perf_counter() - began:.1f} s.")
    for tasks, num_starts in ((20, 1), (args.tasks, 1), (args.tasks, 4), (10 * args.tasks, 1)):
        starts, goals = WALL.sample_tasks(tasks, generator(0, "benchmark"))
        settings = dict(num_starts=num_starts, iterations=30, lr=0.1)
        gradient = dict(settings, init=Normal(), action_noise=0.0)
        planners = {
            "gapclose GradientPlanner": own(GradientPlanner, **gradient),
            "the same, compile=true": own(GradientPlanner, compiled, **gradient),
            "plain loop": peer(plain_loop_plans, **settings),
        }
        title = f"Gradient: {tasks} tasks, {num_starts} starts each, horizon {HORIZON}, 30 iterations"
        compare(title, planners, cost, args.repeats)


def scaling(args: argparse.Namespace) -> None:
    """Planning time against tasks, horizon and iterations: a picture, and the exponents fitted to it."""
    world_model = as_world_model(train())
    planners = {
        "gradient": partial(GradientPlanner, init=Normal(), num_starts=4),
        "CEM": partial(CEMPlanner, num_samples=64, num_elites=8),
        "MPPI": partial(MPPIPlanner, num_samples=64),
    }
    default = {"tasks": 32, "horizon": 16, "iterations": 8}
    grid = {"tasks": (16, 32, 64, 128, 256), "horizon": (8, 16, 32, 64, 128), "iterations": (4, 8, 16, 32, 64)}
    figure, panels = plt.subplots(1, 3, figsize=(12, 4), sharey=True, layout="constrained")
    print("| planner | tasks | horizon | iterations |\n| --- | --- | --- | --- |")
    exponents = {name: [] for name in planners}
    for axes, (varied, values) in zip(panels, grid.items()):
        for name, make in planners.items():
            seconds = []
            for value in values:
                sizes = default | {varied: value}
                planner = make(
                    action_low=WALL.action_low,
                    action_high=WALL.action_high,
                    horizon=sizes["horizon"],
                    iterations=sizes["iterations"],
                )
                tasks = WALL.sample_tasks(sizes["tasks"], generator(0, "scaling"))
                runs = [planner.plan(world_model, OBJECTIVE, *tasks).seconds for _ in range(args.repeats + 1)]
                seconds.append(statistics.median(runs[1:]))
            exponent = np.polyfit(np.log(values), np.log(seconds), 1)[0]
            exponents[name].append(exponent)
            axes.loglog(values, seconds, "o-", label=f"{name}: exponent {exponent:.2f}")
        axes.set(xlabel=varied, title=", ".join(f"{k} {n}" for k, n in default.items() if k != varied))
        axes.set_xticks(values, [str(value) for value in values])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(frameon=False)
        axes.grid(alpha=0.3, which="both")
    panels[0].set_ylabel("seconds")
    path = Path(__file__).with_name("scaling.png")
    figure.savefig(path, dpi=120)
    for name, values in exponents.items():
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    print(f"\n{path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scaling", action="store_true")
    args = parser.parse_args()
    print(
        f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}"
    )
    (scaling if args.scaling else peers)(args)


if __name__ == "__main__":
    main()
