"""What ``train`` and ``cross_validate`` settle before any fit: recipe, sections, scale, hardware, encoded tiles."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from st_predict._spatialdata.keys import Elements
from st_predict.core.errors import InputError
from st_predict.core.outputs import check_apart, check_holder

if TYPE_CHECKING:
    from typing import TypeAlias

    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Placed
    from st_predict.core.encoders.frozen import FrozenEncoder
    from st_predict.core.methods.recipe import Recipe
    from st_predict.core.protocol.study import EncodedTiles
    from st_predict.core.section import Section
    from st_predict.core.tiles.geometry import TileSpec
    from st_predict.core.tiles.store import TileStore
    from st_predict.core.training.checkpoints import Checkpoints
    from st_predict.core.training.hardware import Hardware

    Sections: TypeAlias = "SectionLike | Sequence[SectionLike] | Mapping[str, SectionLike]"
    SectionLike: TypeAlias = SpatialData | str | Path

_INPUT_SETTINGS = ("context", "standardize")
_FIT_SETTINGS = (
    "trainable_encoder", "max_epochs", "batch_size", "learning_rate", "encoder_learning_rate", "inner_folds",
    "stain_jitter", "members", "anchor",
)  # fmt: skip
RECIPE_SETTINGS = ("preset", "params", *_INPUT_SETTINGS, *_FIT_SETTINGS)
"""Arguments of ``train`` that make the recipe."""


def settle_method(
    method: str, *, preset: str = "default", params: Mapping[str, Any] | None = None, **changes: Any
) -> tuple[str, Recipe]:
    """A method's name, and a preset of it with what the user set (what is not ``None``), nothing left unset.

    Raises
    ------
    InputError
        If a name is unknown, or a setting makes no sense.
    """
    from st_predict.core.methods.registry import build_method, find_recipe

    given = {name: tuple(v) if name == "context" else v for name, v in changes.items() if v is not None}
    recipe = _with_changes(
        find_recipe(method, preset, params),
        {name: value for name, value in given.items() if name in _INPUT_SETTINGS},
        {name: value for name, value in given.items() if name in _FIT_SETTINGS},
    )
    gradient = build_method(method, recipe.method, 1, 1).needs.gradient
    return method, dataclasses.replace(recipe, fit=recipe.fit.settled(gradient=gradient))


def settle_candidates(method: str, **settings: Any) -> list[tuple[str, Recipe]]:
    """The method that is meant, as :func:`settle_method` gives it; of ``"auto"`` all that it is chosen among.

    Raises
    ------
    InputError
        As there; or if ``"auto"`` is given what belongs to one method.
    """
    from st_predict.core.methods.registry import AUTO, CHOSEN_AMONG, build_method, find_recipe

    if method != AUTO:
        return [settle_method(method, **settings)]
    own = [name for name in ("preset", "params") if settings.get(name) not in (None, "default", {})]
    own += ["trainable_encoder"] if settings.get("trainable_encoder") else []
    if own:
        raise InputError(
            f"{own[0]} is given, and method {AUTO!r} chooses among {', '.join(CHOSEN_AMONG)} on features that are final",
            where=own[0],
            expected="the defaults of all of them, or a method by name",
            remedy=f"leave {own[0]} out, or name the method",
        )
    found = []
    for name in CHOSEN_AMONG:
        gradient = build_method(name, find_recipe(name, "default", None).method, 1, 1).needs.gradient
        found.append(settle_method(name, **{**settings, **({} if gradient else {"members": None})}))
    return found


def _with_changes(recipe: Recipe, inputs: dict[str, Any], fit: dict[str, Any]) -> Recipe:
    """The recipe with what the user set; a trained encoder's tiles cannot be reduced or scored by their slide beforehand."""
    from st_predict.core.methods.recipe import InputConfig

    recipe = dataclasses.replace(
        recipe, inputs=dataclasses.replace(recipe.inputs, **inputs), fit=dataclasses.replace(recipe.fit, **fit)
    )
    if not recipe.fit.trainable_encoder:
        return recipe
    if inputs.get("context") or inputs.get("standardize") == "slide":
        raise InputError(
            f"{', '.join(inputs)} cannot be set where the encoder is trained",
            where="context, standardize",
            expected="frozen features, or standardize='training' or 'none' and no context",
            remedy="leave them out, or trainable_encoder=False",
        )
    asked = inputs.get("standardize", recipe.inputs.standardize)
    plain = InputConfig((), "none" if asked == "none" else "training", None, recipe.inputs.center_targets)
    return dataclasses.replace(recipe, inputs=plain)


