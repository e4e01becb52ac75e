"""Number, kind and memory of the devices."""

import jax

from jaxseg.utils.usage import available_memory


def device_count() -> int:
    """Number of devices of all processes."""
    return jax.device_count()


def local_device_count() -> int:
    """Number of devices of this process."""
    return jax.local_device_count()


def on_cpu() -> bool:
    """Whether the devices are CPUs."""
    return jax.default_backend() == "cpu"


def device_memory() -> int | None:
    """Bytes that a program may use on each device; on a CPU, the free memory of the system.

    None if it is unknown.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in statistics:
        return int(statistics["bytes_limit"])
    return available_memory() if on_cpu() else None


def devices_in_words() -> str:
    """The number and kind of the devices, such as "8 devices (cpu)"."""
    count = device_count()
    return f"{count} device{'s' if count > 1 else ''} ({jax.devices()[0].device_kind})"
