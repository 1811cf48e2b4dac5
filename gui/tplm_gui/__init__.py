"""The desktop application: a client of the host; nothing below imports it."""
