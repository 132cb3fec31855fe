"""``predict``: expression of a section from its image."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spatialdata import SpatialData

    from st_predict.core.section import Section
    from st_predict.core.training.model import Model

_SAME_PITCH = 0.2


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
) -> None:
    """Predict the expression of every spot from the image alone; measured expression is neither read nor needed.

    Features are scored within the slide by default, so give the spots of a whole section, not a few of them. A bare slide
    without spots gets the grid of :func:`st_predict.pp.spot_grid` first, at the pitch of the training spots. Models that
    look at neighboring spots were trained at that pitch; at another one they see another surrounding, which is said.

    Parameters
    ----------
    sdata
        One section: an image and spots on it; or a bare slide, as from :func:`st_predict.io.slide`.
    model
        A trained model; ``None``: the one this session trained or loaded last.
    key_added
        Where to write.
    image_key, shapes_key, table_key
        Elements, where there are several.
    encoder_weights
        Where the encoder's local weights file is now, if the model was trained with one and it was moved.
    device
        Torch device of the encoder; ``"auto"``: a GPU if there is one.

    Returns
    -------
    ``None``. With a table that annotates the spots: ``table.layers[key_added]`` ``(n_obs, n_vars)`` float32, NaN for
    genes outside the panel, ``table.obsm[key_added]``, a DataFrame ``(n_obs, panel)`` ("/" in a name is "_"), and ``table.uns[key_added]``,
    the provenance. Without one: a new table ``sdata.tables[key_added]`` on the spots. Values are log1p of counts per
    10,000.

    Raises
    ------
    InputError
        If there is no model, the section cannot be used or is of another scale, a bare slide has no known scale or no
        tissue, or ``key_added`` holds your data.
    """
    from st_predict._log import be_heard, logger
    from st_predict._spatialdata.features import cached_features
    from st_predict._spatialdata.read import read_section
    from st_predict._spatialdata.slide import add_spots, sdata_has_spots
    from st_predict._spatialdata.write import check_free, write_prediction
    from st_predict.core.encoders.embed import embed_section
    from st_predict.core.encoders.frozen import FrozenEncoder, torch_device
    from st_predict.tl._session import last_model

    be_heard()
    if model is None:
        model = last_model()
        logger.info("no model was given; using this session's last: %r", model)
    if not sdata_has_spots(sdata, shapes_key):
        add_spots(sdata, image_key, pitch_um=model.pitch_um)
    section, keys = read_section(
        sdata, image_key=image_key, shapes_key=shapes_key, table_key=table_key, need_counts=False
    )
    model.check_section(section)
    model.tiles.sides_px(section)
    _compare_pitch(model, section)
    check_free(sdata, keys, key_added)
    if keys.table is not None and not set(model.panel) & set(section.gene_names):
        logger.warning("the table has none of the %d predicted genes: its layer is all NaN, see obsm", len(model.panel))
    if model.tiles.widths_px and None in (section.um_per_px, model.um_per_px):
        logger.warning("tiles are in pixels and a scale is unknown; nobody can tell whether the scales agree")
    if model.encoder is not None:
        features = embed_section(section, model.encoder, model.tiles, device=torch_device(device))
        model.encoder.cpu()
    else:
        frozen = FrozenEncoder(
            model.encoder_identity.name, encoder_weights or model.encoder_identity.weights, device=device
        )
        model.check_encoder(frozen.identity)
        features = cached_features(sdata, section, keys, frozen, model.tiles)[1]
    predicted = model.predict_features(features, section.centers_px)
    scale = {} if section.um_per_px is None else {"um_per_px": section.um_per_px}
    write_prediction(sdata, keys, key_added, predicted, section.centers_px, {**model.provenance(), **scale})


def _compare_pitch(model: Model, section: Section) -> None:
    """Say so where a model that looks at neighbors sees them at another distance than in training."""
    from st_predict._log import logger
    from st_predict.core.neighbors import pitch_px

    if None in (model.pitch_um, section.um_per_px) or not model.looks_around:
        return
    pitch = pitch_px(section.centers_px) * section.um_per_px  # type: ignore[operator]
    if pitch and abs(pitch / model.pitch_um - 1) > _SAME_PITCH:  # type: ignore[operator]
        logger.warning(
            "spots lie %.0f um apart, in training %.0f um: the surroundings that %s looks at are not those it was "
            "trained on; train with context=() for grids of any pitch",
            pitch, model.pitch_um, model.method,
        )  # fmt: skip
