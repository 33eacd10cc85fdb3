"""Whether the user asked to stop: an interrupt that lands in a callback of a library is lost there."""

from threading import Event

ASKED = Event()
