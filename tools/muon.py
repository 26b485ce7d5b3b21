"""The Muon optimiser for the matrices of a small model: momentum, made orthogonal by a Newton-Schulz iteration.

After Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". Matrices of one shape are updated
together as a batch.
"""

from __future__ import annotations

import torch


def orthogonal(batch: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The nearest semi-orthogonal matrices, approximately, for a batch [n, rows, columns]."""
    x = batch.to(torch.bfloat16)
    wide = x.shape[1] > x.shape[2]
    if wide:
        x = x.transpose(1, 2)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ x
    return x.transpose(1, 2) if wide else x


class Muon:
    """Muon with Nesterov momentum and decoupled weight decay over matrices and stacks of matrices."""

    def __init__(self, parameters: list[torch.nn.Parameter], rate: float, momentum: float = 0.95, decay: float = 0.01) -> None:
        self.rate, self.momentum, self.decay, self.scale = rate, momentum, decay, 1.0
        groups: dict[tuple[int, int], list[torch.nn.Parameter]] = {}
        for parameter in parameters:
            groups.setdefault(tuple(parameter.shape[-2:]), []).append(parameter)
        self.groups = list(groups.items())
        self.moments = [torch.zeros_like(self._stack([p.data for p in ps])) for _, ps in self.groups]

    @staticmethod
    def _stack(tensors: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([t.reshape(-1, *t.shape[-2:]) for t in tensors])

    @torch.no_grad()
    def step(self) -> None:
        for (shape, parameters), moment in zip(self.groups, self.moments):
            gradient = self._stack([p.grad for p in parameters])
            moment.lerp_(gradient, 1 - self.momentum)
            update = orthogonal(gradient.lerp(moment, self.momentum)).float()
            rate = self.rate * self.scale
            update.mul_(rate * max(1.0, shape[0] / shape[1]) ** 0.5)
            at = 0
            for parameter in parameters:
                count = parameter.numel() // (shape[0] * shape[1])
                parameter.mul_(1 - rate * self.decay).sub_(update[at : at + count].reshape(parameter.shape))
                at += count
