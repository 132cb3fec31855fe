"""A prediction as it stands in a SpatialData: one value that is written there and read back."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from st_predict._spatialdata.kept import gene_columns, own_spots
from st_predict._spatialdata.keys import OWN_TABLES, PROVENANCE_KIND, check_spatialdata, is_our_table
from st_predict.core.errors import InputError
from st_predict.core.expression import dense

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray
    from spatialdata import SpatialData

_LONGEST_COLUMN = 200  # bytes
PREDICTION = "prediction"
"""Kind of a prediction in a measured table."""
PREDICTION_TABLE = OWN_TABLES[0]
"""Kind of a prediction that is a table of its own, on an H&E-only section."""


class Prediction(NamedTuple):
    """One prediction of one section. ``n`` spots, ``G`` genes and gene sets."""

    expression: NDArray[np.float32]
    """``(n, G)``, log1p of counts per 10,000; NaN in spots that were not in tissue when it was made."""
    distance: NDArray[np.float32]
    """How unlike the training tiles the spots are ``(n,)``."""
    interval: tuple[NDArray[np.float32], NDArray[np.float32]] | None
    """Lower and upper ends ``(n, G)``; ``None`` where none were asked for."""
    provenance: Mapping[str, Any]
    """What it was made with, and what is said of it; kept as ``uns[key]``."""

    @property
    def panel(self) -> list[str]:
        """Names of the columns ``(G,)``: genes, then gene sets."""
        return [str(name) for name in self.provenance["panel"]]

    @property
    def gene_sets(self) -> dict[str, tuple[str, ...]]:
        """Genes of every gene set in the panel, by the set's own name."""
        stored, names = self.provenance.get("gene_sets", {}), self.stored_names
        return {
            name: tuple(map(str, stored[kept])) for name in self.panel for kept in (name, names[name]) if kept in stored
        }

    @property
    def genes(self) -> list[str]:
        """Genes of the panel and of its gene sets."""
        sets = self.gene_sets
        return list(dict.fromkeys(itertools.chain((name for name in self.panel if name not in sets), *sets.values())))

    @property
    def stored_names(self) -> dict[str, str]:
        """Names under which the columns are kept, by their own; see :func:`stored_names`."""
        return stored_names(self.panel)

    @property
    def min_counts(self) -> float:
        """Least counts of a spot to be scored."""
        return float(self.provenance["min_counts"])

    @property
    def expected_pcc(self) -> NDArray[np.float64] | None:
        """The PCC to expect of each gene here ``(G,)``; ``None`` where nothing was held out in training."""
        return None if "expected_pcc" not in self.provenance else np.asarray(self.provenance["expected_pcc"])

    @property
    def slide_shift(self) -> float:
        """How far the slide as a whole lies off the training sections."""
        return float(self.provenance["slide_shift"])

    @property
    def unlike_training(self) -> float:
        """Share of the spots that look as nothing in training did."""
        return float(self.provenance["unlike_training"])

    @property
    def unpredictable(self) -> set[str]:
        """Genes of which no more is expected than chance gives."""
        both = zip(self.provenance.get("expected_pcc", ()), self.provenance.get("chance", ()), strict=False)
        return {gene for gene, (expected, chance) in zip(self.panel, both, strict=False) if expected <= chance}

    def parts(self, key: str) -> dict[str, NDArray[np.float32]]:
        """Expression and ends of intervals, by the names they are kept under."""
        ends = {} if self.interval is None else dict(zip(interval_keys(key), self.interval, strict=True))
        return {key: self.expression, **ends}


