"""What everything rests on: names and bounds, steps, randomness, devices, progress, tensor files."""
