"""What a model is handed without SpatialData: arrays that must fit it, and one another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from st_predict.core.checks import check_apart, check_places
from st_predict.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from st_predict.core.model.domain import Domain


def check_tiles(features: NDArray[Any], domain: Domain | None) -> None:
    """Refuse encoded tiles ``(n, S, d)`` of other widths, or of another encoder, than those trained on.

    Raises
    ------
    InputError
        With both numbers.
    """
    if domain is not None and features[0].size != len(domain.mean):
        raise InputError(
            f"features have {features.shape[1]} x {features.shape[2]} values a spot",
            where="features",
            expected=f"{len(domain.mean)} values a spot: those of the model's encoder, at the model's tile widths",
            remedy="encode the tiles with st_predict.pp.embed, with the model's encoder and tile widths",
        )


def check_spots(n: int, centers_px: NDArray[Any], arrays: NDArray[Any] | None, reach: int) -> None:
    """Refuse centers, or numbers of arrays, that are not those of ``n`` spots, and arrays without ``reach`` other spots.

    Raises
    ------
    InputError
        Naming which.
    """
    for where, given, shape in (("centers_px", centers_px, (n, 2)), ("arrays", arrays, (n,))):
        if given is not None and (given.shape != shape or not np.isfinite(given).all()):
            raise InputError(
                f"{where} is an array {given.shape}" + ("" if given.shape != shape else " with NaN or infinity"),
                where=where,
                expected=f"finite numbers {shape}, a row for each spot of features",
                remedy=f"give {where} of the same spots, in the same order",
            )
    check_places(centers_px, where="centers_px")
    check_apart(centers_px, where="centers_px")
    fewest = n if arrays is None else int(np.unique(arrays, return_counts=True)[1].min())
    if fewest <= min(reach, n - 1):
        raise InputError(
            f"an array of {fewest} spots is too small: a prediction depends on the {reach} nearest of its own",
            where="arrays",
            expected=f"more than {reach} spots in every array",
            remedy="leave arrays out, or predict small arrays by themselves",
        )


def check_genes(genes: NDArray[Any] | None, n_genes: int) -> None:
    """Refuse numbers of genes that the model does not have.

    Raises
    ------
    InputError
        With how many it has.
    """
    if genes is not None and (genes.min() < 0 or genes.max() >= n_genes):
        raise InputError(
            f"genes holds numbers from {genes.min()} to {genes.max()}",
            where="genes",
            expected=f"numbers from 0 to {n_genes - 1}: places in model.panel",
            remedy="number the genes as in model.panel",
        )
