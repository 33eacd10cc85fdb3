"""Selectors: which devices a command is for, said by their labels and what else is known of them. Pure.

    site=berlin,soc!=pi4          every term holds: a comma is "and"
    site in (berlin, "new york")  one of several; a value with spaces or signs is quoted
    canary, !broken               the key is there, or is not

A device without the key is none of its values: `soc!=pi4` takes it, `soc=pi4` does not.
"""

import re
from collections.abc import Collection, Mapping
from typing import Literal

from edgekit.core.device import Device
from edgekit.core.noun import Noun
from edgekit.errors import UsageError

_TOKEN = re.compile(r'(!=|[=!,()])|("(?:[^"\\]|\\.)*")|([^\s,()=!"\\]+)', re.DOTALL)
_PLAIN = re.compile(r'[^\s,()=!"\\]+')


class Term(Noun, frozen=True, kw_only=True):
    """One condition on one key: "in" and "not in" are about `values`, "there" and "absent" about the key itself."""

    key: str
    holds: Literal["in", "not in", "there", "absent"]
    values: tuple[str, ...] = ()


class Selector(Noun, frozen=True, kw_only=True):
    """Terms that must all hold."""

    terms: tuple[Term, ...]


def matches(selector: Selector, known: Mapping[str, Collection[str]]) -> bool:
    """Whether what is known, values by key, is what the selector asks for.

    >>> board = {"site": ("berlin",), "target": ("onnx-arm64", "tflite-arm64")}
    >>> [matches(parse_selector(text), board) for text in ("target=onnx-arm64,!canary", "site!=berlin", "soc!=pi4")]
    [True, False, True]
    """
    return all(_holds(term, known) for term in selector.terms)


def _holds(term: Term, known: Mapping[str, Collection[str]]) -> bool:
    values = known.get(term.key, ())
    match term.holds:
        case "there":
            return bool(values)
        case "absent":
            return not values
        case "in":
            return any(value in values for value in term.values)
        case "not in":
            return not any(value in values for value in term.values)


def known_of(device: Device) -> dict[str, tuple[str, ...]]:
    """What a selector can ask of a device: its labels, and name, host, transport, arch, soc, firmware and target.

    A label of one of these names adds its value to them.

    >>> known_of(Device(name="pi5", host="10.0.0.7", labels=(("site", "lab"),)))
    {'name': ('pi5',), 'transport': ('ssh',), 'host': ('10.0.0.7',), 'site': ('lab',)}
    """
    pairs = (
        ("name", device.name), ("transport", device.transport), ("host", device.host), ("arch", device.arch),
        ("soc", device.soc), ("firmware", device.firmware),
        *(("target", target) for target in device.targets), *device.labels,
    )  # fmt: skip
    known: dict[str, tuple[str, ...]] = {}
    for key, value in pairs:
        if value:
            known[key] = (*known.get(key, ()), value)
    return known


def parse_selector(text: str) -> Selector:
    """The selector that `text` is.

    Raises: UsageError naming the place in it, what is wanted and what was got.

    >>> parse_selector("site in (a, b),!canary").terms[1]
    Term(key='canary', holds='absent', values=())
    """
    reader = _Reader(text)
    terms = [_term(reader)]
    while reader.took(","):
        terms.append(_term(reader))
    if not reader.ended:
        raise reader.wrong("a comma or the end")
    return Selector(terms=tuple(terms))


def selector_text(selector: Selector) -> str:
    """The text that `parse_selector` reads back to an equal selector.

    >>> selector_text(parse_selector('site in (a,"b c"), soc != pi4'))
    'site in (a,"b c"),soc!=pi4'
    """
    return ",".join(map(_term_text, selector.terms))


def _term_text(term: Term) -> str:
    key, values = _quoted(term.key), [_quoted(value) for value in term.values]
    match term.holds:
        case "there":
            return key
        case "absent":
            return f"!{key}"
        case "in" if len(values) != 1:
            return f"{key} in ({','.join(values)})"
        case "in":
            return f"{key}={values[0]}"
        case "not in":
            return ",".join(f"{key}!={value}" for value in values)


def _quoted(word: str) -> str:
    return word if _PLAIN.fullmatch(word) else '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'


def _term(reader: "_Reader") -> Term:
    if reader.took("!"):
        return Term(key=reader.word("a key after !"), holds="absent")
    key = reader.word("a key")
    if reader.took("="):
        return Term(key=key, holds="in", values=(reader.word("a value"),))
    if reader.took("!="):
        return Term(key=key, holds="not in", values=(reader.word("a value"),))
    if not reader.took("in"):
        return Term(key=key, holds="there")
    reader.must("(")
    values = [reader.word("a value")]
    while reader.took(","):
        values.append(reader.word("a value"))
    reader.must(")")
    return Term(key=key, holds="in", values=tuple(values))


class _Reader:
    """The signs and words of a selector, one at a time; a quoted word is a word, whatever is in it."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._next()

    def _next(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1
        self._found = _TOKEN.match(self._text, self._at)
        if self._found is None and self._at < len(self._text):
            raise self.wrong("a word, or the end of a quoted one")

    @property
    def ended(self) -> bool:
        """Nothing is left."""
        return self._found is None

    def took(self, sign: str) -> bool:
        """Whether `sign`, unquoted, is next; then it is gone."""
        if self._found is None or self._found[0] != sign:
            return False
        self._at = self._found.end()
        self._next()
        return True

    def must(self, sign: str) -> None:
        """Takes `sign`. Raises: UsageError if something else is next."""
        if not self.took(sign):
            raise self.wrong(f"{sign!r}")

    def word(self, wanted: str) -> str:
        """Takes a word. Raises: UsageError if something else is next."""
        found = self._found
        if found is None or found[1]:
            raise self.wrong(wanted)
        self._at = found.end()
        self._next()
        return found[3] or re.sub(r"\\(.)", r"\1", found[2][1:-1], flags=re.DOTALL)

    def wrong(self, wanted: str) -> UsageError:
        """The error for what is next."""
        got = repr(self._text[self._at : self._at + 20]) if self._at < len(self._text) else "the end"
        return UsageError(f"selector {self._text[:200]!r}: at {self._at + 1}: want {wanted}, got {got}")
