from functools import partial

import pytest
import torch
from torch.optim.lr_scheduler import StepLR

from gapclose.data.trajectories import Window
from gapclose.finetuning.teacher_forcing import TeacherForcing


def module_of(world_model, **settings):
    optimizer, scheduler = partial(torch.optim.Adam, lr=0.01), partial(StepLR, step_size=1, gamma=0.5)
    return TeacherForcing(**dict(world_model=world_model, optimizer=optimizer, scheduler=scheduler) | settings)


def test_the_training_loss_is_that_of_the_world_model(ensemble, trajectories):
    window = trajectories.windows(torch.arange(10), 2)
    assert torch.equal(module_of(ensemble).training_loss(window), ensemble.loss(window))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*isinstance")
def test_training_makes_the_model_better_and_logs_its_error_under_the_given_name(fit, ensemble, trajectories):
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
