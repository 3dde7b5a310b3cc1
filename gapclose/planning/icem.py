"""iCEM: the improved cross-entropy method, which needs fewer samples."""

from typing import Annotated, Any

import torch
from pydantic import Field, validate_call
from torch import Tensor

from gapclose.planning.cem import CEMPlanner
from gapclose.planning.initialization import colored_noise
from gapclose.planning.search import Search, cheapest
from gapclose.setting_types import Fraction


class ICEMPlanner(CEMPlanner):
    """CEM with coloured noise, kept elites, a shrinking population and momentum.

    Pinneri et al. 2020, *Sample-efficient cross-entropy method for real-time planning* (arXiv 2008.06389), section 3:
    correlated samples (3.1); elites that are kept within a search and shifted from one search to the next (3.2); a
    decaying number of samples, the mean as a sample of the last iteration (if the number of iterations is fixed), and
    the best sample as the plan, not the mean (3.3). With a warm start, the mean starts from its best sequence.

    Args:
        noise_exponent: exponent of the samples' power spectral density over time, `1 / f^exponent`.
        kept_elites: share of the elites that are candidates again in the next iteration and in the next search.
        decay: factor by which the number of samples shrinks per iteration, down to twice the number of elites.
        momentum: share of the old mean and standard deviation in the new ones.
        settings: settings of `CEMPlanner`.
    """

    @validate_call
    def __init__(
        self,
        *,
        noise_exponent: Annotated[float, Field(ge=0, le=10)] = 2.0,
        kept_elites: Fraction = 0.3,
        decay: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.25,
        momentum: Fraction = 0.1,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self.noise_exponent, self.momentum, self.decay = noise_exponent, momentum, decay
        self.num_kept = round(kept_elites * self.num_elites)

    def search(self, search: Search, warm_start: Tensor | None) -> Tensor:
        mean = self.initial_sequences(search, warm_start)
        kept = mean[:, :0] if warm_start is None else warm_start[:, : max(1, self.num_kept)]
        std, last = torch.full_like(mean, self.init_std), (search.budget.iterations or 0) - 1
        search.score(mean)
        for iteration in search.iterations():
            k = max(round(self.num_samples * self.decay**-iteration), 2 * self.num_elites)
            samples = mean + std * colored_noise(search, k, self.noise_exponent)
            candidates = torch.cat((samples.clamp(-1, 1), kept, *([mean] if iteration == last else [])), 1)
            elites = cheapest(candidates, search.score(candidates), self.num_elites)
            mean = torch.lerp(elites.mean(1, keepdim=True), mean, self.momentum)
            std = torch.lerp(elites.std(1, correction=0, keepdim=True), std, self.momentum)
            kept = elites[:, : self.num_kept]
        return kept[:, 1:]  # Without the first, which is the best of the search already.
