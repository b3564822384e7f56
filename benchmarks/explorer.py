"""How long a widget takes to answer a change of a control, on what it shows where nothing is given.

    python benchmarks/explorer.py [--times 20]

Each choice of a control is made in turn; a row is a widget and a control, with the median and the longest time in
milliseconds from the change until the figure is whole in the kernel, and that median as a share of the 150 ms after
which a reaction no longer feels immediate. The first change of each is not counted: it loads what the others use.
"""

import argparse
import os
import statistics
import tempfile
import time


def choices(control) -> list[object]:
    options = getattr(control, "_options_full", None)
    if options is not None:
        return [value for _, value in options]
    return list(range(control.min, control.max + 1))


def reactions(control, times: int) -> list[float]:
    """Milliseconds of each change but the first."""
    found, values = [], choices(control)
    for n in range(times + 2):
        wanted = values[n % len(values)]
        if wanted == control.value:
            continue
        began = time.perf_counter()
        control.value = wanted
        found.append(1000 * (time.perf_counter() - began))
    return found[1:]


def measure(times: int) -> None:
    from labkit import explore

    print(f"{'widget':12} {'control':12} {'median ms':>10} {'longest ms':>11} {'of 150 ms':>10}")
    for kind in (explore.Levels, explore.Mask, explore.PruneNow, explore.Topology, explore.Flops, explore.TryIt):
        panel = kind()
        for control in panel.controls:
            if not getattr(control, "description", "") or len(choices(control)) < 2:
                continue
            found = reactions(control, times)
            median = statistics.median(found)
            print(f"{kind.__name__:12} {control.description:12} {median:10.0f} {max(found):11.0f} {median / 150:9.2f}x")
    canvas = explore.DrawADigit()
    found = []
    for n in range(times):
        began = time.perf_counter()
        canvas.canvas.strokes = [[[0.3, 0.2], [0.6, 0.5], [0.4, 0.6 + 0.01 * n]]]
        found.append(1000 * (time.perf_counter() - began))
    median = statistics.median(found[1:])
    print(f"{'DrawADigit':12} {'a stroke':12} {median:10.0f} {max(found[1:]):11.0f} {median / 150:9.2f}x")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, help="changes of each control")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("LABKIT_RUNS", folder)
        os.environ.setdefault("LABKIT_PROGRESS", "off")
        measure(arguments.times)
