"""Look: expression over the image, spots on the tissue, how training went, and how well methods and genes did."""

from st_predict.pl._alignment import alignment
from st_predict.pl._gene_correlation import gene_correlation
from st_predict.pl._gene_scores import gene_scores
from st_predict.pl._history import history
from st_predict.pl._reliability import reliability
from st_predict.pl._scores import scores
from st_predict.pl._spatial_expression import spatial_expression

__all__ = ["alignment", "gene_correlation", "gene_scores", "history", "reliability", "scores", "spatial_expression"]
