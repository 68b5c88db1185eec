"""What the Hub's client raises, in one line for the reader."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from sslzoo.config import UsageError, UserError

_TRANSPORT: tuple[type[BaseException], ...] = tuple(base for base in HfHubHTTPError.__bases__ if base is not OSError)
"""The base of what the client's HTTP library raises, which the client lets through where no answer came at all: the
public base of its own errors, so that the library (httpx, httpx2) is never imported here."""
_ANSWERS: tuple[type[BaseException], ...] = (HfHubHTTPError, EntryNotFoundError, OfflineModeIsEnabled, *_TRANSPORT)

_MEANINGS = {
    401: "the Hub does not know you: log in with `hf auth login`, or set HF_TOKEN to a valid token",
    403: "your token may not do this: use one with write permission for that namespace",
    409: "somebody changes the repository at the same time; look at what is there (`sslzoo pull` it), then try again",
    412: "somebody committed at the same time, so nothing was changed; "
    "look at what is there now (`sslzoo pull` it), then push again",
    413: "the Hub finds a file too large",
    429: "the Hub asks for a pause (too many requests); try again in a few minutes",
}


@contextmanager
def hub_errors(action: str) -> Iterator[None]:
    """Inside, trouble with the Hub becomes a ``UserError`` that begins with "cannot" and ``action``."""
    try:
        yield
    except UserError:
        raise
    except HFValidationError as error:
        raise UsageError(f"cannot {action}: {_first_line(error)}") from error
    except _ANSWERS as error:
        raise UserError(f"cannot {action}: {_meaning(error)}") from error
    except (OSError, RuntimeError, ValueError) as error:  # a full disk; an upload that broke; metadata it refuses
        cause = error.__cause__ or error
        why = _meaning(cause) if isinstance(cause, _ANSWERS) else _first_line(cause)
        raise UserError(f"cannot {action}: {why}") from error


def _meaning(error: BaseException) -> str:
    if isinstance(error, GatedRepoError):
        return "its owner must let you in first: ask for access on the repository's page"
    if isinstance(error, RepositoryNotFoundError):
        return "the Hub has no such repository, or it is private and your token may not see it; check name and login"
    if isinstance(error, RevisionNotFoundError):
        return "the repository has no such revision; name a branch, tag or commit of it"
    if isinstance(error, OfflineModeIsEnabled):
        return "the Hub's client is offline (HF_HUB_OFFLINE is set); unset that"
    if isinstance(error, LocalEntryNotFoundError):
        cause = error.__cause__
        if isinstance(cause, HfHubHTTPError):
            return _meaning(cause)
        return "it is not in the cache and the Hub cannot be reached; check the network (and HF_HUB_OFFLINE)"
    if isinstance(error, EntryNotFoundError):
        return "the repository has no such file (of weights, only safetensors are read, never pickles); ask its author"
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        said = error.server_message or _first_line(error)
        if status >= 500:
            return f"the Hub answered with {status} ({said}), which is its own fault; wait, and try again later"
        return _MEANINGS.get(status, f"the Hub refused it with {status} ({said})")
    return f"the Hub cannot be reached ({_first_line(error)}); check the network, and try again"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__
