from functools import partial

import pytest
import torch
from pydantic import ValidationError
from torch.optim.lr_scheduler import StepLR

from gapclose.training.adversarial import AdversarialTraining
from gapclose.training.attacks import ProjectedGradient
from gapclose.training.radii import AdaptiveRadii, FixedRadii, LearnedRadii


def fgsm(latent, action):
    return ProjectedGradient(FixedRadii(latent, action))


def module_of(world_model, attack, **settings):
    return AdversarialTraining(
        world_model=world_model,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        scheduler=partial(StepLR, step_size=1),
        attack=attack,
        seed=7,
        **settings,
    )


@pytest.fixture
def window(trajectories):
    return trajectories.windows(torch.arange(0, trajectories.num_windows(2), 3), 2)


def test_the_training_loss_is_larger_than_the_clean_loss(ensemble, window):
    clean = ensemble.loss(window)
    assert module_of(ensemble, fgsm(0.3, 0.3)).training_loss(window) > 1.05 * clean


def test_without_radii_the_training_loss_is_the_clean_loss(ensemble, window):
    torch.testing.assert_close(module_of(ensemble, fgsm(0.0, 0.0)).training_loss(window), ensemble.loss(window))


def test_inputs_are_perturbed_and_targets_are_not(ensemble, window):
    attack = fgsm(0.3, 0.2)
    torch.manual_seed(0)
    loss = module_of(ensemble, attack).training_loss(window)
    torch.manual_seed(0)
    latent, actions, targets = ensemble.encode_window(window)
    delta = attack.perturb(ensemble, latent, actions, targets)
    predicted = ensemble.rollout((latent + delta.latent)[:, 0], actions + delta.actions)[:, 1:]
    by_hand = ((predicted - targets) / ensemble.dynamics.delta_std).square().mean()
    torch.testing.assert_close(loss, by_hand)


def test_the_attack_starts_from_the_noisy_latents(ensemble, window, monkeypatch):
    attack, calls = fgsm(0.3, 0.2), []

    def perturb(world_model, latent, actions, targets):
        calls.append((latent, actions, targets))
        return ProjectedGradient.perturb(attack, world_model, latent, actions, targets)

    monkeypatch.setattr(attack, "perturb", perturb)
    torch.manual_seed(0)
    loss = module_of(ensemble, attack, input_noise=0.2).training_loss(window)
    torch.manual_seed(0)
    latent, actions, targets = ensemble.encode_window(window)
    latent = latent + 0.2 * torch.randn(latent.shape)
    assert all(torch.equal(*pair) for pair in zip(calls[0], (latent, actions, targets)))
    delta = ProjectedGradient.perturb(attack, ensemble, latent, actions, targets)
    assert torch.equal(loss, ensemble.rollout_loss(latent + delta.latent, actions + delta.actions, targets))


def test_the_model_learns_from_the_perturbed_inputs_not_through_the_attack(ensemble, window):
    attack = fgsm(0.3, 0.2)
    torch.manual_seed(0)
    module_of(ensemble, attack).training_loss(window).backward()
    gradients = [parameter.grad.clone() for parameter in ensemble.parameters()]
    ensemble.zero_grad()
    torch.manual_seed(0)
    inputs = ensemble.encode_window(window)
    latent, actions = (x + d.detach() for x, d in zip(inputs, attack.perturb(ensemble, *inputs)))
    ensemble.rollout_loss(latent, actions, inputs[2]).backward()
    for parameter, gradient in zip(ensemble.parameters(), gradients):
        torch.testing.assert_close(gradient, parameter.grad)


def test_attacks_are_the_same_when_an_epoch_is_repeated(ensemble, window):
    module = module_of(ensemble, fgsm(0.3, 0.2))
    losses = []
    for _ in range(2):
        module.on_train_epoch_start()
        losses.append(module.training_loss(window).item())
        torch.rand(3)
    assert losses[0] == losses[1]
    assert module.training_loss(window).item() != losses[0]


def test_adversarial_training_makes_the_model_robust(ensemble, window):
    attack = fgsm(0.3, 0.2)
    module = module_of(ensemble, attack)
    optimizer = torch.optim.Adam(ensemble.parameters(), lr=0.01)
    torch.manual_seed(0)
    before = module.training_loss(window).item()
    for _ in range(30):
        optimizer.zero_grad()
        module.training_loss(window).backward()
        optimizer.step()
    assert module.training_loss(window).item() < 0.7 * before


def test_the_strength_of_a_group_is_the_loss_with_only_this_group_perturbed(ensemble, window):
    module, (latent, actions, targets) = module_of(ensemble, fgsm(0.3, 0.2)), ensemble.encode_window(window)
    delta = module.attack.perturb(ensemble, latent, actions, targets)
    of_latent = ensemble.rollout_loss(latent + delta.latent, actions, targets)
    of_actions = ensemble.rollout_loss(latent, actions + delta.actions, targets)
    torch.testing.assert_close(module.strengths(latent, actions, targets, delta), torch.stack([of_latent, of_actions]))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*isinstance")
def test_radius_and_strength_of_each_group_are_logged_once_per_epoch(fit, ensemble, trajectories):
    attack = ProjectedGradient(LearnedRadii(AdaptiveRadii(), smallest=1e-3, largest=0.3))
    module, before = module_of(ensemble, attack, name="finetune", measure_every=4), attack.radii.current().clone()
    noted = []
    module.strengths = lambda *inputs: noted.append(AdversarialTraining.strengths(module, *inputs)) or noted[-1]
    logged = fit(module, trajectories, epochs=2).logged_metrics
    assert len(noted) == 2 * 4  # Steps 0, 4, 8 and 12 of each epoch.
    of_last_epoch = torch.stack(noted[4:]).log().mean(0).exp()
    for group, radius, old, strength in zip(("latent", "action"), attack.radii.current(), before, of_last_epoch):
        torch.testing.assert_close(logged[f"finetune/{group}_radius"], radius)
        torch.testing.assert_close(logged[f"finetune/{group}_strength"], strength)
        assert radius != old


def test_the_optimizer_has_only_the_weights_of_the_world_model(ensemble):
    module = module_of(ensemble, ProjectedGradient(LearnedRadii(AdaptiveRadii())))
    given = module.configure_optimizers()["optimizer"].param_groups[0]["params"]
    assert [id(parameter) for parameter in given] == [id(parameter) for parameter in ensemble.parameters()]


def test_a_strength_that_is_never_measured_is_refused(ensemble):
    with pytest.raises(ValidationError, match="measure_every"):
        module_of(ensemble, fgsm(0.1, 0.1), measure_every=0)
