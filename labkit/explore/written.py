"""Specs as Python that people can run."""

import re

from labkit.specs.base import Spec


def written(spec: Spec) -> str:
    """Python that makes a spec, after `import labkit as lk`."""
    return re.sub(r"\b(\w+Spec\()", r"lk.\1", repr(spec))
