"""Read a dense model through a sparse one: bridges between their residual streams (Gao et al. 2025, §2.3)."""

from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.config import BridgeConfig
from sparsecircuits.bridges.dense import DenseModel, load_dense
from sparsecircuits.bridges.files import Pair, load_bridge, load_pair
from sparsecircuits.bridges.measure import Measured, measure
from sparsecircuits.bridges.steering import Steering, best_node, steer
from sparsecircuits.bridges.training import Bridged
from sparsecircuits.bridges.transfer import Transfer, transfer

__all__ = [
    "Bridge",
    "BridgeConfig",
    "Bridged",
    "DenseModel",
    "Measured",
    "Pair",
    "Steering",
    "Transfer",
    "best_node",
    "load_bridge",
    "load_dense",
    "load_pair",
    "measure",
    "steer",
    "transfer",
]
