"""Files of the Hugging Face hub by their address, hf://owner/name/folder/file.onnx. Logins, cache
and progress bar are those of huggingface_hub."""

import re
from pathlib import Path

from rmdnet_jax.base.errors import InputError
from rmdnet_jax.base.text import one_line

_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w.-]+))?/([^/\\]+(?:/[^/\\]+)*)")
_RIGHT = "expected hf://owner/name/folder/file.onnx or hf://owner/name@revision/file.onnx"


def fetched(path: str) -> Path:
    """The file at an address of the hub, in the hub's cache on this machine.

    A file that is there already is found without a connection, too. Otherwise huggingface_hub tries
    for half a minute, and prints that it does.

    Args:
      path: hf://owner/name/folder/file.onnx, or with a branch, tag or commit after the name,
        hf://owner/name@revision/file.onnx.

    Raises:
      InputError: the address is malformed, the file cannot be fetched, or huggingface_hub is
        missing.
    """
    address = _ADDRESS.fullmatch(path)
    if not address or {".", ".."} & set(re.split("[/@]", path)):
        raise InputError(f"{path} is not an address of a file on the hub; {_RIGHT}")
    try:
        from huggingface_hub import errors, hf_hub_download
    except ImportError as error:
        raise InputError(
            f"fetching {path} needs the package huggingface_hub, which is missing; run "
            "pip install huggingface_hub"
        ) from error
    repository, revision, file = address.groups()
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except errors.HFValidationError as error:
        raise InputError(f"{path} is not an address of a file on the hub; {_RIGHT}") from error
    except Exception as error:  # of the hub, of the connection, of the disk
        # If the hub has answered that there is none, a cached file of that name is another one.
        if not isinstance(error, (errors.RevisionNotFoundError, errors.RemoteEntryNotFoundError)):
            try:
                cached = hf_hub_download(repository, file, revision=revision, local_files_only=True)
                return Path(cached)
            except errors.LocalEntryNotFoundError:
                pass
        reason, right = _explained(error, repository)
        raise InputError(f"cannot fetch {path} ({reason}); expected {right}") from error


def _explained(error: Exception, repository: str) -> tuple[str, str]:
    """What went wrong, and what was expected."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        page = f"https://huggingface.co/{repository}"
        return "no access", f"access: accept its terms on {page}, then run hf auth login"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "no such repository, or a private one", "another one, or a login (hf auth login)"
    if isinstance(error, errors.RevisionNotFoundError):
        return "no such revision", "a branch, tag or commit of the repository"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return "no such file in the repository", "a path that its page lists under Files"
    again = "a working connection (try again later), or a file on this machine"
    if isinstance(error, errors.LocalEntryNotFoundError):
        if not isinstance(error.__cause__, errors.HfHubHTTPError | errors.FileMetadataError):
            return "no connection, and it is not in the cache", "a connection for the first use"
        error = error.__cause__
    if isinstance(error, errors.HfHubHTTPError):
        return f"the server answers with status {error.response.status_code}", again
    return one_line(error or type(error).__name__), again
