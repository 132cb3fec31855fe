"""Look: expression over the image, spots on the tissue, and how training went."""

from st_predict.pl._alignment import alignment
from st_predict.pl._history import history
from st_predict.pl._spatial_expression import spatial_expression

__all__ = ["alignment", "history", "spatial_expression"]
