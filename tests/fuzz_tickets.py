"""Broken ticket files by the thousand: `python -m tests.fuzz_tickets 20000`.

Prints as JSON how many were refused and how many believed, the slowest and the most memory; ends with an error if one
was answered by anything but a ValueError that names the file, or believed though its weights, masks or provenance are
not those that were written.
"""

import contextlib
import hashlib
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

from labkit.ground import tensor_files
from labkit.runs.ticket_files import Ticket
from labkit.sparsity.packing import pack_network

HUGE = (10**12, 2**63 - 1, 2**63, 2**64, 10**40, -1, 0, 3.5, True, None, "9", [], {})
EMPTY = ([2**62, 2**62, 0], [0, 2**62, 2], [2**63 - 1, 0, 2], [2**31] * 4 + [0])  # no values, and no strides either
NAMES = (
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    "a/../b",
    "a\\b",
    "",
    "a\x00b",
    "\ud800",
    "x" * 10_000,
    ".",
    "é/ü",
    "C:",
)
DTYPES = ("F64", "F16", "BF16", "I64", "BOOL", "C64", "F8_E4M3", "F4", "U8", "object", "", None, 7, ["F32"])


def example():
    """A small ticket: two masked layers (one a convolution), a bias and a counter beside them."""
    rng = torch.Generator().manual_seed(0)
    weights = {"conv.weight": torch.randn(4, 3, 3, 3, generator=rng), "fc.weight": torch.randn(5, 7, generator=rng),
               "fc.bias": torch.randn(5, generator=rng), "norm.seen": torch.tensor(3)}  # fmt: skip
    masks = {name: torch.rand(weights[name].shape, generator=rng) < 0.4 for name in ("conv.weight", "fc.weight")}
    for name, mask in masks.items():
        weights[name] *= mask
    about = {"model": "conv", "seed": 1, "level": 3, "spec": {"model": "conv", "model_options": {}, "lr": 0.1}}
    return Ticket(weights, masks, about)


def split(content):
    """Header (parsed) and data of a file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header, data):
    """The inverse of `split`."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def truncated(content, rng):
    return content[: rng.randrange(len(content))]


def flipped(content, rng):
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 8, 64])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def flipped_in_the_header(content, rng):
    length = 8 + int.from_bytes(content[:8], "little")
    return flipped(content[:length], rng) + content[length:]


def spliced(content, rng):
    begin, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    piece = rng.choice([b"", rng.randbytes(rng.randrange(200)), content[begin:end] * 2, bytes(end - begin)])
    return content[:begin] + piece + content[end:]


def lying_length(content, rng):
    return (
        rng.choice([rng.getrandbits(rng.randrange(1, 65)), len(content), 2**21, 2**31]).to_bytes(8, "little")
        + content[8:]
    )


def lying_header(content, rng):
    """One entry of the header says something else."""
    header, data = split(content)
    name = rng.choice([key for key in header if key != "__metadata__"])
    entry = header[name]
    kind = rng.randrange(6)
    if kind == 0:
        entry["shape"] = rng.choice(
            [[rng.choice(HUGE)], [10**6, 10**6], entry["shape"] * 2, rng.choice(HUGE), [1] * 500]
        )
    elif kind == 1:
        entry["dtype"] = rng.choice(DTYPES)
    elif kind == 2:
        entry["data_offsets"] = rng.choice(
            [[0, rng.choice(HUGE)], [rng.choice(HUGE), 8], [8, 0], [0], rng.choice(HUGE)]
        )
    elif kind == 3:
        header[rng.choice(NAMES)] = header.pop(name)
    elif kind == 4:
        header[name] = rng.choice([None, [], {}, 3, "x", entry | {"more": 1}])
    else:
        header["__metadata__"] = rng.choice([None, [], {}, {"about": 3}, {"about": "{}"}, "x"])
    return joined(header, data)


def empty_of_huge_shape(content, rng):
    """A tensor without values whose shape no tensor has; digests fit."""
    ticket, shape = example(), rng.choice(EMPTY)
    packed, about = pack_network(ticket.weights, ticket.mask), {"kind": "labkit ticket 2", **ticket.about}
    if rng.random() < 0.5:
        packed |= {"shape/fc.weight": torch.tensor(shape), "mask/fc.weight": torch.empty(0, dtype=torch.uint8),
                   "kept/fc.weight": torch.empty(0)}  # fmt: skip
        return written(packed, about)
    header, data = split(written(packed | {"whole/more": torch.empty(0)}, about))
    header["whole/more"]["shape"] = shape
    return joined(signed(header, data), data)


BLOATED = (
    "[" * 10**6,
    '{"a":' * 10**5,
    "[" + "{}," * 600_000 + "{}]",
    '{"a":[' + "[],[]," * 10**5 + "[]]}",
    '"' + "\U0001f600" * 400_000 + '"',
    '{"x":"' + "\U0001f600" * 400_000 + '"}',
    '{"x":' + "9" * 10**6 + "}",
    '{"kind": "labkit ticket 2", "x": ' + '{"a":' * 900 + "1" + "}" * 901,
    '{"kind": "labkit ticket 2", "x": ["\\ud800"]}',
    "[" + "1.0," * 500_000 + "1]",
)


def bloated(content, rng):
    """A header that takes far more memory parsed than read."""
    text = rng.choice(BLOATED)
    header, data = split(content)
    if rng.random() < 0.5:
        return joined(text.encode(), data)
    header["__metadata__"]["about"] = text
    return joined(signed(header, data), data)


