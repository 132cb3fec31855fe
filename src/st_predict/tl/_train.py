"""``train``: fit a method on one or many sections."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.sections import check_outside, read_sections
from st_predict.core.arguments.checked import checked
from st_predict.core.encoders.frozen import FrozenEncoder
from st_predict.core.ending import end_with_launcher, ended_by_signals, telling_what_is_left
from st_predict.core.fitting.checkpoints import what_is_kept
from st_predict.core.fitting.hardware import find_hardware
from st_predict.core.fitting.network import Run, Watch
from st_predict.core.fitting.plan import Plan, plan_panel
from st_predict.core.log import be_heard
from st_predict.core.methods.settle import settle_candidates
from st_predict.core.outputs import check_places
from st_predict.core.protocol.choose import check_choice
from st_predict.core.protocol.study import Candidate
from st_predict.core.splits import held_out_groups
from st_predict.core.technology import least_counts
from st_predict.core.tiles.geometry import check_scales, tile_spec
from st_predict.core.tiles.store import TileStore
from st_predict.tl._session import remember
from st_predict.tl._training import (
    check_inner_folds,
    encode_sections,
    open_checkpoints,
    say_held_out,
    say_unpredictable,
    train_best,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from lightning.pytorch import Callback
    from lightning.pytorch.loggers import Logger
    from lightning.pytorch.strategies import Strategy
    from spatialdata import SpatialData

    from st_predict.core.model.model import Model


@checked
@ended_by_signals()
def train(
    sdata: SpatialData | str | Path | Sequence[SpatialData | str | Path] | Mapping[str, SpatialData | str | Path],
    *,
    method: str = "nh2st",
    encoder: str = "efficientnet_lite0",
    genes: int | Sequence[str] = 250,
    gene_sets: Mapping[str, Sequence[str]] | None = None,
    gene_ranking: Literal["heg", "hvg"] = "heg",
    min_counts: float | None = None,
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
    members: int | None = None,
    anchor: bool | None = None,
    stain_jitter: float | None = None,
    tile_store: str | Path | None = None,
    tile_store_gb: float = 200.0,
    image_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
    layer: str | None = None,
    accelerator: str = "auto",
    devices: int | Sequence[int] | Literal["auto"] = 1,
    num_nodes: int = 1,
    strategy: str | Strategy = "auto",
    precision: str | int = "auto",
    logger: bool | Logger | Sequence[Logger] = False,
    callbacks: Sequence[Callback] = (),
    checkpoint_dir: str | Path | None = None,
    resume: bool = False,
    seed: int = 0,
) -> Model:
    """Train a model on sections with an H&E image and measured expression.

    The target is log1p of counts per 10,000, for the genes of the panel; the total is taken over all genes. The panel,
    the scaling of inputs and the number of epochs are found on these sections alone. With two or more sections, groups
    of them are held out in turn to find when to stop. The groups are subjects, where ``obs["subject"]`` names several.
    The model itself is then trained on all sections. At the end a message gives the scores on the held-out sections,
    beside those of the training mean and of a tuned ridge; ``model.held_out`` keeps them.

    Parameters
    ----------
    sdata
        One SpatialData for each section, or the path of its Zarr store; the counts of a store stay on disk. A dict
        names the sections. Gene lists are matched by name.
    method
        ``"nh2st"``, ``"cmrcnet"``, ``"ridge"`` or another of :data:`~st_predict.core.methods.registry.METHODS`; or
        ``"auto"``: the best of ``"nh2st"``, ``"hist2st"`` and ``"ridge"`` on groups of the training sections that are held
        out in turn. A group that is held out has no part in stopping or penalties. A message says which method won, and
        by how much. Each of the three is trained once for every group.
    encoder
        Image encoder: ``"efficientnet_lite0"``, ``"resnet18"``, any timm model name, or ``"hf-hub:owner/model"``.
    genes
        How many genes to predict, or their names.
    gene_sets
        Sets of genes to predict as well, by name (``{"T cells": ["CD3D", "CD3E"]}``). Each is one more target: the
        mean over its genes of log1p of counts per 10,000. A gene that one of the sections lacks is left out of its
        sets, and a warning names it.
    gene_ranking
        Which genes a number means: highest mean raw count (``"heg"``), or most variable after log1p (``"hvg"``).
    min_counts
        Spots with fewer counts over all genes are not trained on. ``None``: 500, or 20 where spots lie less than 25 um
        apart, as cells and fine bins do.
    tile_um
        Widths of the tiles around each spot in um; default 112, 154, 308 and 616 (112 where the encoder is trained).
    tile_px
        Widths in image px instead, if the scale is unknown; all sections must then have the same scale.
    preset
        ``"default"``: values measured under this package's protocol; ``"paper"``: the publication's.
    params
        Changes to the method's own settings, by name (see :class:`~st_predict.core.methods.nh2st.NH2STConfig`).
    context
        Means of the features over so many nearest spots are appended to a tile's own features; ``()``: none.
    standardize
        z-score features within each slide (``"slide"``), by the training spots (``"training"``), or not (``"none"``).
    trainable_encoder
        Train the encoder end to end instead of computing its features once.
    encoder_weights
        Local weights file for the encoder.
    max_epochs, batch_size, learning_rate, encoder_learning_rate
        Settings of training by gradient. ``batch_size`` counts spots, on all devices together (160 by default if the
        encoder is trained). An encoder in training has its own learning rate.
    inner_folds
        How often training sections are held out to find when to stop; 0: train for ``max_epochs``.
    members
        How many networks are trained side by side; the prediction is their mean. By default three on frozen features,
        for every method, and one if the encoder is trained.
    anchor
        On slides that look unlike training, move the networks' prediction toward that of tuned ridge: the more unlike,
        the further. This is the default on frozen features.
    stain_jitter
        If the encoder is trained, change the stain of each spot's tiles at random by at most so much (0.05 is little,
        0.2 much), on top of turning and flipping them.
    tile_store
        Folder where the tiles of an encoder in training are kept for other runs, see :ref:`tile-store`; ``None``: they
        are in the temporary folder and are removed after the run.
    tile_store_gb
        How much the tiles in ``tile_store`` may take; those used least recently are removed.
    image_key, shapes_key, table_key
        Names of the elements in each SpatialData, if there are several.
    layer
        Layer with raw counts; ``None``: ``X``.
    accelerator
        ``"auto"``, ``"cpu"``, ``"gpu"`` or another name Lightning knows; the encoder runs there too.
    devices, num_nodes, strategy, precision
        As in ``lightning.pytorch.Trainer``. A precision of ``"auto"`` is ``"bf16-mixed"`` for an encoder in training
        if the device is faster in bfloat16 (recent NVIDIA GPUs; CPUs with AMX, except for depthwise convolutions),
        else ``"32-true"``. Devices share the tiles of every batch that an encoder in training sees; the gradient is
        that of one device with the whole batch. With frozen features there is nothing to share.
    logger, callbacks
        Lightning's loggers and callbacks, for the fit on all sections.
    checkpoint_dir
        Folder where the training is kept as it goes: frozen features, and every fit before each epoch and every five
        minutes. The fits by which ``"auto"`` chooses are not kept; they are run again.
    resume
        Go on with the training in ``checkpoint_dir``, if there is one; it must have the same sections and settings. On
        a CPU the model is the same, to the last bit, as that of a training that was never broken off.
    seed
        The same seed on the same machine gives the same model, on a CPU to the last bit.

    Returns
    -------
    The model; :func:`~st_predict.tl.predict` uses it when no other is given. ``model.genes`` tells what PCC to expect
    of every gene on a new slide. This is unknown if nothing was held out (sections of one group, or
    ``inner_folds=0``). Frozen features are kept in each table (see :func:`st_predict.pp.embed`).

    Raises
    ------
    InputError
        If the input cannot be used, or ``checkpoint_dir`` or ``tile_store`` lies within a store or a model. This is found
        before any tile is encoded.
    SystemExit
        If the process receives SIGTERM or SIGHUP in the main thread. A message first says what is kept in
        ``checkpoint_dir``. The status is 128 plus the signal's number.

    Examples
    --------
    >>> model = stp.tl.train(sections, method="ridge", genes=20)
    >>> model
    Model ...: ridge on efficientnet_lite0, 20 genes, trained on S1, S2, S3
    >>> model.held_out["pcc"].round(1)
    method   mean  ridge
    section
    S1        0.0  0...
    S2        0.0  0...
    S3        0.0  0...
    """
    be_heard()
    check_places(checkpoint_dir=checkpoint_dir, tile_store=tile_store)
    settled = settle_candidates(
        method,
        preset=preset,
        params=params,
        context=context,
        standardize=standardize,
        trainable_encoder=trainable_encoder,
        max_epochs=max_epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        encoder_learning_rate=encoder_learning_rate,
        inner_folds=inner_folds,
        members=members,
        anchor=anchor,
        stain_jitter=stain_jitter,
    )
    trainable = settled[0].fit.trainable_encoder
    spec = tile_spec(tile_um, tile_px, trainable=trainable)
    hardware, device = find_hardware(accelerator, devices, num_nodes=num_nodes, strategy=strategy, precision=precision)
    read = read_sections(sdata, Elements(image_key, shapes_key, table_key, layer), gene_sets=gene_sets)
    check_outside(read, checkpoint_dir=checkpoint_dir, tile_store=tile_store)
    check_scales(read.sections, spec)
    check_inner_folds(read.sections, inner_folds)
    least = least_counts(read.sections, min_counts)
    among = tuple(Candidate(recipe.method, Plan(recipe, genes, gene_ranking, least, seed)) for recipe in settled)
    check_choice(read.sections, among)
    panel = plan_panel(read.sections, among[0].plan)
    frozen = FrozenEncoder(encoder, encoder_weights, device=device)
    checkpoints = open_checkpoints(
        checkpoint_dir,
        resume=resume,
        read=read,
        frozen=frozen,
        spec=spec,
        settings={
            **among[0].plan.to_dict(),
            "recipe": [candidate.plan.recipe.to_dict() for candidate in among],
            "panel": panel,
            "precision": str(precision),
            **({"gene_sets": dict(read.sections[0].gene_sets)} if gene_sets else {}),
        },
    )
    if hardware.several:
        end_with_launcher()
    run = Run(hardware, Watch(logger, callbacks), checkpoints)
    left = partial(what_is_kept, None if checkpoints is None else checkpoints.folder)
    with TileStore(tile_store, limit_gb=tile_store_gb) as store, telling_what_is_left(left):
        keep = None if checkpoints is None else checkpoints.features
        tiles = encode_sections(read, frozen, spec, store, trainable=trainable, keep=keep)
        model = train_best(read.sections, tiles, among, run, panel=panel, device=frozen.device)
    remember(model)
    say_held_out(model, held_out_groups(read.sections)[0])
    say_unpredictable(model, asked=not isinstance(among[0].plan.genes, int))
    return model
