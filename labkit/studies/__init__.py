"""The questions: tickets and their controls, sparse training, tuning, and the metrics of each."""
