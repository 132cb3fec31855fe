"""Encoder passes a target: how often the encoder sees a tile while a model is trained, against re-encoding each time.

python benchmarks/encoder_passes.py
"""

from __future__ import annotations

import warnings
from unittest.mock import patch


def _count(**settings: object) -> tuple[int, int, int]:
    """Tiles encoded in one training, targets, and epochs run (inner folds left out)."""
    import st_predict as stp
    from st_predict.core.encoders import embed
    from st_predict.core.encoders.encoder import Encoder

    seen = 0
    forward = Encoder.forward

    def counted(self, tiles):
        nonlocal seen
        seen += len(tiles)
        return forward(self, tiles)

    sections = stp.datasets.synthetic_tissue(n_sections=2, n_subjects=2, seed=0)
    # By torch, whose passes can be counted.
    with patch.object(Encoder, "forward", counted), patch.object(embed, "encode_on_cpu", lambda encoder: None):
        model = stp.tl.train(sections, encoder="tiny", tile_um=112, inner_folds=0, params={"neighbors": 8}, **settings)
    spots = sum(int((s["table"].X.sum(axis=1) >= 500).sum()) for s in sections.values())
    return seen, spots, model.epochs


def main() -> None:
    warnings.simplefilter("ignore")
    naive = 1 + 9  # the tile itself and the nodes of its neighborhood, encoded anew for every target
    print(f"{'':<44}passes a target   naive form")
    for name, settings in {
        "frozen, 20 epochs": {"max_epochs": 20},
        "trainable, 2 epochs, batch 8": {"max_epochs": 2, "batch_size": 8, "trainable_encoder": True},
        "trainable, 2 epochs, batch 64": {"max_epochs": 2, "batch_size": 64, "trainable_encoder": True},
    }.items():
        seen, spots, epochs = _count(**settings)
        per = seen / spots if "frozen" in name else seen / spots / epochs
        unit = "a training" if "frozen" in name else "an epoch"
        reference = naive * epochs if "frozen" in name else naive
        print(f"{name:<44}{per:8.2f} {unit:<12}{reference:6d} {unit}")


if __name__ == "__main__":
    main()
