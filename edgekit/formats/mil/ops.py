"""All ops of ML programs that edgekit's evaluator knows, by the name that the format calls them."""

from edgekit.formats.mil.arguments import Kernel
from edgekit.formats.mil.elementwise import ELEMENTWISE
from edgekit.formats.mil.layers import LAYERS
from edgekit.formats.mil.shapes import SHAPES
from edgekit.formats.mil.weights import WEIGHTS

KERNELS: dict[str, Kernel] = {**ELEMENTWISE, **LAYERS, **SHAPES, **WEIGHTS}
