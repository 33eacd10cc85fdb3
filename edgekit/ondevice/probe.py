"""What a device's Python says of itself, as one line of JSON. Python 3.8 and older; asks and changes nothing."""

import json
import platform
import sys

PACKAGES = {
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "litert": "ai-edge-litert",
    "tflite-runtime": "tflite-runtime",
    "coremltools": "coremltools",
}


def main():
    said = {"python": platform.python_version(), "libc": " ".join(platform.libc_ver()).strip(), "packages": {}}
    try:
        from importlib import metadata
    except ImportError:  # before 3.8
        metadata = None
    for name, package in PACKAGES.items() if metadata else ():
        try:
            said["packages"][name] = metadata.version(package)
        except Exception:  # a broken installation is none
            continue
    sys.stdout.write("@python " + json.dumps(said) + "\n")


main()
