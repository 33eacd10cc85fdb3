"""The words of `edgekit check`: a table of layers, and one line that says which goes wrong first."""

from edgekit.bench.check import Checked, LayerRow, Off
from edgekit.cli.output import table


def check_lines(checked: Checked) -> list[str]:
    """The table, the first layer that is wrong, outputs that are, and what else must be known."""
    target = checked.target if checked.reference == "program" or checked.device else "a model file"
    lines = [f"{checked.artifact[:12]}  {checked.name}  {target}", ""]
    if checked.rows:
        heads = ["", "layer", "op", "precision", "SQNR dB", "differ", "most", "worst unit"]
        if checked.device is not None:
            heads += [f"on {checked.device}: differ", "most", "worst unit", "µs", "on"]
        lines += [*table(heads, [_cells(row, checked) for row in checked.rows]).splitlines(), ""]
    return [*lines, *_verdict(checked), *(f"  note: {note}" for note in checked.notes)]


def _cells(row: LayerRow, checked: Checked) -> tuple[str | None, ...]:
    sqnr = None if row.sqnr_db is None else f"{row.sqnr_db:.1f}"
    cells = (">" if row.layer == checked.layer else "", row.layer, row.op, row.precision, sqnr, *_off_cells(row.format))
    if checked.device is None:
        return cells
    time = None if row.seconds is None else f"{row.seconds * 1e6:.1f}"
    return *cells, *_off_cells(row.device), time, row.compute_unit


def _off_cells(off: Off | None) -> tuple[str | None, ...]:
    if off is None:
        return None, None, None
    worst = f"{off.unit} ({off.unit_rms:.2g})" if off.unit_rms else None
    return f"{off.share:.2%}", f"{off.most:.3g} LSB", worst


def _verdict(checked: Checked) -> list[str]:
    """One line on the layers, and one for each output that is wrong."""
    row = next((row for row in checked.rows if row.layer == checked.layer), None)
    if row is not None:
        here = row.format is not None and row.format.wrong
        off = row.format if here else row.device
        where = "" if here else f" on {checked.device}"
        return [f"{row.layer} ({row.op}) goes wrong first{where}: {_off_words(off)}" if off else "", *checked.wrong]
    if checked.wrong:
        return [*checked.wrong, *(["no layer that can be seen is wrong by itself"] if checked.rows else [])]
    if checked.reference == "file" and checked.device is None:
        return [f"it runs on this computer: {len(checked.verdict.worst)} outputs for {checked.verdict.vectors} samples"]
    return [f"right: {'; '.join(_output_words(checked))}, on {checked.verdict.vectors} samples"]


def _output_words(checked: Checked) -> list[str]:
    amounts = (
        f"{worst:.2g} LSB" if in_steps else f"{worst:.1g} of its range"
        for worst, in_steps in zip(checked.verdict.worst, checked.verdict.in_steps, strict=True)
    )
    return [f"output {i} at most {amount} off" for i, amount in enumerate(amounts)]


def _off_words(off: Off) -> str:
    return (
        f"{off.share:.2%} of its values differ from the host's program, up to {off.most:.3g} LSB, "
        f"unit {off.unit} most (RMS {off.unit_rms:.3g} LSB)"
    )
