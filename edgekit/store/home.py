"""Where edgekit keeps what belongs to a user."""

import os
from pathlib import Path

import platformdirs

from edgekit.errors import StoreError


def home() -> Path:
    """The folder of this user's store and ledger: $EDGEKIT_HOME, or the system's place for a user's data. It exists.

    Raises: StoreError if it cannot be made.
    """
    told = os.environ.get("EDGEKIT_HOME")
    folder = Path(told).expanduser() if told else Path(platformdirs.user_data_dir("edgekit", appauthor=False))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be made ({error.strerror}): set EDGEKIT_HOME to a folder that you may write to"
        ) from None
    return folder.absolute()


def artifacts_folder() -> Path:
    """Where the artifact store of this user is."""
    return home() / "artifacts"


def weights_folder() -> Path:
    """Where the trained weights of this user's candidates are."""
    return home() / "weights"


def ledger_url() -> str:
    """Where the ledger of this user is: $EDGEKIT_LEDGER (an SQLAlchemy URL), or a file in `home`."""
    return os.environ.get("EDGEKIT_LEDGER") or f"sqlite:///{home() / 'ledger.db'}"
