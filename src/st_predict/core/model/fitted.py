"""A record of a training with what was fitted in it: all that a prediction is made of. Predicts nothing itself."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from st_predict.core.arguments.checked import checked
from st_predict.core.errors import InputError
from st_predict.core.model.record import TrainingRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from st_predict.core.encoders.encoder import Encoder
    from st_predict.core.encoders.frozen import EncoderIdentity
    from st_predict.core.inputs.transform import InputTransform
    from st_predict.core.methods.ridge import Ridge
    from st_predict.core.model.domain import Domain
    from st_predict.core.model.reliability import Reliability

TARGET = "log1p of counts per 10,000"


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitted(TrainingRecord):
    """The fitted parts beside the record; see :class:`~st_predict.core.model.model.Model`."""

    transform: InputTransform
    center: torch.Tensor
    network: Any
    encoder: Encoder | None
    domain: Domain | None = None
    anchor: Ridge | None = None
    reliability: Reliability | None = None

    @property
    def id(self) -> str:
        """Twelve digits that follow from the weights and all that a prediction, and what is said of it, depends on."""
        record = self.record()
        settings = {
            name: record[name]
            for name in (
                "panel", "gene_sets", "method", "recipe", "tiles", "um_per_px", "pitch_um", "layout", "ground", "subject",
                "min_counts",
            )
        } | {"encoder": [self.encoder_identity.name, self.encoder_identity.fingerprint]}  # fmt: skip
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        for key, value in sorted(self.tensors().items()):
            digest.update(key.encode())
            digest.update(value.contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    @property
    def has_own_encoder(self) -> bool:
        """Whether its encoder was trained, and is part of it; else it takes the features of a known one."""
        return self.encoder is not None

    @property
    def looks_around(self) -> bool:
        """Whether a prediction depends on how far neighboring spots are."""
        return self.reach > 0 or self.network.needs.section

    @property
    def reach(self) -> int:
        """How many of the nearest spots a prediction depends on, beside those of its section."""
        return max(*self.transform.config.context, self._neighbors, 0)

    @property
    def _neighbors(self) -> int:
        """Nearest spots that the method itself sees at prediction."""
        needs = self.network.needs
        return 0 if needs.predicts_alone else needs.neighbors

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that was fitted, by name."""
        parts: dict[str, dict[str, torch.Tensor]] = {
            "network": self.network.state_dict(),
            "inputs": self.transform.arrays,
            "targets": {"mean": self.center},
        }
        if self.encoder:
            parts["encoder"] = self.encoder.state_dict()
        if self.anchor is not None:
            parts["anchor"] = self.anchor.state_dict()
        if self.domain is not None:
            parts["domain"] = self.domain.tensors()
        if self.reliability is not None:
            parts["reliability"] = self.reliability.tensors()
        return {f"{part}.{key}": value.detach().cpu() for part, state in parts.items() for key, value in state.items()}

    def config(self) -> dict[str, Any]:
        """What config.json holds beside its own format."""
        trained = {
            "encoder_trained": self.has_own_encoder,
            "encoder_architecture": self.encoder.architecture if self.encoder else None,
        }
        return {"id": self.id, **self.record(), **trained}

    @checked
    def provenance(self, panel: Sequence[str] | None = None) -> dict[str, Any]:
        """What is written beside every prediction; ``panel`` are the genes of it, ``None``: all."""
        panel = self.panel if panel is None else panel
        known = set(self.panel)
        if unknown := [gene for gene in panel if gene not in known]:
            raise InputError(
                f"{unknown[0]!r} is none of the {len(self.panel)} genes that the model predicts",
                where="panel",
                expected="genes and gene sets of model.panel",
                remedy="leave it out",
            )
        sets = {name: list(genes) for name, genes in self.gene_sets.items() if name in panel}
        return {
            "package_version": version("st-predict"),
            "model": self.id,
            "method": self.method,
            "encoder": self.encoder_identity.name,
            "tile_um": list(self.tiles.widths_um),
            "tile_px": list(self.tiles.widths_px),
            "panel": list(panel),
            "target": TARGET,
            "min_counts": float(self.min_counts),
            **({"gene_sets": sets} if sets else {}),
        }

    def check_encoder(self, identity: EncoderIdentity) -> None:
        """Refuse another encoder's features.

        Raises
        ------
        InputError
            If the encoder at hand has other weights than the one trained with.
        """
        if identity.fingerprint != self.encoder_identity.fingerprint:
            raise InputError(
                f"the weights of {identity.name!r} here ({identity.fingerprint}) are not those the model was trained "
                f"with ({self.encoder_identity.fingerprint})",
                where="encoder",
                expected="the same weights",
                remedy="install or fetch the same version of the encoder's weights",
            )
