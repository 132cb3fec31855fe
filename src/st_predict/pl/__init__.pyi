from ._alignment import alignment as alignment
from ._gene_correlation import gene_correlation as gene_correlation
from ._gene_scores import gene_scores as gene_scores
from ._history import history as history
from ._reliability import reliability as reliability
from ._scores import scores as scores
from ._spatial_expression import spatial_expression as spatial_expression
