"""What ``train`` does, and prepares as ``cross_validate`` does: encoded tiles, a choice, a fit, and what is said of it."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from st_predict._spatialdata.features import cached_features, check_features_key, features_key, features_record
from st_predict._spatialdata.stored import open_store
from st_predict.core.errors import InputError
from st_predict.core.fitting.checkpoints import Checkpoints
from st_predict.core.fitting.fit import train_model, with_domain
from st_predict.core.inputs.encoded import EncodedTiles
from st_predict.core.log import logger, quiet
from st_predict.core.protocol.choose import choose
from st_predict.core.protocol.fold import fit_study
from st_predict.core.protocol.study import Study
from st_predict.core.splits import held_out_groups
from st_predict.core.tiles.glass import say_glass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from st_predict._spatialdata.sections import ReadSections
    from st_predict.core.encoders.frozen import FrozenEncoder
    from st_predict.core.fitting.network import Run
    from st_predict.core.model.model import Model
    from st_predict.core.protocol.study import Candidate
    from st_predict.core.section import Section
    from st_predict.core.tiles.geometry import TileSpec
    from st_predict.core.tiles.store import TileStore

_NAMED = 10


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
    made_from = {"st-predict": version("st-predict"), **settings, "tiles": spec.to_dict(), "encoder": frozen.identity}
    made_from["order of sections"] = [section.name for section in read.sections]  # fits know them by number
    for section, placed in zip(read.sections, read.placed, strict=True):
        record = features_record(frozen.identity, spec, section, placed.image)
        digest = hashlib.sha256(repr((section.subject, section.um_per_px, record)).encode())
        for part in section.measured():
            digest.update(part)
        made_from[f"section {section.name}"] = digest.hexdigest()[:16]
    return Checkpoints(Path(folder), resume=resume, made_from=made_from)


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
    if trainable:
        for section in read.sections:
            say_glass(section)
        tiles = store.tiles(read.sections, spec, frozen.encoder.tile_px)
        return EncodedTiles(tiles, spec, frozen.identity, copy.deepcopy(frozen.encoder).cpu())
    for one, found in zip(read.objects, read.placed, strict=True):
        if not isinstance(one, Path):
            check_features_key(one.tables[found.table], features_key(frozen.name))
    features = [
        cached_features(open_store(one) if isinstance(one, Path) else one, section, found, frozen, spec, keep=keep)[1]
        for one, section, found in zip(read.objects, read.sections, read.placed, strict=True)
    ]
    return EncodedTiles(features, spec, frozen.identity, None)


def train_best(
    sections: Sequence[Section],
    tiles: EncodedTiles,
    among: Sequence[Candidate],
    run: Run,
    *,
    panel: list[str],
    device: str,
) -> Model:
    """Choose one of several candidates, and train it on all sections.

    Parameters
    ----------
    sections, tiles
        The sections and their tiles.
    among
        What is chosen among; one: that one.
    run
        Where it runs, what looks on, and what is kept.
    panel
        Genes and gene sets to predict.
    device
        Where tiles are encoded once the encoder is trained.
    """
    chosen, told = among[0], None
    if len(among) > 1:
        with quiet():
            choice = choose(Study(list(sections), tiles, None, run.hardware), among, fit_study)
        chosen, told = choice.chosen, choice.told(held_out_groups(sections)[0])
        logger.info("chose %s", told)
    model = train_model(sections, tiles, chosen.plan.of(panel, sections[0].gene_sets), run)
    return replace(with_domain(model, sections, tiles.values, device=device), choice=told)


def check_inner_folds(sections: Sequence[Section], asked: int | None) -> None:
    if asked and len(sections) < 2:
        raise InputError(
            f"inner_folds={asked} was asked of one section",
            where="inner_folds",
            expected="two or more sections, so that one can be held out",
            remedy="give more sections, or leave inner_folds out to train for max_epochs",
        )


def say_held_out(model: Model, groups: str) -> None:
    if not model.held_out_rows:
        logger.info("%r. Nothing was held out: score it on a section it has not seen.", model)
        return
    table = model.held_out["pcc"]
    logger.info(
        "%r. Mean PCC over %s of each section while its %s was held out%s:\n%s",
        model,
        model.panel_size,
        groups,
        f" ({model.epochs} epochs)" if model.history_rows else "",
        table.round(3).to_string(),
    )
    if model.ground == "same subject":
        logger.info(
            "All sections are of the same subject, so this tells what to expect of further sections of it. Another subject may "
            "reach far less: train on several to know"
        )
    ridge = (table["ridge"] - table[model.method]).mean()
    if ridge > 0 and model.history_rows:
        logger.info(
            "Tuned ridge did better than %s on what was held out, by %.3f on average: method='ridge' trains it in seconds",
            model.method, ridge,
        )  # fmt: skip


def say_unpredictable(model: Model, *, asked: bool) -> None:
    """Genes of which no more than chance is expected: a warning where they were asked for by name."""
    found = model.genes
    poor = found[found["predictable"].eq(False)]
    if poor.empty or model.method in ("mean", "shuffled"):  # controls predict nothing, by intent
        return
    named = ", ".join(f"{gene} ({pcc:.2f})" for gene, pcc in poor["expected_pcc"].sort_values()[:_NAMED].items())
    (logger.warning if asked else logger.info)(
        "%d of %d genes cannot be predicted: on sections that were held out their PCC is no more than shuffled images "
        "reach by chance (%.2f): %s%s. Of their counts, noisy as they are, a predictor of the true rates would reach "
        "about %.2f",
        len(poor), len(found), poor["chance"].mean(), named, ", ..." if len(poor) > _NAMED else "",
        poor["ceiling"].mean(),
    )  # fmt: skip
