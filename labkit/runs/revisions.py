"""How often what a registered name stands for has changed its behaviour: a revision is part of what names a run.

Whoever changes what a network, an augmentation, an optimiser, a score, an allocation, a control or a method does, so
that the same spec gives other numbers, raises its number here (and writes the goldens anew): old runs then do not pass
for new ones. A name that is not listed has revision 1, which is not written down.

Keys are (kind, name): "model", "init", "augmentation", "optimizer", "score" (of pruning), "control", or "method"
(with what it drops and grows by).
"""

REVISIONS: dict[tuple[str, str], int] = {}


def named(kind: str, name: str) -> str:
    """A name as runs are named by it, with its revision from the second on: "rigl", later "rigl, revision 2"."""
    revision = REVISIONS.get((kind, name), 1)
    return name if revision == 1 else f"{name}, revision {revision}"
