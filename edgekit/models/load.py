"""Models from where users keep them: a function that gives an nn.Module, a `.pt2`, an `.onnx`."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edgekit.core.project import ModelSource
from edgekit.errors import ModelError, ProjectError
from edgekit.models.extras import require
from edgekit.models.free import axes_of_project
from edgekit.models.model import Model, as_tensors, capture
from edgekit.models.source import call, load_function, split_source


def load_model(source: ModelSource, root: Path, name: str) -> Model:
    """The model that `source` names, with its weights, captured; paths are relative to `root`.

    Raises: ProjectError for what is missing, ModelError for what does not run or export.
    """
    module, example = load_module(source, root)
    if source.weights is not None:
        _load_weights_(module, root / source.weights)
    if source.example is not None or source.shape is not None:
        example = load_example(source, root)
    if example is None:
        raise ProjectError("model: needs `example` or `shape`, the input it is captured with")
    return capture(module, example, name, axes_of_project(source.dynamic, example))


def load_module(source: ModelSource, root: Path) -> tuple[nn.Module, tuple[Tensor, ...] | None]:
    """The module that `source` names, without its weights file, and example inputs where its file keeps some.

    Raises: ProjectError, ModelError.
    """
    if split_source(source.source):
        module = call(load_function(source.source, root, "model.source"), "model.source")
        if not isinstance(module, nn.Module):
            raise ProjectError(f"model.source: {source.source} gives {type(module).__name__}, want an nn.Module")
        return module, None
    path = root / source.source
    if path.suffix not in (".pt2", ".onnx"):
        raise ProjectError(f'model.source: want "file.py:function", a .pt2 or an .onnx, got {source.source!r}')
    if not path.is_file():
        raise ProjectError(f"model.source: {path}: no such file")
    if path.suffix == ".onnx":
        require("onnx", extra="onnx")
        from edgekit.models.from_onnx import module_from_onnx

        return module_from_onnx(path)
    return _from_pt2(path)


def load_example(source: ModelSource, root: Path) -> tuple[Tensor, ...]:
    """The example inputs: seeded noise of `shape`, what `example`'s function gives, or an `.npz`'s in_0, …"""
    if source.example is None:
        generator = torch.Generator().manual_seed(0)
        return (torch.randn(source.shape or (), generator=generator),)
    if split_source(source.example) is None:
        from edgekit.models.data import load_samples

        return as_tensors(load_samples(source.example, "example", root).inputs, "model.example")
    function = load_function(source.example, root, "model.example")
    return as_tensors(call(function, "model.example"), "model.example")


def _from_pt2(path: Path) -> tuple[nn.Module, tuple[Tensor, ...] | None]:
    try:
        exported = torch.export.load(path)
    except Exception as error:  # noqa: BLE001  a damaged archive raises whatever its reader meets
        raise ModelError(f"{path} is not a readable ExportedProgram: {type(error).__name__}: {error}") from None
    return module_of(exported)


def module_of(exported: torch.export.ExportedProgram) -> tuple[nn.Module, tuple[Tensor, ...] | None]:
    """A program's module, free of the batch it was captured with, and its example inputs where it kept them."""
    inputs: Any = exported.example_inputs
    module = exported.module(check_guards=False)
    module._forward_pre_hooks.clear()  # these and the guards would hold it to the batch that it was captured with
    return module, as_tensors(tuple(inputs[0]), "model.example") if inputs and inputs[0] else None


def _load_weights_(module: nn.Module, path: Path) -> None:
    if not path.is_file():
        raise ProjectError(f"model.weights: {path}: no such file")
    try:
        if path.suffix == ".safetensors":
            state: Any = require("safetensors.torch", extra="compress").load_file(path)
        else:
            state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # noqa: BLE001  a damaged file raises whatever its reader meets
        raise ModelError(f"model.weights: {path} cannot be read: {type(error).__name__}: {error}") from None
    if not isinstance(state, dict):
        raise ModelError(f"model.weights: {path} holds {type(state).__name__}, want a state dict")
    state = {
        key: value.float() if value.dtype in (torch.float16, torch.bfloat16) else value for key, value in state.items()
    }
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"model.weights: {path} does not fit the model: {str(error).splitlines()[-1].strip()}"
        ) from None
