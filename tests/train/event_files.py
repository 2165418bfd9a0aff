"""Reads TensorBoard's event files: records of length, checksum, data, checksum; the data is a protocol buffer."""

from __future__ import annotations

import struct

from tensorboardX.proto.event_pb2 import Event

from relabel.storage import Folder


def scalars(folder: Folder) -> dict[str, list[tuple[int, float]]]:
    """Name → (step, value) of all event files of a folder, in the order in which they were written."""
    found: dict[str, list[tuple[int, float]]] = {}
    for name in sorted(folder.names("events.out.tfevents")):
        data, place = folder.read_bytes(name), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 12 + length + 4
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found
