"""Which job is which, and how the agent begins and ends."""

import json
import sys

from .calls import do_memory, do_rounds, do_vectors
from .compiled import do_compile
from .farm import do_farm
from .hangup import end_when_nobody_reads
from .inside import do_inside
from .kernel import own_cores, state, stay_on_fast_cores
from .lines import reason, say
from .runtimes import RUNTIMES
from .sustained import do_sustained


SCHEMA = 1


def do_version(job):
    say(
        version=RUNTIMES[job["runtime"]].version(),
        python=sys.version.split()[0],
        state=dict(state(job), cores=own_cores()),
    )


JOBS = {
    "version": do_version,
    "rounds": do_rounds,
    "memory": do_memory,
    "compile": do_compile,
    "farm": do_farm,
    "vectors": do_vectors,
    "inside": do_inside,
    "sustained": do_sustained,
}


def main():
    """Does the job on stdin."""
    end_when_nobody_reads()
    try:
        job = json.loads(sys.stdin.read())
        if job.get("schema") != SCHEMA or job.get("job") not in JOBS:
            raise ValueError("this agent does not know the job: it is older or newer than the host's edgekit")
        stay_on_fast_cores(job["threads"])
        JOBS[job["job"]](job)
        say(done=True)
    except Exception as error:
        say(error=reason(error))
        sys.exit(1)
