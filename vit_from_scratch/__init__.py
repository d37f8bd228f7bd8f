"""A Vision Transformer, grown lesson by lesson in `notebooks/`: the modules are the lessons' exports."""

from importlib.metadata import version

__version__ = version("vit-from-scratch")
