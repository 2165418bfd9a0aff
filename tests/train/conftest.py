"""One torch thread in the tests' own process: tiny models are faster so, and a busy machine does not stall them."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)
