"""What is said to the host: one JSON object a line, each with one key that says what it is."""

import base64
import json
import sys
import zlib


def say(**line):
    """One line to the host, at once."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def reason(error):
    """An error in one line."""
    return "%s: %s" % (type(error).__name__, " ".join(str(error).split())[:500])


def packed(data):
    """Bytes as text for a JSON line."""
    return base64.b64encode(zlib.compress(data)).decode()
