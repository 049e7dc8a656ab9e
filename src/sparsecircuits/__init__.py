"""sparsecircuits: train weight-sparse transformers and read the circuits inside them."""
