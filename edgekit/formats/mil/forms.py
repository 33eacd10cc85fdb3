"""How the compressed weights of an ML program are written: in words, and in how many bytes."""

from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from torch import Tensor

from edgekit.formats.mil.values import Type, bits_of, type_of

if TYPE_CHECKING:
    from edgekit.formats.mil.program import MilProgram, Op


class Form(NamedTuple):
    """Of a compressed weight: "int4", "palette of 16", "sparse int8"; the bytes of all that it is made of."""

    words: str
    size_bytes: int


MASK = Form("mask", 0)
"""Of where a sparse weight is not zero: its bytes count with the values'."""
_DATA = ("quantized_data", "data", "nonzero_data", "source_val")


def forms_of(operation: Any, known: Mapping[str, Form]) -> dict[str, Form]:
    """The forms of what a constexpr_… operation makes, by name; `known` has those of what it takes."""
    written: dict[str, Type] = {name: type_of(value.type) for name, value in operation.attributes.items()}
    taken: dict[str, Form] = {}
    for argument, bound in operation.inputs.items():
        for binding in bound.arguments:
            if binding.WhichOneof("binding") == "value":
                written[argument] = type_of(binding.value.type)
            elif binding.name in known:
                taken[argument] = known[binding.name]
    size = sum(_bytes(kind) for name, kind in written.items() if name != "name")
    size += sum(form.size_bytes for form in taken.values())
    made = Form(_words(operation.type.removeprefix("constexpr_"), written, taken), size)
    names = [variable.name for variable in operation.outputs]
    return {names[0]: MASK, names[1]: made} if len(names) == 2 else dict.fromkeys(names, made)


def form_of_network(params: Any, count: int) -> Form | None:
    """The form of `count` weights of a neural network; None where they are float32."""
    if params.float16Value:
        return Form("float16", 2 * count)
    if not params.rawValue:
        return None
    bits, kind = int(params.quantization.numberOfBits), params.quantization.WhichOneof("QuantizationType")
    held = getattr(params.quantization, str(kind))
    is_palette = kind == "lookupTableQuantization"
    beside = len(held.floatValue) if is_palette else len(held.scale) + len(held.bias)
    return Form(f"palette of {2**bits}" if is_palette else f"int{bits}", len(params.rawValue) + 4 * beside)


def _words(kind: str, written: Mapping[str, Type], taken: Mapping[str, Form]) -> str:
    if kind in {"lut_to_dense", "lut_to_sparse"}:
        indices = written.get("indices", written.get("indices_nonzero_data"))
        table = written.get("lut")
        if "shape" in written and table is not None:
            return f"palette of {_count(table)}"
        return f"palette of {2 ** bits_of(indices)}" if indices is not None else "palette"
    if kind == "sparse_to_dense":
        return f"sparse {taken['nonzero_data'].words}" if "nonzero_data" in taken else "sparse"
    data = next((written[name] for name in _DATA if name in written), None)
    behind = next((form.words for form in taken.values() if form is not MASK), kind)
    return behind if data is None else data.word


def _bytes(kind: Type) -> int:
    return -(-_count(kind) * bits_of(kind) // 8) if kind.dtype != "STRING" else 0


def _count(kind: Type) -> int:
    return prod(size or 1 for size in kind.shape or ())


def words_of(program: "MilProgram") -> tuple[str, ...]:
    """What to say of the compressed weights that a program's ops take; nothing where there are none."""
    taken = {name: program.compressed[name] for op in program.ops for name in _names(op) if name in program.compressed}
    if not taken:
        return ()
    counts = Counter(form.words for form in taken.values())
    each = ", ".join(f"{count} {words}" for words, count in counts.most_common())
    values = sum(value.numel() for name in taken if isinstance(value := program.constants[name], Tensor))
    size = sum(form.size_bytes for form in taken.values())
    return (f"weights: {each}; {size / 1e6:.2f} MB, in float32 {4 * values / 1e6:.2f} MB",)


def _names(op: "Op") -> tuple[str, ...]:
    return tuple(name for names in op.takes.values() for name in names)
