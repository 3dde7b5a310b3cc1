import torch

from gapclose.models.normalization import deviation


def test_a_column_is_in_units_of_its_standard_deviation_unless_it_is_constant_but_for_rounding():
    random = torch.Generator().manual_seed(0)
    noise = torch.randn(500, 4, generator=random)
    values = torch.tensor([0.0, 5.0, 7.0, 1e6]) + noise * torch.tensor([1e-3, 2.0, 0.0, 0.06])
    std = deviation(values)
    torch.testing.assert_close(std[:2], values[:, :2].std(0))
    assert std[2:].tolist() == [1, 1]
