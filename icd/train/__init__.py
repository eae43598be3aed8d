"""Training, generic over the network; what is ICD's own is `icd_task`."""
