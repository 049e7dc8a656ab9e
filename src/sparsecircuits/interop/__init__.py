"""To and from the Hugging Face Hub."""

from sparsecircuits.interop.card import CardFacts, model_card
from sparsecircuits.interop.hub import Pushed, fetch, push_model, push_run
from sparsecircuits.interop.names import HubName, hub_name

__all__ = [
    "CardFacts",
    "HubName",
    "Pushed",
    "fetch",
    "hub_name",
    "model_card",
    "push_model",
    "push_run",
]
