"""The desktop application; not written yet. Nothing below may import it."""
