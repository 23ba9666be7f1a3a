"""Documents that are no config at all, each with a part of the one line that says why; and what a bad case is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from pyoci_systemd.spec.defaults import default_config

Change = Callable[[dict[str, Any]], None]


class Bad(NamedTuple):
    """A change to the default config, or a whole document; and what the message must hold."""

    name: str
    change: Change | bytes
    says: str

    def document(self) -> bytes:
        """Return the bytes of the config.json."""
        if isinstance(self.change, bytes):
            return self.change
        config: dict[str, Any] = json.loads(json.dumps(default_config()))
        self.change(config)
        return json.dumps(config).encode()


DEFAULT = json.dumps(default_config())

NOT_JSON = (
    Bad("empty file", b"", "line 1, column 1: expecting a value"),
    Bad("blank file", b" \n ", "line 2, column 2: expecting a value"),
    Bad("cut short", DEFAULT[: len(DEFAULT) // 2].encode(), "line 1, column "),
    Bad("single quotes", b"{'ociVersion': '1.0.0'}", "line 1, column 2: expecting a key in double quotes"),
    Bad("missing comma", b'{\n  "a": 1\n  "b": 2\n}', "line 3, column 3: expecting `,`"),
    Bad("missing colon", b'{"a" 1}', "line 1, column 6: expecting `:`"),
    Bad("comma before brace", b'{"a": 1,}', "line 1, column "),
    Bad("comma before bracket", b'{"a": [1,]}', "line 1, column "),
    Bad("comment", b'{"a": 1} // why', "line 1, column 10: text after the end of the document"),
    Bad("two documents", b"{} {}", "line 1, column 4: text after the end of the document"),
    Bad("leading zero", b'{"a": 01}', "line 1, column 8: expecting `,`"),
    Bad("hexadecimal", b'{"a": 0x1}', "line 1, column 8: expecting `,`"),
    Bad("plus sign", b'{"a": +1}', "line 1, column 7: expecting a value"),
    Bad("misspelt null", b'{"a": nul}', "line 1, column 7: expecting a value"),
    Bad("tab in a string", b'{"a": "\t"}', "line 1, column 8: control character in a string"),
    Bad("bad escape", b'{"a": "\\x41"}', "bad \\ escape"),
    Bad("string without end", b'{"a": "b', "line 1, column 7: string without an end"),
    Bad("NaN", b'{"a": NaN}', "line 1, column 7: NaN is not JSON"),
    Bad("Infinity", b'{"a": -Infinity}', "line 1, column 7: -Infinity is not JSON"),
    Bad("1e999", b'{"a": 1e999}', "line 1, column 7: 1e999 is out of range"),
    Bad("5000 digits", b'{"a": ' + b"9" * 5000 + b"}", "line 1, column 7: number of too many digits"),
    Bad("duplicate key", b'{"a": 1,\n "b": {"x": 1, "x": 2}}', 'line 2, column 16: duplicate key "x"'),
    Bad("duplicate key, escaped", b'{"a": 1, "\\u0061": 2}', 'line 1, column 10: duplicate key "a"'),
    Bad("bad UTF-8", b'{"a": "\xff"}', "line 1, column 8: not UTF-8"),
    Bad("overlong UTF-8", b'{"a": "\xc0\xaf"}', "line 1, column 8: not UTF-8"),
    Bad("UTF-8 of a surrogate", b'{"a": "\xed\xa0\x80"}', "line 1, column 8: not UTF-8"),
    Bad("UTF-16", DEFAULT.encode("utf-16"), "line 1, column 1: not UTF-8"),
    Bad("byte order mark", b"\xef\xbb\xbf" + DEFAULT.encode(), "byte order mark"),
    Bad("lone surrogate", b'{"a": "\\ud800"}', "line 1, column 7: lone surrogate"),
    Bad("lone surrogate in a key", b'{"\\uDFFF": 1}', "line 1, column 2: lone surrogate"),
    Bad("192 lists deep", b"[" * 192 + b"]" * 192, "over 128 levels deep"),
    Bad("192 objects deep", b'{"a":' * 192 + b"1" + b"}" * 192, "over 128 levels deep"),
    Bad("100000 lists deep", b"[" * 100000, "over 128 levels deep"),
    Bad("over 16 MiB", b"{}" + b" " * (16 << 20), "over 16 MiB"),
)

NO_OBJECT = (
    Bad("null for a config", b"null", "the document must be an object, not null"),
    Bad("list for a config", b"[]", "the document must be an object, not an empty list"),
    Bad("string for a config", b'"config"', 'the document must be an object, not "config"'),
    Bad("empty object", b"{}", " is required"),
)
