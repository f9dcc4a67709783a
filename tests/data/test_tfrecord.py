"""The TFRecord format against a bitwise CRC, published vectors, and grain's and TensorFlow's own readers."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tdepth_jax.data import tfrecord


def crc32c(data: bytes) -> int:
    """CRC-32C bit by bit: polynomial 0x1EDC6F41, reflected."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def test_bitwise_crc_gives_the_published_vectors():
    assert crc32c(b"123456789") == 0xE3069283  # the catalogue's check value
    assert crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720, B.4
    assert crc32c(bytes(range(32))) == 0x46DD794E


def test_masked_crc_of_a_known_vector():
    # 0xE3069283 rotated right by 15 bits is 0x2507C60D; plus 0xA282EAD8.
    assert tfrecord.masked_crc(b"123456789") == 0xC78AB0E5


@given(st.binary(max_size=80))
@settings(max_examples=50, deadline=None)
def test_masked_crc_is_the_rotated_bitwise_crc(data):
    crc = crc32c(data)
    rotated = int(f"{crc:032b}"[-15:] + f"{crc:032b}"[:-15], 2)
    assert tfrecord.masked_crc(data) == (rotated + 0xA282EAD8) % 2**32


def test_the_empty_record_as_every_tfrecord_writer_has_it():
    assert tfrecord.frame_bytes(b"").hex() == "000000000000000029039807d8ea82a2"


@pytest.fixture
def written(tmp_path):
    """(path, records, offsets) of a file with an empty and a long record in it."""
    rng = np.random.default_rng(0)
    data = [rng.bytes(n) for n in (10, 0, 3, 5000, 1)]
    with tfrecord.TFRecordWriter(tmp_path / "x.tfrecord") as writer:
        offsets = [writer.write(one) for one in data]
    return tmp_path / "x.tfrecord", data, offsets


def test_scan_finds_offsets_and_lengths(written):
    path, data, offsets = written
    found = tfrecord.scan(path)
    assert found.problem is None
    assert found.offsets.tolist() == offsets == [0, 26, 42, 61, 5077]
    assert found.lengths.tolist() == [len(one) for one in data]
    assert found.crcs.tolist() == [tfrecord.masked_crc(one) for one in data]
    with open(path, "rb") as file:
        read = [tfrecord.read_at(file.fileno(), at, len(one)) for at, one in zip(offsets, data, strict=True)]
    assert read == data


def test_grain_reads_what_is_written(written):
    grain = pytest.importorskip("grain")
    path, data, _ = written
    assert list(grain.experimental.TFRecordIterDataset(str(path))) == data


def test_tensorflow_reads_what_is_written(written):
    tf = pytest.importorskip("tensorflow")
    path, data, _ = written
    assert [one.numpy() for one in tf.data.TFRecordDataset(str(path))] == data


def test_every_flipped_bit_of_a_record_is_noticed(tmp_path):
    whole = tfrecord.frame_bytes(b"thermal")
    for bit in range(len(whole) * 8):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        (tmp_path / "x").write_bytes(broken)
        with open(tmp_path / "x", "rb") as file, pytest.raises(tfrecord.BadFraming):
            tfrecord.read_at(file.fileno(), 0, 7)


def test_a_cut_file_keeps_the_whole_records_and_says_where_it_ends(written, tmp_path):
    path, data, offsets = written
    whole = path.read_bytes()
    for end in (1, 11, 12, 25, 26, 27, 45, len(whole) - 1, len(whole) - 5, len(whole) - 17):
        (tmp_path / "cut").write_bytes(whole[:end])
        found = tfrecord.scan(tmp_path / "cut")
        kept = sum(at + 16 + len(one) <= end for at, one in zip(offsets, data, strict=True))
        assert len(found.offsets) == kept
        if end in offsets:
            assert found.problem is None
        else:
            assert found.problem is not None
            assert found.problem.offset == offsets[kept]
            assert "cut short" in str(found.problem)


def test_a_length_beyond_the_file_does_not_read_beyond_it(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(tfrecord.frame_bytes(b"a" * 100)[:-1])
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with pytest.raises(tfrecord.BadFraming, match="cut short"):
            tfrecord.read_at(descriptor, 0, 100)
        with pytest.raises(tfrecord.BadFraming, match="100 bytes long, but the index says 7"):
            tfrecord.read_at(descriptor, 0, 7)
    finally:
        os.close(descriptor)
