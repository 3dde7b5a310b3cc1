from functools import partial

import pytest
import torch
from pydantic import ValidationError
from torch.optim.lr_scheduler import StepLR

from gapclose.data.trajectories import Window
from gapclose.training.teacher_forcing import TeacherForcing


def module_of(world_model, **settings):
    optimizer, scheduler = partial(torch.optim.Adam, lr=0.01), partial(StepLR, step_size=1, gamma=0.5)
    return TeacherForcing(**dict(world_model=world_model, optimizer=optimizer, scheduler=scheduler) | settings)


def test_the_training_loss_equals_that_of_the_world_model(ensemble, trajectories):
    window = trajectories.windows(torch.arange(10), 2)
    assert torch.equal(module_of(ensemble).training_loss(window), ensemble.loss(window))


def test_without_noise_no_random_numbers_are_drawn(ensemble, trajectories):
    torch.manual_seed(0)
    untouched = torch.rand(()).item()
    torch.manual_seed(0)
    module_of(ensemble, input_noise=0.0).training_loss(trajectories.windows(torch.arange(10), 2))
    assert torch.rand(()).item() == untouched


@pytest.fixture
def shown(ensemble, monkeypatch):
    """The inputs that the model is trained on."""
    seen = []
    monkeypatch.setattr(ensemble, "rollout_loss", lambda *inputs: seen.append(inputs))
    return seen


def test_noise_is_added_only_to_the_latents_that_rollouts_start_from(ensemble, trajectories, shown):
    window = trajectories.windows(torch.arange(200), 3)
    torch.manual_seed(0)
    module_of(ensemble, input_noise=0.3).training_loss(window)
    (noisy, actions, targets), (latent, *clean) = shown[0], ensemble.encode_window(window)
    assert torch.equal(actions, clean[0])
    assert torch.equal(targets, clean[1])
    noise = (noisy - latent) / 0.3
    assert noise.mean().abs() < 0.1
    assert noise.std().item() == pytest.approx(1, rel=0.1)
    # The noise is independent for each member.
    correlation = torch.corrcoef(noise.movedim(2, 0).flatten(1))
    assert (correlation - torch.eye(3)).abs().max() < 0.2


def test_the_same_epoch_draws_the_same_noise(ensemble, trajectories, shown):
    module, window = module_of(ensemble, input_noise=0.3), trajectories.windows(torch.arange(10), 1)
    for _ in range(2):
        module.on_train_epoch_start()
        module.training_loss(window)
        torch.rand(3)
    module.training_loss(window)
    first, again, next_one = (latent for latent, *_ in shown)
    assert torch.equal(first, again)
    assert not torch.equal(first, next_one)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*isinstance")
@pytest.mark.parametrize("settings", [dict(input_noise=0.2), dict(window=4)], ids=str)
def test_noise_and_longer_windows_change_the_model_but_the_error_is_still_that_of_single_clean_steps(
    fit, ensemble, trajectories, settings
):
    held_out, weights = Window(*trajectories.subset(slice(16, 18))), ensemble.state_dict()
    weights = {name: value.clone() for name, value in weights.items()}
    fit(module_of(ensemble), trajectories)
    plain = ensemble.one_step_error(held_out)
    ensemble.load_state_dict(weights)
    module = module_of(ensemble, input_noise=settings.get("input_noise", 0.0))
    trainer = fit(module, trajectories, window=settings.get("window", 1))
    error = ensemble.one_step_error(held_out)
    assert error != plain
    torch.testing.assert_close(trainer.logged_metrics["train/expert_error"], error)


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf"), "much"])
def test_impossible_noise_is_refused_by_name(ensemble, wrong):
    with pytest.raises(ValidationError, match="input_noise"):
        module_of(ensemble, input_noise=wrong)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*isinstance")
def test_training_improves_the_model_and_logs_its_error_under_the_given_name(fit, ensemble, trajectories):
    held_out = Window(*trajectories.subset(slice(16, 18)))
    before = ensemble.one_step_error(held_out)
    trainer = fit(module_of(ensemble, name="baseline"), trajectories, epochs=3)
    after = ensemble.one_step_error(held_out)
    assert after < 0.2 * before
    torch.testing.assert_close(trainer.logged_metrics["baseline/expert_error"], after)
    assert trainer.logged_metrics["baseline/loss"] > 0


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*isinstance")
def test_equal_seeds_train_equal_models(fit, ensemble, trajectories):
    weights = {name: value.clone() for name, value in ensemble.state_dict().items()}
    trained = []
    for seed in (0, 0, 1):
        ensemble.load_state_dict(weights)
        torch.rand(seed + 3)
        fit(module_of(ensemble, seed=seed), trajectories, epochs=1, seed=seed)
        trained.append(ensemble.dynamics.weights[0].detach().clone())
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


def test_the_optimizer_has_the_parameters_of_the_world_model(ensemble):
    groups = module_of(ensemble).configure_optimizers()["optimizer"].param_groups
    assert [id(p) for group in groups for p in group["params"]] == [id(p) for p in ensemble.parameters()]
