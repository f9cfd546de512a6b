"""The two errors a user can cause; the command line prints them as one line and exits with their status."""


class InputError(ValueError):
    """The call or the data are wrong: the message names the file, what is wrong and what to do. Exit status 2."""


class WorkError(RuntimeError):
    """The call was right and the work failed (a NaN loss, a lost connection). Exit status 1."""
