from copy import deepcopy

import pytest
import torch

from gapclose.data.trajectories import Window
from gapclose.models.adapted import AdaptedWorldModel


@pytest.fixture
def alone(ensemble):
    """Three models that differ in their weights."""
    models = [deepcopy(ensemble) for _ in range(3)]
    random = torch.Generator().manual_seed(1)
    for model in models:
        for parameter in model.dynamics.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=random)
    return models


@pytest.fixture
def together(ensemble, alone):
    """One model with the weights of all three, for three tasks."""
    named = [dict(model.dynamics.named_parameters()) for model in alone]
    weights = {name: torch.stack([weights[name].detach() for weights in named]) for name in named[0]}
    return AdaptedWorldModel(ensemble, weights)


def windows(trajectories, rows=6):
    """Windows of four steps, as tensors `[rows, ...]`."""
    return trajectories.windows(torch.arange(0, trajectories.num_windows(4), 7)[:rows], 4)


def test_copies_predict_the_same_as_the_original(ensemble, trajectories):
    states, actions = windows(trajectories)
    copies, latent = AdaptedWorldModel.copies(ensemble, 3), ensemble.encode(states[:, 0])
    assert torch.equal(copies.encode(states[:, 0]), latent)
    assert copies.members == ensemble.members
    torch.testing.assert_close(copies.step(latent, actions[:, 0]), ensemble.step(latent, actions[:, 0]))
    rollout = copies.rollout(latent, actions)
    torch.testing.assert_close(rollout, ensemble.rollout(latent, actions))
    assert torch.equal(copies.decode(rollout), ensemble.decode(rollout))
    torch.testing.assert_close(copies.loss(Window(states, actions)), ensemble.loss(Window(states, actions)))
    assert not any(weight.requires_grad for weight in copies.weights.values())


def test_rows_are_predicted_with_the_weights_of_their_task(alone, together, trajectories):
    states, actions = windows(trajectories)
    latent = together.encode(states[:, 0])
    predicted, rolled = together.step(latent, actions[:, 0]), together.rollout(latent, actions)
    losses = together.losses(Window(states, actions))
    assert losses.shape == (3,)
    for i, model in enumerate(alone):
        own = slice(2 * i, 2 * i + 2)
        torch.testing.assert_close(predicted[own], model.step(latent[own], actions[own, 0]))
        torch.testing.assert_close(rolled[own], model.rollout(latent[own], actions[own]))
        torch.testing.assert_close(losses[i], model.loss(Window(states[own], actions[own])))


@pytest.mark.parametrize("tasks", [[2, 0], [True, False, True], [1]], ids=str)
def test_a_subset_of_tasks_keeps_their_weights(alone, together, trajectories, tasks):
    tasks = torch.tensor(tasks)
    numbers = torch.arange(3)[tasks]
    latent, action = together.encode(trajectories.states[numbers, 0]), trajectories.actions[numbers, 0]
    predicted = together.for_tasks(tasks).step(latent, action)
    for row, number in enumerate(numbers.tolist()):
        own = slice(row, row + 1)
        torch.testing.assert_close(predicted[own], alone[number].step(latent[own], action[own]))


def test_a_model_without_weights_per_task_is_the_same_for_all_tasks(ensemble):
    assert ensemble.for_tasks(torch.tensor([2, 0])) is ensemble


def test_gradients_of_the_actions_equal_those_of_the_single_models(alone, together, trajectories):
    states, actions = windows(trajectories)
    actions = actions.clone().requires_grad_()
    latent = together.encode(states[:, 0])
    (gradient,) = torch.autograd.grad(together.rollout(latent, actions)[:, -1].square().sum(), actions)
    for i, model in enumerate(alone):
        own = slice(2 * i, 2 * i + 2)
        end = model.rollout(latent[own], actions[own])[:, -1].square().sum()
        torch.testing.assert_close(gradient[own], torch.autograd.grad(end, actions)[0][own])


def test_rows_that_cannot_be_split_equally_among_tasks_are_refused(together, trajectories):
    states, actions = windows(trajectories, rows=5)
    with pytest.raises(RuntimeError, match="5"):
        together.rollout(together.encode(states[:, 0]), actions)
