import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gapclose.data.trajectories import Trajectories, Window
from gapclose.errors import UserError
from gapclose.models.adapted import AdaptedWorldModel
from gapclose.models.dynamics.transformer import TransformerDynamics
from gapclose.models.encoders.state import StateEncoder
from gapclose.models.world_model import LearnedWorldModel, frozen
from gapclose.training.attacks import ProjectedGradient
from gapclose.training.radii import FixedRadii


def make(context=4, num_layers=2, members=1, seed=0, latent_dim=3):
    torch.manual_seed(seed)
    dynamics = TransformerDynamics(latent_dim, 2, 16, num_layers, num_heads=2, context=context, members=members)
    dynamics = dynamics.double()
    dynamics.fit_normalization(3 * torch.randn(20, latent_dim).double(), 1 + 2 * torch.randn(20, 2).double())
    return dynamics


def given_steps(members=1, n=5, steps=9, seed=1):
    """True latents `[N, T, M, Z]` and actions `[N, T, A]`."""
    random = torch.Generator().manual_seed(seed)
    latents = torch.randn(n, steps, members, 3, generator=random, dtype=torch.double)
    return latents, torch.randn(n, steps, 2, generator=random, dtype=torch.double)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=15)
def test_a_prediction_depends_exactly_on_the_context(context, num_layers, members):
    dynamics, (latents, actions) = make(context, num_layers, members), given_steps(members)
    predicted = dynamics.predict(latents, actions)
    assert predicted.shape == latents.shape
    # The earliest step of the context enters only through the change that follows it, not through its action.
    for changed, seen in ((latents, context), (actions, max(1, context - 1))):
        moved = changed.clone()
        moved[:, 2] += 1
        after = dynamics.predict(*(moved if x is changed else x for x in (latents, actions)))
        differs = (after - predicted).abs().amax((0, 2, 3)) > 1e-9
        assert differs.tolist() == [2 <= step < 2 + seen for step in range(9)]


@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(1, 9))
@settings(max_examples=15)
def test_a_rollout_equals_predictions_from_the_whole_history(context, num_layers, members, observed):
    dynamics, (latents, actions) = make(context, num_layers, members), given_steps(members)
    seen = latents[:, :observed]
    after = dynamics.predict(seen, actions)
    for step in range(9):
        recent = slice(max(0, step - context + 1), step + 1)
        expected = dynamics.predict(seen[:, recent], actions[:, recent])[:, -1]
        torch.testing.assert_close(after[:, step], expected)
        if step + 1 >= observed:
            seen = torch.cat((seen, expected.unsqueeze(1)), 1)


def test_a_rollout_starts_without_history_and_a_step_is_its_first():
    dynamics, (latents, actions) = make(members=2), given_steps(members=2)
    rollout = dynamics.rollout(latents[:, 0], actions)
    assert rollout.shape == (5, 10, 2, 3)
    assert torch.equal(rollout[:, 0], latents[:, 0])
    torch.testing.assert_close(rollout[:, 1:], dynamics.predict(latents[:, :1], actions))
    torch.testing.assert_close(rollout[:, 1], dynamics(latents[:, 0], actions[:, 0]))


def test_members_follow_their_own_trajectories_and_learn_independently():
    dynamics, (latents, actions) = make(members=3), given_steps(members=1)
    latents = latents.expand(-1, -1, 3, -1)
    after = dynamics.rollout(latents[:, 0], actions)
    moved = latents[:, 0].clone()
    moved[:, 1] += 1
    others = dynamics.rollout(moved, actions)
    torch.testing.assert_close(others[:, :, [0, 2]], after[:, :, [0, 2]])
    assert (others[:, 1:, 1] != after[:, 1:, 1]).all()
    assert ((after[:, 1:, 0] - after[:, 1:, 2]).abs() > 1e-6).all()
    after[:, :, 1].square().sum().backward()
    for name, parameter in dynamics.named_parameters():
        by_member = parameter.grad.view(3, -1).abs().sum(1)
        assert by_member[[0, 2]].sum() == 0, name
        assert by_member[1] > 0, name


def test_gradients_reach_every_action_and_are_correct():
    dynamics, (latents, actions) = make(context=3).requires_grad_(False), given_steps(n=2, steps=5)
    start = latents[:, 0].clone().requires_grad_()
    actions.requires_grad_()
    assert torch.autograd.gradcheck(lambda z, a: dynamics.rollout(z, a)[:, -1], (start, actions))
    (gradient,) = torch.autograd.grad(dynamics.rollout(start, actions)[:, -1].square().sum(), actions)
    assert (gradient != 0).all()


def test_an_untrained_model_predicts_changes_of_the_size_of_those_in_the_data():
    dynamics, (latents, actions) = make(members=8), given_steps(members=8, n=200)
    change = (dynamics.predict(latents, actions) - latents) / dynamics.delta_std
    assert 0.1 < change.square().mean().sqrt() < 1.5


