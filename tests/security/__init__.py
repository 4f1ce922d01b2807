"""What docs/security.md promises, threat by threat."""
