import pytest
import torch
from pydantic import ValidationError

from gapclose.models.encoders.state import StateEncoder

ANGLE = [(1, 3)]


def turning(n=200, spread=0.3, seed=0):
    """States `[N, 4]`: a length, the sine of an angle, a constant, and the cosine."""
    random = torch.Generator().manual_seed(seed)
    angle = 1 + spread * torch.randn(n, generator=random)
    length = 3 + 2 * torch.randn(n, generator=random)
    return torch.stack((length, angle.sin(), torch.full_like(length, 7.0), angle.cos()), 1)


@pytest.mark.parametrize("spread", [0.0, 0.3, 5.0])
def test_the_circle_stays_a_circle_however_little_of_it_is_in_the_data(spread):
    encoder, states = StateEncoder(4, ANGLE), turning(spread=spread)
    encoder.fit_normalization(states)
    latent = encoder(states)
    torch.testing.assert_close(latent[:, [1, 3]].square().sum(1), torch.full((200,), 2.0))
    torch.testing.assert_close(latent[:, 0].std(), torch.tensor(1.0))
    torch.testing.assert_close(encoder.decode(latent), states)
    other = turning(spread=5.0, seed=1)
    torch.testing.assert_close(encoder.decode(encoder(other)), other)


def test_decoded_angles_lie_on_the_circle_and_other_coordinates_are_unchanged():
    encoder = StateEncoder(4, ANGLE)
    encoder.fit_normalization(turning())
    latent = torch.randn(5, 6, 4, generator=torch.Generator().manual_seed(0))
    plain = encoder.mean + encoder.std * latent
    decoded = encoder.decode(latent)
    torch.testing.assert_close(decoded[..., [1, 3]].norm(dim=-1), torch.ones(5, 6))
    torch.testing.assert_close(
        torch.atan2(*decoded[..., [1, 3]].unbind(-1)), torch.atan2(*plain[..., [1, 3]].unbind(-1))
    )
    assert torch.equal(decoded[..., [0, 2]], plain[..., [0, 2]])


def test_gradients_pass_through_the_circle():
    encoder = StateEncoder(4, ANGLE)
    latent = torch.randn(3, 4, requires_grad=True)
    encoder.decode(latent).sum().backward()
    assert latent.grad.isfinite().all()
    assert (latent.grad != 0).all()


def test_a_change_of_a_coordinate_that_is_constant_in_the_data_is_not_huge():
    encoder, states = StateEncoder(4, ANGLE), turning()
    encoder.fit_normalization(states)
    states[:, 2] += 0.1
    torch.testing.assert_close(encoder(states)[:, 2], torch.full((200,), 0.1))


@pytest.mark.parametrize("wrong", [[(0,)], [(0, -1)], [0, 1], [(0, 1, 2)]], ids=str)
def test_angles_that_are_not_pairs_are_refused_by_name(wrong):
    with pytest.raises(ValidationError, match="angles"):
        StateEncoder(3, angles=wrong)
