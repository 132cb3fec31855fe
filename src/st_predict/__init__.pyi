# The public names: what type checkers and editors read, and what loads when it is first touched.
from . import datasets as datasets
from . import io as io
from . import pl as pl
from . import pp as pp
from . import tl as tl
from .core.errors import InputError as InputError
from .core.model.model import Model as Model
from .io._to_anndata import to_anndata as to_anndata
from .tl import load_model as load_model

__version__: str
