"""Compression of torch models: quantization within a target's numerics."""

import logging

# torchao tells at import which of its GPU kernels do not load, and torch which of its old words it still takes.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
