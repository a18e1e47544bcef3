"""What tells a base model from another: the bytes of the files that are used of it."""

from pathlib import Path

from tasks.base_models import find_model, model_files, read_model
from tasks.digests import CACHE_PATH, DigestCache, combine, file_digests


def model_digest(model: str, root: Path = Path()) -> str:
    """One SHA-256 of a base model as it lies here; a file is read again where it changed.

    Args:
        model: a folder or an id, see `tasks.base_models.find_model`.
        root: the repository root, which the digests are kept in.

    Raises:
        InputError: there is no such model.
    """
    cache = DigestCache(root / CACHE_PATH)
    found = read_model(find_model(model, root))
    digest = combine(file_digests(found.folder, model_files(found), cache))
    cache.save()
    return digest
