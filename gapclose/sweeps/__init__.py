"""Many runs at once: read, averaged over seeds, compared, and shown. What one run has found is in evaluation."""
