"""What measures on a device: one JSON job on stdin, JSON lines on stdout. Python 3.8, standard library, one runtime.

Jobs ("job" key): version, rounds, memory, compile, farm, vectors. Each line out has one key that says what it is; the
last one is {"done": true}. A failure is {"error": "..."} and exit status 1. Files are written by compile and farm
alone, in a temporary folder beside the form, gone afterwards.
"""