def tile_spec(
    tile_um: float | Sequence[float] | None, tile_px: float | Sequence[float] | None, *, trainable: bool
) -> TileSpec:
    """Tile widths as given; by default four, of which a trained encoder takes the narrowest."""
    from st_predict.core.tiles.geometry import DEFAULT_TILE_UM, TileSpec

    return TileSpec.of(DEFAULT_TILE_UM[:1] if trainable and tile_px is None and tile_um is None else tile_um, tile_px)


def find_hardware(
    accelerator: str,
    devices: int | Sequence[int] | Literal["auto"] = 1,
    *,
    num_nodes: int = 1,
    strategy: Any = "auto",
    precision: Any = "auto",
) -> tuple[Hardware, str]:
    """Where Lightning runs, and the torch device of frozen encoding.

    Raises
    ------
    InputError
        If devices or a precision make no sense, or an accelerator was asked for that is not there.
    """
    from st_predict.core.training.hardware import Hardware

    chosen: Any = devices if isinstance(devices, int | str) else list(devices)
    counts = {
        "devices": 1 if chosen == "auto" else chosen if isinstance(chosen, int) else len(chosen),
        "num_nodes": num_nodes,
    }
    for name, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise InputError(
                f"{name} is {devices if name == 'devices' else num_nodes!r}", where=name,
                expected="how many, at least 1" + (", 'auto', or a list of device numbers" if name == "devices" else ""),
                remedy=f"correct {name}",
            )  # fmt: skip
    hardware = Hardware(accelerator, chosen, num_nodes, strategy, precision)
    device = _encoder_device(accelerator, hardware)
    _check_trainer(hardware)
    return hardware, device


