"""The first bytes of an engine, by which a host sees without TensorRT which TensorRT built it. Pure.

Their meaning is that of trtexec's --getPlanVersionOnly in NVIDIA's repository, 10.0 to v11.1; 8's are not judged.
"""

from edgekit.bench.runners.trtexec_options import numbers

HEADER_BYTES = 28
_MAGIC = b"ftrt"


def plan_version(header: bytes) -> str | None:
    """The version of TensorRT that built an engine; None if these are not the first bytes of one.

    >>> plan_version(b"ftrt" + bytes(20) + bytes([10, 3, 0, 30]))
    '10.3.0.30'
    """
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        return None
    return ".".join(str(number) for number in header[24:HEADER_BYTES])


def plan_fault(header: bytes, version: str) -> str | None:
    """Why the TensorRT that a device has will not load an engine, in words; None where nothing speaks against it.

    >>> plan_fault(b"ftrt" + bytes(20) + bytes([10, 3, 0, 30]), "10.7.0")
    'it was built by TensorRT 10.3.0.30, the device has 10.7.0'
    """
    if numbers(version) < (10, 0):
        return None
    built_by = plan_version(header)
    if built_by is None:
        return "its first bytes are not those of an engine"
    if numbers(built_by)[:3] != numbers(version)[:3]:
        return f"it was built by TensorRT {built_by}, the device has {version}"
    return None
