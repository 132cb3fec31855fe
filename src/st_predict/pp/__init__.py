"""Prepare sections and slides: scale, tissue, spots, frozen features."""

from st_predict.pp._embed import embed
from st_predict.pp._find_tissue import find_tissue
from st_predict.pp._set_scale import set_scale
from st_predict.pp._spot_grid import spot_grid

__all__ = ["embed", "find_tissue", "set_scale", "spot_grid"]
