from functools import partial
from types import SimpleNamespace

import pytest
import torch
from lightning import Trainer
from torch.optim.lr_scheduler import StepLR

from gapclose.data.datamodule import WindowDataModule
from gapclose.data.replay import ReplayBuffer
from gapclose.data.trajectories import Window
from gapclose.finetuning.teacher_forcing import TeacherForcing


def module_of(world_model, **settings):
    optimizer, scheduler = partial(torch.optim.Adam, lr=0.01), partial(StepLR, step_size=1, gamma=0.5)
    return TeacherForcing(**dict(world_model=world_model, optimizer=optimizer, scheduler=scheduler) | settings)


def fit(module, trajectories, epochs=2, seed=0):
    data = WindowDataModule(
        trajectories, ReplayBuffer(), replay_ratio=0.0, batch_size=16, steps_per_epoch=15, seed=seed
    )
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=data)
    return trainer


def test_the_training_loss_is_that_of_the_world_model(ensemble, trajectories):
    window = trajectories.windows(torch.arange(10), 2)
    assert torch.equal(module_of(ensemble).training_loss(window), ensemble.loss(window))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*isinstance")
def test_training_makes_the_model_better_and_logs_its_error_under_the_given_name(ensemble, trajectories):
    held_out = Window(*trajectories.subset(slice(16, 18)))
    before = ensemble.one_step_error(held_out)
    trainer = fit(module_of(ensemble, name="baseline"), trajectories, epochs=3)
    after = ensemble.one_step_error(held_out)
    assert after < 0.2 * before
    torch.testing.assert_close(trainer.logged_metrics["baseline/expert_error"], after)
    assert trainer.logged_metrics["baseline/loss"] > 0
    assert trainer.global_step == 45


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*isinstance")
def test_equal_seeds_train_equal_models(ensemble, trajectories):
    weights = {name: value.clone() for name, value in ensemble.state_dict().items()}
    trained = []
    for seed in (0, 0, 1):
        ensemble.load_state_dict(weights)
        torch.rand(seed + 3)
        fit(module_of(ensemble, seed=seed), trajectories, epochs=1, seed=seed)
        trained.append(ensemble.dynamics.weights[0].detach().clone())
    assert torch.equal(trained[0], trained[1])
    assert not torch.equal(trained[0], trained[2])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*isinstance")
@pytest.mark.parametrize(("interval", "halvings"), [("epoch", 2), ("step", 30)])
def test_the_schedule_advances_by_the_interval_that_was_asked_for(ensemble, trajectories, interval, halvings):
    trainer = fit(module_of(ensemble, scheduler_interval=interval), trajectories, epochs=2)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01 * 0.5**halvings)


def test_the_optimizer_has_the_parameters_of_the_world_model(ensemble):
    groups = module_of(ensemble).configure_optimizers()["optimizer"].param_groups
    assert [id(p) for group in groups for p in group["params"]] == [id(p) for p in ensemble.parameters()]


def test_what_an_epoch_draws_depends_on_seed_name_epoch_and_process_alone(ensemble):
    def drawn(epoch=0, rank=0, **settings):
        module = module_of(ensemble, **settings)
        module.trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank)
        module.on_train_epoch_start()
        return torch.rand(4).tolist()

    first = drawn()
    torch.rand(5)
    assert drawn() == first
    for other in (dict(seed=1), dict(name="finetune"), dict(epoch=1), dict(rank=1)):
        assert drawn(**other) != first
