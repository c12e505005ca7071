"""Certificates and keys in PEM files, tried when the provider starts.

The rule of this file: whatever is wrong with a file is said by the name of its setting. A key with
a password is refused, because nobody is there to be asked for it.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, NoReturn

from provider.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path


def load_certificate(
    context: ssl.SSLContext, cert: Path, key: Path | None, *, variables: tuple[str, str]
) -> None:
    """Have a connection show a certificate.

    Args:
        context: of the connection.
        cert: file of the certificate and its chain.
        key: file of its private key; None where that is in the same file.
        variables: the settings that name them.

    Raises:
        StartError: they do not fit, or the key has a password.
    """

    def no_password() -> NoReturn:
        raise StartError(f"{variables[1]} has a password; give a key without one")

    try:
        context.load_cert_chain(cert, key, password=no_password)
    except OSError as error:
        both = f"{cert} and {key} are" if key is not None else f"{cert} is"
        raise StartError(
            f"{both} no certificate and its key in PEM ({variables[0]}, {variables[1]}): "
            f"{_reason(error)}"
        ) from None


def load_authorities(context: ssl.SSLContext, path: Path, *, variable: str) -> None:
    """Have a connection trust certificates that these signed.

    Args:
        context: of the connection.
        path: file of certificates.
        variable: the setting that names it.

    Raises:
        StartError: there are none in it.
    """
    try:
        context.load_verify_locations(path)
    except OSError as error:
        raise no_authorities(path, error, variable=variable) from None


def no_authorities(path: Path, error: OSError, *, variable: str) -> StartError:
    """What is said of a file of authorities that cannot be loaded."""
    return StartError(f"{path} has no certificates in PEM ({variable}): {_reason(error)}")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it cannot be read").replace("_", " ").lower()
    return error.strerror or str(error)
