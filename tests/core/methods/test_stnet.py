"""ST-Net: a linear map trained by gradient."""

from __future__ import annotations

import torch

from st_predict.core.methods.interface import Batch, Reference
from st_predict.core.methods.stnet import STNet, STNetConfig


def test_it_finds_a_linear_map_and_takes_the_targets_own_tiles() -> None:
    torch.manual_seed(0)
    tiles, weight = torch.randn(60, 4), torch.randn(4, 3)
    targets = torch.arange(10, 60)
    batch = Batch(tiles, targets, torch.empty(50, 0, dtype=torch.long), torch.zeros(60, 2), tiles @ weight + 2)
    method = STNet(4, 3, STNetConfig())
    method.before_fit(Reference(tiles, batch.measured(), torch.zeros(60), [], batch.places))
    assert torch.allclose(method.predict(batch), batch.measured().mean(dim=0).expand(50, -1), atol=1e-6)
    assert float(method.loss(batch)["mse"].detach()) > 1
    optimizer = torch.optim.Adam(method.parameters(), 0.05)
    for _ in range(400):
        optimizer.zero_grad()
        method.loss(batch)["mse"].backward()
        optimizer.step()
    assert torch.allclose(method.predict(batch), tiles[targets] @ weight + 2, atol=1e-2)
