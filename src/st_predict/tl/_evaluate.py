"""``evaluate``: a prediction against the measured expression of the same section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from st_predict._spatialdata.keys import Elements
from st_predict._spatialdata.prediction import check_predicted, read_prediction
from st_predict._spatialdata.read import read_section
from st_predict.core.arguments.checked import checked
from st_predict.core.errors import InputError
from st_predict.core.expression import known_targets, section_expression
from st_predict.core.fitting.plan import usable_spots
from st_predict.core.gene_names import named_like, of_note, say_lost
from st_predict.core.protocol.scores import score_genes

if TYPE_CHECKING:
    import pandas as pd
    from spatialdata import SpatialData


@checked
def evaluate(
    sdata: SpatialData,
    *,
    key: str = "predicted",
    min_counts: float | None = None,
    image_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
    layer: str | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Score a prediction gene by gene, over the spots of one section.

    Parameters
    ----------
    sdata
        A section with measured expression that :func:`~st_predict.tl.predict` was run on.
    key
        ``key_added`` of the prediction.
    min_counts
        Spots with fewer counts are left out; ``None``: as in training.
    image_key, shapes_key, table_key
        Names of the elements, if there are several.
    layer
        Layer with raw counts; ``None``: ``X``.
    seed
        Seed of the draws behind ``ceiling``.

    Returns
    -------
    A DataFrame with one row for each gene of the panel that the section has, and for each gene set whose genes it has
    all. The columns are ``pcc`` and ``spearman`` (0 where prediction or truth is constant), ``mse``, ``mae``,
    ``r2``, ``relative_variance`` (predicted over measured; well under 1 is over-smoothed), ``constant``, and
    ``mean_count`` (for a set the sum over its genes). ``ceiling`` is an estimate of the PCC that a predictor of the
    true rates would reach on counts this noisy, and ``ceiling_sd`` the standard deviation of that estimate with so many
    spots. ``morans_i`` and ``morans_i_measured`` are Moran's I of prediction and truth, over the six spots nearest to
    each spot. ``expected_pcc`` is there if the model knew how sure it was. ``covered``, the share of spots within their
    interval, is there if intervals were predicted. ``attrs`` holds ``n_spots``, ``n_spots_left_out`` and
    ``genes_missing``.

    Raises
    ------
    InputError
        If there is no such prediction, it was changed, some of the spots have none, the section has no gene of the panel, or fewer than
        three spots can be scored.

    Examples
    --------
    >>> train_on = {name: sections[name] for name in ("S1", "S2")}
    >>> stp.tl.predict(sections["S3"], stp.tl.train(train_on, method="ridge", genes=20))
    >>> scores = stp.tl.evaluate(sections["S3"])
    >>> scores[["pcc", "ceiling"]].round(1).head(2)
                         pcc  ceiling
    gene
    NICHE_LYMPHOCYTE_03  0...      ...
    TUMOR_02             0...      ...
    """
    from dataclasses import replace

    import pandas as pd

    elements = Elements(image_key, shapes_key, table_key, layer)
    section, placed = read_section(sdata, elements, need_counts=True)
    prediction = read_prediction(sdata.tables[placed.table], key)
    panel = prediction.panel
    section = named_like(replace(section, gene_sets=prediction.gene_sets), prediction.genes)
    known = known_targets(section, panel)
    shared = [gene for gene, has in zip(panel, known, strict=True) if has]
    if not shared:
        raise InputError(
            f"section {section.name!r} has none of the {len(panel)} predicted genes ({', '.join(panel[:3])}, ...)",
            where="var_names",
            expected="gene names of the kind the model was trained on",
            remedy="map the names of this table to those of the training sections" + of_note(panel, section.gene_names),
        )
    lost = [gene for gene, has in zip(panel, known, strict=True) if not has]
    say_lost(lost, panel, section.gene_names, of=section.name, so="those are not scored")
    scored = usable_spots(section, prediction.min_counts if min_counts is None else min_counts)
    if scored.sum() < 3:
        raise InputError(
            f"{scored.sum()} of {section.n_spots} spots have enough counts to be scored on",
            where="min_counts",
            expected="at least 3",
            remedy="lower min_counts",
        )
    kept = section.keep(scored)
    predicted, truth = prediction.expression[scored][:, known], section_expression(kept, shared)
    check_predicted(predicted, key, section.name)
    values = score_genes(kept, predicted, truth, shared, seed=seed)
    scores = pd.DataFrame(values, index=pd.Index(shared, name="gene"))
    if prediction.expected_pcc is not None:
        scores["expected_pcc"] = prediction.expected_pcc[known]
    if prediction.interval is not None:
        lower, upper = (ends[scored][:, known] for ends in prediction.interval)
        scores["covered"] = ((truth >= lower) & (truth <= upper)).mean(axis=0)
    scores.attrs = {
        "section": section.name,
        "n_spots": int(scored.sum()),
        "n_spots_left_out": int((~scored).sum()),
        "genes_missing": lost,
    }
    return scores
