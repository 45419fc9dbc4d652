"""Times and bytes as people say them."""


def duration(seconds: float) -> str:
    """35 s, 12 min, 3.4 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5970 else f"{seconds / 3600:,.1f} h"


def amount(size: float) -> str:
    """Bytes: 35 kB, 1.2 GB, of a thousand each."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
