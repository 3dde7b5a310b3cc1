"""Model-predictive control: plan, execute a few steps, look where the simulator really is, plan again."""

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
    """Replans with any planner from where the simulator really is, and starts from what is left of the last plan.

    Tasks that have arrived stop.

    Args:
        planner: plans each time.
        replan_every: steps executed of each plan.
        max_steps: steps after which a task that has not arrived has failed; two horizons by default.
        horizon: `shrinking` plans up to a deadline, one horizon away, so that reaching the goal cannot be put off for
            ever; when the deadline passes, tasks that have not arrived get a new one. `fixed` always plans a whole
            horizon ahead.
        adaptation: adapts the model, before each further plan, to what each task has observed; by default it stays as
            it is.
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
        """Plans and executes until every task has arrived or `max_steps` have passed.

        Args:
            simulator: executes.
            world_model: what is planned with.
            objective: what plans are judged by.
            tasks: starts and goals.
            generator: source of randomness, on the CPU; the global one by default.
            adapt: whether the model is adapted on the way, if there is an `adaptation`.

        Raises:
            UserError: the model is to be adapted, but is not a learned one.
        """
        n = len(tasks.start)
        states, imagined = [tasks.start], [tasks.start]
        actions, executed = [], []
        promised = tasks.start.clone()
        arrived = simulator.success(tasks.start, tasks.goal)
        elites, seconds, adaptation_seconds, model_calls = None, 0.0, 0.0, 0
        adaptation, live = self.adaptation if adapt else None, (~arrived).nonzero().squeeze(1)
        if adaptation:
            world_model = adaptation.start(world_model, len(live))
        with progress_bar(self.max_steps, "MPC", "step") as bar:
            while len(actions) < self.max_steps and not arrived.all():
                going = ~arrived[live]
                world_model, live = world_model.for_tasks(going), live[going]
                if adaptation and actions:
                    began = now(states[-1])
                    observed = (torch.stack(steps, 1)[live] for steps in (states, actions))
                    world_model = adaptation.adapt(world_model, *observed)
                    adaptation_seconds += now(states[-1]) - began
                start, goal = simulator.observe(states[-1][live]), simulator.observe(tasks.goal[live])
                warm_start = None if elites is None else self.shift(elites[live])
                # How much a search draws depends on its tasks; what comes after it must not.
                random = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=generator)))
                plan = self.planner.plan(world_model, objective, start, goal, warm_start, random)
                seconds, model_calls = seconds + plan.seconds, model_calls + plan.model_calls
                elites = spread(plan.elites, live, n)
                planned = elites[:, 0]
                with torch.no_grad():
                    prediction = world_model.decode(world_model.rollout(world_model.encode(start), plan.actions))
                promised[live] = prediction[:, -1]
                for step in range(min(self.replan_every, self.max_steps - len(actions), planned.shape[1])):
                    moving = ~arrived
                    actions.append(torch.where(moving[:, None], planned[:, step], 0))
                    states.append(
                        torch.where(moving[:, None], simulator.step(states[-1], planned[:, step]), states[-1])
                    )
                    imagined.append(states[-1].index_put((live,), prediction[:, step + 1]))
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
        """What is left of sequences `[N, E, T, A]` once the first steps are executed; none if that is nothing."""
        left = elites[:, :, self.replan_every :]
        if self.horizon == "fixed":
            missing = elites.shape[2] - left.shape[2]
            left = torch.cat((left, elites[:, :, -1:].expand(-1, -1, missing, -1)), 2)
        return left if left.shape[2] else None


def spread(rows: Tensor, index: Tensor, n: int) -> Tensor:
    """A tensor `[N, ...]` with the rows at the places `index`, and 0 elsewhere."""
    return rows.new_zeros(n, *rows.shape[1:]).index_copy_(0, index, rows)
