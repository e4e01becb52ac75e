"""Errors of a command for JAX settings in the environment that this machine or JAX rejects."""

import os
import re

from jaxseg.errors import InputError

_EXTRAS = {"cuda": "cuda", "gpu": "cuda", "tpu": "tpu"}


def jax_setting_error(error: Exception) -> InputError | None:
    """The InputError for a bad value of a JAX_... variable; None for any other error."""
    return _bad_value(error) or _missing_platform()


def _bad_value(error: Exception) -> InputError | None:
    """JAX reads its variables when it is imported; its error names the variable or its flag."""
    name = re.search(r"(?i)\binvalid .* (?:environment|flag) '?(jax_\w+)", str(error))
    if not isinstance(error, ValueError) or name is None or name[1].upper() not in os.environ:
        return None
    variable = name[1].upper()
    return InputError(
        f"The environment variable {variable} is {os.environ[variable]!r}, which JAX does not "
        "accept.",
        f"Unset {variable}, or give it a value from JAX's documentation.",
    )


def _missing_platform() -> InputError | None:
    platform = os.environ.get("JAX_PLATFORMS")
    if not platform:
        return None
    import jax

    try:
        jax.devices()
        return None
    except Exception:  # an AssertionError or a RuntimeError, depending on the platform
        pass
    extras = [_EXTRAS[name] for name in platform.lower().split(",") if name in _EXTRAS]
    if extras:
        fix = f"Run pip install 'jaxseg[{extras[0]}]' if this machine has one, or unset "
        fix += "JAX_PLATFORMS."
    else:
        fix = "Set it to cpu, cuda or tpu, or unset it."
    return InputError(f"JAX_PLATFORMS is {platform!r}, but JAX finds no such device.", fix)
