from ._anndata import anndata as anndata
from ._hest import hest as hest
from ._legacy_st import legacy_st as legacy_st
from ._slide import slide as slide
from ._slide import slide_series as slide_series
from ._visium import visium as visium
