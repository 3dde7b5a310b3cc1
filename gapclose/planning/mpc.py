"""Model-predictive control: plan, execute a few steps, look where the simulator really is, plan again."""

import torch
from pydantic import ConfigDict, PositiveInt, validate_call

from gapclose.envs.simulator import Simulator, Tasks
from gapclose.models.world_model import WorldModel
from gapclose.planning.execution import Execution
from gapclose.planning.objective import Objective
from gapclose.planning.planner import Planner
from gapclose.progress import progress_bar


class MPC:
    """Replans with any planner from where the simulator really is.

    Plans are made up to a deadline, one horizon away; each replanning shortens them, so that reaching the goal cannot
    be put off for ever, and starts from what is left of the last plan. When the deadline passes, tasks that have not
    arrived get a new one. Tasks that have arrived stop.

    Args:
        planner: plans each time.
        replan_every: steps executed of each plan.
        max_steps: steps after which a task that has not arrived has failed; two horizons by default.
    """

    @validate_call(config=ConfigDict(arbitrary_types_allowed=True))
    def __init__(self, planner: Planner, replan_every: PositiveInt = 5, max_steps: PositiveInt | None = None) -> None:
        self.planner = planner
        self.replan_every = replan_every
        self.max_steps = max_steps or 2 * planner.horizon

    def execute(
        self,
        simulator: Simulator,
        world_model: WorldModel,
        objective: Objective,
        tasks: Tasks,
        generator: torch.Generator | None = None,
    ) -> Execution:
        """Plans and executes until every task has arrived or `max_steps` have passed."""
        n = len(tasks.start)
        states, imagined = [tasks.start], [tasks.start]
        actions, executed = [], []
        promised = tasks.start.clone()
        arrived = simulator.success(tasks.start, tasks.goal)
        plan, seconds = tasks.start.new_zeros(n, 0, simulator.action_dim), 0.0
        with progress_bar(self.max_steps, "MPC", "step") as bar:
            while len(actions) < self.max_steps and not arrived.all():
                live = (~arrived).nonzero().squeeze(1)
                start, goal = simulator.observe(states[-1][live]), simulator.observe(tasks.goal[live])
                left = plan[live, self.replan_every :]
                warm_start = left if left.shape[1] else None
                new, _, _, spent = self.planner.plan(world_model, objective, start, goal, warm_start, generator)
                seconds += spent
                plan = new.new_zeros(n, *new.shape[1:])
                plan[live] = new
                with torch.no_grad():
                    prediction = world_model.decode(world_model.rollout(world_model.encode(start), new))
                promised[live] = prediction[:, -1]
                for step in range(min(self.replan_every, self.max_steps - len(actions), plan.shape[1])):
                    moving = ~arrived
                    actions.append(torch.where(moving[:, None], plan[:, step], 0))
                    states.append(torch.where(moving[:, None], simulator.step(states[-1], plan[:, step]), states[-1]))
                    imagined.append(states[-1].index_put((live,), prediction[:, step + 1]))
                    executed.append(moving)
                    arrived = arrived | simulator.success(states[-1], tasks.goal)
                    bar.update()
        return Execution(
            tasks,
            torch.stack(actions, 1) if actions else plan,
            torch.stack(states, 1),
            torch.stack(imagined, 1),
            torch.stack(executed, 1) if executed else plan.new_zeros(n, 0, dtype=torch.bool),
            promised,
            seconds,
        )
