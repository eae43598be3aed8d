"""Training any network over devices and nodes, with exact resume."""
