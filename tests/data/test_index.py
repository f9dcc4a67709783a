"""The index of a split: what is kept of each record, and the hash that tells data sets apart."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tdepth_jax.data.index import IndexWriter

ROWS = [  # names that prefix each other, one that returns, one not in ASCII
    ("a", 0, 5, "day"), ("a", 1, 6, "night"), ("ab", 0, -7, "day"), ("a", 2, 8, "day"), ("å", 0, 2**40, "fog"),
]  # fmt: skip
DATA = [bytes([i]) * (10 + i) for i in range(len(ROWS))]


@pytest.fixture
def made():
    writer = IndexWriter()
    for i, (row, data) in enumerate(zip(ROWS, DATA, strict=True)):
        writer.add(row, data, shard=i // 2, offset=100 * i, number=i % 2)
    return writer.finish(())


def test_a_table_has_names_for_numbers(made):
    assert [tuple(row.tolist()) for row in made.table] == ROWS
    assert made.sequences == ("a", "ab", "å")
    assert [column.tolist() for column in (made.shard, made.offset, made.length, made.number)] == [
        [0, 0, 1, 1, 2], [0, 100, 200, 300, 400], [10, 11, 12, 13, 14], [0, 1, 0, 1, 0],
    ]  # fmt: skip


def test_the_fingerprint_is_a_hash_of_the_columns(made):
    """Names joined by zero bytes, numbers as they lie in memory; a run's checkpoints hold it, so it must stay."""
    names, places, times, conditions = zip(*ROWS, strict=True)
    digest = hashlib.sha256("\0".join(names).encode())
    digest.update(np.array(places, np.int32).tobytes() + np.array(times, np.int64).tobytes())
    digest.update("\0".join(conditions).encode())
    digest.update(np.array([len(data) for data in DATA], np.int64).tobytes() + made.crc.tobytes())
    assert made.fingerprint() == digest.hexdigest()[:16]


def test_a_part_is_known_by_its_own_records(made):
    day = made.of_conditions({"day"})
    assert [tuple(row.tolist()) for row in day.table] == [ROWS[0], ROWS[2], ROWS[3]]
    writer = IndexWriter()
    for i in (0, 2, 3):
        writer.add(ROWS[i], DATA[i], shard=0, offset=0, number=0)
    assert day.fingerprint() == writer.finish(()).fingerprint() != made.fingerprint()
    assert [len(made.first(n)) for n in (1, 2, 3, 4, 5)] == [2, 3, 4, 5, 5]


def test_an_index_of_nothing():
    empty = IndexWriter().finish(())
    assert len(empty) == len(empty.table) == len(empty.first(1)) == 0
    assert empty.fingerprint() == hashlib.sha256().hexdigest()[:16]


MANY = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from toy_records import Toy
from tdepth_jax.data import sources, shards
Toy(data_dir=sys.argv[1], shard_bytes=1).prepare(file_format="tfrecord")
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (16, hard if sys.argv[3] == "may" else 16))
source = sources.open_split(sys.argv[1] + "/toy", "train")
print(sum(len(source.raw(i)) > 0 for i in range(len(source))))
"""


@pytest.mark.parametrize("more", ["may", "may not"])
def test_more_shards_than_a_process_may_open_at_first(tmp_path, more):
    command = [sys.executable, "-c", MANY, str(tmp_path), str(Path(__file__).parent), more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if more == "may":
        assert done.stdout.split() == ["20"], done.stderr
    else:
        assert "may open no more files; raise its limit (ulimit -n)" in done.stderr
