"""A form: a model file on this device, with inputs in an .npz beside it."""

import base64
import os
import tempfile
import zlib

from .runtimes import RUNTIMES


def load(form, job):
    """The form in the job's runtime, loaded afresh."""
    return RUNTIMES[job["runtime"]](form["path"], job["threads"])


def samples(form):
    """A list of inputs, each a list of arrays with one batch, from the form's .npz."""
    import numpy

    with numpy.load(form["inputs"], allow_pickle=False) as archive:
        names = sorted((k for k in archive.files if k.startswith("in_")), key=lambda k: int(k[3:]))
        arrays = [archive[name] for name in names]
    batch = int(form.get("batch", 1))
    count = max(1, len(arrays[0]) // batch)
    return [[numpy.ascontiguousarray(a[i * batch : (i + 1) * batch]) for a in arrays] for i in range(count)]


def scratch(form):
    """A folder of this process's own beside the form, removed when it is left."""
    return tempfile.TemporaryDirectory(prefix=".edgekit-", dir=os.path.dirname(os.path.abspath(form["path"])))


def write(folder, name, text):
    """The path of a file in `folder` with what `packed` made `text` of."""
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(zlib.decompress(base64.b64decode(text)))
    return path
