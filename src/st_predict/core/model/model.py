"""A trained model: what it needs to predict, and a record of how it was trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any  # noqa: F401 - of the fields too

import numpy as np
import torch

from st_predict.core.arguments.checked import checked
from st_predict.core.errors import InputError
from st_predict.core.expression import describe_panel
from st_predict.core.inputs.spots import SpotSet
from st_predict.core.model.anchor import anchor_share
from st_predict.core.model.folder import write_folder
from st_predict.core.model.given import check_genes, check_spots, check_tiles
from st_predict.core.model.lone_tiles import TileModel
from st_predict.core.model.predict import predicted_parts
from st_predict.core.neighbors import array_places, nearest_spots
from st_predict.core.room import give_back, room_for
from st_predict.core.section import same_subject, subject_name

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    # Types of the fields of a model; the documentation looks them up here.
    from st_predict.core.encoders.encoder import Encoder  # noqa: F401
    from st_predict.core.encoders.frozen import EncoderIdentity  # noqa: F401
    from st_predict.core.grid import Layout  # noqa: F401
    from st_predict.core.inputs.transform import InputTransform  # noqa: F401
    from st_predict.core.methods.recipe import Recipe  # noqa: F401
    from st_predict.core.methods.ridge import Ridge  # noqa: F401
    from st_predict.core.model.domain import Domain  # noqa: F401
    from st_predict.core.model.record import Value  # noqa: F401
    from st_predict.core.model.reliability import Reliability  # noqa: F401
    from st_predict.core.section import Section
    from st_predict.core.splits import Ground  # noqa: F401
    from st_predict.core.tiles.geometry import TileSpec  # noqa: F401

_SCALE_TOLERANCE = 0.05
_GENE_COLUMNS = ["expected_pcc", "pcc_sd", "ceiling", "chance", "predictable", "expected_for"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Model(TileModel):
    """A model trained by :func:`st_predict.tl.train` or read by :func:`st_predict.load_model`.

    Parameters
    ----------
    recipe
        The method, by name, and all its settings.
    panel
        Genes that it predicts, in order, and after them its gene sets.
    encoder_identity
        Encoder of the tiles.
    tiles
        Tile widths.
    um_per_px
        Median scale of the training sections, if it was known.
    pitch_um
        Median distance between neighboring training spots, if the scale was known. Grids are laid at this pitch.
    min_counts
        Spots with fewer counts are neither trained on nor scored.
    seed
        Seed of the fit.
    sections
        Names of the training sections.
    n_inputs
        Number of input features of the method.
    epochs
        Epochs of the final fit.
    history_rows, held_out_rows
        Records behind :attr:`history` and :attr:`held_out`.
    transform, center, network, encoder
        The fitted parts: transformation of the inputs, mean over training sections ``(G,)``, method, and the encoder if
        it was trained.
    domain
        What the training tiles look like.
    anchor
        The ridge that predictions are moved toward on slides unlike the training sections; ``None``: they are not moved.
    reliability
        How sure its predictions are; ``None`` if nothing was held out.
    gene_sets
        Genes of each gene set in the panel.
    ground
        What slides the expectations are valid for: ``"new subject"``, if subjects were held out; ``"same subject"``, if
        only sections of one were; ``"new section"``, if subjects are not known. ``None``: nothing was held out.
    subject
        The subject of the training sections; ``None`` if there were several, or not all are known.
    layout
        Layout of the array of the training sections, ``"hex"`` or ``"square"``. Grids are laid in this layout. ``None``
        if sections differ, or the layout is not known.

    Examples
    --------
    What the model is, and how well it did on sections that were held out:

    >>> model.panel_size
    '20 genes'
    >>> model.held_out["pcc"]["ridge"].round(1)
    section
    S1    0...
    S2    0...
    S3    0...
    Name: ridge, dtype: float64
    >>> len(model.history)  # epochs of its fits; ridge has none
    0
    >>> model.looks_around, model.reach  # whether neighboring spots count, and how many
    (False, 0)
    >>> model.provenance()["target"]
    'log1p of counts per 10,000'

    What to expect of the model on a new slide, and on a slide that looks unlike training:

    >>> likely = model.genes["expected_pcc"].mean()
    >>> bool(model.genes_on(3.0)["expected_pcc"].mean() < likely)
    True
    >>> model.is_of_another("P9")  # not known: it was trained on three subjects
    False

    Without SpatialData, from encoded tiles ``(n, S, d)`` and the centers of the spots:

    >>> table = sections["S1"].tables["table"]
    >>> features = table.obsm["X_efficientnet_lite0"].reshape(table.n_obs, 4, -1)
    >>> model.predict_features(features, table.obsm["spatial"]).shape
    (41, 20)
    >>> model.distance(features).shape
    (41,)
    >>> model.shift(features) < 1
    True
    >>> model.anchored(features)  # ridge is not drawn toward itself
    0.0
    """

    def __repr__(self) -> str:
        return (
            f"Model {self.id}: {self.method} on {self.encoder_identity.name}, {self.panel_size}, "
            f"trained on {', '.join(self.sections[:6])}{', ...' if len(self.sections) > 6 else ''}"
        )

    @property
    def panel_size(self) -> str:
        """How many genes and gene sets the model predicts, in words."""
        return describe_panel(self.panel, self.gene_sets)

    @property
    def history(self) -> pd.DataFrame:
        """Losses and held-out scores, one row for each epoch of each fit (the inner folds, then the final fit)."""
        import pandas as pd

        return pd.DataFrame(self.history_rows)

    @property
    def held_out(self) -> pd.DataFrame:
        """PCC and MSE of mean, ridge and this method on each training section while it was held out.

        Empty if nothing was held out. Everything except the panel and the stopping epoch was chosen without the
        held-out sections, so expect slightly less on an unseen section.
        """
        import pandas as pd

        rows = pd.DataFrame(self.held_out_rows, columns=["section", "method", "pcc", "mse"])
        methods = list(dict.fromkeys(rows["method"]))
        wide = rows.pivot(index="section", columns="method", values=["pcc", "mse"])
        return wide.reindex(columns=[(score, m) for score in ("pcc", "mse") for m in methods])

    @property
    def genes(self) -> pd.DataFrame:
        """What to expect of every gene on a slide that was not trained on, one row for each gene.

        All of it is unknown if nothing was held out. The columns are

        - ``expected_pcc``: the mean over training sections of the PCC that each reached while it was held out;
        - ``pcc_sd``: the standard deviation of that PCC between sections;
        - ``ceiling``: an estimate of the PCC that a predictor of the true rates would reach on counts this noisy;
        - ``chance``: the PCC that shuffled images reach on the same sections;
        - ``predictable``: whether ``expected_pcc`` is above ``chance`` (with ridge on shuffled images this is so for at
          most 2 % of genes, on average);
        - ``expected_for``: the slides that this is valid for, as in ``ground``. What is expected on slides of the same
          subject says little about another subject.
        """
        return self.genes_on(float("nan"))

    @checked
    def genes_on(self, shift: float, *, of_another: bool = False) -> pd.DataFrame:
        """The table :attr:`genes` for one slide: the less it looks like training, the less is expected.

        Parameters
        ----------
        shift
            How far the slide lies off the training sections, see :meth:`shift`; NaN if this is not known.
        of_another
            Whether the slide is of another subject than the one that was trained on.
        """
        import pandas as pd

        names = pd.Index(self.panel, name="gene")
        if self.reliability is None:
            return pd.DataFrame(index=names, columns=_GENE_COLUMNS)
        found = self.reliability.on_slide(shift, of_another=of_another)
        values = (
            found.expected_pcc.numpy(),
            found.pcc_sd.numpy(),
            found.ceiling.numpy(),
            np.nan if found.chance is None else found.chance.numpy(),
            np.nan if found.predictable is None else found.predictable.numpy(),
            self.ground,
        )
        return pd.DataFrame(dict(zip(_GENE_COLUMNS, values, strict=True)), index=names)

    @checked
    def is_of_another(self, subject: str | None) -> bool:
        """Whether a slide of this subject is known to be of another subject than the only one that was trained on."""
        other = subject_name(subject)
        return self.subject is not None and other is not None and not same_subject(self.subject, other)

    def check_section(self, section: Section) -> None:
        """Refuse a section that this model cannot predict.

        Raises
        ------
        InputError
            If the model works in pixels of another scale.
        """
        known = self.tiles.widths_px and self.um_per_px is not None and section.um_per_px is not None
        if known and abs(section.um_per_px / self.um_per_px - 1) > _SCALE_TOLERANCE:  # type: ignore[operator]
            raise InputError(
                f"section {section.name!r} has {section.um_per_px:.4g} um/px; the model was trained in pixels at "
                f"{self.um_per_px:.4g} um/px",
                where="um_per_px",
                expected="the scale the model was trained at",
                remedy="train with tile_um= instead of tile_px=, or rescale the image",
            )

    @checked
    def predict_features(
        self,
        features: NDArray[np.float32],
        centers_px: NDArray[np.float64],
        arrays: NDArray[np.int64] | None = None,
        genes: NDArray[np.intp] | None = None,
    ) -> NDArray[np.float32]:
        """Predict one section from its encoded tiles; expression plays no part.

        Parameters
        ----------
        features
            Encoded tiles ``(n, S, d)``.
        centers_px
            Spot centers ``(n, 2)``.
        arrays
            Which of several interleaved arrays each spot belongs to ``(n,)``. The surroundings of a spot are the spots of
            its own array. Each array needs more than :attr:`reach` spots. ``None``: one array.
        genes
            Numbers of the genes that are wanted; ``None``: all.

        Returns
        -------
        ``(n, G)`` float32, log1p of counts per 10,000, genes as in ``panel`` (or as wanted). A large result lies in a
        temporary file.
        """
        check_tiles(features, self.domain)
        check_spots(len(features), centers_px, arrays, self.reach)
        if arrays is not None:
            arrays = np.unique(arrays, return_inverse=True)[1]  # any whole numbers tell them apart
        check_genes(genes, len(self.panel))
        wanted = slice(None) if genes is None else genes
        predicted = room_for("predictions", (len(features), len(self.panel if genes is None else genes)))

        typical = None if self.domain is None else (self.domain.mean, self.domain.scale)
        rows = self.transform(features, centers_px, arrays, typical)
        n = len(rows)
        nearest = nearest_spots(centers_px, min(self._neighbors, n - 1), arrays)
        spots = SpotSet(
            tiles=rows,
            expression=torch.empty(n, 0),
            sections=torch.zeros(n, dtype=torch.long) if arrays is None else torch.from_numpy(arrays),
            neighbors=torch.empty(n, 0, dtype=torch.long),
            places=torch.from_numpy(array_places(centers_px, arrays)).float(),
        ).with_neighbors(nearest)
        share = self.anchored(features)
        for part, values in predicted_parts(self.network, spots):
            if share and self.anchor is not None:
                values = torch.lerp(values, self.anchor.predict(spots.images(part)), share)
            predicted[part.numpy()] = (values + self.center).numpy()[:, wanted]
            give_back(predicted)
        return predicted

    @checked
    def distance(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """How unlike the training tiles these tiles are: their distance in feature space, in units of a limit.

        Parameters
        ----------
        features
            Encoded tiles ``(n, S, d)``.

        Returns
        -------
        ``(n,)``. In a section like the training sections, one tile in a hundred lies beyond 1. NaN for a model that
        keeps nothing of its training tiles.
        """
        check_tiles(features, self.domain)
        return np.full(len(features), np.nan, np.float32) if self.domain is None else self.domain.distance(features)

    @checked
    def shift(self, features: NDArray[np.float32]) -> float:
        """How far a slide as a whole lies off the training sections; beyond 1 it is farther than any of them.

        Parameters
        ----------
        features
            Encoded tiles of the whole slide ``(n, S, d)``.

        Returns
        -------
        Distance of their mean in feature space, in units of ``domain.slide_limit``; NaN as in :meth:`distance`.
        """
        check_tiles(features, self.domain)
        return float("nan") if self.domain is None else self.domain.shift(features)

    @checked
    def anchored(self, features: NDArray[np.float32]) -> float:
        """How far the prediction of a slide is moved toward that of ridge, 0 to 1: further if it looks less like training.

        Parameters
        ----------
        features
            Encoded tiles of the whole slide ``(n, S, d)``.
        """
        check_tiles(features, self.domain)
        return 0.0 if self.anchor is None else anchor_share(self.shift(features))

    @checked
    def save(self, path: str | Path) -> Path:
        """Write the model as a folder: ``config.json`` and ``weights.safetensors``.

        The model is written under another name and then takes the place of an earlier one. Whoever loads it meanwhile
        gets the earlier model or the new one. If several processes trained the model, the first of them writes it.

        Parameters
        ----------
        path
            The folder. An earlier model there is replaced. If the path is a link, the model that it points to is replaced.

        Returns
        -------
        The folder.

        Raises
        ------
        InputError
            If something that is not a model is there, if files lie beside those of a model, or if the folder cannot be
            written to.

        Examples
        --------
        >>> folder = model.save("my_model")
        >>> sorted(file.name for file in folder.iterdir())
        ['config.json', 'weights.safetensors']
        >>> stp.load_model(folder).id == model.id
        True
        """
        write_folder(Path(path), self.config(), self.tensors())
        return Path(path)
