"""How activation ranges are taken from calibration: min-max, a percentile, or least squared error. Bounded memory.

A target may take only powers of two as scales. Then min-max and percentile give the least power that holds their range,
and least squares the power with the least squared error.
"""

from typing import Any

import torch
from torch import Tensor
from torchao.quantization.pt2e.observer import (
    MinMaxObserver,
    PerChannelMinMaxObserver,
    UniformQuantizationObserverBase,
)
from torchao.quantization.pt2e.quantizer import QuantizationSpec

from edgekit.core.recipe import Ranges
from edgekit.core.target import Activations, Scales

EPSILON = 2.0**-12
"""The least scale: finer steps than this are noise, and some runtimes lose them."""
PERCENTILE = 0.9999
BINS = 8192
"""Over -R to R, R doubling as larger values come: at least 2,048 bins lie within the values' own range."""
SHRINKS = torch.linspace(1.0, 0.2, 81).tolist()
HALVINGS = 6
"""How many powers of two are tried for the least error: the least that holds all values, and those below it."""


class HistogramRange(UniformQuantizationObserverBase):
    """Counts values in bins whose width doubles when a value falls outside; a subclass picks the range."""

    counts: Tensor
    reach: Tensor
    least: Tensor
    most: Tensor

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register_buffer("counts", torch.zeros(BINS, dtype=torch.float64))
        self.register_buffer("reach", torch.tensor(0.0, dtype=torch.float64))
        self.register_buffer("least", torch.tensor(0.0))
        self.register_buffer("most", torch.tensor(0.0))

    def forward(self, values: Tensor) -> Tensor:
        """`values`, counted."""
        if values.numel() == 0:
            return values
        flat = values.detach().flatten().to(torch.float32)
        low, high = torch.aminmax(flat)
        self.least, self.most = torch.minimum(self.least, low), torch.maximum(self.most, high)
        self._reach_out_(float(torch.maximum(-low, high)))
        if self.reach:
            reach = float(self.reach)
            self.counts += torch.histc(flat, BINS, -reach, reach).double()
        else:
            self.counts[BINS // 2] += flat.numel()
        return values

    def _reach_out_(self, far: float) -> None:
        """Doubles the width of the bins until `far` is inside, the counts of neighbours going into one."""
        if not self.reach and far > 0:
            self.reach.fill_(far)
        while float(self.reach) < far:
            pairs = self.counts.reshape(-1, 2).sum(dim=1)
            self.counts = torch.nn.functional.pad(pairs, (BINS // 4, BINS // 4))
            self.reach *= 2

    def centres(self) -> Tensor:
        """The middle of each bin."""
        return (torch.arange(BINS, dtype=torch.float64) + 0.5) * (2 * self.reach / BINS) - self.reach

    def pick(self) -> tuple[Tensor, Tensor]:
        """The range, out of what was counted; zero is always in it."""
        return self.least, self.most

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Scale and zero point of the range that `pick` gives; 0 is always a step."""
        if not self.counts.sum():
            return torch.tensor([1.0]), torch.tensor([0])
        return self._calculate_qparams(*self.pick())  # type: ignore[no-any-return]


class PercentileRange(HistogramRange):
    """Leaves out the outermost (1 - PERCENTILE) of the values, half at each end."""

    def pick(self) -> tuple[Tensor, Tensor]:
        """The range, to the width of a bin."""
        share, tail = torch.cumsum(self.counts, dim=0) / self.counts.sum(), (1 - PERCENTILE) / 2
        width, edge = 2 * self.reach / BINS, -self.reach
        low = edge + width * int(torch.searchsorted(share, tail))
        high = edge + width * (int(torch.searchsorted(share, 1 - tail)) + 1)
        return torch.maximum(low.float(), self.least), torch.minimum(high.float(), self.most)


class LeastSquares(HistogramRange):
    """The range with the least mean squared error of rounding and clipping, never worse than min-max."""

    def pick(self) -> tuple[Tensor, Tensor]:
        """The best of ranges shrunk alike at both ends, then at each end."""
        both = min(SHRINKS, key=lambda s: self._error(s, s))
        upper = min(SHRINKS, key=lambda s: self._error(both, s))
        lower = min(SHRINKS, key=lambda s: self._error(s, upper))
        return self.least * lower, self.most * upper

    def _error(self, lower: float, upper: float) -> float:
        used = self.counts > 0
        scale, zero = (float(v) for v in self._calculate_qparams(self.least * lower, self.most * upper))
        values = self.centres()[used]
        steps = torch.clamp(torch.round(values / scale) + zero, self.quant_min, self.quant_max) - zero
        return float((self.counts[used] * (steps * scale - values) ** 2).sum())


class _PowerOfTwo:
    """Scales that are powers of two: the least that holds the range."""

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Scale and zero point."""
        scale, zero = super().calculate_qparams()  # type: ignore[misc]
        return least_power(scale), zero


class PowerMinMax(_PowerOfTwo, MinMaxObserver):  # type: ignore[misc]
    """The range of all values."""


class PowerPercentile(_PowerOfTwo, PercentileRange):
    """As PercentileRange."""


class PowerLeastSquares(HistogramRange):
    """The power of two with the least squared error of rounding and clipping, out of HALVINGS."""

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Scale and zero point."""
        scale, zero = super().calculate_qparams()
        used = self.counts > 0
        low, high = int(self.quant_min), int(self.quant_max)
        return best_power(least_power(scale), self.centres()[used], self.counts[used], low, high), zero


def least_power(scale: Tensor) -> Tensor:
    """The least power of two that is not below `scale`.

    >>> least_power(torch.tensor([0.3, 0.25])).tolist()
    [0.5, 0.25]
    """
    return torch.exp2(torch.ceil(torch.log2(scale)))


def best_power(holds_all: Tensor, values: Tensor, counts: Tensor | float, low: int, high: int) -> Tensor:
    """The power of two, from `holds_all` down, with the least squared error of `values` in steps from `low` to `high`.

    >>> best_power(torch.tensor([1.0]), torch.tensor([0.25] * 99 + [100.0]), 1.0, -128, 127).tolist()
    [1.0]
    """

    def error(power: Tensor) -> float:
        steps = torch.clamp(torch.round(values / power), low, high)
        return float((counts * (steps * power - values) ** 2).sum())

    return min((holds_all / 2**i for i in range(HALVINGS)), key=error)


class _Once:
    """Looks at the first values alone: a weight is the same at every call, and calibration calls hundreds of times."""

    seen = False

    def forward(self, values: Tensor) -> Tensor:
        if not self.seen:
            super().forward(values)  # type: ignore[misc]
            self.seen = True
        return values


class WeightRange(_Once, MinMaxObserver):  # type: ignore[misc]
    """The range of a whole weight."""


class PowerWeight(_Once, MinMaxObserver):  # type: ignore[misc]
    """A whole weight: the power of two with the least squared error."""

    def forward(self, values: Tensor) -> Tensor:
        """`values`; the first are looked at."""
        if not self.seen:
            self.weight = values.detach().double()
        return super().forward(values)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Scale and zero point."""
        scale, zero = super().calculate_qparams()
        return best_power(least_power(scale), self.weight, 1.0, int(self.quant_min), int(self.quant_max)), zero


class ChannelRange(_Once, PerChannelMinMaxObserver):  # type: ignore[misc]
    """The range of a weight, channel by channel."""


_OBSERVERS: dict[tuple[Scales, Ranges], Any] = {
    ("any", "minmax"): MinMaxObserver,
    ("any", "percentile"): PercentileRange,
    ("any", "mse"): LeastSquares,
    ("power-of-two", "minmax"): PowerMinMax,
    ("power-of-two", "percentile"): PowerPercentile,
    ("power-of-two", "mse"): PowerLeastSquares,
}


def activation_spec(activations: Activations, ranges: Ranges, scales: Scales = "any") -> QuantizationSpec:
    """int8 per tensor, -128..127: affine, or symmetric where the target demands it.

    uint8-affine is int8-affine here; the lowering relabels it.
    """
    symmetric = activations == "int8-symmetric"
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_symmetric if symmetric else torch.per_tensor_affine,
        observer_or_fake_quant_ctr=_OBSERVERS[scales, ranges].with_args(eps=EPSILON),
    )


def weight_spec(*, per_channel: bool, reduced: bool, scales: Scales = "any") -> QuantizationSpec:
    """int8 symmetric, -127..127; `reduced`: 7 bits, for processors whose int8 kernels saturate."""
    most = 63 if reduced else 127
    whole: Any = WeightRange if scales == "any" else PowerWeight
    kind: Any = ChannelRange if per_channel else whole
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-most,
        quant_max=most,
        qscheme=torch.per_channel_symmetric if per_channel else torch.per_tensor_symmetric,
        ch_axis=0 if per_channel else None,
        observer_or_fake_quant_ctr=kind.with_args(eps=2.0**-20),
    )
