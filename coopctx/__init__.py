"""coopctx: cooperation through in-context co-player inference (arXiv:2602.16301)."""

__version__ = "0.1.0"
