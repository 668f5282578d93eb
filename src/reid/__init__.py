"""Multi-level vehicle re-identification, from PyTorch training to verified deployment.

The layers, each of which may import only those to its right::

    reid.export  >  reid.train | reid.calibration  >  reid.runtime
"""

__version__ = "0.1.0"
