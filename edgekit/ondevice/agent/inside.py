"""The job that tells what a form gives for its inputs, at the places asked for."""

from .forms import load, samples
from .lines import packed, say


def do_inside(job):
    """For each tap an array (places, units): of the output `place`, transposed by `order`, the `rows` of each batch."""
    import numpy

    form = job["forms"][0]
    model = load(form, job)
    kept = [[] for _ in job["taps"]]
    for inputs in samples(form):
        given = model.run(inputs)
        for tap, parts in zip(job["taps"], kept):
            parts.append(rows_of(numpy.asarray(given[tap["place"]]), tap))
    for index, parts in enumerate(kept):
        array = numpy.ascontiguousarray(numpy.concatenate(parts))
        dtype = array.dtype.name
        say(inside={"index": index, "dtype": dtype, "shape": list(array.shape), "data": packed(array.tobytes())})


def rows_of(array, tap):
    """(places, units) of one call: `axis` is that of the units in a batch of `shape`."""
    import numpy

    if tap["order"]:
        array = array.transpose(tap["order"])
    blocks = array.reshape([-1, *tap["shape"]])
    flat = numpy.moveaxis(blocks, tap["axis"] + 1, -1).reshape(len(blocks), -1, tap["shape"][tap["axis"]])
    return flat[:, tap["rows"]].reshape(-1, flat.shape[-1])
