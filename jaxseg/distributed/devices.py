"""What devices there are."""

import jax


def device_count() -> int:
    """Devices of all processes."""
    return jax.device_count()


def local_device_count() -> int:
    """Devices of this process."""
    return jax.local_device_count()


def on_cpu() -> bool:
    """Whether the devices are CPUs."""
    return jax.default_backend() == "cpu"


def devices_in_words() -> str:
    """Number and kind of the devices, such as "8 devices (cpu)"."""
    count = device_count()
    return f"{count} device{'s' if count > 1 else ''} ({jax.devices()[0].device_kind})"
