"""Which pykvm this is: what the package was installed as."""

from importlib.metadata import version

__version__ = version("pykvm-hv")
