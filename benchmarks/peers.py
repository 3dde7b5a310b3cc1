"""What a user would plan with instead of gapclose: pytorch-mppi, torchrl, and a plain PyTorch loop.

Every function minimises the mean squared distance of the last state to the goal under `step`, for all tasks, and
returns the plans `[N, T, A]`. Where a library can be used in several ways, this is the fastest that its public
interface allows. Noise is in units of the action bound.
"""

from collections.abc import Callable
from functools import partial

import torch
from pytorch_mppi.mppi import MPPI_Batched
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.data import Bounded, Composite, Unbounded
from torchrl.envs import ModelBasedEnvBase
from torchrl.modules import CEMPlanner, MPPIPlanner, WorldModelWrapper

ACTIONS = 2


def step(net: nn.Module, state: Tensor, action: Tensor) -> Tensor:
    """Next states `[..., S]` of states `[..., S]` under actions `[..., A]`."""
    return state + net(torch.cat((state, action), -1))


def last_state(net: nn.Module, state: Tensor, actions: Tensor) -> Tensor:
    """Where action sequences `[..., T, A]` lead from states `[..., S]`."""
    for action in actions.unbind(-2):
        state = step(net, state, action)
    return state


@torch.no_grad()
def pytorch_mppi_plans(
    net: nn.Module,
    starts: Tensor,
    goals: Tensor,
    horizon: int,
    high: float,
    num_samples: int,
    iterations: int,
    noise_std: float,
    temperature: float,
) -> Tensor:
    """`MPPI_Batched`: weights `exp(-(cost - least cost) / temperature)`; all tasks share one noise.

    It has no terminal cost, so its running cost is zero before the last step. Its cost also holds the algorithm's
    control cost `temperature * U Σ⁻¹ ε`, which no option removes.
    """
    bound = torch.full((ACTIONS,), high)
    goal_of_row = goals.repeat_interleave(num_samples, 0)
    free = starts.new_zeros(len(goal_of_row))

    def cost(state: Tensor, action: Tensor, t: int) -> Tensor:
        return (state - goal_of_row).square().mean(-1) if t == horizon - 1 else free

    mppi = MPPI_Batched(
        lambda state, action, t: step(net, state, action),
        cost,
        nx=starts.shape[1],
        noise_sigma=torch.diag((noise_std * bound).square()),
        num_envs=len(starts),
        num_samples=num_samples,
        horizon=horizon,
        lambda_=temperature,
        u_min=-bound,
        u_max=bound,
        step_dependent_dynamics=True,
    )
    mppi.U = starts.new_zeros(len(starts), horizon, ACTIONS)  # It cannot be given a first plan otherwise.
    for _ in range(iterations):
        mppi.command(starts, shift_nominal_trajectory=False)
    return mppi.U


class SequenceEnv(ModelBasedEnvBase):
    """The problem as one step whose action is the whole sequence `[T * A]`, in units of `scale`.

    Through an environment that goes step by step, which is how torchrl's documentation wraps a world model, the
    planners find the same plans, take longer, and return their first actions only.
    """

    def __init__(self, net: nn.Module, state_dim: int, horizon: int, high: float, scale: float) -> None:
        def transition(state: Tensor, action: Tensor) -> Tensor:
            return last_state(net, state, scale * action.unflatten(-1, (horizon, ACTIONS)))

        def reward(state: Tensor, goal: Tensor) -> Tensor:
            return -(state - goal).square().mean(-1, keepdim=True)

        super().__init__(
            WorldModelWrapper(
                TensorDictModule(transition, in_keys=["state", "action"], out_keys=["state"]),
                TensorDictModule(reward, in_keys=["state", "goal"], out_keys=["reward"]),
            )
        )
        spec = Composite(state=Unbounded((state_dim,)), goal=Unbounded((state_dim,)))
        self.observation_spec, self.state_spec = spec, spec.clone()
        self.action_spec = Bounded(-high / scale, high / scale, (horizon * ACTIONS,))
        self.reward_spec = Unbounded((1,))

    def _reset(self, tensordict: TensorDictBase, **kwargs) -> TensorDictBase:
        return tensordict


class ReturnsBelowBest(nn.Module):
    """The advantage that `MPPIPlanner` weighs by: the return less the best one, so that no exponential underflows."""

    def forward(self, tensordict: TensorDictBase) -> TensorDictBase:
        """Writes the `advantage [N, K, T, 1]`."""
        returns = tensordict["next", "reward"]
        return tensordict.set("advantage", returns - returns.amax(-3, keepdim=True))


@torch.no_grad()
def torchrl_plans(
    make_planner: Callable[..., nn.Module],
    net: nn.Module,
    starts: Tensor,
    goals: Tensor,
    horizon: int,
    high: float,
    num_samples: int,
    num_elites: int,
    iterations: int,
    noise_std: float,
) -> Tensor:
    """What the two planners of torchrl have in common. The plan is a mean of the last elites."""
    scale = noise_std * high  # The planners start from unit Gaussians.
    planner = make_planner(
        SequenceEnv(net, starts.shape[1], horizon, high, scale),
        planning_horizon=1,
        optim_steps=iterations,
        num_candidates=num_samples,
        top_k=num_elites,
    )
    actions = planner(TensorDict({"state": starts, "goal": goals}, [len(starts)]))["action"]
    return scale * actions.view(len(starts), horizon, ACTIONS)


torchrl_cem_plans = partial(torchrl_plans, CEMPlanner)


def torchrl_mppi_plans(*arguments, temperature: float, **settings) -> Tensor:
    """TD-MPC's MPPI: CEM with weights `exp(-cost / temperature)` over the elites; torchrl calls the inverse so."""
    make = partial(MPPIPlanner, advantage_module=ReturnsBelowBest(), temperature=1 / temperature)
    return torchrl_plans(make, *arguments, **settings)


def plain_loop_plans(
    net: nn.Module,
    starts: Tensor,
    goals: Tensor,
    horizon: int,
    high: float,
    num_starts: int,
    iterations: int,
    lr: float,
) -> Tensor:
    """The loop that one writes first: Adam on random sequences; the best of each task at the end counts.

    The network's parameters receive gradients, as they do where nobody thought of it. `lr` is in units of the bound.
    """
    n = len(starts)
    start, goal = starts.repeat_interleave(num_starts, 0), goals.repeat_interleave(num_starts, 0)
    actions = (high * torch.randn(n * num_starts, horizon, ACTIONS)).clamp(-high, high).requires_grad_()
    optimizer = torch.optim.Adam([actions], lr=lr * high)
    for _ in range(iterations):
        z = start
        for t in range(horizon):
            z = step(net, z, actions[:, t])
        cost = (z - goal).square().mean(-1).sum()
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        with torch.no_grad():
            actions.clamp_(-high, high)
    with torch.no_grad():
        costs = (last_state(net, start, actions) - goal).square().mean(-1).view(n, num_starts)
        return actions.view(n, num_starts, horizon, ACTIONS)[torch.arange(n), costs.argmin(1)]
