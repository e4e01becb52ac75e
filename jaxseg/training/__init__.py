"""Training: the loop, its step and state, the optimiser, and the loggers."""
