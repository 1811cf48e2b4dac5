"""What is read and fitted away from the thread of the window."""
