import torch

from gapclose.models.normalization import safe_std


def test_constant_columns_have_a_safe_std_of_one():
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(500, 4, generator=random)
    values = torch.tensor([0.0, 5.0, 7.0, 1e6]) + noise * torch.tensor([1e-3, 2.0, 0.0, 0.06])
    std = safe_std(values)
    torch.testing.assert_close(std[:2], values[:, :2].std(0))
    assert std[2:].tolist() == [1, 1]
