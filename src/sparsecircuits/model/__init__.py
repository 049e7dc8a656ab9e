"""The model: its config, its sites, its one forward, hooks, and files."""

from sparsecircuits.model.config import GPTConfig
from sparsecircuits.model.gpt import SparseGPT
from sparsecircuits.model.hooks import hooked, intervene, record
from sparsecircuits.model.prompts import Prompts
from sparsecircuits.model.sites import SITES, Node, Site, SiteName

__all__ = [
    "SITES",
    "GPTConfig",
    "Node",
    "Prompts",
    "Site",
    "SiteName",
    "SparseGPT",
    "hooked",
    "intervene",
    "record",
]
