"""Locks between processes that use the same folder."""

from typing import Any

from filelock import FileLock, Timeout


class PathLock(FileLock):
    """A `FileLock` whose errors name its file: some network file systems refuse all locks, without saying where."""

    def acquire(self, *args: Any, **settings: Any) -> Any:
        """Acquires the lock as `FileLock.acquire` does.

        Raises:
            OSError: the file system has no locks, or the file cannot be made; with its name.
        """
        try:
            return super().acquire(*args, **settings)
        except Timeout:
            raise
        except OSError as error:
            if error.filename is not None or error.errno is None:
                raise
            raise OSError(error.errno, error.strerror, str(self.lock_file)) from error
