"""Prepare sections: the scale of an image, and frozen features."""

from st_predict.pp._embed import embed
from st_predict.pp._set_scale import set_scale

__all__ = ["embed", "set_scale"]
