"""Text files of any size written through `Folder`: gathered in a temporary file, then put in place at once."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from relabel.storage import Folder


class TextFile:
    """Lines on their way into a file."""

    def __init__(self, stream: Any):
        self._stream, self.lines = stream, 0

    def line(self, text: str) -> None:
        self._stream.write(text.encode() + b"\n")
        self.lines += 1

    def json(self, value: dict[str, Any]) -> None:
        """One JSON object a line."""
        self.line(json.dumps(value, ensure_ascii=False))


@contextmanager
def text_file(folder: Folder, name: str) -> Iterator[TextFile]:
    """A UTF-8 file of `folder`, written atomically when the block ends without an error; memory stays flat."""
    with tempfile.TemporaryDirectory(prefix="relabel-export-") as directory:
        path = f"{directory}/text"
        with open(path, "wb") as stream:
            yield TextFile(stream)
        if not os.path.getsize(path):
            folder.write_bytes(name, b"")
            return
        with pa.memory_map(path) as stream:
            folder.write_bytes(name, stream.read_buffer())
