from ._embed import embed as embed
from ._find_tissue import find_tissue as find_tissue
from ._pool_spots import pool_spots as pool_spots
from ._set_scale import set_scale as set_scale
from ._spot_grid import spot_grid as spot_grid
