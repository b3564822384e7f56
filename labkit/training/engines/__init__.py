"""How a training step is executed: captured, in workers, by fast kernels."""
