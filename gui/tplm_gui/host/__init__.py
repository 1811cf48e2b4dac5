"""To the host and back: connections, requests, events, and how a host is found or started."""