def test_predictions_do_not_depend_on_the_other_rows_of_a_batch():
    dynamics, (latents, actions) = make(), given_steps()
    alone = torch.cat([dynamics.rollout(latents[i : i + 1, 0], actions[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(dynamics.rollout(latents[:, 0], actions), alone)


def world_model(context=4, members=1, seed=0, hidden_dim=16):
    torch.manual_seed(seed)
    return LearnedWorldModel(
        StateEncoder(2), TransformerDynamics(2, 2, hidden_dim, 2, num_heads=2, context=context, members=members)
    )


@pytest.fixture
def model(trajectories):
    model = world_model(members=2)
    model.fit_normalization(trajectories)
    return model


def test_the_loss_of_a_window_is_teacher_forced_over_the_context_and_then_that_of_a_rollout(model, trajectories):
    window = trajectories.windows(torch.arange(0, 60, 7), 7)
    latents = model.encode(window.states.flatten(0, 1)).unflatten(0, (9, 8))
    seen, errors = latents[:, :1], []
    for step in range(7):
        predicted = model.dynamics.predict(seen, window.actions[:, : step + 1])[:, -1]
        errors.append((predicted - latents[:, step + 1]) / model.dynamics.delta_std)
        following = latents[:, step + 1] if step + 1 < 4 else predicted
        seen = torch.cat((seen, following.unsqueeze(1)), 1)
    torch.testing.assert_close(model.loss(window), torch.stack(errors, 1).square().mean())
    short = Window(window.states[:, :3], window.actions[:, :2])
    torch.testing.assert_close(model.loss(short), torch.stack(errors[:2], 1).square().mean())


def test_the_one_step_error_uses_the_true_history(model, trajectories):
    states, actions = trajectories.states[:, :7], trajectories.actions[:, :6]
    errors = []
    for step in range(6):
        recent = slice(max(0, step - 3), step + 1)
        latents = torch.stack([model.encode(state) for state in states[:, recent].unbind(1)], 1)
        predicted = model.decode(model.predict(latents, actions[:, recent])[:, -1])
        errors.append((predicted - states[:, step + 1]).square())
    torch.testing.assert_close(model.squared_errors(Window(states, actions)), torch.stack(errors, 1))


@pytest.mark.parametrize("steps", [1, 4, 6])
def test_attacks_perturb_every_given_latent_and_every_action(model, trajectories, steps):
    inputs = model.encode_window(trajectories.windows(torch.arange(30), steps))
    torch.manual_seed(0)
    delta = ProjectedGradient(FixedRadii(0.3, 0.2)).perturb(model, *inputs)
    assert delta.latent.shape == inputs[0].shape == (30, min(steps, 4), 2, 2)
    assert delta.actions.shape == inputs[1].shape
    assert all((x != 0).flatten(2).any(2).all() for x in delta)
    attacked = model.rollout_loss(inputs[0] + delta.latent, inputs[1] + delta.actions, inputs[2])
    random = ProjectedGradient(FixedRadii(0.3, 0.2), steps=0).perturb(model, *inputs)
    assert attacked > 1.05 * model.rollout_loss(inputs[0] + random.latent, inputs[1] + random.actions, inputs[2])


def test_every_task_has_weights_of_its_own(model, trajectories):
    others = [world_model(members=2, seed=seed) for seed in (1, 2, 3)]
    for other in others:
        other.load_state_dict(model.state_dict() | {k: v for k, v in other.state_dict().items() if "weight" in k})
    named = [dict(other.dynamics.named_parameters()) for other in others]
    together = AdaptedWorldModel(model, {name: torch.stack([w[name].detach() for w in named]) for name in named[0]})
    states, actions = trajectories.states[:6, :7], trajectories.actions[:6, :6]
    latent = model.encode(states[:, 0])
    given = model.encode(states[:, :6].flatten(0, 1)).unflatten(0, (6, 6))
    rolled, predicted = together.rollout(latent, actions), together.predict(given, actions)
    for i, other in enumerate(others):
        own = slice(2 * i, 2 * i + 2)
        torch.testing.assert_close(rolled[own], other.rollout(latent[own], actions[own]))
        torch.testing.assert_close(predicted[own], other.predict(given[own], actions[own]))
        torch.testing.assert_close(
            together.losses(Window(states, actions))[i], other.loss(Window(states[own], actions[own]))
        )


def sliding(n, steps=12, seed=0):
    """Points that are accelerated by actions and keep their velocity; only their position is observed."""
    random = torch.Generator().manual_seed(seed)
    velocity, place = torch.randn(n, 2, generator=random), torch.randn(n, 2, generator=random)
    actions, places = torch.randn(n, steps, 2, generator=random), [place]
    for action in actions.unbind(1):
        velocity = velocity + 0.3 * action
        places.append(places[-1] + velocity)
    return Trajectories(torch.stack(places, 1), actions)


def test_it_learns_a_velocity_that_only_the_history_shows():
    train, held_out, errors = sliding(200), Window(*sliding(50, seed=1)), {}
    for context in (1, 4):
        model = world_model(context, hidden_dim=32)
        model.fit_normalization(train)
        optimizer, random = torch.optim.Adam(model.parameters(), 5e-3), torch.Generator().manual_seed(0)
        for _ in range(100):
            index = torch.randint(train.num_windows(context), (256 // context,), generator=random)
            optimizer.zero_grad()
            model.loss(train.windows(index, context)).backward()
            optimizer.step()
        # At the first step, the velocity is unknown.
        errors[context] = model.squared_errors(held_out)[:, 1:].mean().item()
    assert errors[4] < 0.4 * errors[1], errors


def test_a_width_that_the_heads_cannot_share_is_refused():
    with pytest.raises(UserError, match=r"model\.hidden_dim is 10 and model\.num_heads is 4"):
        TransformerDynamics(2, 2, hidden_dim=10, num_heads=4)


@pytest.mark.parametrize(
    "name", ["latent_dim", "action_dim", "hidden_dim", "num_layers", "num_heads", "context", "members"]
)
@pytest.mark.parametrize("value", [0, 1.5])
def test_impossible_sizes_are_refused_by_name(name, value):
    with pytest.raises(ValidationError, match=name):
        TransformerDynamics(**{"latent_dim": 2, "action_dim": 2, name: value})


def test_a_frozen_model_computes_no_gradients_of_its_weights(model, trajectories):
    actions = trajectories.actions[:4].clone().requires_grad_()
    with frozen(model):
        end = model.rollout(model.encode(trajectories.states[:4, 0]), actions)[:, -1].sum()
    end.backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert (actions.grad != 0).all()
