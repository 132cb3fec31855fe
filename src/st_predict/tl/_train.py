"""``train``: fit a method on one or many sections."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from st_predict._spatialdata.keys import Keys
    from st_predict.core.methods.recipe import Recipe
    from st_predict.core.section import Section
    from st_predict.core.tiles.geometry import TileSpec
    from st_predict.core.training.model import Model
    from st_predict.core.training.network import Hardware


def train(
    sdata: SpatialData | Sequence[SpatialData] | Mapping[str, SpatialData],
    *,
    method: str = "nh2st",
    encoder: str = "efficientnet_lite0",
    genes: int | Sequence[str] = 250,
    gene_ranking: Literal["heg", "hvg"] = "heg",
    min_counts: float = 500,
    tile_um: float | Sequence[float] | None = None,
    tile_px: float | Sequence[float] | None = None,
    preset: str = "default",
    params: Mapping[str, Any] | None = None,
    context: Sequence[int] | None = None,
    standardize: Literal["slide", "training", "none"] | None = None,
    trainable_encoder: bool | None = None,
    encoder_weights: str | None = None,
    max_epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    encoder_learning_rate: float | None = None,
    inner_folds: int | None = None,
    image_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
    layer: str | None = None,
    accelerator: str = "auto",
    devices: int | Sequence[int] = 1,
    seed: int = 0,
) -> Model:
    """Train a model on sections with an H&E image and measured expression.

    The target is log1p of counts per 10,000 over all genes, then the panel. The panel, the scaling of inputs and the
    number of epochs are found on these sections alone. With two or more sections, groups of them (subjects, where
    ``obs["subject"]`` tells several apart) are held out in turn to find when to stop, and how the method did on them
    beside the training mean and a tuned ridge is said at the end and kept in ``model.held_out``; the model itself is
    then trained on all sections.

    Parameters
    ----------
    sdata
        One SpatialData a section; a dict names the sections. Gene lists are reconciled by name.
    method
        ``"nh2st"``, ``"ridge"`` or ``"mean"``.
    encoder
        Image encoder: ``"efficientnet_lite0"``, ``"resnet18"``, any timm model name, or ``"hf-hub:owner/model"``.
    genes
        How many genes to predict, or their names.
    gene_ranking
        Which genes a number means: highest mean raw count (``"heg"``), or most variable after log1p (``"hvg"``).
    min_counts
        Spots with fewer counts over all genes are not trained on.
    tile_um
        Widths of the tiles around each spot in um; default 112, 154 and 308 (112 where the encoder is trained).
    tile_px
        Widths in image px instead, where the scale is unknown; all sections must then share one scale.
    preset
        ``"default"``: values measured under this package's protocol; ``"paper"`` (nh2st): the publication's.
    params
        Changes to the method's own settings, by name (see :class:`~st_predict.core.methods.nh2st.NH2STConfig`).
    context
        Means of the features over this many nearest spots are added to a tile's own; ``()``: none.
    standardize
        z-score features within each slide, by the training spots, or not.
    trainable_encoder
        Train the encoder end to end instead of computing its features once.
    encoder_weights
        Local weights file for the encoder.
    max_epochs, batch_size, learning_rate, encoder_learning_rate
        Training by gradient; ``batch_size`` in spots. An encoder in training has its own learning rate.
    inner_folds
        How often training sections are held out to find when to stop; 0: train for ``max_epochs``.
    image_key, shapes_key, table_key
        Elements of each SpatialData, where there are several.
    layer
        Layer with raw counts; ``None``: ``X``.
    accelerator
        ``"auto"``, ``"cpu"``, ``"gpu"`` or another name Lightning knows; the encoder runs there too.
    devices
        1, or the number of one device in a list.
    seed
        The same seed on the same machine gives the same model, on a CPU to the last bit.

    Returns
    -------
    The model, which is also the session's. Frozen features are kept in each table (see :func:`st_predict.pp.embed`).

    Raises
    ------
    InputError
        If the input cannot be used; found before any tile is encoded.
    """
    from st_predict._log import be_heard
    from st_predict.core.encoders.frozen import FrozenEncoder
    from st_predict.core.methods.registry import find_recipe
    from st_predict.core.tiles.geometry import DEFAULT_TILE_UM, TileSpec
    from st_predict.core.training.fit import Task, check_task, train_model
    from st_predict.core.training.network import Hardware
    from st_predict.core.training.selection import held_out_groups
    from st_predict.tl._session import remember

    be_heard()
    recipe = _with_changes(
        find_recipe(method, preset, params),
        {"context": None if context is None else tuple(context), "standardize": standardize},
        {
            "trainable_encoder": trainable_encoder,
            "max_epochs": max_epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "encoder_learning_rate": encoder_learning_rate,
            "inner_folds": inner_folds,
        },
    )
    trainable = recipe.fit.trainable_encoder
    spec = TileSpec.of(DEFAULT_TILE_UM[:1] if trainable and tile_px is None and tile_um is None else tile_um, tile_px)
    task = Task(method, genes, gene_ranking, min_counts, seed)
    hardware = Hardware(accelerator, _one_device(devices))
    sections, all_keys, objects = _read_sections(
        sdata, image_key=image_key, shapes_key=shapes_key, table_key=table_key, layer=layer
    )
    _check_scales(sections, spec)
    _check_inner_folds(sections, inner_folds)
    panel = check_task(sections, recipe, task)
    frozen = FrozenEncoder(encoder, encoder_weights, device=_encoder_device(accelerator, hardware))
    tiles = _tiles(objects, sections, all_keys, frozen, spec, trainable=trainable)
    model = train_model(
        sections,
        tiles,
        frozen.encoder if trainable else None,
        panel=panel,
        recipe=recipe,
        task=task,
        identity=frozen.identity,
        tile_spec=spec,
        hardware=hardware,
    )
    remember(model)
    _say_held_out(model, held_out_groups(sections)[0])
    return model


def _with_changes(recipe: Recipe, inputs: dict[str, Any], fit: dict[str, Any]) -> Recipe:
    """The recipe with what the user set; a trained encoder's tiles cannot be standardized or reduced beforehand."""
    from st_predict.core.methods.recipe import InputConfig

    def given(values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if value is not None}

    recipe = dataclasses.replace(
        recipe,
        inputs=dataclasses.replace(recipe.inputs, **given(inputs)),
        fit=dataclasses.replace(recipe.fit, **given(fit)),
    )
    if not recipe.fit.trainable_encoder:
        return recipe
    if given(inputs):
        raise InputError(
            f"{', '.join(given(inputs))} cannot be set where the encoder is trained",
            where="context, standardize",
            expected="frozen features",
            remedy="leave them out, or trainable_encoder=False",
        )
    plain = InputConfig((), "none", None, recipe.inputs.center_targets)
    one_fold = min(recipe.fit.inner_folds, 1) if fit["inner_folds"] is None else recipe.fit.inner_folds
    return dataclasses.replace(recipe, inputs=plain, fit=dataclasses.replace(recipe.fit, inner_folds=one_fold))


