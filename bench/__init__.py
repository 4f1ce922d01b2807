"""What Kav costs and how fast it is, measured over loopback against the real process: `python -m bench --help`."""
