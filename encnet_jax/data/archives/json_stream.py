"""Reads the arrays of large JSON files, one element at a time."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from encnet_jax.errors import UserError

_READ_BYTES = 1 << 24


class _Scanner:
    """Reads a JSON file value by value; only a part of the file is in memory.

    Bytes are decoded as Latin-1, so that each byte is one character. Non-ASCII
    characters in strings are therefore decoded wrongly.
    """

    def __init__(self, file: BinaryIO, read_bytes: int):
        self._file = file
        self._read_bytes = read_bytes
        self._decoder = json.JSONDecoder()
        self._text = ""
        self._base = 0  # Position in the file of the text in memory.
        self._next = 0  # Position of the next character in the text.

    def _more(self) -> bool:
        rest = self._text[self._next :]
        # Doubles the text: a long value is parsed from its start after every read.
        read = self._file.read(max(self._read_bytes, len(rest)))
        if read:
            self._base += self._next
            self._next, self._text = 0, rest + read.decode("latin-1")
        return bool(read)

    @property
    def place(self) -> int:
        return self._base + self._next

    def peek(self) -> str:
        """Returns the next non-space character, or '' at the end of the file.

        The character is not consumed.
        """
        while True:
            while self._next < len(self._text):
                if not self._text[self._next].isspace():
                    return self._text[self._next]
                self._next += 1
            if not self._more():
                return ""

    def take(self, expected: str) -> str:
        """Consumes and returns the next non-space character.

        Args:
            expected: the allowed characters.

        Raises:
            ValueError: the character is not allowed.
        """
        found = self.peek()
        if not found or found not in expected:
            raise ValueError
        self._next += 1
        return found

    def value(self) -> Any:
        """Consumes and returns the next JSON value."""
        self.peek()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._next)
            except ValueError:
                if not self._more():
                    raise
                continue
            if end == len(self._text) and self._more():
                continue  # A number may continue in the next block.
            self._next = end
            return value


def array_items(
    file: BinaryIO, where: str, *, read_bytes: int = _READ_BYTES
) -> Iterator[tuple[str, Any, int, int]]:
    """Yields the elements of the top-level arrays of a JSON file, in file order.

    Args:
        file: a file with one JSON object. Members of the object that are not arrays are
            skipped.
        where: name of the file for error messages.
        read_bytes: smallest number of bytes per read.

    Yields:
        (key of the array, element, start, stop). The element is stored in the bytes
        from position start up to, but not including, position stop.

    Raises:
        UserError: the file is not a JSON object or is truncated.
    """
    scanner = _Scanner(file, read_bytes)
    try:
        closed = scanner.take("{") and scanner.peek() == "}"
        while not closed:
            name = scanner.value()
            scanner.take(":")
            if scanner.peek() == "[":
                yield from _elements(scanner, name)
            else:
                scanner.value()
            closed = scanner.take(",}") == "}"
    except (ValueError, RecursionError):
        raise UserError(
            f"{where}: not a complete JSON file, broken at byte {scanner.place};"
            " download the file again"
        ) from None


def _elements(scanner: _Scanner, name: str) -> Iterator[tuple[str, Any, int, int]]:
    scanner.take("[")
    if scanner.peek() == "]":
        scanner.take("]")
        return
    while True:
        scanner.peek()
        start = scanner.place
        value = scanner.value()
        yield name, value, start, scanner.place
        if scanner.take(",]") == "]":
            return
