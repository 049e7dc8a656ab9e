"""What the presets are made of: ours, the paper's ablations. :mod:`sparsecircuits.presets` lists all."""
