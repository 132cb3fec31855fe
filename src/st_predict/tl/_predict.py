"""``predict``: expression of a section from its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from st_predict._spatialdata.keys import Elements
from st_predict.core.arguments.checked import checked
from st_predict.core.log import be_heard, logger
from st_predict.tl._prediction import Request, predict_sdata
from st_predict.tl._session import last_model

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from st_predict.core.model.model import Model


@checked
def predict(
    sdata: SpatialData,
    model: Model | None = None,
    *,
    key_added: str = "predicted",
    image_key: str | None = None,
    shapes_key: str | None = None,
    table_key: str | None = None,
    encoder_weights: str | None = None,
    device: str = "auto",
    interval: float | None = None,
    min_reliability: float | None = None,
) -> None:
    """Predict the expression of every spot from the image alone; measured expression is neither read nor needed.

    Features are scored within the slide by default, so give the spots of a whole section, not a few of them. A bare
    slide without spots gets the grid of :func:`st_predict.pp.spot_grid` first, with the pitch and layout of the
    training spots.

    A model that looks at neighboring spots was trained on an array of one pitch and layout. A grid that is two, three,
    ... times finer is made of interleaved arrays of that pitch, and a spot's neighbors are those of its own array. At
    any other pitch, or in the other layout, the model sees other surroundings than in training, and a warning says so.

    Turning or mirroring a slide does not change which spots are neighbors. The methods ``"histogene"``, ``"hist2st"``
    and ``"triplex"`` know the columns and rows of the array, as in their publications. So their predictions depend on
    how the slide lies; those of all other methods do not. These three read whole sections. They see a slide of more
    than 2,048 spots in pieces, whose borders follow the sides of the slide.

    Parameters
    ----------
    sdata
        One section: an image and spots on it; or a bare slide, as from :func:`st_predict.io.slide`.
    model
        A trained model; ``None``: the one this session trained or loaded last.
    key_added
        Name of the prediction: the key that it is written to.
    image_key, shapes_key, table_key
        Names of the elements, if there are several.
    encoder_weights
        Where the encoder's local weights file is now, if the model was trained with one and the file was moved.
    device
        Torch device of the encoder; ``"auto"``: a GPU if there is one.
    interval
        Add intervals that cover this share of the spots: 0.5, 0.8, 0.9 or 0.95. The share holds on average over genes
        and slides, not for every gene or slide. Intervals are calibrated on training sections while they were held out
        (see :class:`~st_predict.core.model.reliability.Reliability`). ``None``: no intervals.
    min_reliability
        Leave out genes whose expected PCC is lower. This is what is expected on a new slide (``model.genes``), or on
        this slide if it is unlike training or of another subject. ``None``: predict all.

    Returns
    -------
    ``None``. If a table annotates the spots, the prediction is written to ``table.layers[key_added]``
    ``(n_obs, n_vars)`` float32, with NaN for genes outside the panel; to ``table.obsm[key_added]``, a DataFrame
    ``(n_obs, panel)`` (a slash of either kind in a name is "_"); and its provenance to ``table.uns[key_added]``. If there is none, a new
    table ``sdata.tables[key_added]`` is made on the spots. Values are log1p of counts per 10,000. Spots that lie on
    glass (``table.obs["in_tissue"]``) are not predicted: they are NaN.

    In both cases ``table.var`` tells what to expect of every gene on a new slide: ``<key_added>_expected_pcc``,
    ``_pcc_sd``, ``_ceiling``, ``_chance`` and ``_predictable`` (see ``model.genes``). The ends of intervals are
    ``<key_added>_lower`` and ``<key_added>_upper``: DataFrames in ``obsm`` of a table that was there, layers of a new
    one.

    ``table.obs["<key_added>_distance"]`` tells how unlike the training tiles a spot's tiles are, as a distance in
    feature space. In a section like the training sections, one tile in a hundred lies beyond 1 (see
    :class:`~st_predict.core.model.domain.Domain`). ``uns`` holds the share of spots beyond 1 as
    ``"unlike_training"``, and how far the slide as a whole lies off the training sections as ``"slide_shift"``. If
    either is large, a warning says so.

    Raises
    ------
    InputError
        If there is no model; ``interval`` or ``min_reliability`` is asked of a model that does not know how sure it is;
        no gene is as reliable as ``min_reliability``, on this slide or on any; the section cannot be used, has another
        scale, or is several sections; a bare slide has no known scale or no tissue; or ``key_added`` holds your data,
        such as what you added to an earlier prediction.

    Examples
    --------
    >>> stp.tl.predict(sections["S1"], model, interval=0.9)
    >>> table = sections["S1"].tables["table"]
    >>> table.obsm["predicted"].shape
    (41, 20)
    >>> bool((table.obsm["predicted_lower"] <= table.obsm["predicted_upper"]).all(axis=None))
    True
    """
    be_heard()
    if model is None:
        model = last_model()
        logger.info("no model was given; using this session's last: %r", model)
    request = Request(key_added, interval, min_reliability, encoder_weights=encoder_weights, device=device)
    predict_sdata(sdata, model, request, Elements(image_key, shapes_key, table_key))
