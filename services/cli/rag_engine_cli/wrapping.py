"""Breaking lines between words, for text that comes in pieces."""

from __future__ import annotations


class Wrapper:
    """Breaks lines that would be longer than a terminal is wide.

    A word is held back until its end is known.

    Args:
        width: Columns of the terminal; `None` breaks nothing.
    """

    def __init__(self, width: int | None) -> None:
        self._width = width
        self._column = 0
        self._spaces = 0
        self._word = ""

    def feed(self, text: str) -> str:
        """The next piece, as far as it can be printed now."""
        if self._width is None:
            return text
        printed = []
        for character in text:
            if character in " \n":
                printed.append(self._end_word())
                if character == "\n":
                    printed.append("\n")
                    self._column = self._spaces = 0
                else:
                    self._spaces += 1
            else:
                self._word += character
        return "".join(printed)

    def flush(self) -> str:
        """What was held back, at the end of the text."""
        return self._end_word()

    def _end_word(self) -> str:
        word, self._word = self._word, ""
        if not word:
            return ""
        spaces, self._spaces = self._spaces, 0
        if self._column and self._column + spaces + len(word) > (self._width or 0):
            self._column = len(word)
            return f"\n{word}"
        self._column += spaces + len(word)
        return " " * spaces + word