def read_prediction(table: AnnData, key: str) -> Prediction:
    """The prediction under a key, of the spots of its section.

    Raises
    ------
    InputError
        If there is none, or it is not as it was written.
    """
    from pandas.api.types import is_numeric_dtype

    if not is_prediction(table.uns, key):
        raise no_prediction(key)
    record: dict[str, Any] = table.uns[key]
    held = table.layers if record[PROVENANCE_KIND] == PREDICTION_TABLE else table.obsm
    if key not in held:
        raise no_prediction(key)
    _check_record(record, key)
    rows = own_spots(table)
    panel = [str(gene) for gene in record["panel"]]
    stored = stored_names(panel)
    names = [stored[gene] for gene in panel]

    def values(name: str) -> NDArray[np.float32]:
        return np.asarray(_by_gene(held[name], names, table, name), dtype=np.float32)[rows]

    lower, upper = interval_keys(key)
    # Without intervals asked for, something under these names is the user's.
    ends = (values(lower), values(upper)) if "interval" in record and {lower, upper} <= set(held) else None
    unknown = np.full(table.n_obs, np.nan)  # a user may have dropped the column
    distance = table.obs.get(distance_column(key), unknown)
    if not is_numeric_dtype(distance):
        raise _changed(key, f"obs[{distance_column(key)!r}] holds no numbers")
    found = Prediction(values(key), np.asarray(distance, dtype=np.float32)[rows], ends, record)
    _check_values(found, key)
    if record[PROVENANCE_KIND] == PREDICTION and key in table.layers:
        _check_layer(table, found, key)
    return found


def _check_values(found: Prediction, key: str) -> None:
    """Refuse numbers that no prediction has; a spot that was not in tissue has none at all."""
    bad = ~np.isfinite(found.expression)
    bad[np.isnan(found.expression).all(axis=1)] = False
    if bad.any():
        gene = found.panel[int(bad.any(axis=0).argmax())]
        raise _changed(key, f"{bad.sum()} of its values are missing or infinite, for example of {gene!r}")


def _check_layer(table: AnnData, found: Prediction, key: str) -> None:
    """Refuse a layer that says otherwise than obsm: nobody can tell which of the two is meant."""
    columns = gene_columns(table, [None if name in found.gene_sets else name for name in found.panel])
    known = np.flatnonzero(columns >= 0)
    layer = dense(table.layers[key][:, columns[known]])[own_spots(table)]
    own = found.expression[:, known]
    apart = (layer != own) & ~(np.isnan(layer) & np.isnan(own))
    if apart.any():
        gene = found.panel[known[int(apart.any(axis=0).argmax())]]
        raise _changed(
            key,
            f"layers[{key!r}] and obsm[{key!r}] differ in {apart.any(axis=0).sum()} genes, for example {gene!r}: one of them "
            "was changed, genes were renamed, or a store has lost a part",
        )


def check_predicted(predicted: NDArray[np.float32], key: str, name: str) -> None:
    """Refuse spots ``(n, G)`` of a section without a prediction, if it is to be scored or shown there."""
    if unpredicted := int(np.isnan(predicted).any(axis=1).sum()):
        raise InputError(
            f"{unpredicted} of {len(predicted)} spots of {name!r} have no prediction: they were not in tissue when it was made",
            where=f"obsm[{key!r}]",
            expected="a prediction of every spot that is scored",
            remedy="run st_predict.tl.predict again",
        )


def _by_gene(kept: Any, names: list[str], table: AnnData, key: str) -> Any:
    """Columns ``(n, G)`` in the order of the panel: by their names where they have any, for a user may have ordered them anew."""
    columns = list(map(str, kept.columns if hasattr(kept, "columns") else table.var_names))
    if hasattr(kept, "columns") or kept.shape[1] == len(columns):
        if sorted(columns) == sorted(names):
            order = [columns.index(name) for name in names]
            return kept.iloc[:, order] if hasattr(kept, "columns") else kept[:, order]
        if hasattr(kept, "columns"):
            raise _changed(key, f"its columns are not the {len(names)} of its panel")
    if kept.ndim != 2 or kept.shape[1] != len(names):
        raise _changed(key, f"it is an array {kept.shape}, and its panel has {len(names)} genes")
    return kept


def _check_record(record: Mapping[str, Any], key: str) -> None:
    """Refuse what is no record of a prediction as it was written."""
    panel, sets, expected = record.get("panel"), record.get("gene_sets", {}), record.get("expected_pcc")
    names = list(map(str, panel)) if isinstance(panel, list | tuple | np.ndarray) else []
    if not names or len(set(names)) != len(names):
        raise _changed(key, "its panel is not a list of genes")
    if not isinstance(sets, Mapping):
        raise _changed(key, "its gene sets are not a dict")
    if not (isinstance(record.get("min_counts"), Real) and float(record["min_counts"]) >= 0):
        raise _changed(key, f"its min_counts is {record.get('min_counts')!r}")
    if expected is not None and np.shape(expected) != (len(names),):
        raise _changed(key, f"its expected_pcc is not one number for each of {len(names)} genes")


