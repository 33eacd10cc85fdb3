"""The words of `edgekit check`: a table of layers, and one line that says which goes wrong first."""

from edgekit.bench.check import Checked, LayerRow, Off
from edgekit.cli.output import table


def check_lines(checked: Checked) -> list[str]:
    """The table, the first layer that is wrong, outputs that are, and what else must be known."""
    lines = [f"{checked.artifact[:12]}  {checked.name}  {checked.target}", ""]
    if checked.rows:
        heads = ("", "layer", "op", "SQNR dB", "off", "most", "worst unit")
        lines += [*table(heads, [_cells(row, checked) for row in checked.rows]).splitlines(), ""]
    return [*lines, _verdict(checked), *(f"  note: {note}" for note in checked.notes)]


def _cells(row: LayerRow, checked: Checked) -> tuple[str | None, ...]:
    sqnr = None if row.sqnr_db is None else f"{row.sqnr_db:.1f}"
    return (">" if row.layer == checked.layer else "", row.layer, row.op, sqnr, *_off_cells(row.format))


def _off_cells(off: Off | None) -> tuple[str | None, ...]:
    if off is None:
        return None, None, None
    worst = f"{off.unit} ({off.unit_rms:.2g})" if off.unit_rms else None
    return f"{off.share:.2%}", f"{off.most:.2g} LSB", worst


def _verdict(checked: Checked) -> str:
    row = next((row for row in checked.rows if row.layer == checked.layer), None)
    if row is not None and row.format is not None:
        off = row.format
        return (
            f"{row.layer} ({row.op}) goes wrong first: {off.share:.2%} of its values differ from the host's program, "
            f"up to {off.most:.3g} LSB, unit {off.unit} most (RMS {off.unit_rms:.3g} LSB)"
        )
    if checked.wrong:
        return f"wrong, in no layer that can be seen: {'; '.join(checked.wrong)}"
    return f"right: outputs up to {max(checked.verdict.worst):.2g} off on {checked.verdict.vectors} samples"
