"""USPS's labels from small files."""

import gzip
import hashlib
from dataclasses import replace

import torch

from hfbench.tasks.usps_class import USPSClass


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_small_usps_files(tmp_path, monkeypatch):
    files = []
    for file, cases in zip(USPSClass.files, (30, 8), strict=True):
        rows = (f"{case % 10} {0.01 * case - 1:.4f} {'-1 ' * 255}" for case in range(cases))
        text = "\n".join(rows).encode()
        files.append(replace(file, sha256=hashlib.sha256(text).hexdigest(), urls=()))
        file.below(tmp_path).parent.mkdir(exist_ok=True)
        file.below(tmp_path).write_bytes(gzip.compress(text))
    monkeypatch.setattr(USPSClass, "files", tuple(files))
    loaded = USPSClass(validation=10).load(generator(), str(tmp_path))
    assert [tuple(part.inputs.shape) for part in (loaded.train, loaded.validation, loaded.test)] == [
        (20, 256),
        (10, 256),
        (8, 256),
    ]
    for part in (loaded.train, loaded.validation, loaded.test):
        assert torch.equal((200 * part.inputs[:, 0]).round().long() % 10, part.targets)
