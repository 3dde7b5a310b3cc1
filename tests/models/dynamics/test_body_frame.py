import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gapclose.errors import UserError
from gapclose.models.dynamics.body_frame import BodyFrameDynamics
from gapclose.models.encoders.state import StateEncoder
from gapclose.models.world_model import LearnedWorldModel

PUSHT = dict(body=(4, 5), angle=(6, 7), points=[(0, 1)], velocities=[(2, 3)])


def dynamics(members=2, action_dim=4, **settings):
    torch.manual_seed(0)
    made = BodyFrameDynamics(8, action_dim, **{**PUSHT, "hidden_dim": 16, "octaves": 2, **settings}, members=members)
    return made.double()


def latents(n, members):
    """Random latents; their directions have any length."""
    return torch.randn(n, members, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def moved(latent, actions, turn, shift):
    """The same latents after a change of coordinates: rotated about the origin, and positions shifted."""
    c, s = math.cos(turn), math.sin(turn)
    rotation = torch.tensor([[c, s], [-s, c]], dtype=latent.dtype)
    new = latent.clone()
    for pair, offset in (([0, 1], shift), ([2, 3], 0), ([4, 5], shift), ([7, 6], 0)):
        new[..., pair] = latent[..., pair] @ rotation + offset
    return new, (actions.unflatten(-1, (-1, 2)) @ rotation).flatten(-2)


def forget_the_world(model):
    """Removes the inputs and outputs of a model in the world frame, which are there for walls."""
    as_such = 8 + len(model.action_mean)
    with torch.no_grad():
        model.layers[0].weight[:, :as_such] = 0
        model.last.weight[:, :as_such] = 0
        model.last.weight[..., 8:] = 0
        model.last.bias[..., 8:] = 0


@given(st.floats(-4, 4), st.floats(-3, 3), st.floats(-3, 3))
def test_predictions_do_not_depend_on_position_and_orientation_without_the_world_frame(turn, x, y):
    model = dynamics()
    model.delta_std.copy_(torch.tensor([3.0, 3, 2, 2, 1, 1, 0.5, 0.5]))
    forget_the_world(model)
    latent, actions = latents(5, 2), torch.randn(5, 3, 4, dtype=torch.float64)
    shift = torch.tensor([x, y], dtype=torch.float64)
    elsewhere, turned = moved(latent, actions, turn, shift)
    expected, _ = moved(model.rollout(latent, actions), actions, turn, shift)
    torch.testing.assert_close(model.rollout(elsewhere, turned), expected)


def test_walls_can_be_learned_because_the_latent_is_an_input_too():
    model, latent, action = dynamics(), latents(5, 2), torch.randn(5, 4, dtype=torch.float64)
    shifted, _ = moved(latent, action, 0.0, torch.ones(2, dtype=torch.float64))
    change, elsewhere = model(latent, action) - latent, model(shifted, action) - shifted
    assert (change - elsewhere).abs().max() > 0.01


def test_linear_motion_needs_no_hidden_layer():
    model, latent, action = dynamics(action_dim=2), latents(6, 2), torch.randn(6, 2, dtype=torch.float64)
    with torch.no_grad():
        model.last.weight.zero_()
        model.last.bias.zero_()
        for coordinate in range(2):  # The other body moves by the action.
            model.last.weight[:, 8 + coordinate, 8 + coordinate] = 1
    expected = latent.clone()
    expected[..., :2] += action.unsqueeze(1)
    torch.testing.assert_close(model(latent, action), expected)


def test_a_rollout_equals_repeated_steps_and_members_are_independent():
    model, latent, actions = dynamics(members=3), latents(4, 3), torch.randn(4, 5, 4, dtype=torch.float64)
    states = [latent]
    for action in actions.unbind(1):
        states.append(model(states[-1], action))
    together = model.rollout(latent, actions)
    torch.testing.assert_close(together, torch.stack(states, 1))
    changed = latent.clone()
    changed[:, 0] += 1
    torch.testing.assert_close(model.rollout(changed, actions)[:, :, 1:], together[:, :, 1:])
    assert not torch.allclose(together[:, 1:, 0], model.rollout(latent[:, [1, 1, 2]], actions)[:, 1:, 0])


@pytest.mark.parametrize("without", ["points", "velocities"])
def test_points_and_velocities_are_optional(without):
    torch.manual_seed(0)
    rest = {"points": [(4, 5)], "velocities": [(4, 5)]}
    rest.pop(without)
    model = BodyFrameDynamics(6, 2, body=(0, 1), angle=(2, 3), hidden_dim=8, **rest)
    assert model(torch.randn(7, 1, 6), torch.randn(7, 2)).shape == (7, 1, 6)


def test_a_push_learned_in_some_directions_generalises_to_all():
    """The body moves by the action along its axis: trained at some orientations, tested at others."""
    torch.manual_seed(0)

    def batch(turn, n=256):
        angle = turn + 0.1 * torch.randn(n)
        state = torch.cat((torch.randn(n, 6), angle.sin()[:, None], angle.cos()[:, None]), 1)
        state[:, 4:6] = 0
        action = torch.randn(n, 2)
        axis = torch.stack((angle.cos(), angle.sin()), 1)
        after = state.clone()
        after[:, 4:6] += (action * axis).sum(1, keepdim=True) * axis
        return state, action, after

    model = BodyFrameDynamics(8, 2, **PUSHT, hidden_dim=32, num_layers=2)
    optimizer = torch.optim.Adam(model.parameters(), 0.003)
    for _ in range(400):
        forget_the_world(model)
        state, action, after = batch(0.0)
        loss = model.errors(model(state.unsqueeze(1), action), after.unsqueeze(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    forget_the_world(model)
    state, action, after = batch(2.0)
    with torch.no_grad():
        error = (model(state.unsqueeze(1), action).squeeze(1) - after)[:, 4:6].square().mean()
    assert error < 0.02 * (after - state)[:, 4:6].square().mean()


def test_coordinates_of_the_same_kind_share_mean_and_scale():
    states = torch.randn(500, 8) * torch.tensor([5.0, 9, 1, 2, 7, 3, 1, 1]) + 50
    encoder = StateEncoder(8, [(6, 7)], [(0, 1, 4, 5), (2, 3)])
    encoder.fit_normalization(states)
    latent = encoder(states)
    apart = states[:, [0, 1]] - states[:, [4, 5]]
    torch.testing.assert_close((latent[:, [0, 1]] - latent[:, [4, 5]]) * encoder.std[0], apart, rtol=1e-4, atol=1e-4)
    assert encoder.std[[0, 1, 4, 5]].unique().numel() == 1
    torch.testing.assert_close(latent[:, [2, 3]].std(), torch.tensor(1.0), rtol=1e-2, atol=0)
    torch.testing.assert_close(
        LearnedWorldModel(encoder, dynamics(1).float()).decode(latent[:, None])[:, :6], states[:, :6]
    )


@pytest.mark.parametrize("wrong", [dict(body=(4, 9)), dict(points=[]), dict(points=[(0, 1), (2, 3)])], ids=str)
def test_vectors_that_do_not_cover_the_latent_are_refused(wrong):
    with pytest.raises(UserError, match=r"must name each of 0 to 7 exactly once"):
        dynamics(**wrong)


def test_an_odd_number_of_action_coordinates_is_refused():
    with pytest.raises(UserError, match="3 coordinates, but model=body_frame needs an even number"):
        dynamics(action_dim=3)
