"""Training: the loop, its step and state, the optimizer, and the loggers."""