def _one_device(devices: int | Sequence[int]) -> int | list[int]:
    chosen = devices if isinstance(devices, int) else list(devices)
    if chosen != 1 and not (isinstance(chosen, list) and len(chosen) == 1):
        raise InputError(
            f"devices is {devices!r}", where="devices", expected="1, or a list of one device number",
            remedy="train on one device",
        )  # fmt: skip
    return chosen


def _encoder_device(accelerator: str, hardware: Hardware) -> str:
    """The torch device of frozen encoding: Lightning's accelerator."""
    from lightning.fabric.accelerators import ACCELERATOR_REGISTRY

    known = ["auto", "gpu", *ACCELERATOR_REGISTRY.available_accelerators()]
    if accelerator not in known:
        raise InputError(
            f"accelerator is {accelerator!r}", where="accelerator", expected=", ".join(known), remedy="choose one"
        )
    if accelerator in ("auto", "cpu"):
        return accelerator
    import torch

    if accelerator in ("gpu", "cuda") and torch.cuda.is_available():
        return f"cuda:{hardware.devices[0]}" if isinstance(hardware.devices, list) else "cuda"
    if accelerator in ("gpu", "mps") and torch.backends.mps.is_available():
        return "mps"
    raise InputError(
        f"there is no {accelerator} on this machine",
        where="accelerator",
        expected="an accelerator this machine has",
        remedy="accelerator='auto' takes what there is",
    )


def _read_sections(
    sdata: SpatialData | Sequence[SpatialData] | Mapping[str, SpatialData], **choice: str | None
) -> tuple[list[Section], list[Keys], list[SpatialData]]:
    from st_predict._spatialdata.read import read_section

    if isinstance(sdata, Mapping):
        named: list[tuple[str | None, SpatialData]] = list(sdata.items())
    else:
        named = [(None, one) for one in (sdata if isinstance(sdata, list | tuple) else [sdata])]
    if not named:
        raise InputError("there are no sections", where="sdata", expected="at least one", remedy="give sections")
    sections, keys = [], []
    for name, one in named:
        section, found = read_section(one, need_counts=True, **choice)
        sections.append(section if name is None else dataclasses.replace(section, name=str(name)))
        keys.append(found)
    names = [section.name for section in sections]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(
            f"{len(twice)} sections are named {twice[0]!r}",
            where="sdata",
            expected="one name a section",
            remedy="give a dict that names them: train({'A1': ..., 'B1': ...})",
        )
    return sections, keys, [one for _, one in named]


def _check_scales(sections: Sequence[Section], spec: TileSpec) -> None:
    """Every section can be cut; in pixels only if all sections share one scale."""
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


def _check_inner_folds(sections: Sequence[Section], asked: int | None) -> None:
    if asked and len(sections) < 2:
        raise InputError(
            f"inner_folds={asked} was asked of one section",
            where="inner_folds",
            expected="two or more sections, so that one can be held out",
            remedy="give more sections, or leave inner_folds out to train for max_epochs",
        )


def _tiles(
    objects: Sequence[SpatialData],
    sections: Sequence[Section],
    keys: Sequence[Keys],
    frozen: Any,
    spec: TileSpec,
    *,
    trainable: bool,
) -> list[Any]:
    """Features of every section, or its tiles where the encoder is trained."""
    from st_predict._spatialdata.features import cached_features, check_features_key, features_key
    from st_predict.core.encoders.embed import cut_section

    if trainable:
        return [cut_section(section, spec, frozen.encoder.tile_px) for section in sections]
    for one, found in zip(objects, keys, strict=True):
        check_features_key(one.tables[found.table], features_key(frozen.name))
    return [
        cached_features(one, section, found, frozen, spec)[1]
        for one, section, found in zip(objects, sections, keys, strict=True)
    ]


def _say_held_out(model: Model, groups: str) -> None:
    from st_predict._log import logger

    if not model.held_out_rows:
        logger.info("%r. Nothing was held out: score it on a section it has not seen.", model)
        return
    table = model.held_out["pcc"]
    logger.info(
        "%r. Mean PCC over %d genes of each section while its %s was held out%s:\n%s",
        model,
        len(model.panel),
        groups,
        f" ({model.epochs} epochs)" if model.history_rows else "",
        table.round(3).to_string(),
    )
