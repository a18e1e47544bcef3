"""The three ways of the measurement sample the same images."""

from pathlib import Path

from benchmarks.writing import build_ways, compare
from tasks.label_maps import decode
from tasks.work_store import WorkStore


def test_what_is_written_is_what_was_sampled(tmp_path: Path) -> None:
    ways = build_ways(images=8, steps=1, folder=tmp_path)
    seconds = compare(ways, rounds=1)
    assert {name: len(taken) for name, taken in seconds.items()} == dict.fromkeys(ways, 1)
    assert all(min(taken[0]) > 0 for taken in seconds.values())
    for number in range(2):  # the warm-up, a round
        store = WorkStore("sample_images", tmp_path / str(number))
        shards = [store.find(path.stem) for path in sorted(store.folder.glob("*.json"))]
        assert [len(shard.entries) for shard in shards if shard] == [4, 4]
        entry = shards[0].entries[0] if shards[0] else {}
        data = shards[0].path.read_bytes() if shards[0] else b""
        image = decode(data[entry["image_offset"] :][: entry["image_size"]])
        assert image.shape == (64, 64, 3)
