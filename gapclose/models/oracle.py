"""The simulator in place of a world model: in its own states, or in the latents of a learned model."""

from torch import Tensor

from gapclose.data.trajectories import Window
from gapclose.envs.simulator import Simulator
from gapclose.models.world_model import WorldModel


class OracleWorldModel(WorldModel):
    """The simulator as a world model without error. Plans that still fail are the planner's fault, not the model's.

    Args:
        simulator: the true dynamics; the latents `[N, 1, S]` are its states in units of its `scale`.
    """

    def __init__(self, simulator: Simulator) -> None:
        super().__init__()
        self.simulator, self.differentiable = simulator, simulator.differentiable
        self.register_buffer("scale", simulator.scale)

    def encode(self, observation: Tensor) -> Tensor:
        return (observation if self.scale is None else observation / self.scale).unsqueeze(1)

    def decode(self, latent: Tensor) -> Tensor:
        state = latent.squeeze(-2)
        return state if self.scale is None else state * self.scale

    def step(self, latent: Tensor, action: Tensor) -> Tensor:
        return self.encode(self.simulator.step(self.decode(latent), action))

    def rollout(self, latent: Tensor, actions: Tensor) -> Tensor:
        states = self.simulator.rollout(self.decode(latent), actions)
        return self.encode(states.flatten(0, 1)).unflatten(0, states.shape[:2])

    def loss(self, window: Window) -> Tensor:
        """Raises `NotImplementedError`: there is nothing to train."""
        raise NotImplementedError("The oracle is the simulator; it has no parameters to train.")


class TrueDynamics(WorldModel):
    """The true dynamics in the latents of a learned model, so that costs and gradients of both can be compared.

    Args:
        simulator: the true dynamics.
        world_model: model that encodes and decodes; its latents must determine the state.
    """

    def __init__(self, simulator: Simulator, world_model: WorldModel) -> None:
        super().__init__()
        self.simulator, self.world_model = simulator, world_model
        self.differentiable = simulator.differentiable

    def encode(self, observation: Tensor) -> Tensor:
        return self.world_model.encode(observation)[:, :1]

    def decode(self, latent: Tensor) -> Tensor:
        return self.world_model.decode(latent)

    def step(self, latent: Tensor, action: Tensor) -> Tensor:
        next_state = self.simulator.step(self.decode(latent), action)
        return self.encode(self.simulator.observe(next_state))

    def rollout(self, latent: Tensor, actions: Tensor) -> Tensor:
        states = self.simulator.rollout(self.decode(latent), actions)
        return self.encode(self.simulator.observe(states.flatten(0, 1))).unflatten(0, states.shape[:2])

    def loss(self, window: Window) -> Tensor:
        """Raises `NotImplementedError`: there is nothing to train."""
        raise NotImplementedError("The true dynamics have no parameters to train.")
