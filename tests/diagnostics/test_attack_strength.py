import pytest
import torch

from gapclose.data.trajectories import Trajectories
from gapclose.diagnostics.attack_strength import AttackStrength, true_steps
from gapclose.errors import UserError
from gapclose.models.dynamics.mlp import MLPDynamics
from gapclose.models.encoders.state import StateEncoder
from gapclose.models.world_model import LearnedWorldModel
from gapclose.training.attacks import ProjectedGradient
from gapclose.training.radii import FixedRadii, LearnedRadii


class Shift(MLPDynamics):
    """A linear model `z' = z + a`, which is exact away from walls."""

    def forward(self, latent, action):
        return latent + action.unsqueeze(1)

    def rollout(self, latent, actions):
        return latent.unsqueeze(1) + torch.cat((0 * actions[:, :1], actions.cumsum(1)), 1).unsqueeze(2)


@pytest.fixture
def linear():
    model = LearnedWorldModel(StateEncoder(2), Shift(2, 2, hidden_dim=4, num_layers=1))
    model.dynamics.delta_std.fill_(0.5)
    return model


def strength(multiples=(1, 4), radii=None, kind=ProjectedGradient):
    radii = radii or FixedRadii(0.05, 0.02)
    attacks = {
        "random": kind(radii, steps=0),
        "fgsm": kind(radii),
        "pgd": kind(radii, steps=10, step_ratio=0.25, keep_best=True),
    }
    return AttackStrength(attacks, list(multiples))


@pytest.fixture
def test_data():
    """Trajectories that walk freely, far from the wall."""
    actions = 0.01 * torch.randn(6, 5, 2, generator=torch.Generator().manual_seed(0))
    start = torch.tensor([1.0, 0.0]).expand(6, 1, 2)
    return Trajectories(torch.cat((start, start + actions.cumsum(1)), 1), actions)


def test_the_losses_of_a_linear_model_are_those_computed_by_hand(linear, wall, test_data):
    found = strength([1, 2]).measure(linear, wall, test_data, seed=0)
    assert found["multiples"] == [1, 2]
    assert found["clean"]["mean"] == pytest.approx(0, abs=1e-10)
    assert found["clean"]["num_tasks"] == 6
    # Latent and action add up in each coordinate: the corner for FGSM, the variance of two uniforms for chance.
    corner, chance = (0.05 + 0.02) ** 2 / 0.25, (0.05**2 + 0.02**2) / 3 / 0.25
    for multiple, fgsm, random, pgd in zip((1, 2), *(found["loss"][name] for name in ("fgsm", "random", "pgd"))):
        assert pgd["mean"] == pytest.approx(corner * multiple**2)
        assert corner * multiple**2 * 0.8 < fgsm["mean"] <= corner * multiple**2 * 1.0001
        assert random["mean"] == pytest.approx(chance * multiple**2, rel=0.5)
        assert fgsm["ci95"][0] > random["ci95"][1]
    # The true dynamics lead elsewhere from there, too: the model is not to blame.
    assert all(entry["mean"] < 1e-9 for entries in found["error"].values() for entry in entries)


def test_every_member_has_a_true_step_from_its_own_latent(ensemble, wall):
    states = torch.tensor([[[[1.0, 0.0], [1.2, 0.3], [-1.0, 0.0]]]])
    latent, action = ensemble.encoder(states), torch.tensor([[[0.1, 0.2]]])
    found = true_steps(ensemble, wall, latent, action)
    assert found.shape == (1, 1, 3, 2)
    torch.testing.assert_close(ensemble.encoder.decode(found[0, 0]), states[0, 0] + action[0], atol=1e-5, rtol=0)


def test_the_measurement_is_repeatable_and_keeps_the_global_random_state(ensemble, wall, test_data):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (strength().measure(ensemble, wall, test_data, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first == again != other


def test_attacks_are_on_the_device_of_the_latents(ensemble, wall, test_data):
    places = []

    class Moved(ProjectedGradient):
        def to(self, device):
            places.append(device)
            return super().to(device)

    strength([1], kind=Moved).measure(ensemble, wall, test_data, 0)
    assert places == [test_data.states.device] * 3


def test_clipped_actions_do_not_count_as_model_error(linear, wall):
    # As fast as the expert, that is at the bounds: half of the perturbed actions lie beyond them.
    actions = torch.tensor([0.25, -0.25]).expand(4, 3, 2)
    start = torch.tensor([0.5, 1.0]) + 0.1 * torch.rand(4, 1, 2, generator=torch.Generator().manual_seed(0))
    states = torch.cat((start, start + actions.cumsum(1)), 1)
    found = strength([1, 4]).measure(linear, wall, Trajectories(states, actions), seed=0)
    assert all(entry["mean"] < 1e-9 for entries in found["error"].values() for entry in entries)
    assert all(entry["mean"] > 1e-3 for entries in found["loss"].values() for entry in entries)


def test_the_radii_of_the_attack_itself_are_not_changed(ensemble, wall, test_data):
    measured = strength([2, 2])
    found = measured.measure(ensemble, wall, test_data, 0)
    assert all(first == second for first, second in found["loss"].values())
    assert all(attack.radii.current().tolist() == pytest.approx([0.05, 0.02]) for attack in measured.attacks.values())


@pytest.mark.parametrize("multiples", [[], [0], [-1]])
def test_impossible_multiples_are_refused(multiples):
    with pytest.raises(ValueError, match=r"at least 1 item|greater than 0"):
        strength(multiples)


def test_learned_radii_are_refused():
    with pytest.raises(UserError, match="of the attack random are learned"):
        strength(radii=LearnedRadii(FixedRadii()))
