"""Training: one loop, mask updates, history, evaluation; `engines` holds how a step is executed."""
