"""How activation ranges are taken from calibration: min-max, a percentile, or least squared error. Bounded memory."""

from typing import Any

import torch
from torch import Tensor
from torchao.quantization.pt2e.observer import HistogramObserver, MinMaxObserver, PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantizer import QuantizationSpec

from edgekit.core.recipe import Ranges
from edgekit.core.target import Activations

EPSILON = 2.0**-12
"""The least scale: finer steps than this are noise, and some runtimes lose them."""
PERCENTILE = 0.9999


class PercentileObserver(HistogramObserver):
    """A range that leaves out the outermost (1 - PERCENTILE) of the values, half at each end."""

    def _non_linear_param_search(self) -> tuple[Tensor, Tensor]:
        cumulated = torch.cumsum(self.histogram, dim=0) / self.histogram.sum()
        width = (self.max_val - self.min_val) / self.bins
        tail = (1 - PERCENTILE) / 2
        low = self.min_val + width * int(torch.searchsorted(cumulated, tail))
        high = self.min_val + width * (int(torch.searchsorted(cumulated, 1 - tail)) + 1)
        return low, torch.minimum(high, self.max_val)


_OBSERVERS = {"minmax": MinMaxObserver, "percentile": PercentileObserver, "mse": HistogramObserver}


def activation_spec(activations: Activations, ranges: Ranges) -> QuantizationSpec:
    """int8 per tensor, -128..127: affine, or symmetric where the target demands it.

    uint8-affine is int8-affine here; the lowering relabels it.
    """
    symmetric = activations == "int8-symmetric"
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_symmetric if symmetric else torch.per_tensor_affine,
        observer_or_fake_quant_ctr=_OBSERVERS[ranges].with_args(eps=EPSILON),
    )


def weight_spec(per_channel: bool, reduced: bool) -> QuantizationSpec:  # noqa: FBT001
    """int8 symmetric, -127..127; `reduced`: 7 bits, for processors whose int8 kernels saturate."""
    most = 63 if reduced else 127
    kind: Any = PerChannelMinMaxObserver if per_channel else MinMaxObserver
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-most,
        quant_max=most,
        qscheme=torch.per_channel_symmetric if per_channel else torch.per_tensor_symmetric,
        ch_axis=0 if per_channel else None,
        observer_or_fake_quant_ctr=kind.with_args(eps=2.0**-20),
    )
