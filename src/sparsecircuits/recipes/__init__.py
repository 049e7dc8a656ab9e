"""What the presets are: ours, the paper's ablations, the authors' family of models."""
