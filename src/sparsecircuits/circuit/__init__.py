"""Circuits: nodes, edges, frozen values, gains, calibration, labels; run them, edit them, save them."""

from sparsecircuits.circuit.circuit import Circuit
from sparsecircuits.circuit.edges import Edge, Ends, count_edges, edges_between, stream_links
from sparsecircuits.circuit.files import load_circuit, model_hash, save_circuit, save_labels
from sparsecircuits.circuit.freezing import freeze
from sparsecircuits.circuit.labels import Group, Label, Labels
from sparsecircuits.circuit.wiring import Wires

__all__ = [
    "Circuit",
    "Edge",
    "Ends",
    "Group",
    "Label",
    "Labels",
    "Wires",
    "count_edges",
    "edges_between",
    "freeze",
    "load_circuit",
    "model_hash",
    "save_circuit",
    "save_labels",
    "stream_links",
]
