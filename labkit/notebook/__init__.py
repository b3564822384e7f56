"""What a notebook needs around its science: settings, claims and their verdicts, results, batch runs."""
