"""Model-predictive control: plan, execute a few steps, observe the real state, and plan again."""

from typing import Literal

import torch
from pydantic import ConfigDict, PositiveInt, validate_call
from torch import Tensor

from gapclose.clock import now
from gapclose.envs.simulator import Simulator, Tasks
from gapclose.models.world_model import WorldModel
from gapclose.planning.adaptation import GradientAdaptation
from gapclose.planning.execution import Execution
from gapclose.planning.objective import Objective
from gapclose.planning.planner import Planner
from gapclose.progress import progress_bar


class MPC:
    """Replans from the real state with any planner, with a warm start from the rest of the last plan.

    Tasks that have reached their goals stop.

    Args:
        planner: the planner.
        replan_every: number of steps of each plan that are executed.
        max_steps: number of steps after which a task fails; by default two horizons.
        horizon: `shrinking` plans up to a deadline one horizon away, so that a plan cannot postpone reaching the goal
            for ever; after the deadline, unfinished tasks get a new one. `fixed` always plans a whole horizon ahead.
        adaptation: adapts the model to each task's observed transitions before each plan but the first; by default the
            model does not change.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(
        self,
        planner: Planner,
        replan_every: PositiveInt = 5,
        max_steps: PositiveInt | None = None,
        horizon: Literal["shrinking", "fixed"] = "shrinking",
        adaptation: GradientAdaptation | None = None,
    ) -> None:
        self.planner, self.replan_every, self.horizon, self.adaptation = planner, replan_every, horizon, adaptation
        self.max_steps = max_steps or 2 * planner.horizon

    def execute(
        self,
        simulator: Simulator,
        world_model: WorldModel,
        objective: Objective,
        tasks: Tasks,
        generator: torch.Generator | None = None,
        adapt: bool = True,
    ) -> Execution:
        """Plans and executes until every task has reached its goal or `max_steps` have passed.

        Args:
            simulator: executes the plans.
            world_model: predicts the plans' outcomes.
            objective: scores the plans.
            tasks: starts and goals.
            generator: source of randomness, on the CPU; the global one by default.
            adapt: whether to use the `adaptation`, if there is one.

        Raises:
            UserError: there is an `adaptation`, but the model is not a learned one.
        """
        n = len(tasks.start)
        states, imagined = [tasks.start], [tasks.start]
        actions, executed = [], []
        promised = tasks.start.clone()
        arrived = simulator.success(tasks.start, tasks.goal)
        elites, seconds, adaptation_seconds, model_calls = None, 0.0, 0.0, 0
        adaptation, active = self.adaptation if adapt else None, (~arrived).nonzero().squeeze(1)
        if adaptation:
            world_model = adaptation.start(world_model, len(active))
        with progress_bar(self.max_steps, "MPC", "step") as bar:
            while len(actions) < self.max_steps and not arrived.all():
                still_active = ~arrived[active]
                world_model, active = world_model.for_tasks(still_active), active[still_active]
                if adaptation and actions:
                    began = now(states[-1])
                    observed = (torch.stack(steps, 1)[active] for steps in (states, actions))
                    world_model = adaptation.adapt(world_model, *observed)
                    adaptation_seconds += now(states[-1]) - began
                start, goal = simulator.observe(states[-1][active]), simulator.observe(tasks.goal[active])
                warm_start = None if elites is None else self.shift(elites[active])
                # Each search gets its own generator: how much it draws depends on its tasks, and later draws must not.
                random = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=generator)))
                plan = self.planner.plan(world_model, objective, start, goal, warm_start, random)
                seconds, model_calls = seconds + plan.seconds, model_calls + plan.model_calls
                elites = scatter_rows(plan.elites, active, n)
                planned = elites[:, 0]
                with torch.no_grad():
                    prediction = world_model.decode(world_model.rollout(world_model.encode(start), plan.actions))
                promised[active] = prediction[:, -1]
                for step in range(min(self.replan_every, self.max_steps - len(actions), planned.shape[1])):
                    moving = ~arrived
                    actions.append(torch.where(moving[:, None], planned[:, step], 0))
                    states.append(
                        torch.where(moving[:, None], simulator.step(states[-1], planned[:, step]), states[-1])
                    )
                    imagined.append(states[-1].index_put((active,), prediction[:, step + 1]))
                    executed.append(moving)
                    arrived = arrived | simulator.success(states[-1], tasks.goal)
                    bar.update()
        return Execution(
            tasks,
            torch.stack(actions, 1) if actions else tasks.start.new_zeros(n, 0, simulator.action_dim),
            torch.stack(states, 1),
            torch.stack(imagined, 1),
            torch.stack(executed, 1) if executed else arrived.new_zeros(n, 0),
            promised,
            seconds + adaptation_seconds,
            model_calls,
            adaptation_seconds,
        )

    def shift(self, elites: Tensor) -> Tensor | None:
        """Returns the unexecuted rest of sequences `[N, E, T, A]`, or `None` if there is none.

        With a fixed horizon, the last action is repeated for the missing steps.
        """
        rest = elites[:, :, self.replan_every :]
        if self.horizon == "fixed":
            missing = elites.shape[2] - rest.shape[2]
            rest = torch.cat((rest, elites[:, :, -1:].expand(-1, -1, missing, -1)), 2)
        return rest if rest.shape[2] else None


def scatter_rows(rows: Tensor, index: Tensor, n: int) -> Tensor:
    """Returns a tensor `[N, ...]` with the rows at the positions `index`, and 0 elsewhere."""
    return rows.new_zeros(n, *rows.shape[1:]).index_copy_(0, index, rows)
