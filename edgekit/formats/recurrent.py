"""Recurrent layers as the ops that they are made of, for converters that do not know them, or not what is inside."""

from typing import Any

import torch

aten = torch.ops.aten
_CELLS = (aten.gru_cell.default, aten.lstm_cell.default, aten.rnn_tanh_cell.default, aten.rnn_relu_cell.default)
_LAYERS = (aten.gru.input, aten.lstm.input, aten.rnn_tanh.input, aten.rnn_relu.input)


def how_recurrent_layers_run(exported: torch.export.ExportedProgram) -> dict[Any, Any]:
    """What writes the recurrent layers of a program out step by step, by op; empty where it has none."""
    used = {node.target for node in exported.graph.nodes} & {*_CELLS, *_LAYERS}
    if not used:
        return {}
    wanted = used | {aten.unsafe_split.Tensor}  # what a cell is made of, and no converter knows
    return {op: how for op, how in torch.export.default_decompositions().items() if op in wanted}


def unrolled(exported: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """`exported` with its recurrent layers written step by step; as it is where it has none."""
    table = how_recurrent_layers_run(exported)
    return exported.run_decompositions(table) if table else exported
