"""Freed memory stays with a training or an engine until it piles up; in a process of its own, with the environment."""

import json
import os
import subprocess
import sys

from train.engine import worker_environment

STEPS = """
import json
import torch
from relabel.heap import Heap, private_bytes

def step(mib):  # a large tensor that is freed, below a small one that stays: a gap, which no heap closes by itself
    large = torch.ones(mib << 18)
    if mib == 300:
        kept.append(torch.ones(1 << 10))

heap, kept, given, sizes = Heap(kept=True), [], [], []
garbage = [torch.ones(300 << 18), torch.ones(1 << 10)]  # as a validation leaves it
del garbage[0]
heap.start()
for number in range(60):
    step(300 if number == 30 else 64)
    given.append(heap.after_step())
    sizes.append(private_bytes() >> 20)
print(json.dumps([given, sizes]))
"""


def test_freed_memory_is_given_back_once_where_it_has_piled_up():
    """Steps alike: never, since each would pay for it; after a step that was far larger: at once, and memory falls."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS],
        env=os.environ | worker_environment(1, 0),
        capture_output=True,
        text=True,
        check=True,
    )
    given, sizes = json.loads(done.stdout.splitlines()[-1])
    assert [number for number, one in enumerate(given) if one] == [30]
    assert max(sizes[30:]) < sizes[29] + 20
