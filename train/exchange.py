"""The mean of all workers' gradients, where nothing is partitioned: one exchange a step.

Of a table of embeddings a step reads few rows, and all others have a gradient of zero: workers tell each other the rows
that they read. In a small encoder the table is half of the weights.
"""

from __future__ import annotations

import torch
import torch.distributed as dist


class GradientExchange:
    """Keeps one model's gradients the same on all workers.

    Args:
        model: the same on every worker.
    """

    def __init__(self, model: torch.nn.Module):
        self._parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        embeddings = [module.weight for module in model.modules() if isinstance(module, torch.nn.Embedding)]
        self._tables = [table for table in dict.fromkeys(embeddings) if table.requires_grad]
        self._joined = torch.empty(0)

    def average(self) -> None:
        """Replace each gradient by its mean over the workers, to the bit the same on all; every worker must call this.

        A parameter without a gradient counts as zero, since another worker may have one.
        """
        for parameter in self._parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        sparse = self._average_tables()
        gradients = [one.grad for one in self._parameters if one not in sparse]
        size = sum(gradient.numel() for gradient in gradients)
        if self._joined.numel() != size:  # kept from step to step: a new one costs as much as the exchange
            self._joined = torch.empty(size, dtype=gradients[0].dtype, device=gradients[0].device)
        torch.cat([gradient.flatten() for gradient in gradients], out=self._joined)
        dist.all_reduce(self._joined)
        self._joined /= dist.get_world_size()
        for gradient, mean in zip(gradients, self._joined.split([one.numel() for one in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def _average_tables(self) -> set[torch.nn.Parameter]:
        """Average the embeddings of which all workers read few rows, and return those."""
        if not self._tables:
            return set()
        rows = [_not_zero(table.grad) for table in self._tables]
        counts = torch.tensor([len(own) for own in rows], device=rows[0].device)
        dist.all_reduce(counts, dist.ReduceOp.MAX)
        sparse = set()
        for table, own, most in zip(self._tables, rows, counts.tolist(), strict=True):
            if 2 * most * dist.get_world_size() < len(table):
                _average_rows(table.grad, own, most)
                sparse.add(table)
        return sparse


def _not_zero(gradient: torch.Tensor) -> torch.Tensor:
    """The rows with a value that is not zero; the extremes are what is found fastest."""
    return (gradient.amax(1).ne(0) | gradient.amin(1).ne(0)).nonzero()[:, 0]


def _average_rows(gradient: torch.Tensor, own: torch.Tensor, most: int) -> None:
    """The mean, summed in the order of the ranks, of the rows that the workers read, `most` at most."""
    world = dist.get_world_size()
    places = torch.zeros(most, dtype=torch.long, device=gradient.device)
    values = torch.zeros(most, gradient.shape[1], dtype=gradient.dtype, device=gradient.device)
    places[: len(own)], values[: len(own)] = own, gradient[own] / world
    everywhere = [torch.empty_like(places) for _ in range(world)]
    everything = [torch.empty_like(values) for _ in range(world)]
    dist.all_gather(everywhere, places)
    dist.all_gather(everything, values)
    gradient[own] = 0
    for rows, shares in zip(everywhere, everything, strict=True):
        gradient.index_add_(0, rows, shares)
