"""A form: a model file on this device, with inputs in an .npz beside it."""

import base64
import contextlib
import errno
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


@contextlib.contextmanager
def scratch(form):
    """A folder of this process's own beside the form, removed when it is left.

    What fails in it for want of room fails with an OSError that says so: a runtime says only that it cannot write.
    """
    with tempfile.TemporaryDirectory(prefix=".edgekit-", dir=os.path.dirname(os.path.abspath(form["path"]))) as folder:
        try:
            yield folder
        except Exception as error:
            disk = os.statvfs(folder)
            if disk.f_bavail * disk.f_frsize < os.path.getsize(form["path"]):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), folder) from error
            raise


def write(folder, name, text):
    """The path of a file in `folder` with what `packed` made `text` of."""
    path = os.path.join(folder, name)
    with open(path, "wb") as file:
        file.write(zlib.decompress(base64.b64decode(text)))
    return path
