"""A network of a process's own that is slow, loses packets or falls silent: a real kernel's, gone with the process.

For a process begun with the words of `APART`, as root. Its loopback is the link to every device that it starts. What
takes long on its way goes by `link.py` besides: the kernel's own delay (netem) is not everywhere.
"""

import subprocess

APART = ("unshare", "--net")
MTU = 1500
"""That of a real link: of loopback's 64 KiB a lost packet would be a whole window."""

QUEUE = ("burst", "32kbit", "latency", "200ms")


def open_network(*, rate_mbit: float | None = None, loss: float = 0.0) -> None:
    """Sets loopback up, with at most so many Mbit/s, and that share of packets lost. Raises: CalledProcessError."""
    _run("ip", "link", "set", "lo", "mtu", str(MTU), "up")
    if rate_mbit is not None:
        _run("tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", f"{rate_mbit:g}mbit", *QUEUE)
    if loss:
        _run(
            "iptables", "-A", "INPUT", "-i", "lo", "-p", "tcp", "-m", "statistic", "--mode", "random",
            "--probability", f"{loss:g}", "-j", "DROP",
        )  # fmt: skip


def drop_all(port: int) -> None:
    """Loses every packet to and from a port. Raises: CalledProcessError."""
    _to_and_from(port, "DROP")


def refuse_all(port: int) -> None:
    """Answers every packet to and from a port with a reset. Raises: CalledProcessError."""
    _to_and_from(port, "REJECT", "--reject-with", "tcp-reset")


def _to_and_from(port: int, *verdict: str) -> None:
    for direction in ("--dport", "--sport"):
        _run("iptables", "-A", "INPUT", "-i", "lo", "-p", "tcp", direction, str(port), "-j", *verdict)


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
