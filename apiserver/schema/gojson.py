"""What Go's JSON scanner says about text that is not JSON.

Clients show the server's words, and people search for them, so they equal encoding/json's ("invalid character 'x'
looking for beginning of value"). This runs only after a fast parser has refused the text.
"""

from __future__ import annotations

import json

_SPACE = " \t\r\n"
_END = "unexpected end of JSON input"
_LITERALS = {"t": "true", "f": "false", "n": "null"}
_ESCAPES = '"\\/bfnrt'


class _SyntaxError(Exception):
    pass


def syntax_error(data: bytes) -> str:
    """Why ``data`` is not JSON. (Text that Go would take gets the message for a bad end.)"""
    scanner = _Scanner(data.decode("utf-8", "replace"))
    try:
        scanner.value()
        scanner.space()
        if scanner.at < len(scanner.text):
            scanner.fail("after top-level value")
    except _SyntaxError as error:
        return str(error)
    except RecursionError:
        return "exceeded max depth"
    return _END


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def peek(self) -> str:
        return self.text[self.at] if self.at < len(self.text) else ""

    def fail(self, context: str) -> None:
        char = self.peek()
        if not char:
            raise _SyntaxError(_END)
        shown = {"'": r"'\''", '"': "'\"'"}.get(char) or f"'{json.dumps(char, ensure_ascii=False)[1:-1]}'"
        raise _SyntaxError(f"invalid character {shown} {context}")

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in _SPACE:
            self.at += 1

    def value(self) -> None:
        self.space()
        char = self.peek()
        if char == "{":
            self.object()
        elif char == "[":
            self.array()
        elif char == '"':
            self.string()
        elif char == "-" or char.isdecimal():
            self.number()
        elif char in _LITERALS and char:
            self.literal(_LITERALS[char])
        else:
            self.fail("looking for beginning of value")

    def object(self) -> None:
        self.at += 1
        self.space()
        if self.peek() == "}":
            self.at += 1
            return
        while True:
            self.space()
            if self.peek() != '"':
                self.fail("looking for beginning of object key string")
            self.string()
            self.space()
            if self.peek() != ":":
                self.fail("after object key")
            self.at += 1
            self.value()
            self.space()
            char = self.peek()
            self.at += char in ("}", ",")
            if char == "}":
                return
            if char != ",":
                self.fail("after object key:value pair")

    def array(self) -> None:
        self.at += 1
        self.space()
        if self.peek() == "]":
            self.at += 1
            return
        while True:
            self.value()
            self.space()
            char = self.peek()
            self.at += char in ("]", ",")
            if char == "]":
                return
            if char != ",":
                self.fail("after array element")

    def string(self) -> None:
        self.at += 1
        while True:
            char = self.peek()
            if char == '"':
                self.at += 1
                return
            if char == "\\":
                self.at += 1
                self.escape()
            elif not char or char < " ":
                self.fail("in string literal")
            else:
                self.at += 1

    def escape(self) -> None:
        char = self.peek()
        if char == "u":
            self.at += 1
            for _ in range(4):
                if self.peek() not in "0123456789abcdefABCDEF" or not self.peek():
                    self.fail("in \\u hexadecimal character escape")
                self.at += 1
        elif char and char in _ESCAPES:
            self.at += 1
        else:
            self.fail("in string escape code")

    def digits(self, context: str) -> None:
        if not self.peek().isdecimal():
            self.fail(context)
        while self.peek().isdecimal():
            self.at += 1

    def number(self) -> None:
        if self.peek() == "-":
            self.at += 1
        if self.peek() == "0":
            self.at += 1
        else:
            self.digits("in numeric literal")
        if self.peek() == ".":
            self.at += 1
            self.digits("after decimal point in numeric literal")
        if self.peek() in ("e", "E"):
            self.at += 1
            if self.peek() in ("+", "-"):
                self.at += 1
            self.digits("in exponent of numeric literal")

    def literal(self, word: str) -> None:
        for i, char in enumerate(word):
            if self.peek() != char:
                self.fail(f"in literal {word} (expecting '{word[i]}')")
            self.at += 1
