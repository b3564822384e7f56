"""The science, pure functions, an axis a file: masks, scores, allocation, pruning, topology, schedules, FLOPs."""
