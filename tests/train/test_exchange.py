"""The exchange of gradients: two processes get the mean of what both have, rows of embeddings or whole."""

from __future__ import annotations

import os

import pytest
import torch
import torch.distributed as dist
from torch import nn

from train.exchange import GradientExchange

WORLD, ROWS = 2, 100
#: The rows that each worker reads of two tables: few of the first, nearly all of the second.
READ = {0: ([3, 7, 7, 50], list(range(0, 90))), 1: ([7, 12], list(range(10, 100)))}


class Tables(nn.Module):
    """Two tables, one of which is the output layer as well, and a part that not every worker uses."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.few, self.many, self.tied = (nn.Embedding(ROWS, 8) for _ in range(3))
        self.layer, self.unused = nn.Linear(8, 8), nn.Linear(8, 1)

    def loss(self, rank: int) -> torch.Tensor:
        few, many = (torch.tensor(rows) for rows in READ[rank])
        states = self.layer(self.few(few)).sum(0) + self.many(many).sum(0) + self.tied(few).sum(0)
        logits = states @ self.tied.weight.T
        return logits.logsumexp(0) + (self.unused(states).sum() if rank else 0)


def gradients(model: Tables) -> dict[str, torch.Tensor]:
    return {
        name: torch.zeros_like(one) if one.grad is None else one.grad.clone() for name, one in model.named_parameters()
    }


def exchanged(rank: int, folder: str) -> None:
    """One of two processes: two steps, since the buffer of the first serves the second; what it has then to a file."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD)
    model = Tables()
    exchange = GradientExchange(model)
    for _ in range(2):
        model.zero_grad()
        model.loss(rank).backward()
        exchange.average()
    sparse = [one is model.few.weight for one in exchange._average_tables()]
    torch.save({"gradients": gradients(model), "sparse": sparse}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.integration
def test_each_worker_has_the_mean_of_all(tmp_path):
    """The same to the bit on both; the mean of both losses' gradients; only the table of which few rows are read is
    exchanged by rows."""
    torch.multiprocessing.spawn(exchanged, (os.fspath(tmp_path),), WORLD)
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]
    assert [one["sparse"] for one in found] == [[True], [True]]
    model, expected = Tables(), {}
    for rank in range(WORLD):
        model.zero_grad()
        model.loss(rank).backward()
        for name, gradient in gradients(model).items():
            expected[name] = expected.get(name, 0) + gradient / WORLD
    assert expected["unused.weight"].abs().max() > 0
    for name, mean in expected.items():
        torch.testing.assert_close(found[0]["gradients"][name], mean, msg=name)
        assert torch.equal(found[0]["gradients"][name], found[1]["gradients"][name]), name
