from types import SimpleNamespace

import pytest
import torch

from gapclose.clock import now


@pytest.mark.parametrize("device", ["cpu", "cuda:1"])
def test_the_clock_is_read_after_the_device_has_finished(monkeypatch, device):
    asked, device = [], torch.device(device)
    monkeypatch.setattr(torch.cuda, "synchronize", asked.append)
    before = now(torch.zeros(1))
    assert now(SimpleNamespace(is_cuda=device.type == "cuda", device=device)) >= before
    assert asked == ([device] if device.type == "cuda" else [])
