"""All ops of ML programs that edgekit's evaluator knows, by the name that the format calls them."""

from edgekit.formats.mil_arguments import Kernel
from edgekit.formats.mil_elementwise import ELEMENTWISE
from edgekit.formats.mil_layers import LAYERS
from edgekit.formats.mil_shapes import SHAPES
from edgekit.formats.mil_weights import WEIGHTS

KERNELS: dict[str, Kernel] = {**ELEMENTWISE, **LAYERS, **SHAPES, **WEIGHTS}
