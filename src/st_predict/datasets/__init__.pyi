from ._hest import hest as hest
from ._public import als as als
from ._public import her2st as her2st
from ._public import mob as mob
from ._synthetic import synthetic_tissue as synthetic_tissue
from ._write_hest import write_hest as write_hest
