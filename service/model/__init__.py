"""The network: its weights, how it is compiled, and the classifier that predicts with it."""
