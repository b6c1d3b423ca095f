"""Tab-separated files that are not quoted: a quote that begins a text would swallow the rows up to the next one."""

import io
import re
from typing import IO, Any

from hf_llc.errors import UnusableError

_CLOSING = re.compile(rb'(?:[^"]|"")*+"')
_ENDS = (b"", b"\t", b"\r", b"\n")


class QuoteCheck(io.RawIOBase):
    """The bytes of a tab-separated file, looked through as they are read.

    A quoted text ends with a quote before a tab or a line end. Where a quote that opened on an earlier line closes
    amidst a text, the file does not quote its texts, and a reader of CSV would take rows for one.

    Attributes:
        problem: the first such quote, as an error; None if there is none so far.
    """

    def __init__(self, file: IO[bytes], name: str) -> None:
        self.problem: UnusableError | None = None
        self._name = name
        self._file = file
        self._rest = b""
        self._number = 0
        self._opened: int | None = None

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; see `io.RawIOBase`.

        Raises:
            UnusableError: a quote closes amidst a text.
        """
        content = self._file.read(len(buffer))
        # The last line need not end with a line end.
        *lines, self._rest = (self._rest + (content or b"\n")).split(b"\n")
        for line in lines:
            self._look_through(line)
        buffer[: len(content)] = content
        return len(content)

    def _look_through(self, line: bytes) -> None:
        self._number += 1
        at = 0
        if self._opened is not None:
            closing = _CLOSING.match(line)
            if closing is None:
                return
            if line[closing.end() : closing.end() + 1] not in _ENDS:
                self.problem = UnusableError(
                    f"The quote on line {self._opened} of {self._name} runs over the line end and closes amidst a "
                    "text; put texts that begin with a quote in quotes, with the quotes inside doubled."
                )
                raise self.problem
            self._opened, at = None, line.find(b"\t", closing.end()) + 1
            if at == 0:
                return
        while b'"' in line[at:]:
            if line[at : at + 1] == b'"':
                closing = _CLOSING.match(line, at + 1)
                if closing is None:
                    self._opened = self._number
                    return
                at = closing.end()
            at = line.find(b"\t", at) + 1
            if at == 0:
                return
