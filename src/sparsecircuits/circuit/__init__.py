"""Circuits: nodes, edges, frozen values, gains, calibration; run them, edit them, save them."""

from sparsecircuits.circuit.circuit import Circuit, freeze
from sparsecircuits.circuit.edges import Edge, Ends, count_edges, edges_between, stream_links
from sparsecircuits.circuit.files import load_circuit, model_hash, save_circuit
from sparsecircuits.circuit.wiring import Wires

__all__ = [
    "Circuit",
    "Edge",
    "Ends",
    "Wires",
    "count_edges",
    "edges_between",
    "freeze",
    "load_circuit",
    "model_hash",
    "save_circuit",
    "stream_links",
]
