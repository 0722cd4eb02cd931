"""Errors that a user can fix. The command line prints their message alone and exits with status 2."""


class HfbenchError(Exception):
    """Base of the errors below: the message says what must hold, what was given, what exists and what to do."""


class ConfigError(HfbenchError, ValueError):
    """A study file, option or hyper-parameter is not what it must be."""


class UnknownPartError(HfbenchError, LookupError):
    """No part of that name in the family; the message lists the known ones."""


class DuplicatePartError(HfbenchError, ValueError):
    """Two owners claim one name in a family."""


class DataError(HfbenchError, OSError):
    """A data file is missing or is not the file it should be."""


class StoreError(HfbenchError, OSError):
    """The results folder cannot be written or holds something unreadable."""


class NonFiniteError(HfbenchError, ArithmeticError):
    """The model's outputs, loss or gradient are not finite at the current weights."""


class SharedStateError(HfbenchError, RuntimeError):
    """A part has changed what all runs of a process share."""
