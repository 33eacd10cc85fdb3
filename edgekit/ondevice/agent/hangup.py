"""The agent ends when nobody reads it any more: its host is gone, or has given up on it."""

import _thread
import os
import select
import threading
import time

STDOUT = 1
GRACE_S = 2.0


def end_when_nobody_reads():
    """From now on, this process ends within seconds of the other end of its stdout being closed."""
    threading.Thread(target=watch, daemon=True).start()


def watch():
    """Sleeps in the kernel until then: it costs what is measured nothing. Files made are removed if time allows."""
    poll = select.poll()
    poll.register(STDOUT, 0)
    poll.poll()
    _thread.interrupt_main()
    time.sleep(GRACE_S)
    os._exit(1)