def _check_trainer(hardware: Hardware) -> None:
    """Have Lightning refuse what it does not know now, and not after the tiles were encoded."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from st_predict.core.training.hardware import new_trainer

    try:
        new_trainer(hardware)
    except (MisconfigurationException, ValueError, RuntimeError, TypeError) as error:
        raise InputError(
            " ".join(str(error).split()),
            where="accelerator, devices, num_nodes, strategy, precision",
            expected="what lightning.pytorch.Trainer takes on this machine",
            remedy="correct the one that is named",
        ) from error


def _encoder_device(accelerator: str, hardware: Hardware) -> str:
    """The torch device of frozen encoding: Lightning's accelerator, and of several devices this process's own."""
    from lightning.fabric.accelerators import ACCELERATOR_REGISTRY

    known = ["auto", "gpu", *ACCELERATOR_REGISTRY.available_accelerators()]
    if accelerator not in known:
        raise InputError(
            f"accelerator is {accelerator!r}", where="accelerator", expected=", ".join(known), remedy="choose one"
        )
    if accelerator == "cpu":
        return accelerator
    import torch

    if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda"):
        local = int(os.environ.get("LOCAL_RANK", 0))
        return f"cuda:{hardware.devices[local] if isinstance(hardware.devices, list) else local}"
    if accelerator == "auto":
        return accelerator
    if accelerator in ("gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    raise InputError(
        f"there is no {accelerator} on this machine",
        where="accelerator",
        expected="an accelerator this machine has",
        remedy="accelerator='auto' takes what there is",
    )


def open_checkpoints(
    folder: str | Path | None,
    *,
    resume: bool,
    read: ReadSections,
    frozen: FrozenEncoder,
    spec: TileSpec,
    settings: Mapping[str, Any],
) -> Checkpoints | None:
    """Where a training is kept as it goes, checked against what was begun there; ``None`` where it is not kept.

    Sections are told apart by their spots, counts, image size and one tile.

    Raises
    ------
    InputError
        If it is to be resumed and there is no folder, or the folder holds something else.
    """
    if folder is None:
        if resume:
            raise InputError(
                "resume=True was given without a folder to resume from",
                where="resume",
                expected="the checkpoint_dir of the training that was broken off",
                remedy="give checkpoint_dir, or leave resume out",
            )
        return None
    from st_predict._spatialdata.features import features_record
    from st_predict.core.training.checkpoints import Checkpoints

    made_from = {"st-predict": version("st-predict"), **settings, "tiles": spec.to_dict(), "encoder": frozen.identity}
    for section, placed in zip(read.sections, read.placed, strict=True):
        record = features_record(frozen.identity, spec, section, placed.image)
        digest = hashlib.sha256(repr((section.subject, section.um_per_px, record)).encode())
        for part in section.measured():
            digest.update(part)
        made_from[f"section {section.name}"] = digest.hexdigest()[:16]
    return Checkpoints(Path(folder), resume=resume, made_from=made_from)


class ReadSections(NamedTuple):
    """Sections with the objects they were read from."""

    sections: list[Section]
    placed: list[Placed]
    objects: list[SpatialData | Path]
    """As given: a store is opened anew where it is needed."""


def read_sections(sdata: Sections, elements: Elements = Elements(), *, gene_sets: Any = None) -> ReadSections:
    """Read one section, a list, or a dict that names them, and the gene sets of them that are targets.

    Raises
    ------
    InputError
        If there are none, one cannot be read, two have one name, or the gene sets cannot be used.
    """
    from st_predict._spatialdata.read import read_section
    from st_predict._spatialdata.stored import read_stored_section
    from st_predict.core.gene_names import say_common
    from st_predict.core.gene_sets import with_gene_sets

    if isinstance(sdata, Mapping):
        named: list[tuple[str | None, Any]] = list(sdata.items())
    else:
        named = [(None, one) for one in (sdata if isinstance(sdata, list | tuple) else [sdata])]
    if not named:
        raise InputError("there are no sections", where="sdata", expected="at least one", remedy="give sections")
    sections, placed, objects = [], [], []
    for name, given in named:
        one = Path(given) if isinstance(given, str) else given
        section, found = (
            read_stored_section(one, elements)
            if isinstance(one, Path)
            else read_section(one, elements, need_counts=True)
        )
        sections.append(section if name is None else dataclasses.replace(section, name=str(name)))
        placed.append(found)
        objects.append(one)
    names = [section.name for section in sections]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(
            f"{len(twice)} sections are named {twice[0]!r}",
            where="sdata",
            expected="one name a section",
            remedy="give a dict that names them: train({'A1': ..., 'B1': ...})",
        )
    say_common(sections)
    return ReadSections(with_gene_sets(sections, gene_sets), placed, objects)


def check_outside(read: ReadSections, **places: str | Path | None) -> None:
    """Refuse folders to be written, by the argument they were given as, within stores that are read or another whole.

    Raises
    ------
    InputError
        Naming the folder.
    """
    stores = [one for one in read.objects if isinstance(one, Path)]
    for where, place in places.items():
        if place is not None:
            check_apart(Path(place), stores, where=where)
            check_holder(Path(place), where=where)


def check_scales(sections: Sequence[Section], spec: TileSpec) -> None:
    """Every section can be cut; in pixels only if all sections share one scale.

    Raises
    ------
    InputError
        If a scale is unknown where it is needed, or differs where it must not.
    """
    for section in sections:
        spec.sides_px(section)
    scales = [s.um_per_px for s in sections]
    known = [s for s in scales if s is not None]
    if spec.widths_um or not known:
        return
    if len(known) < len(scales) or max(known) > 1.05 * min(known):
        listing = ", ".join(f"{s.name}: {s.um_per_px or 'unknown'}" for s in sections)
        raise InputError(
            f"tiles are in pixels, but the sections do not share one scale (um/px: {listing})",
            where="tile_px",
            expected="the same scale in all sections, or an unknown one in all",
            remedy="use tile_um=, after st_predict.pp.set_scale where a scale is unknown",
        )


def encode_sections(
    read: ReadSections,
    frozen: FrozenEncoder,
    spec: TileSpec,
    store: TileStore,
    *,
    trainable: bool,
    keep: Path | None = None,
) -> EncodedTiles:
    """Features of every section, kept in its table; or its tiles in a store, where the encoder is trained.

    ``keep`` is a folder for features while they are encoded, so that what was broken off goes on from there.
    """
    from st_predict._spatialdata.features import cached_features, check_features_key, features_key
    from st_predict._spatialdata.stored import open_store
    from st_predict.core.protocol.study import EncodedTiles
    from st_predict.core.tiles.glass import say_glass

    if trainable:
        for section in read.sections:
            say_glass(section)
        tiles = store.tiles(read.sections, spec, frozen.encoder.tile_px)
        return EncodedTiles(tiles, spec, frozen.identity, frozen.encoder)
    for one, found in zip(read.objects, read.placed, strict=True):
        if not isinstance(one, Path):
            check_features_key(one.tables[found.table], features_key(frozen.name))
    features = [
        cached_features(open_store(one) if isinstance(one, Path) else one, section, found, frozen, spec, keep=keep)[1]
        for one, section, found in zip(read.objects, read.sections, read.placed, strict=True)
    ]
    return EncodedTiles(features, spec, frozen.identity, None)
