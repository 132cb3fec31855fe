"""Train models that predict spatial gene expression from H&E images, and apply them to new slides.

The public names stand in ``__init__.pyi``, here and in the rooms (``io``, ``pp``, ``tl``, ``pl``, ``datasets``). Each
loads when first touched, so that importing the package stays cheap.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("st-predict")
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