def _changed(key: str, what: str) -> InputError:
    return InputError(
        f"the prediction {key!r} is not as it was written: {what}",
        where=f"obsm[{key!r}], uns[{key!r}]",
        expected="a prediction as st_predict.tl.predict wrote it, its columns in any order",
        remedy="run st_predict.tl.predict again, and change a copy of what it writes",
    )


def find_prediction(sdata: SpatialData, key: str) -> Prediction:
    """The one prediction under a key, in whichever table it is."""
    (table,) = (table for table in sdata.tables.values() if is_prediction(table.uns, key))
    return read_prediction(table, key)


def is_own_table(sdata: SpatialData, key: str, table_key: str | None) -> bool:
    """Whether a prediction is a table of its own, as on H&E-only sections.

    Raises
    ------
    InputError
        If there is neither such a table nor a measured one that could hold the prediction.
    """
    check_spatialdata(sdata)
    if table_key in (None, key) and key in sdata.tables and is_our_table(sdata.tables[key]):
        if not is_prediction(sdata.tables[key].uns, key):
            raise no_prediction(key)
        return True
    if table_key is None and all(is_our_table(table) for table in sdata.tables.values()):
        raise no_prediction(key)
    return False


def is_prediction(uns: Any, key: str) -> bool:
    """Whether what is kept under a key of ``uns`` is the record of a prediction of ours."""
    record = uns.get(key)
    return isinstance(record, dict) and record.get(PROVENANCE_KIND) in {PREDICTION, PREDICTION_TABLE}


def check_measured(table: AnnData, layer: str | None, *, where: str, remedy: str | None) -> None:
    """Refuse a layer, or ``X`` (``None``), as counts if it is a prediction of ours, or an end of its intervals.

    Raises
    ------
    InputError
        With the key of the prediction.
    """
    for key in [key for key in table.uns if is_prediction(table.uns, key)]:
        own_table = table.uns[key][PROVENANCE_KIND] == PREDICTION_TABLE
        if (layer is None and own_table) or layer in (key, *interval_keys(key)):
            raise InputError(
                f"{'X' if layer is None else f'layer {layer!r}'} is the prediction {key!r}, and holds no counts",
                where=where,
                expected="raw counts: whole numbers, 0 or more, none missing",
                remedy=remedy or "give the measured counts: those that were predicted from the image are none",
            )


def no_prediction(key: str) -> InputError:
    """What is said where there is no prediction under a key."""
    return InputError(
        f"there is no prediction under {key!r}",
        where="key",
        expected="the key_added of an earlier st_predict.tl.predict",
        remedy="run st_predict.tl.predict(sdata) first, or correct key",
    )


def interval_keys(key: str) -> tuple[str, str]:
    """Names of the lower and the upper ends of the intervals: of obsm, or of layers where the table is new."""
    return f"{key}_lower", f"{key}_upper"


def distance_column(key: str) -> str:
    """Column of ``obs`` that says how unlike the training tiles a spot is."""
    return f"{key}_distance"


def var_columns(key: str) -> list[str]:
    """Columns of ``var``, as those of :attr:`~st_predict.core.model.model.Model.genes`."""
    names = ("expected_pcc", "pcc_sd", "ceiling", "chance", "predictable", "expected_for")
    return [f"{key}_{name}" for name in names]


def stored_names(panel: Sequence[str]) -> dict[str, str]:
    """Names under which Zarr takes columns, by their own: a slash of either kind becomes "_", with a number where that is taken."""
    names = {name: name for name in panel if _plain(name) == name}
    taken = set(names)
    for name in panel:
        if name not in names:
            plain = _plain(name)
            numbered = (f"{plain}_{number}" for number in itertools.count(2))
            names[name] = next(free for free in itertools.chain([plain], numbered) if free not in taken)
            taken.add(names[name])
    return names


def _plain(name: str) -> str:
    """A name that Zarr and file systems take: without slashes of either kind, no "." or "..", not starting as their own, and not too long."""
    plain = re.sub(r"[/\\]", "_", name).encode()[:_LONGEST_COLUMN].decode(errors="ignore")
    return f"_{plain}" if plain in (".", "..") else re.sub("^__", "_", plain)
