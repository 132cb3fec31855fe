"""What is kept of a training: plain values, the same in a model and in its config.json, where each is spelled once."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from st_predict.core.encoders.frozen import EncoderIdentity
from st_predict.core.grid import Layout
from st_predict.core.methods.recipe import FitConfig, InputConfig, Recipe
from st_predict.core.methods.registry import METHODS
from st_predict.core.splits import Ground
from st_predict.core.tiles.geometry import TileSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

Value = float | str | None
"""Of a row of a record."""

WRITTEN_AS = {"encoder_identity": "encoder", "history_rows": "history", "held_out_rows": "held_out"}
"""Fields that have another name in config.json."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingRecord:
    """What a model was trained with and on, and how that went; see :class:`~st_predict.core.model.model.Model`."""

    recipe: Recipe
    encoder_identity: EncoderIdentity
    tiles: TileSpec
    um_per_px: float | None
    pitch_um: float | None
    layout: Layout | None = None
    ground: Ground | None = None
    subject: str | None = None
    choice: str | None = None
    min_counts: float
    seed: int
    sections: list[str]
    epochs: int
    n_inputs: int
    panel: list[str]
    gene_sets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    history_rows: list[dict[str, Value]]
    held_out_rows: list[dict[str, Value]]

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.recipe.method

    def record(self) -> dict[str, Any]:
        """As it is kept in config.json."""
        values = {WRITTEN_AS.get(one.name, one.name): getattr(self, one.name) for one in fields(TrainingRecord)}
        plain = {
            "recipe": self.recipe.to_dict(),
            "encoder": self.encoder_identity._asdict(),
            "tiles": self.tiles.to_dict(),
        }
        return {"method": self.method, **values, **plain}

    @classmethod
    def of_record(cls, config: Mapping[str, Any], **parts: Any) -> Self:
        """What :meth:`record` gave, checked before, as a record or as one with further ``parts``."""
        names = {one.name: WRITTEN_AS.get(one.name, one.name) for one in fields(TrainingRecord)}
        values = {name: config[written] for name, written in names.items() if written in config}
        made = {
            "recipe": _recipe(config),
            "encoder_identity": EncoderIdentity(**config["encoder"]),
            "tiles": TileSpec.from_dict(config["tiles"]),
            "gene_sets": _tuples(config.get("gene_sets", {})),
        }
        return cls(**{**values, **made, **parts})


def _recipe(config: Mapping[str, Any]) -> Recipe:
    kept = {part: _tuples(settings) for part, settings in config["recipe"].items()}
    settings = type(METHODS[config["method"]].presets["default"].settings)
    return Recipe(config["method"], settings(**kept["method"]), InputConfig(**kept["inputs"]), FitConfig(**kept["fit"]))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
