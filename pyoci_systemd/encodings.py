"""What Python finds as `encodings` while it boots for us: UTF-8 and no more, which spares 0.6 of its 5.4 ms.

An interpreter looks for its own codec before it runs a line of the program, and reads a table of 300 names for it.
archive.py puts this module, compiled, where PYTHONHOME as the launcher sets it says that the standard library is. Once
Python is up the archive's first lines let it see its real library again; any other codec is then had from there.
"""

from __future__ import annotations

import codecs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Encoder(codecs.IncrementalEncoder):
    """What standard output and standard error write with."""

    def encode(self, input: str, final: bool = False) -> bytes:
        return codecs.utf_8_encode(input, self.errors)[0]


class Decoder(codecs.BufferedIncrementalDecoder):
    """What standard input is read with."""

    def _buffer_decode(self, input: ReadableBuffer, errors: str, final: bool) -> tuple[str, int]:
        return codecs.utf_8_decode(input, errors, final)


def decode(input: ReadableBuffer, errors: str = "strict") -> tuple[str, int]:
    """Decode the whole of `input`: half a character at its end is an error."""
    return codecs.utf_8_decode(input, errors, True)


UTF_8 = codecs.CodecInfo(
    codecs.utf_8_encode,
    decode,
    codecs.StreamReader,
    codecs.StreamWriter,
    Encoder,
    Decoder,
    name="utf-8",
)


def search(name: str) -> codecs.CodecInfo | None:
    """Return a codec by its name in lower case, as codecs.register() wants it."""
    if name in ("utf-8", "utf_8"):
        return UTF_8
    import encodings

    return encodings.search_function(name)


codecs.register(search)