def signed(header, data):
    """The header with digests that fit: what a stranger writes who lies on purpose."""
    meta = header["__metadata__"]
    digests = {}
    for name, entry in header.items():
        if name != "__metadata__":
            dtype = {"F32": "torch.float32", "U8": "torch.uint8", "I64": "torch.int64", "F64": "torch.float64"}
            begin, end = entry["data_offsets"]
            said = f"{name} {dtype.get(entry['dtype'], 'torch.float16')} {entry['shape']}"
            digests[name] = hashlib.sha256(said.encode("utf-8", "replace") + data[begin:end]).hexdigest()
    meta["digests"] = json.dumps(digests, sort_keys=True)
    meta["sha256"] = hashlib.sha256(f"{meta['about']}\n{meta['digests']}".encode("utf-8", "replace")).hexdigest()
    return header


def lying_on_purpose(content, rng):
    """Digests fit, and the content is wrong."""
    ticket = example()
    packed = pack_network(ticket.weights, ticket.mask)
    key = rng.choice(list(packed))
    about = {"kind": "labkit ticket 2", **ticket.about}
    kind = rng.randrange(8)
    if kind == 0:
        bad = rng.choice([float("nan"), float("inf"), -float("inf")])
        packed["kept/fc.weight" if rng.random() < 0.5 else "whole/fc.bias"][2] = bad
    elif kind == 1:
        packed["shape/fc.weight"] = torch.tensor(
            rng.choice([[10**6, 10**6], [-5, -7], [7, 6], [], [35] * 9, [2**62] * 3])
        )
    elif kind == 2:
        packed["mask/fc.weight"][-1] ^= 1 << rng.randrange(8)
    elif kind == 3:
        packed[key] = packed[key].to(
            rng.choice([torch.float64, torch.float16, torch.complex64, torch.bool, torch.uint8])
        )
    elif kind == 4:
        packed[rng.choice([f"mask/{rng.choice(NAMES[:6])}", rng.choice(NAMES[:6]), "more", "whole/fc.weight"])] = (
            packed[key]
        )
    elif kind == 5:
        del packed[key]
    elif kind == 6:
        packed[key] = packed[key][None]
    else:
        about["kind"] = rng.choice([None, "labkit ticket 1", "labkit ticket 99", 7, [], "labkit run 2"])
    return written(packed, about)


def written(packed, about):
    """The bytes of a file of tensors and a description, its digests right."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "t.safetensors"
        tensor_files.write(path, {name: tensor.clone() for name, tensor in packed.items()}, about)
        return path.read_bytes()


def renamed_on_purpose(content, rng):
    header, data = split(content)
    name = rng.choice([key for key in header if key != "__metadata__"])
    header[name.split("/")[0] + "/" + rng.choice(NAMES)] = header.pop(name)
    return joined(signed(header, data), data)


MUTATIONS = (truncated, flipped, flipped, flipped_in_the_header, spliced, lying_length, lying_header, lying_header,
             bloated, lying_on_purpose, lying_on_purpose, renamed_on_purpose,
             empty_of_huge_shape)  # fmt: skip


# may make tickets of their own, right in themselves
ON_PURPOSE = (lying_on_purpose, renamed_on_purpose, bloated, empty_of_huge_shape)


def answer(path, ticket, on_purpose=False):
    """ "refused", or "believed" if the file still says what was written; on purpose, if it can be trained.

    Raises:
        AssertionError: for any other answer.
    """
    try:
        found = Ticket.load(path)
    except ValueError as error:
        said = str(error)
        assert said.startswith(str(path)) and len(said) < len(str(path)) + 400, f"unclear: {said[:1000]}"
        return "refused"
    if on_purpose:
        dtypes = {name: found.weights[name].dtype for name in found.mask}
        assert all(dtype.is_floating_point for dtype in dtypes.values()), f"masks on {dtypes}"
        assert all(weight.isfinite().all() for weight in found.weights.values()), "not finite"
        assert all(".." not in name and not set(name) & set("/\\\0") for name in found.weights), "a path for a name"
    else:
        assert found.equals(ticket) and found.about == ticket.about, "another ticket was believed"
    return "believed"


def main(count, seed=0):
    """Load so many broken files."""
    ticket, rng, found = example(), random.Random(seed), {"refused": 0, "believed": 0}
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory() as folder:
        path = ticket.save(Path(folder) / "ticket.safetensors")
        content = path.read_bytes()
        assert answer(path, ticket) == "believed"
        for mutate in (truncated, bloated, lying_on_purpose, empty_of_huge_shape):
            mutate(content, random.Random(1))  # memory that the mutations themselves take
        peak = 0
        for n in range(count):
            mutate = rng.choice(MUTATIONS)
            path.write_bytes(mutate(content, rng))
            before = _reset_peak()
            begin = time.perf_counter()
            try:
                found[answer(path, ticket, mutate in ON_PURPOSE)] += 1
            except Exception as error:
                raise AssertionError(f"number {n} of seed {seed}, {mutate.__name__}: {error!r}") from error
            slowest = max(slowest, (time.perf_counter() - begin, mutate.__name__))
            peak = max(peak, _peak() - before)
    return found | {
        "seconds_at_most": round(slowest[0], 3),
        "slowest": slowest[1],
        "megabytes_at_most": round(peak / 1e6, 1),
    }


def _reset_peak():
    """Resident bytes now, from which on the system counts the peak anew (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS") if Path("/proc/self/status").exists() else _peak()


def _peak():
    if Path("/proc/self/status").exists():
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), *map(int, sys.argv[2:]))))
