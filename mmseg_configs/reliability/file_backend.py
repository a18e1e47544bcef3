"""MMEngine reads ``shard://`` addresses: the stock loading transforms then read from tar shards."""

from pathlib import Path

from mmengine.fileio import BaseStorageBackend, register_backend

from tasks.shards import parse_uri


@register_backend("shard", prefixes="shard")
class ShardBackend(BaseStorageBackend):
    """Reads a shard's member by its address, see `tasks.shards.Member`.

    Holds nothing between two reads: a shard is opened, read at its offset and closed, which takes
    some 6 us beside the 200 us or so of decoding, and no longer than a file of its own. So the
    backend is the same in every worker process, however that was started, never reads a shard that
    was replaced since, and a dataset may have more shards than a process may have open files.
    """

    def get(self, filepath: str | Path) -> bytes:
        """The member's bytes.

        Raises:
            ValueError: no shard address.
            FileNotFoundError: the shard is missing.
            EOFError: the shard is shorter than its index says.
        """
        return parse_uri(str(filepath)).read()

    def get_text(self, filepath: str | Path, encoding: str = "utf-8") -> str:
        """The member as text; raises what `get` raises."""
        return self.get(filepath).decode(encoding)
