"""What each command does with these objects: train, plan and diagnose."""
