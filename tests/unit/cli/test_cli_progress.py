import os
import pty
import subprocess
import sys

SHOW = """
from edgekit.cli.progress import shown
from edgekit.pipeline.events import Event
with shown() as listener:
    listener(Event(stage="measure", text="round [red]one", done=1, total=4))
    listener(Event(stage="test", text="reading"))
print("result")
"""


def test_progress_is_one_line_an_event_on_stderr_where_there_is_no_terminal() -> None:
    done = subprocess.run((sys.executable, "-c", SHOW), capture_output=True, text=True, check=True)
    assert done.stdout == "result\n"
    assert done.stderr == "measure: round [red]one (1/4)\ntest: reading\n"


def test_progress_moves_on_a_terminal_and_leaves_stdout_to_the_result() -> None:
    mine, theirs = pty.openpty()
    child = subprocess.Popen(
        (sys.executable, "-c", SHOW),
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
    )
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(mine, 4096):
            said += chunk
    except OSError:
        pass  # the child closed the terminal
    finally:
        os.close(mine)
    assert child.communicate()[0] == b"result\n"
    assert child.returncode == 0
    assert b"reading" in said
