"""Checks of the Hub's address, without libraries that read it when they are imported."""

from urllib.parse import urlsplit

from hf_llc.errors import SettingsError


def require_readable(address: str) -> None:
    """Raise SettingsError if an address cannot be taken apart at all: huggingface_hub cannot even be imported then."""
    try:
        _ = urlsplit(address).port
    except ValueError:
        raise _refusal(address) from None


def require_web_address(address: str) -> None:
    """Raise SettingsError if requests cannot be made to an address."""
    require_readable(address)
    parts = urlsplit(address)
    usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    if parts.query or parts.fragment or any(c.isspace() or not c.isprintable() for c in address) or not usable:
        raise _refusal(address)


def _refusal(address: str) -> SettingsError:
    shown = ascii(address.rpartition("@")[2])[:80]  # never what may be a password
    return SettingsError(
        f"HF_ENDPOINT must be a web address such as https://huggingface.co, got {shown}; correct or unset it."
    )
