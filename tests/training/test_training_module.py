from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR

from gapclose.errors import UserError
from gapclose.training.training_module import TrainingModule

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore:.*isinstance")


class MeanOfActions(TrainingModule):
    """Learns the mean of the actions, and records a random number for each step."""

    def __init__(self, **settings):
        optimizer, scheduler = partial(torch.optim.Adam, lr=0.01), partial(StepLR, step_size=1, gamma=0.5)
        super().__init__(**dict(optimizer=optimizer, scheduler=scheduler) | settings)
        self.mean = nn.Parameter(torch.ones(2))
        self.drawn = []

    def training_loss(self, window):
        self.drawn.append(torch.rand(()).item())
        return (window.actions - self.mean).square().mean()

    def expert_error(self, window):
        return (window.actions.mean((0, 1)) - self.mean).square().mean()


def test_the_loss_is_minimised_and_logged_with_the_error_under_the_given_name(fit, trajectories):
    module = MeanOfActions(name="mean")
    trainer = fit(module, trajectories, epochs=3)
    assert trainer.global_step == 45
    assert set(trainer.logged_metrics) == {"mean/loss", "mean/expert_error"}
    held_out = trajectories.actions[16:18].mean((0, 1))
    expected = (held_out - module.mean.detach()).square().mean()
    torch.testing.assert_close(trainer.logged_metrics["mean/expert_error"], expected)
    assert expected < (held_out - 1).square().mean()


def test_the_logged_loss_is_the_mean_over_the_epoch(fit, trajectories):
    losses = []

    class Noted(MeanOfActions):
        def training_loss(self, window):
            losses.append(super().training_loss(window))
            return losses[-1]

    trainer = fit(Noted(), trajectories, epochs=2)
    torch.testing.assert_close(trainer.logged_metrics["train/loss"], torch.stack(losses[15:]).mean().detach())


def test_random_numbers_depend_only_on_seed_name_and_epoch(fit, trajectories):
    def drawn(**settings):
        module = MeanOfActions(**settings)
        torch.rand(len(settings) + 3)
        fit(module, trajectories, epochs=2)
        return module.drawn

    first = drawn()
    assert first == drawn()
    assert first[:15] != first[15:]
    for other in (dict(seed=1), dict(name="finetune")):
        assert not set(first) & set(drawn(**other))


def test_processes_of_a_distributed_run_draw_differently():
    drawn = []
    for rank in (0, 1):
        module = MeanOfActions()
        module.trainer = SimpleNamespace(current_epoch=0, global_rank=rank)
        module.on_train_epoch_start()
        drawn.append(torch.rand(4).tolist())
    assert drawn[0] != drawn[1]


@pytest.mark.parametrize(("interval", "halvings"), [("epoch", 2), ("step", 30)])
def test_the_schedule_advances_by_the_configured_interval(fit, trajectories, interval, halvings):
    trainer = fit(MeanOfActions(scheduler_interval=interval), trajectories, epochs=2)
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.01 * 0.5**halvings)


def test_an_unknown_interval_is_refused():
    with pytest.raises(UserError, match="scheduler_interval is 'day'"):
        MeanOfActions(scheduler_interval="day")
