"""Do gradients point the right way? Gradients through the model against those through the true dynamics."""

from typing import Any

import torch
from torch import Tensor

from gapclose.evaluation.statistics import estimate
from gapclose.planning.search import Search


def gradient_agreement(search: Search, truth: Search, actions: Tensor) -> dict[str, Any]:
    """Compares the gradients of the cost at sequences `[N, K, T, A]` with the true ones.

    Where the true gradient is zero (because a wall blocks every motion) there is no angle; such sequences are counted
    separately.

    Returns:
        `cosine` between the gradients, averaged over the sequences of each task, as an estimate over tasks;
        `share_negative`: the share of tasks whose average is below 0; `without_gradient`: the share of sequences whose
        true gradient is zero; and `erased`: the share of single action coordinates on which the true cost does not
        depend, although the model's may.
    """
    modelled, true = (landscape.costs_and_gradients(actions)[1].flatten(2) for landscape in (search, truth))
    without = (true == 0).all(2)
    cosine = torch.cosine_similarity(modelled.double(), true.double(), 2, eps=1e-30)
    of_task = torch.where(without, torch.nan, cosine).nanmean(1)
    negative = torch.where(of_task.isnan(), torch.nan, (of_task < 0).double())
    return {
        "cosine": estimate(of_task),
        "share_negative": estimate(negative),
        "without_gradient": estimate(without.double().mean(1)),
        "erased": estimate((true == 0).double().mean((1, 2))),
    }
